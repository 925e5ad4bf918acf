"""`pyacemaker validate`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from pyacemaker.cli.options import Quiet


def validate(
    config: Annotated[Path, typer.Argument(help="The YAML file to check.")],
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Check what a rehearsal needs: DFT's programs are left alone.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    quiet: Quiet = False,
) -> None:
    """Check a config file, the files it names and its DFT settings without running anything.

    All problems at once, each with its line, what is wrong and the cure; exit code 2 where there are any.
    """
    from pyacemaker.config import load_config
    from pyacemaker.workflow.problems import find_all_problems

    problems = find_all_problems(config, rehearse=rehearse)
    if as_json:
        typer.echo(json.dumps({"valid": not problems, "problems": [_as_json(item) for item in problems]}))
    for problem in problems:
        if not as_json:
            typer.echo(f"Error: {problem}", err=True)
    if problems:
        raise typer.Exit(2)
    settings = load_config(config)
    if rehearse:
        settings = settings.rehearsed()
    if not (as_json or quiet):
        fetched = "" if Path(settings.foundation.model).exists() else " (published: the first run fetches it)"
        typer.echo(
            f"{config} is valid: {settings.label.n_train} + {settings.label.n_test} labels by "
            f"{settings.dft.version()}, foundation {settings.foundation.model}{fetched}, "
            f"run directory {settings.default_run_dir()}"
        )


def _as_json(problem: Any) -> dict[str, Any]:
    return {"line": problem.line, "key": problem.key, "problem": problem.text}
