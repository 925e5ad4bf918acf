"""`pyacemaker select`."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pyacemaker.cli.options import check_output


def select(
    pool: Annotated[Path, typer.Argument(help="Structures to pick from.")],
    n: Annotated[int, typer.Option("-n", help="How many to pick.")],
    method: Annotated[
        Literal["direct", "farthest-point", "maxvol", "random"], typer.Option(help="How to pick.")
    ] = "direct",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where to write them; the suffix is the format."),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="A MACE model whose descriptors are used; default: ACE invariants.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the random generator.")] = 1,
) -> None:
    """Pick structures from a pool."""
    from pyacemaker.cli.display import shown
    from pyacemaker.selection.from_files import select_from_file
    from pyacemaker.structures.exports import check_format

    check_output(output, "--output", pool, model)
    if output is not None:
        check_format(output, "--output")
    with shown():
        chosen = select_from_file(pool, n, method, output=output, model=model, seed=seed)
    typer.echo(f"{len(chosen)} structures: {' '.join(str(index) for index in chosen)}")
