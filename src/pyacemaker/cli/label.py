"""`pyacemaker label`."""

from pathlib import Path
from typing import Annotated

import typer

from pyacemaker.cli.options import Quiet, check_output

OUTPUT_HELP = "Where to write the labels; the suffix (.extxyz, .db, .pckl.gzip, .cfg, .data) is the format."


def label(
    pool: Annotated[Path, typer.Argument(help="Structures to label.")],
    config: Annotated[Path, typer.Option(help="A config file: its `dft` and `execution` are used.")],
    output: Annotated[Path, typer.Option("--output", "-o", help=OUTPUT_HELP)] = Path("labelled.extxyz"),
    quiet: Quiet = False,
) -> None:
    """Run an oracle over a file; labels that were computed before are taken from the store beside it."""
    from pyacemaker.cli.display import shown
    from pyacemaker.config import load_labelling
    from pyacemaker.structures.exports import check_format
    from pyacemaker.workflow.labelling import label_file

    check_output(output, "--output", pool, config)
    check_format(output, "--output")
    settings = load_labelling(config)
    settings.execution.check()
    with shown(quiet=quiet) as display:
        labelled = label_file(
            pool,
            output,
            settings.dft,
            settings.execution.for_pool("dft", output.with_name(output.name + ".labels")),
            label_store=settings.label_store,
            progress=lambda done, total, _: display("labelling", done, total),
        )
    typer.echo(
        f"{len(labelled.dataset)} labels in {output}, {len(labelled.failures)} failed, "
        f"{labelled.reused} were known already"
    )
