"""Between a file's frames and structures: which names hold labels, and what makes a frame a structure."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from pyacemaker.structures.extxyz import Frame
from pyacemaker.structures.label_weights import LabelWeights
from pyacemaker.structures.structure import AtomStructure, FloatArray, Labels

LABEL_KEYS = frozenset(
    {"REF_energy", "REF_forces", "REF_stress", "REF_energies"}
    | {"energy", "free_energy", "forces", "stress", "energies"}
)
"""The names under which labels are looked for unless told otherwise."""

_DEFAULT_PAIRS = (
    ("REF_energy", "REF_forces"),
    ("energy", "forces"),
    ("free_energy", "forces"),
    ("REF_energy", "forces"),
    ("energy", "REF_forces"),
    ("free_energy", "REF_forces"),
)

_PER_ATOM_RESULTS = frozenset({"forces", "energies", "stresses", "charges", "magmoms"})

_ENERGY_WEIGHT, _FORCES_WEIGHT, _STRESS_WEIGHT = (
    f"config_{quantity}_weight" for quantity in ("energy", "forces", "stress")
)
_FORCES_WEIGHT_COLUMNS = ("forces_weight", "forces_weights", "force_weight", "force_weights")
_FORCES_MASK_COLUMNS = ("forces_mask", "force_mask")
_WEIGHT_KEYS = {_ENERGY_WEIGHT, _FORCES_WEIGHT, _STRESS_WEIGHT}.union(
    _FORCES_WEIGHT_COLUMNS, _FORCES_MASK_COLUMNS
)

STRUCTURE_KEYS = frozenset(
    {"charge", "spin", "tag", "config_type", "source", "weight", "config_weight", *_WEIGHT_KEYS}
)
"""The names that become fields of the structure."""


@dataclass(frozen=True)
class LabelKeys:
    """Which names to look under: those given, else REF_ names, else ASE's."""

    energy: str | None
    forces: str | None
    stress: str | None

    def are_given(self) -> bool:
        """Whether the user named any."""
        return any(key is not None for key in (self.energy, self.forces, self.stress))

    def describe(self) -> str:
        """The names, for a message."""
        energy = self.energy or "REF_energy, energy or free_energy"
        forces = self.forces or "REF_forces or forces"
        return f"energies under {energy} and forces under {forces}"

    @cached_property
    def candidates(self) -> list[tuple[str, str, str | None]]:
        """(energy, forces, stress) names, the preferred first: complete sets before mixtures."""
        pairs = [(self.energy or energy, self.forces or forces) for energy, forces in _DEFAULT_PAIRS]
        return [(energy, forces, self._stress_beside(energy)) for energy, forces in dict.fromkeys(pairs)]

    def _stress_beside(self, energy: str) -> str | None:
        return self.stress or _beside(energy.removeprefix("free_"), "stress")

    @cached_property
    def names(self) -> frozenset[str]:
        """Every name that may hold a label, so that none travels on as a mere fact."""
        return LABEL_KEYS.union(*(filter(None, candidate) for candidate in self.candidates))


def _beside(energy_key: str, quantity: str) -> str | None:
    """`dft_stress` for `dft_energy`; None for a key without `energy` in it."""
    return energy_key.replace("energy", quantity) if "energy" in energy_key else None


def is_scalar(value: Any) -> bool:
    """Whether `value` is a single text, number or truth value."""
    return isinstance(value, str | bool | int | float | np.generic)


def any_frame(structure: AtomStructure | Atoms) -> Frame:
    """A frame of an `AtomStructure`, or of `Atoms` with the results that its calculator holds."""
    if isinstance(structure, AtomStructure):
        return to_frame(structure)
    atoms = structure
    info: dict[str, Any] = dict(atoms.info)
    arrays = {name: array for name, array in atoms.arrays.items() if name not in ("numbers", "positions")}
    for name, value in getattr(atoms.calc, "results", {}).items():
        (arrays if name in _PER_ATOM_RESULTS else info)[name] = value
    return Frame(atoms.numbers, atoms.positions, np.array(atoms.cell), atoms.pbc, info, arrays)


