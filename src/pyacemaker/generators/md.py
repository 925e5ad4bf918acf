"""Exploration by molecular dynamics: where the potential itself wants to go."""

import logging
import math
from collections.abc import Sequence
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from pyacemaker.base import InputFile
from pyacemaker.errors import ConfigError, InsufficientDataError
from pyacemaker.generators.base import Generator
from pyacemaker.generators.langevin import Langevin, Trajectory, TrajectoryPlan
from pyacemaker.potentials.base import Potential
from pyacemaker.structures import Dataset

__all__ = ["MdGenerator", "Trajectory", "TrajectoryPlan"]

log = logging.getLogger(__name__)

_ROUNDS = 4
_SPARE = 1.25  # frames planned over frames wanted: some trajectories will be cut


class MdGenerator(Generator):
    """Frames of Langevin trajectories at several temperatures, started from given structures."""

    kind: Literal["md"] = "md"
    starts: InputFile | None = None
    """A file with the structures to start from; the exploration step starts from its active set instead."""
    temperatures: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (300.0, 600.0, 1000.0)
    """K; the trajectories take turns."""
    n_structures: PositiveInt = 1000
    """Frames wanted over all trajectories."""
    n_trajectories: PositiveInt = 24
    """Trajectories that share them."""
    interval: PositiveInt = 20
    """Steps from one stored frame to the next."""
    equilibration: NonNegativeInt = 200
    """Steps before the first frame counts."""
    dynamics: Langevin = Langevin()
    """Time step, thermostat, wall and guards."""

    def inputs(self) -> Dataset:
        """The structures in `starts`; `ConfigError` where it is not set."""
        from pyacemaker.structures.formats import read_structures

        if self.starts is None:
            raise ConfigError("the md generator has no structures to start from: set its `starts` to a file")
        return read_structures(self.starts)

    def trajectories(self, starts: Dataset, seed: int) -> list[TrajectoryPlan]:
        """The plans of `n_trajectories` trajectories from `starts`, with a quarter more frames than wanted.

        Starts are used in a random order, each again only when all have had their turn.
        """
        if not starts:
            raise InsufficientDataError(
                "molecular dynamics was given no structure to start from: give at least one"
            )
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(starts))
        seeds = rng.integers(2**31, size=self.n_trajectories)
        n_frames = math.ceil(self.n_structures * _SPARE / self.n_trajectories)
        plans = []
        for number in range(self.n_trajectories):
            turn, position = divmod(number, len(starts))
            temperature = self.temperatures[(position + turn) % len(self.temperatures)]
            plans.append(
                TrajectoryPlan(
                    start=starts[int(order[position])],
                    temperature=temperature,
                    seed=int(seeds[number]),
                    n_frames=n_frames,
                    interval=self.interval,
                    equilibration=self.equilibration,
                    tag=md_tag(temperature),
                )
            )
        return plans

    def run(self, plan: TrajectoryPlan, potential: Potential) -> Trajectory:
        """One trajectory; the same plan and potential give the same bits."""
        return self.run_group([plan], potential)[0]

    def run_group(self, plans: Sequence[TrajectoryPlan], potential: Potential) -> list[Trajectory]:
        """Several trajectories in step with each other, several times faster per trajectory than `run`.

        Independent of each other, but bits may depend on the company: a batch rounds differently.
        """
        return self.dynamics.run(plans, potential)

    def generate(self, teacher: Potential, rng: np.random.Generator) -> Dataset:
        """Exactly `n_structures` frames, evenly spaced over all trajectories from the structures in `starts`.

        What guards cut is made up for by further trajectories, four times as many in all at most; fewer
        frames come back, with a warning, where even those are cut, and `InsufficientDataError` where none is.
        """
        starts, frames = self.inputs(), Dataset()
        for _ in range(_ROUNDS):
            plans = self.trajectories(starts, int(rng.integers(2**31)))
            for found in self.run_group(plans, teacher):
                frames = frames + found.frames
                if found.event:
                    log.info("a trajectory ended after %d steps by %s", found.steps, found.event)
            frames = frames.unique()
            if len(frames) >= self.n_structures:
                break
        if not frames:
            raise InsufficientDataError(
                f"guards cut all trajectories from {self.starts} before their first frame: relax the "
                "structures, lower `temperatures`, or relax `dynamics.guards`"
            )
        if len(frames) < self.n_structures:
            log.warning("only %d of %d frames: guards cut the others", len(frames), self.n_structures)
        wanted = min(self.n_structures, len(frames))
        return frames[np.linspace(0, len(frames) - 1, wanted).round().astype(np.int64)]

    def rehearsed(self) -> Self:
        """The same with a third of the structures, a hundred at least unless fewer were wanted."""
        return self.model_copy(
            update={"n_structures": min(self.n_structures, max(100, self.n_structures // 3))}
        )


def md_tag(temperature: float) -> str:
    """The tag of frames at a temperature in K: `md300`."""
    return f"md{temperature:.0f}"
