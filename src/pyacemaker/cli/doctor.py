"""`pyacemaker doctor`."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pyacemaker.cli.options import Quiet

if TYPE_CHECKING:
    from pyacemaker.doctor import Check
    from pyacemaker.located_yaml import Problem

SIGNS = {"ok": "[green]ok[/]", "missing": "[yellow]missing[/]", "broken": "[red]broken[/]"}


def doctor(
    config: Annotated[
        Path | None, typer.Argument(help="A config file: is all that it needs here? Exit code 1 where not.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(help="Try only this (again for more).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that each thing may take.")] = 120.0,
    quiet: Quiet = False,
) -> None:
    """Say which engines, models, schedulers, GPUs and programs are really here, each tried, with the cure.

    With a config, its foundation model is fetched as a run would, and evaluated.
    """
    from pyacemaker.cli.display import shown
    from pyacemaker.config import load_config
    from pyacemaker.doctor import FOUNDATION, examine, needs_of
    from pyacemaker.workflow.problems import find_all_problems

    needed: set[str] = set()
    problems: list[Problem] = []
    if config is not None:
        needed = needs_of(load_config(config)) | {FOUNDATION}
        problems = find_all_problems(config)
    with shown(quiet=quiet or as_json) as display:
        checks = examine(
            _chosen(only or [], needed),
            needed=needed,
            config=config,
            timeout=timeout,
            progress=lambda done, total: display("trying", done, total),
        )
    ready = not problems and not any(check.needed and check.state != "ok" for check in checks)
    if as_json:
        told = [{"line": item.line, "key": item.key, "problem": item.text} for item in problems]
        content = {"ready": ready, "checks": [asdict(check) for check in checks], "problems": told}
        typer.echo(json.dumps(content, indent=2))
    else:
        _print(checks, config, problems, ready)
    if not ready:
        raise typer.Exit(1)


def _chosen(only: "Sequence[str]", needed: "set[str]") -> list[str]:
    from pyacemaker.doctor import PROBES
    from pyacemaker.errors import UserError

    unknown = [name for name in only if name not in PROBES]
    if unknown:
        raise UserError(f"--only {unknown[0]}: expected one of {', '.join(PROBES)}")
    return [name for name in PROBES if not only or name in only or name in needed]


def _print(
    checks: "Sequence[Check]", config: Path | None, problems: "Sequence[Problem]", ready: bool
) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("", "", "what was found")
    group = ""
    for check in checks:
        if check.group != group:
            group = check.group
            table.add_section()
        name = f"[bold]{check.name}[/]\n(needed)" if check.needed else check.name
        cure = f"\n→ {check.cure}" if check.cure else ""
        table.add_row(name, SIGNS[check.state], escape(check.found + cure))
    Console().print(table)
    for problem in problems:
        typer.echo(f"Error: {problem}", err=True)
    if config is not None:
        verdict = "all that it needs is here" if ready else "something that it needs is missing, see above"
        typer.echo(f"{config}: {verdict}")
