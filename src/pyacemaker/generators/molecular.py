"""What reactions and single molecules share: short molecular dynamics, and the filter of candidates."""

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyacemaker.generators.langevin import Langevin, TrajectoryPlan
from pyacemaker.generators.md import md_tag
from pyacemaker.potentials.base import Potential
from pyacemaker.selection.filters import HardFilters
from pyacemaker.structures import AtomStructure, Dataset

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShortRuns:
    """Trajectories of `n_frames` frames, `interval` steps apart, at each of `temperatures` (K)."""

    temperatures: Sequence[float]
    n_frames: int
    interval: int

    def frames(
        self,
        starts: Dataset,
        teacher: Potential,
        dynamics: Langevin,
        rng: np.random.Generator,
        prefix: str = "",
    ) -> list[AtomStructure]:
        """Frames of one trajectory from every start at every temperature, tag: `prefix` + `md300`, …."""
        plans = [
            TrajectoryPlan(
                start=start,
                temperature=temperature,
                seed=int(rng.integers(2**31)),
                n_frames=self.n_frames,
                interval=self.interval,
                equilibration=5 * self.interval,
                tag=prefix + md_tag(temperature),
            )
            for start, temperature in itertools.product(starts, self.temperatures)
            if self.n_frames
        ]
        trajectories = dynamics.run(plans, teacher)
        for plan, trajectory in zip(plans, trajectories, strict=True):
            if trajectory.event:
                log.info("%s from %s ended by %s", plan.tag, plan.start.tag, trajectory.event)
        return [frame for trajectory in trajectories for frame in trajectory.frames]


def plausible(
    anchors: Dataset, candidates: Sequence[AtomStructure], teacher: Potential, filters: HardFilters, what: str
) -> Dataset:
    """The anchors, and the candidates that pass the filters by geometry and by the teacher's labels."""
    sane, rejected = filters.apply(Dataset(candidates))
    sane, mislabelled = filters.apply(sane, teacher.evaluate(sane))
    reasons = ", ".join(f"{count} {reason}" for reason, count in {**rejected, **mislabelled}.items())
    log.info("%s: %d of %d candidates kept; rejected: %s", what, len(sane), len(candidates), reasons)
    return (anchors + sane).unique()
