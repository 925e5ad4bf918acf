"""One structure, its labels, and where both came from."""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

ID_TOLERANCE = 1e-8
"""Å: positions and cells that agree after rounding to this are the same structure."""


@dataclass(frozen=True, eq=False)
class Labels:
    """What a potential or an oracle says of one structure of n atoms.

    energy: eV, of the whole structure. forces: (n, 3), eV/Å, minus the gradient. stress: (6,), eV/Å³, Voigt
    order xx yy zz yz xz xy, positive = tensile (ASE); None where the structure is not periodic or the engine
    has none. energies: (n,), eV, the share of each atom, where the engine has it.
    """

    energy: float
    forces: FloatArray
    stress: FloatArray | None = None
    energies: FloatArray | None = None

    def is_finite(self) -> bool:
        """Whether no number is NaN or infinite."""
        parts = (self.energy, self.forces, self.stress, self.energies)
        return all(np.isfinite(part).all() for part in parts if part is not None)

    def __add__(self, other: "Labels") -> "Labels":
        return self._combine(other, 1.0)

    def __sub__(self, other: "Labels") -> "Labels":
        return self._combine(other, -1.0)

    def _combine(self, other: "Labels", sign: float) -> "Labels":
        stress = None if self.stress is None or other.stress is None else self.stress + sign * other.stress
        return Labels(self.energy + sign * other.energy, self.forces + sign * other.forces, stress)


@dataclass(frozen=True, eq=False)
class AtomStructure:
    """A structure of n atoms. Immutable: its arrays cannot be written to.

    numbers: (n,) atomic numbers. positions: (n, 3), Å. cell: (3, 3), Å, rows are lattice vectors. pbc: (3,).
    charge: total charge in e. multiplicity: 2S + 1, None = the lowest that fits the number of electrons.
    tag: which generator made it, and how (`path`, `md300`, …). source: who made the labels. weight: of the
    structure in a fit. info: other scalar facts that travel with it.
    """

    numbers: IntArray
    positions: FloatArray
    cell: FloatArray = field(default_factory=lambda: np.zeros((3, 3)))
    pbc: BoolArray = field(default_factory=lambda: np.zeros(3, dtype=bool))
    charge: int = 0
    multiplicity: int | None = None
    tag: str = "untagged"
    source: str = ""
    weight: float = 1.0
    labels: Labels | None = None
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._freeze("numbers", self.numbers, np.int64)
        self._freeze("positions", self.positions, np.float64)
        self._freeze("cell", self.cell, np.float64)
        self._freeze("pbc", self.pbc, np.bool_)

    def _freeze(self, name: str, value: ArrayLike, dtype: type) -> None:
        array: NDArray[Any] = np.array(value, dtype=dtype)
        array.setflags(write=False)
        object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.numbers)

    def __repr__(self) -> str:
        labelled = "labelled" if self.labels is not None else "unlabelled"
        return f"AtomStructure({self.formula}, tag={self.tag!r}, {labelled}, id={self.id[:8]})"

    @cached_property
    def id(self) -> str:
        """Content hash (16 hexadecimal digits) of elements, geometry, periodicity, charge and multiplicity.

        Coordinates are rounded to `ID_TOLERANCE`, so that a round trip through a file keeps the id. Labels,
        tag and weight do not count.
        """
        digest = hashlib.sha256(self.numbers.tobytes())
        for array in (self.positions, self.cell):
            digest.update(np.rint(array / ID_TOLERANCE).astype(np.int64).tobytes())
        digest.update(self.pbc.tobytes())
        digest.update(f"{self.charge}|{self.multiplicity}".encode())
        return digest.hexdigest()[:16]

    @property
    def symbols(self) -> list[str]:
        """Chemical symbols, one per atom."""
        return [chemical_symbols[number] for number in self.numbers]

    @property
    def formula(self) -> str:
        """Chemical formula in Hill order."""
        return str(Atoms(numbers=self.numbers).get_chemical_formula())

    @property
    def is_periodic(self) -> bool:
        """Whether any direction is periodic."""
        return bool(self.pbc.any())

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_atoms(self) -> Atoms:
        """An ASE `Atoms` with this geometry; `info` carries charge, spin (= multiplicity) and tag."""
        atoms = Atoms(numbers=self.numbers, positions=self.positions, cell=self.cell, pbc=self.pbc)
        atoms.info.update(self.info)
        atoms.info["charge"] = self.charge
        if self.multiplicity is not None:
            atoms.info["spin"] = self.multiplicity
        atoms.info["tag"] = self.tag
        return atoms

    @classmethod
    def from_atoms(cls, atoms: Atoms, **fields: Any) -> Self:
        """The structure in an ASE `Atoms`: geometry, `info["charge"]`, `info["spin"]`, and any `fields`.

        Labels are not read here; see `pyacemaker.structures.formats`.
        """
        info = atoms.info
        given: dict[str, Any] = {
            "charge": round(float(info.get("charge", 0))),
            "multiplicity": int(info["spin"]) if "spin" in info else None,
            "tag": str(info.get("tag") or info.get("config_type") or "untagged"),
        }
        cell = np.array(atoms.cell)
        return cls(atoms.numbers, atoms.positions, cell, atoms.pbc, **{**given, **fields})
