"""The guard that knows when a trajectory has gone where its model has never been."""

from collections.abc import Sequence

import numpy as np

from pyacemaker.errors import InsufficientDataError
from pyacemaker.generators.guards import GuardEvent
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.selection import MahalanobisUncertainty
from pyacemaker.structures import AtomStructure, FloatArray

MAX_REFERENCE = 500
"""Known structures that count, evenly spaced where there are more."""
QUANTILE = 0.99
"""Share of the known structures that lie within the distance that limits are multiples of."""


class NoveltyGuard:
    """Ends trajectories whose frames are too unlike all known structures, by the model's own descriptors.

    A frame's uncertainty is the Mahalanobis distance of its most unusual atom (`MahalanobisUncertainty`). The
    limit is calibrated on the known structures themselves: `factor` times the distance within which 99 % of
    them lie.

    known: structures that the model's answers are believed on; isolated atoms and dimers spoil the
    statistics. Raises `InsufficientDataError` for none.
    """

    def __init__(self, potential: MacePotential, known: Sequence[AtomStructure], factor: float) -> None:
        if not known:
            raise InsufficientDataError("the uncertainty guard was given no known structures: give some")
        numbers = np.linspace(0, len(known) - 1, min(len(known), MAX_REFERENCE)).round().astype(int)
        chosen = [known[number] for number in numbers]
        self.potential = potential
        self.species = [structure.symbols for structure in chosen]
        self.descriptors = potential.descriptors(chosen)
        self.uncertainty = MahalanobisUncertainty()
        own = self.uncertainty.score(self.species, self.descriptors)
        self.limit = factor * float(np.quantile(own, QUANTILE))

    def rate(self, frames: Sequence[AtomStructure]) -> FloatArray:
        """(n,) the uncertainty of each frame, to be compared with `limit`."""
        species = [frame.symbols for frame in frames]
        found = self.potential.descriptors(frames)
        return self.uncertainty.score(self.species, self.descriptors, species, found)

    def __call__(self, frames: Sequence[AtomStructure], /) -> list[GuardEvent | None]:
        """An event for each frame beyond the limit."""
        return [self._event(float(value)) for value in self.rate(frames)]

    def _event(self, value: float) -> GuardEvent | None:
        if value <= self.limit:
            return None
        return GuardEvent(
            "uncertainty", f"an uncertainty of {value:.1f}, above the limit of {self.limit:.1f}"
        )
