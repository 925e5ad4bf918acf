"""Structures and labels in the formats of other programs; the suffix decides which.

| suffix | format | read back by `read_structures` |
| --- | --- | --- |
| `.db` | ASE's database | everything |
| `.pckl.gzip`, `.pkl.gz` | a pickled pandas table, as pacemaker reads it | everything |
| `.cfg` | MLIP's configurations (`BEGIN_CFG`), as MTP codes read them | everything |
| `.data`, `.lmp` | LAMMPS data, one structure per file | elements and geometry, turned as LAMMPS wants it |
| any other | extended XYZ | everything |

Everything: ids, labels bit by bit, tags, sources, weights of structures and of single labels, facts.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path

from pyacemaker.errors import DataError, UserError
from pyacemaker.structures.ase_database import write_ase_database
from pyacemaker.structures.formats import write_structures
from pyacemaker.structures.lammps_data import write_lammps_data
from pyacemaker.structures.mlip_cfg import write_mlip_cfg
from pyacemaker.structures.pacemaker_table import write_pacemaker_table
from pyacemaker.structures.store import DATABASE, LabelStore
from pyacemaker.structures.structure import AtomStructure

Writer = Callable[[Path, Iterable[AtomStructure]], list[Path]]

_XYZ = (".extxyz", ".xyz")
_WRITERS: dict[str, Callable[[Path, Iterable[AtomStructure]], list[Path] | None]] = {
    ".db": write_ase_database,
    ".pckl.gzip": write_pacemaker_table,
    ".pkl.gz": write_pacemaker_table,
    ".cfg": write_mlip_cfg,
    ".data": write_lammps_data,
    ".lmp": write_lammps_data,
}


def check_format(path: Path, option: str) -> None:
    """Raise `UserError`, naming the `option`, where the suffix of `path` stands for no format."""
    suffixes = (*_XYZ, *_WRITERS)
    if not path.name.lower().endswith(suffixes):
        found = f"the suffix {path.suffix}" if path.suffix else "no suffix"
        raise UserError(f"{option} {path} has {found}, expected one of {', '.join(suffixes)}: rename it")


def export_structures(path: str | Path, structures: Iterable[AtomStructure]) -> list[Path]:
    """Write `structures` in the format that the suffix of `path` stands for; the files that were written.

    Files are whole or absent. LAMMPS data holds one structure, so that several become `NAME-00000.data`,
    `NAME-00001.data`, …
    """
    path = Path(path)
    suffix = next((suffix for suffix in _WRITERS if path.name.lower().endswith(suffix)), "")
    return _WRITERS.get(suffix, write_structures)(path, structures) or [path]


def export_labels(directory: str | Path, path: str | Path) -> tuple[int, list[Path]]:
    """Write all labels that a directory holds to `path`: how many, and the files that were written.

    directory: of a run, of a label store, or the `OUTPUT.labels` of the label command. Each structure has its
    tag, the engine as its source, and, as facts, the reason and the round for which it was computed. Nothing
    in the directory changes. Raises `DataError` where it holds no labels.
    """
    folder = Path(directory)
    folder = folder / "labels" if (folder / "labels").is_dir() else folder
    if not (folder / DATABASE).is_file() and not (folder / "results").is_dir():
        raise DataError(
            f"{directory} is neither the directory of a run nor a label store: expected {DATABASE} in it or "
            "in its folder labels"
        )
    count = 0

    def counted() -> Iterator[AtomStructure]:
        nonlocal count
        for structure in LabelStore(folder, look_only=True).structures():
            count += 1
            yield structure

    structures = counted()
    first = next(structures, None)
    if first is None:
        raise DataError(f"{directory} holds no labels yet")
    written = export_structures(path, chain([first], structures))
    return count, written
