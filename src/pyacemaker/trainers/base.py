"""The trainer interface: labelled structures in, a potential file with measured errors out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TrainingMetrics:
    """Errors over a labelled set. Energies in meV/atom, forces in meV/Å (components), stress in GPa.

    Stress is None where no structure has one. `None` is also what a set without structures gives.
    """

    energy_rmse_mev_per_atom: float
    energy_mae_mev_per_atom: float
    forces_rmse_mev_per_angstrom: float
    forces_mae_mev_per_angstrom: float
    stress_rmse_gpa: float | None = None
    stress_mae_gpa: float | None = None


@dataclass(frozen=True)
class TrainedPotential:
    """What a trainer returns: the file, its errors on the training set, and facts about the training."""

    path: Path
    metrics: TrainingMetrics
    facts: dict[str, Any]
