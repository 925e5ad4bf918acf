"""Exploration by molecular dynamics: where the potential itself wants to go."""

import logging
import math
from collections import Counter
from collections.abc import Sequence
from itertools import product
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from pyacemaker.base import InputFile
from pyacemaker.errors import ConfigError, InsufficientDataError
from pyacemaker.generators.barostat import fills_space
from pyacemaker.generators.base import Generator
from pyacemaker.generators.guards import Watch
from pyacemaker.generators.langevin import Langevin, Trajectory, TrajectoryPlan
from pyacemaker.potentials.base import Potential
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.structures import AtomStructure, Dataset

__all__ = ["MdGenerator", "Trajectory", "TrajectoryPlan"]

log = logging.getLogger(__name__)

ROUNDS = 4
"""Rounds of trajectories, at most: the later ones make up for those that guards cut short."""
_SPARE = 1.25  # frames planned over frames wanted: some trajectories will be cut

Temperature = PositiveFloat | tuple[PositiveFloat, PositiveFloat]
Pressure = float | tuple[float, float]


class MdGenerator(Generator):
    """Frames of Langevin trajectories at several temperatures and pressures, from given structures."""

    kind: Literal["md"] = "md"
    starts: InputFile | None = None
    """A file with the structures to start from; the exploration step starts from its active set instead."""
    temperatures: Annotated[tuple[Temperature, ...], Field(min_length=1)] = (300.0, 600.0, 1000.0)
    """K; the trajectories take turns. A pair `[300, 1000]` is a ramp from one to the other."""
    pressures: tuple[Pressure, ...] = ()
    """GPa, each combined with each temperature; a pair is a ramp. None: constant volume. Structures that do
    not fill space (molecules, slabs) keep their cell."""
    n_structures: PositiveInt = 1000
    """Frames wanted over all trajectories."""
    n_trajectories: PositiveInt = 24
    """Trajectories that share them."""
    interval: PositiveInt = 20
    """Steps from one stored frame to the next."""
    equilibration: NonNegativeInt = 200
    """Steps before the first frame counts."""
    pick: Literal["stride", "direct"] = "stride"
    """How surplus frames are left out: evenly along the trajectories, or by DIRECT on the model's features,
    which keeps the most different ones."""
    max_uncertainty: PositiveFloat | None = 5.0
    """The exploration step ends a trajectory when a frame is further from everything the teacher knows than
    this many times what 99 % of the step's known structures are. None: no such guard."""
    dynamics: Langevin = Langevin()
    """Time step, thermostat, barostat, wall and guards."""

    @property
    def highest_temperature(self) -> float:
        """K, of all temperatures and both ends of their ramps."""
        return max(max(t) if isinstance(t, tuple) else t for t in self.temperatures)

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
        if self.pressures and not any(fills_space(start) for start in starts):
            log.warning("pressures are set, but no structure to start from fills space: all keep their cells")
        rng = np.random.default_rng(seed)
        order = rng.permutation(len(starts))
        seeds = rng.integers(2**31, size=self.n_trajectories)
        conditions = list(product(self.pressures or (None,), self.temperatures))
        plans = []
        for number in range(self.n_trajectories):
            turn, position = divmod(number, len(starts))
            pressure, temperature = conditions[(position + turn) % len(conditions)]
            start = starts[int(order[position])]
            plans.append(self._plan(start, temperature, pressure, int(seeds[number])))
        return plans

    def _plan(
        self, start: AtomStructure, temperature: Temperature, pressure: Pressure | None, seed: int
    ) -> TrajectoryPlan:
        squeezed = pressure if pressure is not None and fills_space(start) else None
        first, last = _ends(temperature)
        first_pressure, last_pressure = (None, None) if squeezed is None else _ends(squeezed)
        return TrajectoryPlan(
            start=start,
            temperature=first,
            seed=seed,
            n_frames=math.ceil(self.n_structures * _SPARE / self.n_trajectories),
            interval=self.interval,
            equilibration=self.equilibration,
            tag=md_tag(temperature, squeezed),
            pressure=first_pressure,
            final_temperature=last,
            final_pressure=last_pressure,
        )

    def run(self, plan: TrajectoryPlan, potential: Potential) -> Trajectory:
        """One trajectory; the same plan and potential give the same bits."""
        return self.run_group([plan], potential)[0]

    def run_group(
        self, plans: Sequence[TrajectoryPlan], potential: Potential, watch: Watch | None = None
    ) -> list[Trajectory]:
        """Several trajectories in step with each other, several times faster per trajectory than `run`.

        Independent of each other, but bits may depend on the company: a batch rounds differently. watch:
        looks at every frame before it is stored.
        """
        return self.dynamics.run(plans, potential, watch)

    def generate(self, teacher: Potential, rng: np.random.Generator) -> Dataset:
        """Exactly `n_structures` frames, picked from all trajectories from the structures in `starts`.

        What guards cut is made up for by further trajectories, four times as many in all at most; fewer
        frames come back, with a warning, where even those are cut, and `InsufficientDataError` where none is.
        """
        starts, frames, found = self.inputs(), Dataset(), list[Trajectory]()
        for _ in range(ROUNDS):
            plans = self.trajectories(starts, int(rng.integers(2**31)))
            for trajectory in self.run_group(plans, teacher):
                found.append(trajectory)
                frames = frames + trajectory.frames
                if trajectory.event:
                    log.info("a trajectory ended after %d steps by %s", trajectory.steps, trajectory.event)
            frames = frames.unique()
            if len(frames) >= self.n_structures:
                break
        if not frames:
            raise InsufficientDataError(
                f"guards cut all trajectories from {self.starts} before their first frame: relax the "
                "structures, lower `temperatures`, or relax `dynamics.guards`"
            )
        if reason := self.why_fewer(len(frames), [one.event.kind if one.event else None for one in found]):
            log.warning("%s", reason)
        return self.picked(frames, teacher, rng)

    def picked(self, frames: Dataset, potential: Potential, rng: np.random.Generator) -> Dataset:
        """`n_structures` of the frames as `pick` says, in their order; all where there are no more.

        Raises `ConfigError` where DIRECT is asked for and the potential has no features.
        """
        n = min(self.n_structures, len(frames))
        if n == len(frames):
            return frames
        if self.pick == "stride":
            return frames[np.linspace(0, len(frames) - 1, n).round().astype(np.int64)]
        from pyacemaker.selection import DirectSelector

        if not isinstance(potential, MacePotential):
            raise ConfigError(f"pick: direct needs the features of a MACE model, not {potential.name}")
        chosen = DirectSelector().select(potential.structure_features(frames), n, rng)
        return frames[np.sort(chosen)]

    def why_fewer(self, n_frames: int, events: Sequence[str | None]) -> str:
        """Why there are fewer frames than wanted, in one sentence; empty where there are enough.

        events: of each trajectory, the kind of what ended it.
        """
        if n_frames >= self.n_structures:
            return ""
        counts = Counter(event for event in events if event)
        reasons = ", ".join(f"{kind} {number}" for kind, number in counts.most_common())
        return (
            f"only {n_frames} of {self.n_structures} frames: guards ended {sum(counts.values())} of "
            f"{len(events)} trajectories early ({reasons or 'none'}); lower the temperatures, or label more "
            "structures like the last safe ones"
        )

    def rehearsed(self) -> Self:
        """The same with a third of the structures, a hundred at least unless fewer were wanted."""
        return self.model_copy(
            update={"n_structures": min(self.n_structures, max(100, self.n_structures // 3))}
        )


def md_tag(temperature: Temperature, pressure: Pressure | None = None) -> str:
    """The tag of frames at a temperature in K and a pressure in GPa: `md300`, `md300-1000/5GPa`."""
    tag = "md" + "-".join(f"{one:.0f}" for one in _ends(temperature) if one is not None)
    if pressure is None:
        return tag
    return f"{tag}/{'-'.join(f'{one:g}' for one in _ends(pressure) if one is not None)}GPa"


def _ends(value: float | tuple[float, float]) -> tuple[float, float | None]:
    """The first and the last value of a ramp; None for the last where there is no ramp."""
    return value if isinstance(value, tuple) else (value, None)
