"""Errors of predictions against reference labels."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from pyacemaker.structures.label_weights import LabelWeights
from pyacemaker.structures.structure import AtomStructure, BoolArray, FloatArray, Labels
from pyacemaker.units import GPA_PER_EV_PER_CUBIC_ANGSTROM, MEV_PER_EV


@dataclass(frozen=True)
class Accuracy:
    """Root-mean-square and mean absolute errors over a labelled set.

    Energies in meV/atom; forces in meV/Å over all Cartesian components; stress in GPa over all Voigt
    components of the structures that have one on both sides, None where no structure has. Labels of weight
    zero (`LabelWeights`) take no part; where that leaves no energy or no force, its figures are NaN.
    """

    energy_rmse_mev_per_atom: float
    energy_mae_mev_per_atom: float
    forces_rmse_mev_per_angstrom: float
    forces_mae_mev_per_angstrom: float
    stress_rmse_gpa: float | None = None
    stress_mae_gpa: float | None = None

    @classmethod
    def between(
        cls,
        predicted: Sequence[Labels],
        reference: Sequence[Labels],
        weights: Sequence[LabelWeights | None] | None = None,
    ) -> "Accuracy":
        """The errors of `predicted` against `reference`; `ValueError` when either is empty.

        weights: of the reference's labels; those that are zero are left out, the others count alike.
        """
        pairs = list(zip(predicted, reference, strict=True))
        if not pairs:
            raise ValueError("errors need at least one labelled structure")
        errors = [_errors(p, r, w) for (p, r), w in zip(pairs, weights or [None] * len(pairs), strict=True)]
        energy, forces, stress = (np.concatenate(part) for part in zip(*errors, strict=True))
        return cls(
            _rms(energy * MEV_PER_EV),
            _mae(energy * MEV_PER_EV),
            _rms(forces * MEV_PER_EV),
            _mae(forces * MEV_PER_EV),
            _rms(stress * GPA_PER_EV_PER_CUBIC_ANGSTROM) if len(stress) else None,
            _mae(stress * GPA_PER_EV_PER_CUBIC_ANGSTROM) if len(stress) else None,
        )

    @classmethod
    def on(cls, structures: Sequence[AtomStructure], predicted: Sequence[Labels]) -> "Accuracy":
        """The errors of `predicted` against the structures' own labels, where their weights are not zero.

        `ValueError` when there is no structure, or one without labels.
        """
        reference = [structure.labels for structure in structures if structure.labels is not None]
        weights = [structure.label_weights for structure in structures]
        return cls.between(predicted, reference, weights)

    def __str__(self) -> str:
        text = (
            f"energy RMSE {self.energy_rmse_mev_per_atom:.2f} meV/atom, "
            f"force RMSE {self.forces_rmse_mev_per_angstrom:.1f} meV/Å"
        )
        return text if self.stress_rmse_gpa is None else f"{text}, stress RMSE {self.stress_rmse_gpa:.3f} GPa"

    def as_dict(self) -> dict[str, float]:
        """The figures by name, without those that do not exist (None or NaN)."""
        figures = asdict(self).items()
        return {name: value for name, value in figures if value is not None and not np.isnan(value)}


@dataclass(frozen=True)
class LabelCounts:
    """How many structures, atoms, energies, force components and stress components a set's labels hold.

    Labels of weight zero do not count.
    """

    structures: int
    atoms: int
    energies: int
    forces: int
    stresses: int

    @classmethod
    def of(cls, structures: Sequence[AtomStructure]) -> "LabelCounts":
        """The counts over the labelled ones of `structures`."""
        labelled = [(s, s.labels) for s in structures if s.labels is not None]
        used = [_used(labels, s.label_weights) for s, labels in labelled]
        energies, forces, stresses = (
            (sum(int(np.sum(part)) for part in parts) for parts in zip(*used, strict=True))
            if used
            else (0, 0, 0)
        )
        return cls(len(labelled), sum(len(s) for s, _ in labelled), energies, forces, stresses)


def _used(labels: Labels, weights: LabelWeights | None) -> tuple[BoolArray, BoolArray, BoolArray]:
    """Which labels exist and count: (1,) energy, (3n,) forces, (6,) or (0,) stress."""
    stress = 0 if labels.stress is None else 6
    if weights is None:
        return np.ones(1, bool), np.ones(labels.forces.size, bool), np.ones(stress, bool)
    return np.array([weights.energy > 0]), weights.forces.ravel() > 0, weights.stress[:stress] > 0


def _errors(
    predicted: Labels, reference: Labels, weights: LabelWeights | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Per atom in energy, by force component, by stress component; only what counts."""
    energy, forces, stress = _used(reference, weights)
    per_atom = np.array([(predicted.energy - reference.energy) / len(reference.forces)])
    found = np.zeros(0)
    if predicted.stress is not None and reference.stress is not None:
        found = (predicted.stress - reference.stress)[stress]
    return per_atom[energy], (predicted.forces - reference.forces).ravel()[forces], found


def _rms(error: FloatArray) -> float:
    return float(np.sqrt(np.mean(error**2))) if len(error) else float("nan")


def _mae(error: FloatArray) -> float:
    return float(np.mean(np.abs(error))) if len(error) else float("nan")
