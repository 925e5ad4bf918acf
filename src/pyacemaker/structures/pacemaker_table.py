"""pacemaker's data set: a gzipped pickle of a pandas table that every version of pandas and numpy loads.

A table that pandas 3 pickles does not load in the pandas 2.0 that pacemaker pins. What is pickled here is
therefore not the table's inside but how to build it: constructors of pandas, numpy and ASE and their
arguments. Reading unpickles, which executes what the file says: read only files of known origin.
"""

import copyreg
import gzip
import io
import pickle
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from pyacemaker.errors import DataError, described
from pyacemaker.files import replacing
from pyacemaker.structures.extxyz import Frame
from pyacemaker.structures.frames import any_frame, to_frame
from pyacemaker.structures.structure import AtomStructure

_OWN = "pyacemaker"
"""The column that holds what the others do not."""


def write_pacemaker_table(path: Path, structures: Iterable[AtomStructure]) -> None:
    """Write `.pckl.gzip` atomically, with the columns of pacemaker and one for what it has no name for.

    Columns: `ase_atoms`; `name` (the tag); where every structure has labels `energy` (eV) and `forces`
    (n, 3), eV/Å; where a structure has weights `w_energy` and `w_forces` (n,), the mean over components.
    """
    found = list(structures)
    columns: dict[str, list[Any]] = {
        "ase_atoms": [_atoms(structure) for structure in found],
        "name": [structure.tag for structure in found],
        _OWN: [_extras(structure) for structure in found],
    }
    if found and all(structure.labels is not None for structure in found):
        columns["energy"] = [s.labels.energy for s in found if s.labels is not None]
        columns["forces"] = [s.labels.forces for s in found if s.labels is not None]
    if any(s.weight != 1.0 or s.label_weights is not None for s in found):
        columns["w_energy"] = [s.weight * _energy_weight(s) for s in found]
        columns["w_forces"] = [s.weight * _forces_weights(s) for s in found]
    with replacing(path) as aside, gzip.GzipFile(aside, "wb", compresslevel=6, mtime=0) as handle:
        handle.write(_pickled(columns))


def read_pacemaker_table(path: Path) -> Iterator[Frame]:
    """Yield the rows of a `.pckl.gzip` as frames; `DataError` where it holds no such table."""
    import pandas

    try:
        with gzip.open(path, "rb") as handle:
            table = pandas.read_pickle(io.BytesIO(handle.read()))
        rows = table.to_dict("records")
    except Exception as error:  # whatever a pickle raises
        raise DataError(
            f"{path} cannot be read as a pickled pandas table ({described(error)}); write it "
            "again, or give an extended XYZ file"
        ) from error
    for row in rows:
        if not isinstance(row.get("ase_atoms"), Atoms):
            raise DataError(
                f"{path} has no column ase_atoms with ASE's Atoms: it is no data set of pacemaker"
            )
        yield _frame(row)


def _frame(row: dict[str, Any]) -> Frame:
    atoms = row["ase_atoms"]
    own = row.get(_OWN)
    if isinstance(own, dict):
        return Frame(
            atoms.numbers, atoms.positions, np.array(atoms.cell), atoms.pbc, own["info"], own["arrays"]
        )
    frame = any_frame(atoms)
    info, arrays = dict(frame.info), dict(frame.arrays)
    energy = row.get("energy", row.get("energy_corrected"))
    if energy is not None and row.get("forces") is not None:
        info["energy"], arrays["forces"] = float(energy), np.asarray(row["forces"], dtype=np.float64)
    if row.get("w_energy") is not None and row.get("w_forces") is not None:
        info["config_energy_weight"] = float(row["w_energy"])
        arrays["forces_weight"] = np.asarray(row["w_forces"], dtype=np.float64)
    if row.get("name") is not None:
        info.setdefault("tag", str(row["name"]))
    return Frame(frame.numbers, frame.positions, frame.cell, frame.pbc, info, arrays)


def _atoms(structure: AtomStructure) -> Atoms:
    return Atoms(
        numbers=structure.numbers, positions=structure.positions, cell=structure.cell, pbc=structure.pbc
    )


def _extras(structure: AtomStructure) -> dict[str, Any]:
    frame = to_frame(structure)
    return {"info": frame.info, "arrays": frame.arrays}


def _energy_weight(structure: AtomStructure) -> float:
    return 1.0 if structure.label_weights is None else structure.label_weights.energy


def _forces_weights(structure: AtomStructure) -> Any:
    weights = structure.label_weights
    return np.ones(len(structure)) if weights is None else np.asarray(weights.forces).mean(axis=1)


class _Table:
    """Stands for the pandas table of these columns while it is pickled."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        self.columns = columns

    def __reduce__(self) -> tuple[Any, ...]:
        from pandas import DataFrame

        return DataFrame, (self.columns,)


def _array(array: Any) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    return np.array, (array.tolist(),)


def _atoms_from_scratch(atoms: Atoms) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    # symbols, positions, numbers, tags, momenta, masses, magmoms, charges, scaled_positions, cell, pbc
    arguments = (None, atoms.positions, atoms.numbers, *[None] * 6, np.array(atoms.cell), atoms.pbc)
    return Atoms, arguments


def _pickled(columns: dict[str, list[Any]]) -> bytes:
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, protocol=4)
    pickler.dispatch_table = {**copyreg.dispatch_table, np.ndarray: _array, Atoms: _atoms_from_scratch}
    pickler.dump(_Table(columns))
    return buffer.getvalue()
