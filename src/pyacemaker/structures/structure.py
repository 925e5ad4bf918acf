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
from numpy.typing import NDArray

from pyacemaker.structures.label_weights import LabelWeights

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

ID_TOLERANCE = 1e-8
"""Å: positions and cells that agree after rounding to this are the same structure."""


INFO_FIELDS = frozenset({"charge", "spin", "tag", "config_type", "source", "weight"})
"""Names in an `Atoms`' `info` that are fields of the structure."""


@dataclass(frozen=True, eq=False)
class Labels:
    """What a potential or an oracle says of one structure of n atoms.

    energy: eV, of the whole structure. forces: (n, 3), eV/Å, minus the gradient. stress: (6,), eV/Å³, Voigt
    order xx yy zz yz xz xy, positive = tensile (ASE); None where the structure is not periodic or the engine
    has none. energies: (n,), eV, the share of each atom, where the engine has it. Immutable, like structures.
    """

    energy: float
    forces: FloatArray
    stress: FloatArray | None = None
    energies: FloatArray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "energy", float(self.energy))
        _freeze(self, "forces", np.float64, (-1, 3))
        if self.stress is not None:
            _freeze(self, "stress", np.float64, (6,))
        if self.energies is not None:
            _freeze(self, "energies", np.float64, (len(self.forces),))

    def is_finite(self) -> bool:
        """Whether no number is NaN or infinite."""
        parts = (self.energy, self.forces, self.stress, self.energies)
        return all(np.isfinite(part).all() for part in parts if part is not None)

    def __add__(self, other: "Labels") -> "Labels":
        return self._combine(other, 1.0)

    def __sub__(self, other: "Labels") -> "Labels":
        return self._combine(other, -1.0)

    def _combine(self, other: "Labels", sign: float) -> "Labels":
        """`self` + `sign` × `other`; what only one of them has is left out."""
        stress = None if self.stress is None or other.stress is None else self.stress + sign * other.stress
        energies = None
        if self.energies is not None and other.energies is not None:
            energies = self.energies + sign * other.energies
        forces = self.forces + sign * other.forces
        return Labels(self.energy + sign * other.energy, forces, stress, energies)


def _freeze(owner: object, name: str, dtype: type, shape: tuple[int, ...]) -> None:
    """Make a field a read-only array of the given shape (-1 = any length); `ValueError` for another.

    An array that is read-only already, such as another structure's, is shared; any other one is copied.
    """
    given = getattr(owner, name)
    array: NDArray[Any] = given if _is_frozen(given, dtype) else np.array(given, dtype=dtype)
    expected = tuple(array.shape[k] if want < 0 < array.ndim else want for k, want in enumerate(shape))
    if array.shape != expected:
        raise ValueError(f"{name} has the shape {array.shape} instead of {shape}")
    array.setflags(write=False)
    object.__setattr__(owner, name, array)


def _is_frozen(array: Any, dtype: type) -> bool:
    """Whether this is an array of `dtype` that nobody writes to: read-only, and no view of another."""
    is_plain = type(array) is np.ndarray and array.dtype == dtype
    return is_plain and array.flags.owndata and not array.flags.writeable


@dataclass(frozen=True, eq=False)
class AtomStructure:
    """A structure of n atoms. Immutable: its arrays cannot be written to.

    numbers: (n,) atomic numbers. positions: (n, 3), Å. cell: (3, 3), Å, rows are lattice vectors. pbc: (3,).
    charge: total charge in e. multiplicity: 2S + 1, None = the lowest that fits the number of electrons.
    tag: which generator made it, and how (`path`, `md300`, …). source: who made the labels. weight: of the
    structure in a fit. label_weights: of its single labels, None where all count alike; like the labels and
    the weight they are no part of the id. info: other scalar facts that travel with it.
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
    label_weights: LabelWeights | None = None
    info: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _freeze(self, "numbers", np.int64, (-1,))
        _freeze(self, "positions", np.float64, (len(self.numbers), 3))
        _freeze(self, "cell", np.float64, (3, 3))
        _freeze(self, "pbc", np.bool_, (3,))
        if self.labels is not None and len(self.labels.forces) != len(self.numbers):
            raise ValueError(f"labels of {len(self.labels.forces)} atoms for {len(self.numbers)} atoms")
        if self.label_weights is not None and len(self.label_weights.forces) != len(self.numbers):
            raise ValueError(
                f"weights of {len(self.label_weights.forces)} atoms' labels for {len(self.numbers)} atoms"
            )

    def __len__(self) -> int:
        return len(self.numbers)

    def __repr__(self) -> str:
        labelled = "labelled" if self.labels is not None else "unlabelled"
        return f"AtomStructure({self.formula}, tag={self.tag!r}, {labelled}, id={self.id[:8]})"

    @cached_property
    def id(self) -> str:
        """Content hash (16 hexadecimal digits) of elements, geometry, periodicity, charge and multiplicity.

        Coordinates are rounded to `ID_TOLERANCE`, so that a round trip through a file keeps the id. Labels,
        tag and weights do not count.
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

    @cached_property
    def volume(self) -> float | None:
        """Å³ of the cell; None where nothing is periodic or the three cell vectors span no volume.

        Structures with a volume have a stress, slabs and wires in a box included.
        """
        found = float(abs(np.linalg.det(self.cell)))
        return found if self.is_periodic and found > 1e-6 else None

    @property
    def energy_counts(self) -> bool:
        """Whether an energy label would take part in a fit: it is not masked by a weight of zero."""
        return self.label_weights is None or self.label_weights.energy > 0.0

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_atoms(self) -> Atoms:
        """An ASE `Atoms` with this geometry, without labels; `from_atoms` is the inverse.

        `info` carries charge, spin (= multiplicity), tag, source and weight, and this structure's `info`.
        """
        atoms = Atoms(numbers=self.numbers, positions=self.positions, cell=self.cell, pbc=self.pbc)
        atoms.info.update(self.info)
        atoms.info["charge"] = self.charge
        if self.multiplicity is not None:
            atoms.info["spin"] = self.multiplicity
        atoms.info["tag"] = self.tag
        if self.source:
            atoms.info["source"] = self.source
        if self.weight != 1.0:
            atoms.info["weight"] = self.weight
        return atoms

    @classmethod
    def from_atoms(cls, atoms: Atoms, **fields: Any) -> Self:
        """The structure in an ASE `Atoms`: geometry, what `to_atoms` puts into `info`, and any `fields`.

        Labels are not read here; see `pyacemaker.structures.formats`.
        """
        info = atoms.info
        facts = {
            key: value
            for key, value in info.items()
            if key not in INFO_FIELDS and isinstance(value, str | bool | int | float | np.generic)
        }
        given: dict[str, Any] = {
            "charge": round(float(info.get("charge", 0))),
            "multiplicity": int(info["spin"]) if "spin" in info else None,
            "tag": str(info.get("tag") or info.get("config_type") or "untagged"),
            "source": str(info.get("source") or ""),
            "weight": float(info.get("weight", 1.0)),
            "info": facts,
        }
        cell = np.array(atoms.cell)
        return cls(atoms.numbers, atoms.positions, cell, atoms.pbc, **{**given, **fields})
