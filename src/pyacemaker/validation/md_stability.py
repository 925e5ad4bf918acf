"""Does molecular dynamics at the highest temperature stay physical?"""

import math
from typing import Any, ClassVar

import numpy as np
from pydantic import PositiveInt

from pyacemaker.generators.langevin import TrajectoryPlan
from pyacemaker.structures import Dataset
from pyacemaker.validation.gate import Gate, Limit, Measured, Subject

_FRAMES = 25  # kept of each trajectory, for the extrapolation grades
_SETTLING = 200  # steps, a quarter of all at most, in which the heat of a strained start is drained


class MdStability(Gate):
    """Langevin dynamics of the final potential at the exploration's highest temperature, under its guards.

    The first 200 steps drain what a start gives off as it slides into a well, as the exploration does: a
    reactant that is two electronvolts above its product would trip the guard of the temperature, whatever the
    potential. Atoms that come too close, forces, temperatures and energies off all measure, or numbers that
    are not finite end one (`explore.dynamics.guards`). value: the share of trajectories that ended so.
    """

    name: ClassVar[str] = "md_stability"
    unit: ClassVar[str] = "% of trajectories"
    limit: Limit = 0.0
    """%."""
    blocks: bool = True
    """Whether a potential that does not pass is not delivered."""
    n_trajectories: PositiveInt = 4
    """Trajectories, from DFT-labelled structures of low energy, each from another one."""
    steps: PositiveInt = 2000
    """Steps of each."""

    def measure(self, subject: Subject) -> Measured | None:
        """How many trajectories were ended, and of the teacher's own in the exploration."""
        found = subject.trajectories()
        if not found:
            return None
        events = [f"step {one.steps}: {one.event}" for one in found if one.event]
        n, ended = subject.explored
        time = 1e-3 * self.steps * subject.dynamics.timestep
        note = f"{len(found)} × {time:g} ps at {subject.temperature:g} K"
        return Measured(
            100.0 * len(events) / len(found),
            self.unit,
            "; ".join([note, *events[:2]]),
            student=100.0 * len(events) / len(found),
            teacher=100.0 * ended / n if n else None,
            curves={"events": events},
        )

    def plans(self, train: Dataset, temperature: float, seed: int) -> tuple[TrajectoryPlan, ...]:
        """The trajectories, from labelled structures with small forces; temperature: K."""
        rng = np.random.default_rng(seed)
        starts = calm_starts(train, self.n_trajectories)
        settling = min(_SETTLING, self.steps // 4)
        interval = math.ceil((self.steps - settling) / _FRAMES)
        return tuple(
            TrajectoryPlan(
                start=start,
                temperature=temperature,
                seed=int(rng.integers(2**31)),
                n_frames=math.ceil((self.steps - settling) / interval),
                interval=interval,
                equilibration=settling,
                tag="gate/md",
            )
            for start in starts
        )


def calm_starts(train: Dataset, n: int) -> Dataset:
    """`n` labelled structures of at least two atoms to start from, the one with the smallest force first.

    From the calmer half, evenly over their tags' order; isolated atoms and dimers are left out.
    """
    fit = [
        s for s in train if s.labels is not None and len(s) > 1 and s.tag not in ("dimer", "isolated_atom")
    ]
    order = sorted(fit, key=_largest_force)
    calm = order[: max(1, (len(order) + 1) // 2)]
    return (
        Dataset(calm[int(k)] for k in np.unique(np.linspace(0, len(calm) - 1, n).round()))
        if calm
        else Dataset()
    )


def _largest_force(structure: Any) -> float:
    return float(np.abs(structure.labels.forces).max())
