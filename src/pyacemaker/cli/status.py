"""`pyacemaker status`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def status(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="The directory of a run.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say where a run stands."""
    from pyacemaker.structures.store import LabelStore, Ledger
    from pyacemaker.workflow.state import WorkflowState, is_running

    state = WorkflowState.read(run_dir)
    store = LabelStore(run_dir / "labels", look_only=True)
    state.dft = asdict(Ledger(run_dir / "ledger.csv", store, look_only=True).totals())
    running = is_running(run_dir)
    for step in state.steps.values():
        if step.status == "running" and not running:
            step.status, step.message = "failed", "cut short; the same run command resumes it"
    if as_json:
        typer.echo(json.dumps({**asdict(state), "running": running}, indent=2))
        return
    typer.echo(
        f"{state.name}{' (rehearsal)' if state.rehearsal else ''}, seed {state.seed}: "
        f"{'running' if running else 'not running'}"
    )
    for name, step in state.steps.items():
        seconds = f"{step.seconds:8.1f} s" if step.seconds is not None else " " * 10
        typer.echo(f"{name:16s} {step.status:8s} {seconds} {step.message}".rstrip())
    counts = ", ".join(f"{name} {value:g}" for name, value in state.dft.items())
    typer.echo(f"DFT labels: {counts}")
