"""How far does the potential extrapolate on the structures of the run?"""

from typing import ClassVar

import numpy as np

from pyacemaker.structures import Dataset
from pyacemaker.validation.gate import Gate, Limit, Measured, Subject

_LEVELS = (0.5, 0.75, 0.9, 0.95, 0.99, 1.0)


class ExtrapolationGrade(Gate):
    """Extrapolation grades γ of the pool, the test set and the potential's own trajectories.

    A structure counts with its largest γ. value: the 95 % quantile over the pool. Up to 1 is interpolation,
    above 10 the potential guesses: Lysogorskiy et al., Phys. Rev. Materials 7, 043801 (2023).
    """

    name: ClassVar[str] = "extrapolation"
    unit: ClassVar[str] = "γ"
    looks_at: ClassVar[tuple[str, ...]] = ("md_stability",)
    limit: Limit = 3.0
    """The grade."""

    def measure(self, subject: Subject) -> Measured:
        """Quantiles of the largest γ of each structure."""
        if subject.active_set is None:
            note = subject.no_active_set or "there is no active set to measure against"
            return Measured(None, self.unit, note, broken=True)
        frames = [frame for one in subject.trajectories() for frame in one.frames]
        parts = {"pool": subject.pool, "test": subject.test, "trajectories": Dataset(frames)}
        found = {}
        for part, structures in parts.items():
            grades = [float(gamma.max()) for gamma in subject.active_set.grades(structures)]
            if grades:
                found[part] = {str(level): float(np.quantile(grades, level)) for level in _LEVELS}
        judged = "pool" if "pool" in found else "test"
        note = (
            f"95 % of {len(parts[judged])} structures of the {judged}; the largest {found[judged]['1.0']:.2g}"
        )
        return Measured(found[judged]["0.95"], self.unit, note, student=found)