def find_labels(frame: Frame, keys: LabelKeys) -> tuple[Labels | None, bool]:
    """The frame's labels, and whether it has only one of energy and forces."""
    has_part = False
    for energy_key, forces_key, stress_key in keys.candidates:
        energy, forces = frame.info.get(energy_key), frame.arrays.get(forces_key)
        if forces is None and energy is not None and len(frame.numbers) == 1:
            forces = np.zeros((1, 3))
        if energy is not None and forces is not None:
            stress = frame.info.get(stress_key or "") if frame.pbc.any() else None
            energies = frame.arrays.get(_beside(energy_key, "energies") or "")
            return _make_labels(energy, forces, stress, energies), False
        has_part = has_part or energy is not None or forces is not None
    return None, has_part


def find_weights(frame: Frame) -> LabelWeights | None:
    """The weights of the frame's labels: factors on squared errors; None where all count alike.

    `config_energy_weight`, `config_forces_weight` and `config_stress_weight` in the comment line are one
    number each (the last one or six); the columns `forces_weight` (also `force_weights`) and `forces_mask`
    (also `force_mask`; true = the label counts) hold one number per atom or per component. Factors on the
    forces multiply. `ValueError` where they have another shape, or are negative.
    """
    if not _WEIGHT_KEYS & (frame.info.keys() | frame.arrays.keys()):
        return None
    forces = np.full((len(frame.numbers), 3), _number(_FORCES_WEIGHT, frame.info.get(_FORCES_WEIGHT, 1.0)))
    for name in (*_FORCES_WEIGHT_COLUMNS, *_FORCES_MASK_COLUMNS):
        if name in frame.arrays:
            forces = forces * _per_component(name, frame.arrays[name])
    stress = np.asarray(frame.info.get(_STRESS_WEIGHT, 1.0), dtype=np.float64)
    if stress.size not in (1, 6):
        raise ValueError(f"{_STRESS_WEIGHT} has {stress.size} numbers instead of 1 or 6")
    energy = _number(_ENERGY_WEIGHT, frame.info.get(_ENERGY_WEIGHT, 1.0))
    weights = LabelWeights(energy, forces, np.broadcast_to(stress.ravel(), 6))
    return None if weights.is_trivial else weights


def _per_component(name: str, column: NDArray[Any]) -> FloatArray:
    """(n, 3) from one number per atom or three."""
    values = np.asarray(column)
    values = values.reshape(len(values), -1)
    if values.dtype.kind not in "fiub" or values.shape[1] not in (1, 3):
        raise ValueError(f"the column {name} does not hold one or three numbers per atom")
    return np.broadcast_to(values.astype(np.float64), (len(values), 3))


def _make_labels(energy: Any, forces: Any, stress: Any, energies: Any) -> Labels:
    forces = np.asarray(forces, dtype=np.float64)
    if forces.ndim != 2 or forces.shape[1] != 3:
        raise ValueError(f"forces have the shape {forces.shape} instead of three columns per atom")
    return Labels(
        _number("energy", energy),
        forces,
        None if stress is None else _voigt(stress),
        None if energies is None else np.asarray(energies, dtype=np.float64),
    )


def _voigt(stress: Any) -> FloatArray:
    """(6,) in the order xx yy zz yz xz xy, from six, nine or 3 × 3 numbers."""
    values = np.asarray(stress, dtype=np.float64)
    if values.size == 6:
        return values.ravel()
    if values.size == 9:
        full = values.reshape(3, 3)
        full = (full + full.T) / 2
        return np.asarray(full[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]])
    raise ValueError(f"stress has {values.size} numbers instead of 6 (Voigt) or 9 (3 x 3)")


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {value!r} instead of a number") from None


