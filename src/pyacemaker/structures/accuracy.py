"""Errors of predictions against reference labels."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from pyacemaker.structures.structure import FloatArray, Labels
from pyacemaker.units import GPA_PER_EV_PER_CUBIC_ANGSTROM, MEV_PER_EV


@dataclass(frozen=True)
class Accuracy:
    """Root-mean-square and mean absolute errors over a labelled set.

    Energies in meV/atom; forces in meV/Å over all Cartesian components; stress in GPa over all Voigt
    components of the structures that have one on both sides, None where no structure has.
    """

    energy_rmse_mev_per_atom: float
    energy_mae_mev_per_atom: float
    forces_rmse_mev_per_angstrom: float
    forces_mae_mev_per_angstrom: float
    stress_rmse_gpa: float | None = None
    stress_mae_gpa: float | None = None

    @classmethod
    def between(cls, predicted: Sequence[Labels], reference: Sequence[Labels]) -> "Accuracy":
        """The errors of `predicted` against `reference`; `ValueError` when either is empty."""
        pairs = list(zip(predicted, reference, strict=True))
        if not pairs:
            raise ValueError("errors need at least one labelled structure")
        energy = np.array([(p.energy - r.energy) / len(r.forces) for p, r in pairs]) * MEV_PER_EV
        forces = np.concatenate([(p.forces - r.forces).ravel() for p, r in pairs]) * MEV_PER_EV
        stress = [p.stress - r.stress for p, r in pairs if p.stress is not None and r.stress is not None]
        stress_error = np.concatenate(stress) * GPA_PER_EV_PER_CUBIC_ANGSTROM if stress else None
        return cls(
            _rms(energy),
            _mae(energy),
            _rms(forces),
            _mae(forces),
            None if stress_error is None else _rms(stress_error),
            None if stress_error is None else _mae(stress_error),
        )

    def __str__(self) -> str:
        text = (
            f"energy RMSE {self.energy_rmse_mev_per_atom:.2f} meV/atom, "
            f"force RMSE {self.forces_rmse_mev_per_angstrom:.1f} meV/Å"
        )
        return text if self.stress_rmse_gpa is None else f"{text}, stress RMSE {self.stress_rmse_gpa:.3f} GPa"

    def as_dict(self) -> dict[str, float]:
        """The figures by name, without those that are None."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def _rms(error: FloatArray) -> float:
    return float(np.sqrt(np.mean(error**2)))


def _mae(error: FloatArray) -> float:
    return float(np.mean(np.abs(error)))
