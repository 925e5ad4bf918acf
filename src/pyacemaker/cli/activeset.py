"""`pyacemaker activeset`."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyacemaker.cli.options import JsonFile, Quiet, check_output, print_grades, write_json

if TYPE_CHECKING:
    from pyacemaker.ace.active_set import ElementActiveSet


def activeset(
    potential: Annotated[Path, typer.Argument(help="An ACE potential (.yace).")],
    structures: Annotated[
        Path, typer.Argument(help="Structures it was trained on (extxyz or what ASE reads).")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The active set to write (.asi).")],
    b_yaml: Annotated[
        Path | None,
        typer.Option("--yaml", help="Also write the potential as the .yaml that pace/extrapolation reads."),
    ] = None,
    max_gamma_of: Annotated[
        Path | None, typer.Option(help="Print the extrapolation grades of the structures in this file.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Worker processes; default: all available cores.")
    ] = None,
    json_file: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """The active set of an ACE potential: how far atoms are from its training data."""
    from pyacemaker.ace.b_basis import write_b_yaml
    from pyacemaker.cli.display import shown
    from pyacemaker.potentials.ace import ACEPotential
    from pyacemaker.potentials.extrapolation import build_active_set
    from pyacemaker.processes import available_cores
    from pyacemaker.structures.dataset import within
    from pyacemaker.structures.formats import read_structures

    _check_outputs(potential, structures, output, b_yaml, max_gamma_of, json_file)
    started = time.monotonic()
    with shown(quiet=quiet) as display:
        model = ACEPotential.from_yace(potential)
        data = read_structures(structures)
        others = read_structures(max_gamma_of) if max_gamma_of else None
        with within(structures):
            active_set, parts = build_active_set(
                model,
                data,
                processes=processes or model.worthwhile_processes(data, available_cores()),
                progress=lambda done, total: display("environments", done, total),
            )
        active_set.save(output)
        if b_yaml is not None:
            write_b_yaml(model.model, b_yaml)
    content: dict[str, Any] = {"elements": _summary(parts), "seconds": time.monotonic() - started}
    typer.echo(f"{content['seconds']:.1f} s")
    if others is not None and max_gamma_of is not None:
        with within(max_gamma_of):
            content["grades"] = print_grades(active_set.grades(others), max_gamma_of)
    write_json(json_file, content)


def _check_outputs(
    potential: Path,
    structures: Path,
    output: Path,
    b_yaml: Path | None,
    max_gamma_of: Path | None,
    json_file: Path | None,
) -> None:
    from pyacemaker.errors import PotentialFormatError

    for path, option, suffix in ((output, "--output", ".asi"), (b_yaml, "--yaml", ".yaml")):
        if path is not None and path.suffix != suffix:
            raise PotentialFormatError(f"{option} {path}: expected a name that ends in {suffix}")
    for path, option in ((output, "--output"), (b_yaml, "--yaml"), (json_file, "--json")):
        check_output(path, option, potential, structures, max_gamma_of)


def _summary(parts: "Sequence[ElementActiveSet]") -> dict[str, Any]:
    """Print one line per element; the same for JSON."""
    for part in parts:
        rank = f" (rank {part.rank} in the data)" if part.rank < part.functions else ""
        typer.echo(
            f"{part.element}: {part.functions} functions{rank}, {part.environments} environments, "
            f"largest gamma {part.largest:.3f}"
        )
    return {part.element: part.facts() for part in parts}
