"""`pyacemaker export`."""

from pathlib import Path
from typing import Annotated

import typer

from pyacemaker.cli.label import OUTPUT_HELP
from pyacemaker.cli.options import check_output


def export(
    run_dir: Annotated[
        Path, typer.Argument(metavar="RUN", help="The directory of a run, or of a label store.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help=OUTPUT_HELP)] = Path("labels.extxyz"),
) -> None:
    """Write all DFT labels that a run has paid for to one file, with tags, reasons and rounds."""
    from pyacemaker.structures.exports import check_format, export_labels

    check_output(output, "--output")
    check_format(output, "--output")
    count, written = export_labels(run_dir, output)
    more = "" if len(written) == 1 else f" … {written[-1]}"
    typer.echo(f"{count} labels in {written[0]}{more}")
