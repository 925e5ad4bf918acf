"""Options that several commands share, and how they write JSON."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyacemaker.errors import UserError

if TYPE_CHECKING:
    from pyacemaker.structures import FloatArray

EnergyKey = Annotated[
    str | None, typer.Option(help="Key of the energies in the file; default: REF_energy, then energy.")
]
ForcesKey = Annotated[
    str | None, typer.Option(help="Key of the forces in the file; default: REF_forces, then forces.")
]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the figures to this JSON file.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no log on the terminal.")]


def check_output(path: Path | None, option: str, *inputs: Path | None) -> None:
    """`UserError` naming the `option` where no file can be written at `path`: before the work, not after.

    Directories that do not exist yet are no reason: they are made. inputs: files that it must not overwrite.
    """
    if path is None:
        return
    if any(item is not None and item.resolve() == path.resolve() for item in inputs):
        raise UserError(f"{option} {path} is an input of this command; choose another name")
    if path.is_dir():
        raise UserError(f"{option} {path} is a directory; give the name of a file in it")
    parent = next(folder for folder in path.absolute().parents if folder.exists())
    if not parent.is_dir():
        raise UserError(f"{option} {path}: {parent} is a file, not a directory; choose another place")
    try:
        tempfile.TemporaryFile(dir=parent).close()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UserError(
            f"{option} {path}: {parent} cannot be written to ({reason}); choose another place"
        ) from error


def write_json(path: Path | None, content: dict[str, Any]) -> None:
    """Write `content` to `path` where one is given."""
    if path is not None:
        from pyacemaker import files

        files.write_json(path, content)


def print_accuracy(rows: dict[str, dict[str, float]]) -> None:
    """A table with one row of errors per name."""
    from rich.console import Console
    from rich.table import Table

    units = {"mev_per_atom": "meV/atom", "mev_per_angstrom": "meV/Å", "gpa": "GPa"}
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    table = Table()
    table.add_column(no_wrap=True)
    for name in names:
        quantity, kind, unit = name.split("_", 2)
        table.add_column(f"{quantity}\n{kind.upper()}\n{units[unit]}", justify="right")
    for label, row in rows.items():
        table.add_row(label, *(f"{row[name]:.3f}" if name in row else "" for name in names))
    Console().print(table)


def print_grades(gamma: "Sequence[FloatArray]", path: Path) -> dict[str, Any]:
    """A line about how far the structures of `path` extrapolate; the largest γ of each, for JSON."""
    largest = [float(values.max(initial=0.0)) for values in gamma]
    worst = max(range(len(largest)), key=largest.__getitem__)
    typer.echo(
        f"{path}: largest gamma {largest[worst]:.3f} (structure {worst}, counted from 0), "
        f"{sum(value > 1.01 for value in largest)} of {len(largest)} structures above 1.01"
    )
    return {"largest_gamma": largest[worst], "structures": largest}
