"""`pyacemaker compare`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="The directory of a run.")],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="The directory of another one.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Two runs side by side: settings that differ, counts, DFT calls and cost, errors, verdict."""
    from pyacemaker.workflow.comparison import compare_runs

    found = compare_runs(first, second)
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    _print(found)


def _print(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("", *(escape(name) for name in found["runs"]))
    errors = {
        f"{model}: {name}": pair
        for model, figures in found["errors"].items()
        for name, pair in figures.items()
    }
    verdicts = {
        "verdict": [{True: "passed", False: "failed", None: ""}[passed] for passed in found["verdict"]],
        "reason": found["reason"],
    }
    named = {"steps": found["state"]}
    groups = (
        named,
        found["settings"],
        found["versions"],
        found["counts"],
        {f"seconds, {name}": pair for name, pair in found["seconds"].items()},
        {f"DFT {name}": pair for name, pair in found["dft"].items()},
        errors,
        verdicts,
    )
    for group in groups:
        table.add_section()
        for name, pair in group.items():
            table.add_row(escape(name), *(escape(_shown(value)) for value in pair))
    Console().print(table)
    if found["same_test_set"] is False:
        typer.echo(
            "The errors are of different test sets: their difference says little about the potentials."
        )


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
