"""LAMMPS data files, `atom_style atomic`: one structure each."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from pyacemaker.files import replacing
from pyacemaker.structures.boxes import boxed
from pyacemaker.structures.structure import AtomStructure

MARGIN = 15.0
"""Å: empty space around what has no cell."""


def write_lammps_data(
    path: Path, structures: Iterable[AtomStructure], types: Sequence[str] | None = None
) -> list[Path]:
    """Write `units metal` data files (Å), atomically; their names.

    One structure is written to `path`, several to `NAME-00000.data` and so on. types: types[t − 1] is the
    element of type t; None: the elements of all structures in alphabetical order. They are named beside
    their masses. LAMMPS wants the first cell vector along x
    and the second in the xy plane: the structure is turned accordingly. What has no volume gets a box. The
    first line tells tag, id, and the energy where there is one; other labels have no place in this format.
    """
    found = list(structures)
    elements = list(types or sorted({symbol for structure in found for symbol in structure.symbols}))
    width = max(5, len(str(len(found))))
    names = [path.with_name(f"{path.stem}-{k:0{width}d}{path.suffix}") for k in range(len(found))]
    names = names if len(found) > 1 else [path]
    for name, structure in zip(names, found, strict=False):
        with replacing(name) as aside:
            aside.write_text(_text(structure, elements), encoding="utf-8")
    return names


def is_lammps_data(path: Path) -> bool:
    """Whether the head of the file counts atoms and atom types."""
    with path.open("rb") as handle:
        return b"atom types" in handle.read(1000)


def _text(structure: AtomStructure, elements: list[str]) -> str:
    import io

    from ase.io.lammpsdata import write_lammps_data as write

    # LAMMPS wants three vectors: those that a molecule, a wire or a sheet lacks become vacuum
    atoms = (boxed(structure, MARGIN) if structure.volume is None else structure).to_atoms()
    buffer = io.StringIO()
    write(buffer, atoms, specorder=elements, masses=True, atom_style="atomic", units="metal")
    energy = "" if structure.labels is None else f", energy {structure.labels.energy!r} eV"
    title = f"# {structure.formula}, {structure.tag}, id {structure.id}{energy}"
    return " ".join(title.split()) + "\n" + buffer.getvalue().split("\n", 1)[1]
