"""`pyacemaker status`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer


def status(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="The directory of a run.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say where a run stands: steps, counts, time left, last warnings; also while it runs elsewhere."""
    from pyacemaker.workflow.overview import count_structures, last_complaints, progress_of, read_state

    state, running = read_state(run_dir)
    progress = progress_of(run_dir) if running else None
    counts, complaints = count_structures(run_dir), last_complaints(run_dir)
    if as_json:
        more = {"running": running, "progress": progress, "structures": counts, "warnings": complaints}
        typer.echo(json.dumps({**asdict(state), **more}, indent=2))
        return
    typer.echo(
        f"{state.name}{' (rehearsal)' if state.rehearsal else ''}, seed {state.seed}: "
        f"{'running' if running else 'not running'}"
    )
    for name, step in state.steps.items():
        seconds = f"{step.seconds:8.1f} s" if step.seconds is not None else " " * 10
        typer.echo(f"{name:16s} {step.status:8s} {seconds} {step.message}".rstrip())
    if progress is not None:
        typer.echo(_progress_line(progress))
    if counts:
        typer.echo("Structures: " + ", ".join(f"{name} {count}" for name, count in counts.items()))
    totals = ", ".join(f"{name} {value:g}" for name, value in state.dft.items())
    typer.echo(f"DFT labels: {totals}")
    for line in complaints:
        typer.echo(line)


def _progress_line(progress: dict[str, Any]) -> str:
    left = progress["seconds_left"]
    eta = "" if left is None else f", about {_duration(left)} left"
    return f"Now: {progress['task']}: {progress['done']} of {progress['total']}{eta}"


def _duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
