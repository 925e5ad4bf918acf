"""Trainers: fine-tuned MACE models, and ACE potentials by the project's own engine or by pacemaker."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from pyacemaker.base import plugin
from pyacemaker.trainers.ace import AceTrainer
from pyacemaker.trainers.base import TrainedPotential, Trainer, TrainingMetrics
from pyacemaker.trainers.pacemaker import PacemakerTrainer


def _own_engine(value: Any) -> Any:
    """A mapping without `kind` is the project's own engine's."""
    return {"kind": "ace", **value} if isinstance(value, dict) else value


AnyTrainer = Annotated[
    Annotated[AceTrainer | PacemakerTrainer, Field(discriminator="kind")],
    plugin(Trainer),
    BeforeValidator(_own_engine),
]
"""A trainer of ACE potentials as a config file names it."""

__all__ = ["AceTrainer", "AnyTrainer", "PacemakerTrainer", "TrainedPotential", "Trainer", "TrainingMetrics"]
