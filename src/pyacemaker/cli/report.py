"""`pyacemaker report`."""

from pathlib import Path
from typing import Annotated

import typer

from pyacemaker.cli.options import check_output


def report(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN", help="The directory of a run, finished or not.")],
    out: Annotated[
        Path | None, typer.Option("--output", "-o", help="The HTML file; default: RUN/output/report.html.")
    ] = None,
) -> None:
    """Write the report of a run: one HTML file that opens offline."""
    from pyacemaker.report import write_report
    from pyacemaker.workflow.state import WorkflowState

    WorkflowState.read(run_dir)
    check_output(run_dir / "output" / "report.html" if out is None else out, "--output")
    typer.echo(f"Report: {write_report(run_dir, out)}")
