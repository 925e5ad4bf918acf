"""Does the potential describe every kind of structure, or only the common ones?"""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from pyacemaker.structures import Accuracy, Dataset, Labels
from pyacemaker.units import MEV_PER_EV
from pyacemaker.validation.gate import Gate, Limit, Measured, Subject


class Parity(Gate):
    """Errors on the frozen test set by tag, against labels of the reference method.

    value: the largest force RMSE of any tag, over the RMS of all reference forces. Tags of one or two
    structures say little.
    """

    name: ClassVar[str] = "parity"
    unit: ClassVar[str] = "% of RMS force"
    limit: Limit = 30.0
    """%, of the RMS force of the test set."""

    def measure(self, subject: Subject) -> Measured | None:
        """Errors by tag of student and teacher."""
        test = subject.test
        if not test:
            return None
        found = {who: _by_tag(test, model.evaluate(test)) for who, model in subject.models.items()}
        rms = MEV_PER_EV * float(
            np.sqrt(np.mean(np.concatenate([labels.forces.ravel() for labels in test.labels]) ** 2))
        )
        errors = {tag: one["forces_rmse_mev_per_angstrom"] for tag, one in found["student"].items()}
        worst = max(errors, key=lambda tag: errors[tag])
        count = found["student"][worst]["structures"]
        note = f"worst: {worst} ({count} structures), {errors[worst]:.0f} meV/Å of {rms:.0f}"
        value = 100.0 * errors[worst] / rms
        return Measured(value, self.unit, note, student=found["student"], teacher=found["teacher"])


def _by_tag(test: Dataset, predicted: Sequence[Labels]) -> dict[str, dict[str, Any]]:
    found = {}
    for tag in test.tag_counts():
        mine = [k for k, structure in enumerate(test) if structure.tag == tag]
        accuracy = Accuracy.on(test[mine], [predicted[k] for k in mine])
        found[tag] = {"structures": len(mine), **accuracy.as_dict()}
    return found