def to_structure(frame: Frame, labels: Labels | None, label_keys: frozenset[str]) -> AtomStructure:
    """The structure in a frame; scalar entries outside `label_keys` become its facts.

    Raises `ValueError` for an unknown element, coordinates that are not finite, or a periodic direction
    without a lattice vector.
    """
    _check_geometry(frame)
    info = frame.info
    taken = label_keys | STRUCTURE_KEYS
    spin = info.get("spin")
    return AtomStructure(
        frame.numbers,
        frame.positions,
        frame.cell,
        frame.pbc,
        charge=_whole_number("charge", info.get("charge", 0)),
        multiplicity=None if spin is None else _whole_number("spin", spin),
        tag=str(info.get("tag") or info.get("config_type") or "untagged"),
        source=str(info.get("source") or ""),
        weight=_number("weight", info.get("weight", info.get("config_weight", 1.0))),
        labels=labels,
        label_weights=find_weights(frame),
        info={key: value for key, value in info.items() if key not in taken and is_scalar(value)},
    )


def _whole_number(name: str, value: Any) -> int:
    number = _number(name, value)
    if not number.is_integer():
        raise ValueError(f"{name} is {value!r} instead of a whole number")
    return int(number)


def _check_geometry(frame: Frame) -> None:
    if (frame.numbers < 1).any():
        atom = int(np.argmax(frame.numbers < 1))
        raise ValueError(f"atom {atom} is 'X' (atomic number {frame.numbers[atom]}), not an element")
    if not (np.isfinite(frame.positions).all() and np.isfinite(frame.cell).all()):
        raise ValueError("a position or the cell holds NaN or Inf")
    missing = frame.pbc & ~frame.cell.any(axis=1)
    if missing.any():
        raise ValueError(f"it is periodic along lattice vector {int(np.argmax(missing))}, which is zero")


def to_frame(structure: AtomStructure) -> Frame:
    """The frame of a structure, its labels under REF_ names."""
    fields: dict[str, Any] = {
        "charge": structure.charge,
        "spin": structure.multiplicity,
        "tag": structure.tag or None,
        "source": structure.source or None,
        "weight": None if structure.weight == 1.0 else structure.weight,
    }
    weights, columns = _weight_entries(structure.label_weights)
    fields |= weights
    taken = LABEL_KEYS | STRUCTURE_KEYS | {"Properties", "Lattice", "pbc"}
    facts = {key: value for key, value in structure.info.items() if key not in taken}
    info = {key: value for key, value in {**fields, **facts}.items() if value is not None}
    frame = Frame(structure.numbers, structure.positions, structure.cell, structure.pbc, info, columns)
    return frame if structure.labels is None else with_labels(frame, structure.labels, "REF_")


def _weight_entries(weights: LabelWeights | None) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What `find_weights` turns back into the weights: entries of the comment line, and columns."""
    if weights is None:
        return {}, {}
    entries: dict[str, Any] = {} if weights.energy == 1.0 else {_ENERGY_WEIGHT: weights.energy}
    columns: dict[str, NDArray[Any]] = {}
    forces, stress = weights.forces, weights.stress
    if (forces != forces[:, :1]).any():
        columns[_FORCES_WEIGHT_COLUMNS[0]] = forces
    elif (forces != forces[0, 0]).any():
        columns[_FORCES_WEIGHT_COLUMNS[0]] = forces[:, 0]
    elif forces[0, 0] != 1.0:
        entries[_FORCES_WEIGHT] = float(forces[0, 0])
    if (stress != stress[0]).any():
        entries[_STRESS_WEIGHT] = stress
    elif stress[0] != 1.0:
        entries[_STRESS_WEIGHT] = float(stress[0])
    return entries, columns


def with_labels(frame: Frame, labels: Labels, prefix: str) -> Frame:
    """The frame plus `labels` under names that begin with `prefix`."""
    info: dict[str, Any] = {f"{prefix}energy": float(labels.energy)}
    arrays: dict[str, NDArray[Any]] = {f"{prefix}forces": labels.forces}
    if labels.stress is not None:
        info[f"{prefix}stress"] = labels.stress
    if labels.energies is not None:
        arrays[f"{prefix}energies"] = labels.energies
    return replace(frame, info={**frame.info, **info}, arrays={**frame.arrays, **arrays})
