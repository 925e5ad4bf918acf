"""What every trainer promises, and what it returns: a potential file, its measured errors, and facts."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from pyacemaker.base import Spec
from pyacemaker.structures import Dataset
from pyacemaker.structures.accuracy import Accuracy
from pyacemaker.units import MEV_PER_EV

if TYPE_CHECKING:
    from pyacemaker.potentials.ace import ACEPotential
    from pyacemaker.trainers.ace_labels import ReferenceEnergies

Progress = Callable[[int, int], None]
"""Called with what is done and the total: structures, or iterations."""


@dataclass(frozen=True)
class TrainingMetrics:
    """Errors on the training set and, where there is one, on the validation set; wall time in seconds.

    train, validation: RMSE and MAE of energy (meV/atom), forces (meV/Å) and stress (GPa).
    validation_loss: the weighted loss on the validation set, as the trainer defines it.
    """

    train: Accuracy
    validation: Accuracy | None = None
    seconds: float = 0.0
    validation_loss: float | None = None


@dataclass(frozen=True)
class TrainedPotential:
    """A trained potential's file, its errors, and what is worth knowing about the training (JSON values).

    curves: by what they are measured on, one entry of figures per epoch, where there are epochs.
    """

    path: Path
    metrics: TrainingMetrics
    facts: Mapping[str, Any] = field(default_factory=dict)
    curves: Mapping[str, list[dict[str, float]]] = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        """The errors under `train` and, where there is one, `validation`, and the facts: what a run keeps."""
        found: dict[str, Any] = {"train": self.metrics.train.as_dict()}
        if self.metrics.validation is not None:
            found["validation"] = self.metrics.validation.as_dict()
            found["validation_loss"] = self.metrics.validation_loss
        return {**found, **self.facts}


def mean_loss(errors: Accuracy, energy_weight: float, forces_weight: float) -> float:
    """(w_E RMSE_E)² + (w_F RMSE_F)², of energies in eV/atom and force components in eV/Å; what has no label
    adds nothing."""
    parts = (
        energy_weight * errors.energy_rmse_mev_per_atom,
        forces_weight * errors.forces_rmse_mev_per_angstrom,
    )
    return float(np.nansum([(part / MEV_PER_EV) ** 2 for part in parts]))


class Trainer(Spec, ABC):
    """Settings of a fit, with one verb: `train`. What it makes is a `.yace` file."""

    @abstractmethod
    def train(
        self,
        dataset: Dataset,
        initial_potential: "ACEPotential | Path | None" = None,
        *,
        out: Path,
        reference_energies: "ReferenceEnergies | None" = None,
        test: Dataset | None = None,
        progress: Progress | None = None,
        processes: int = 1,
        workdir: Path | None = None,
    ) -> TrainedPotential:
        """Fit to the labels of `dataset` and write the `.yace` file `out`.

        initial_potential: what the fit starts from. reference_energies: eV by element, or how they are found;
        None: as the settings say. test: labelled structures for `metrics.validation`. processes: processor
        cores that it may use. workdir: where a training that was killed finds what it had done; it may be
        deleted afterwards.

        Raises `InsufficientDataError` and `DataError` for data that cannot be fitted to,
        `TrainingDivergenceError` for a fit that ran away, `TrainingError` for one that ended without a
        potential; then nothing is written.
        """

    def in_a_run(self) -> Self:
        """These settings as the steps of a run use them."""
        return self

    def again(self, facts: Mapping[str, Any]) -> Self:
        """These settings for a second fit of the same kind, with what the first one chose from its data.

        facts: of the first fit.
        """
        return self

    def near(self) -> Self:
        """These settings for a fit of few labels that starts from a potential and stays near it."""
        return self

    def continues(self) -> bool:
        """Whether a second fit of the same kind should start from the first potential."""
        return False

    def resumes(self) -> bool:
        """Whether a fit is long enough to be worth a `workdir`."""
        return False

    def check(self) -> None:
        """Raise a `UserError` where the trainer cannot work here: a program that is not installed."""
