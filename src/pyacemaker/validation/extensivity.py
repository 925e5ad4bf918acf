"""Is twice the matter twice the energy?"""

from typing import ClassVar

import numpy as np
from pydantic import PositiveInt

from pyacemaker.structures import AtomStructure
from pyacemaker.units import MEV_PER_EV
from pyacemaker.validation.gate import Gate, Limit, Measured, Subject


class Extensivity(Gate):
    """Two copies of a molecule beyond each other's reach, or a doubled periodic cell, against one.

    value: the largest |E(2) − 2 E(1)| over the atoms of both.
    """

    name: ClassVar[str] = "extensivity"
    unit: ClassVar[str] = "meV/atom"
    limit: Limit = 1e-4
    """meV/atom."""
    blocks: bool = True
    """Whether a potential that does not pass is not delivered."""
    structures: PositiveInt = 8
    """Of the DFT-labelled ones, evenly taken."""

    def measure(self, subject: Subject) -> Measured | None:
        """The largest deviation of the student."""
        train = subject.train
        if not train:
            return None
        chosen = [train[int(k)] for k in np.unique(np.linspace(0, len(train) - 1, self.structures).round())]
        single = subject.student.evaluate(chosen)
        double = subject.student.evaluate([doubled(one, 2.0 * subject.cutoff) for one in chosen])
        errors = [
            MEV_PER_EV * abs(two.energy - 2.0 * one.energy) / len(two.forces)
            for one, two in zip(single, double, strict=True)
        ]
        return Measured(float(np.max(errors)), self.unit, f"{len(chosen)} structures", student=errors)


def doubled(structure: AtomStructure, gap: float) -> AtomStructure:
    """The cell doubled along its first periodic direction, or a second copy `gap` Å away along x."""
    numbers = np.tile(structure.numbers, 2)
    if structure.is_periodic:
        axis = int(np.argmax(structure.pbc))
        shift, cell = structure.cell[axis], structure.cell.copy()
        cell[axis] *= 2.0
    else:
        shift, cell = np.array([np.ptp(structure.positions[:, 0]) + gap, 0.0, 0.0]), structure.cell
    positions = np.concatenate([structure.positions, structure.positions + shift])
    return AtomStructure(numbers, positions, cell, structure.pbc, tag=structure.tag)
