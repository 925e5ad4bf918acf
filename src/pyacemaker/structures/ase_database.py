"""ASE's database: one row per structure, labels where ASE looks for them, the rest in the row's data."""

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from pyacemaker.errors import DataError
from pyacemaker.files import replacing
from pyacemaker.structures.extxyz import Frame
from pyacemaker.structures.frames import any_frame, to_frame
from pyacemaker.structures.structure import AtomStructure

_DATA = "pyacemaker"
"""Where a row's data hold what ASE has no column for."""


def write_ase_database(path: Path, structures: Iterable[AtomStructure]) -> None:
    """Write an ASE database (SQLite), atomically.

    Energy (eV), forces (eV/Å) and stress (eV/Å³) stand in the row's columns, tag and source among its
    key-value pairs where ASE allows them, and all that a frame of extended XYZ would hold in its data.
    """
    from ase.db import connect

    with replacing(path) as aside, connect(str(aside), type="db", use_lock_file=False) as database:
        for structure in structures:
            frame = to_frame(structure)
            database.write(
                _atoms(structure),
                key_value_pairs=_pairs(structure),
                data={_DATA: {"info": frame.info, "arrays": frame.arrays}},
            )


def read_ase_database(path: Path) -> Iterator[Frame]:
    """Yield the rows of an ASE database (of any origin) as frames, in the order of their ids.

    A row's key-value pairs, its scalar data and the results of its calculator are the frame's entries.
    """
    from ase.db import connect

    try:
        rows = list(connect(str(path), type="db", use_lock_file=False).select())
    except (sqlite3.Error, KeyError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read as an ASE database ({error}); write it again, or give "
            "an extended XYZ file"
        ) from error
    for row in rows:
        data = dict(row.data)
        own = data.pop(_DATA, None)
        if own is not None:
            yield Frame(row.numbers, row.positions, row.cell, row.pbc, dict(own["info"]), dict(own["arrays"]))
            continue
        frame = any_frame(row.toatoms())
        frame.info.update(row.key_value_pairs)
        yield frame


def _atoms(structure: AtomStructure) -> Atoms:
    atoms = Atoms(
        numbers=structure.numbers, positions=structure.positions, cell=structure.cell, pbc=structure.pbc
    )
    if structure.labels is not None:
        labels = structure.labels
        results: dict[str, Any] = {"energy": labels.energy, "forces": np.array(labels.forces)}
        if labels.stress is not None:
            results["stress"] = np.array(labels.stress)
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def _pairs(structure: AtomStructure) -> dict[str, str]:
    """Tag and source, unless ASE would refuse them."""
    from ase.db.core import check

    found = {}
    for name, value in (("tag", structure.tag), ("source", structure.source)):
        try:
            check({name: value})
        except ValueError:
            continue
        if value:
            found[name] = value
    return found
