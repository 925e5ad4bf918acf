"""What every trainer returns: a potential file, its measured errors, and facts about the training."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyacemaker.structures.accuracy import Accuracy


@dataclass(frozen=True)
class TrainingMetrics:
    """Errors on the training set and, where there is one, on the validation set; wall time in seconds."""

    train: Accuracy
    validation: Accuracy | None = None
    seconds: float = 0.0


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
        """The errors on the training set under `train`, on the validation set under `validation`, and the
        facts: what a run keeps of the training."""
        judged = self.metrics.validation
        validation = {} if judged is None else {"validation": judged.as_dict()}
        return {"train": self.metrics.train.as_dict(), **validation, **self.facts}
