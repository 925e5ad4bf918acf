"""`pyacemaker run`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from pyacemaker.cli.options import Quiet, check_output, print_accuracy


def run(
    config: Annotated[Path, typer.Argument(help="The YAML file that describes the run.")],
    run_dir: Annotated[Path | None, typer.Option(help="Where the run lives; default: runs/NAME.")] = None,
    from_step: Annotated[
        str | None, typer.Option("--from", help="Run this step and what follows anew (name, verb or number).")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Stop after this step.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    rehearse: Annotated[
        bool, typer.Option("--rehearse", help="Play the run with a cheap physics oracle in DFT's place.")
    ] = False,
    quiet: Quiet = False,
) -> None:
    """Run the eight steps, or resume where they stopped."""
    from pyacemaker.cli.display import shown
    from pyacemaker.errors import VerdictError
    from pyacemaker.workflow.orchestrator import Orchestrator
    from pyacemaker.workflow.problems import load_checked

    settings = load_checked(config, rehearse=rehearse)
    directory = run_dir if run_dir is not None else settings.default_run_dir()
    orchestrator = Orchestrator(settings, directory)
    orchestrator.bounds(from_step, until)
    if dry_run:
        _print_plan(orchestrator, directory, from_step, until)
        return
    check_output(directory / "run.log", "--run-dir")
    try:
        with shown(directory, quiet=quiet) as display:
            metrics = Orchestrator(settings, directory, display).run(from_step, until)
    except VerdictError:
        _print_result(
            json.loads((directory / "output" / "metrics.json").read_text(encoding="utf-8")), rehearse
        )
        _write_report(directory)
        raise
    if metrics is not None:
        _print_result(metrics, rehearse)
        typer.echo(f"Potential: {directory / 'output' / 'potential.yace'}")
        _write_report(directory)


def _write_report(directory: Path) -> None:
    """The report; a run does not fail for the want of it."""
    from pyacemaker.errors import PyacemakerError
    from pyacemaker.report import write_report

    try:
        typer.echo(f"Report: {write_report(directory)}")
    except (PyacemakerError, OSError, ValueError, RuntimeError) as error:
        typer.echo(f"No report could be written: {error}", err=True)


def _print_plan(orchestrator: Any, directory: Path, from_step: str | None, until: str | None) -> None:
    from pyacemaker.workflow.steps.label import LABEL

    typer.echo(f"Run directory: {directory}")
    plan = {step.name: step for step in orchestrator.plan(from_step, until)}
    for step in plan.values():
        typer.echo(f"{step.name:16s} {step.action:6s} {step.title} ({step.reason})")
    if plan[LABEL.name].action != "run":
        typer.echo(f"Reference labels: none needed ({LABEL.name}: {plan[LABEL.name].reason}).")
        return
    label, gates = orchestrator.config.label, orchestrator.config.gate_labels()
    typer.echo(
        f"Reference labels: at most {label.n_train} to train on, {label.n_test} to test on, {gates} for the "
        "gates, one per element; "
        f"{orchestrator.known_labels()} labels by these dft settings are in the store already."
    )


def _print_result(metrics: dict[str, Any], rehearse: bool) -> None:
    _print_errors(metrics)
    if rehearse:
        _print_prediction(metrics)


def _print_errors(metrics: dict[str, Any]) -> None:
    names = ("foundation", "teacher", "base", "final")
    print_accuracy({name: metrics["test"][name] for name in names})
    dft = metrics["dft"]
    typer.echo(
        f"Measured on {metrics['test']['structures']} held-out structures (RMS force "
        f"{metrics['test']['forces_rms_ev_per_angstrom']:.2f} eV/Å). Reference calls: {dft['calls']}, failed "
        f"{dft['failed']}, {dft['core_seconds']:.1f} core-seconds; {dft['reused']} labels of other runs."
    )


def _print_prediction(metrics: dict[str, Any]) -> None:
    failed, calls = metrics["dft"]["failed"], metrics["dft"]["calls"] + metrics["dft"]["reused"]
    typer.echo(
        "This was a rehearsal: its figures tell about the method, not about DFT. The full run will make "
        f"about {calls} DFT calls ({failed} of them failed here)."
    )
