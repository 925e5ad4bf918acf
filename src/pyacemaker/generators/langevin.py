"""Langevin dynamics of several structures in step with each other, watched by guards.

The structures are independent; they move together because a potential evaluates a batch faster than one
structure at a time. Integrator: BAOAB (Leimkuhler, Matthews, Appl. Math. Res. Express 2013, 34).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import units
from ase.data import atomic_masses
from pydantic import NonNegativeFloat, PositiveFloat

from pyacemaker.base import Spec
from pyacemaker.generators.guards import MdGuards, cell_volume
from pyacemaker.potentials.base import Potential
from pyacemaker.structures import AtomStructure, Dataset, FloatArray, Labels
from pyacemaker.units import BOLTZMANN_EV_PER_KELVIN

WALL_STIFFNESS = 2.0
"""eV/Å², of the wall around molecules."""
_SETTLING = 2.0  # times the target: kinetic temperature at which velocities are capped while equilibrating


@dataclass(frozen=True)
class TrajectoryPlan:
    """One trajectory before it is run: everything it depends on besides the potential and the settings.

    start: its labels do not matter. temperature: K. seed: of its velocities and its thermostat. n_frames
    frames are stored, one every `interval` steps, after `equilibration` steps. tag: of the frames.
    """

    start: AtomStructure
    temperature: float
    seed: int
    n_frames: int
    interval: int
    equilibration: int
    tag: str

    @property
    def steps(self) -> int:
        """Number of time steps, unless a guard ends it before."""
        return self.equilibration + self.n_frames * self.interval


@dataclass(frozen=True)
class Trajectory:
    """What became of a plan.

    frames: unlabelled, in order. event: what ended it early, None where nothing did. steps: how many were
    made. last_safe: where a guard ended it, the last stored frame before the event (or the start), which is
    not among the frames and is worth a label.
    """

    frames: Dataset
    event: str | None
    steps: int
    last_safe: AtomStructure | None = None


class Langevin(Spec):
    """Langevin dynamics at constant volume; the structures of one run do not influence each other."""

    timestep: PositiveFloat = 0.5
    """fs; 0.5 resolves vibrations of hydrogen."""
    friction: PositiveFloat = 0.01
    """1/fs, of the thermostat."""
    confine: NonNegativeFloat | None = 2.0
    """Å: a soft wall keeps a molecule's atoms within this distance beyond the start's outermost atom, both
    from the centroid, so that fragments come back; never in periodic structures. None: no wall."""
    guards: MdGuards = MdGuards()
    """What ends a trajectory."""

    def run(self, plans: Sequence[TrajectoryPlan], potential: Potential) -> list[Trajectory]:
        """Run all plans together; the same plans, potential and settings give the same bits."""
        replicas = [_Replica(plan, self) for plan in plans]
        for replica, labels in zip(replicas, _evaluate(replicas, potential), strict=True):
            replica.begin(labels)
        active = [replica for replica in replicas if replica.is_running]
        while active:
            for replica in active:
                replica.move()
            for replica, labels in zip(active, _evaluate(active, potential), strict=True):
                replica.arrive(labels)
            active = [replica for replica in active if replica.is_running]
        return [replica.trajectory() for replica in replicas]


def _evaluate(replicas: "Sequence[_Replica]", potential: Potential) -> list[Labels]:
    """Labels of each; NaN where the positions already are, which no potential should be shown."""
    finite = [bool(np.isfinite(replica.positions).all()) for replica in replicas]
    known = iter(
        potential.evaluate([r.structure() for r, good in zip(replicas, finite, strict=True) if good])
    )
    return [
        next(known) if good else Labels(np.nan, np.full_like(replica.positions, np.nan))
        for replica, good in zip(replicas, finite, strict=True)
    ]


class _Replica:
    """One trajectory on its way. ASE's units inside: Å, eV, atomic mass units, and the time they imply."""

    def __init__(self, plan: TrajectoryPlan, settings: Langevin) -> None:
        self.plan = plan
        self.settings = settings
        self.blank = plan.start.replace(labels=None, source="", tag=plan.tag)
        self.positions = plan.start.positions.copy()
        self.masses = atomic_masses[plan.start.numbers][:, None]
        self.thermal = BOLTZMANN_EV_PER_KELVIN * plan.temperature
        self.rng = np.random.default_rng(plan.seed)
        self.velocities = self._thermal_velocities()
        self.velocities -= (self.masses * self.velocities).sum(axis=0) / self.masses.sum()
        self.wall = wall_radius(plan.start, settings.confine)
        self.volume = cell_volume(plan.start)
        self.forces = np.zeros_like(self.positions)
        self.energies: list[float] = []
        self.frames: list[AtomStructure] = []
        self.event: str | None = None
        self.step = 0

    @property
    def is_running(self) -> bool:
        return self.event is None and self.step < self.plan.steps

    def structure(self) -> AtomStructure:
        return self.blank.replace(positions=self.positions)

    def begin(self, labels: Labels) -> None:
        self._take(labels)
        self.event = self._watch(labels)

    def move(self) -> None:
        """The half kick, drift, thermostat and drift of one step, up to where forces are needed."""
        dt = self.settings.timestep * units.fs
        self.velocities += 0.5 * dt * self.forces / self.masses
        self.positions += 0.5 * dt * self.velocities
        memory = np.exp(-self.settings.friction * self.settings.timestep)
        self.velocities = memory * self.velocities + np.sqrt(1.0 - memory**2) * self._thermal_velocities()
        self.positions += 0.5 * dt * self.velocities

    def arrive(self, labels: Labels) -> None:
        """The second half kick; then the guards look, and the frame is stored where one is due."""
        self.step += 1
        self._take(labels)
        self.velocities += 0.5 * self.settings.timestep * units.fs * self.forces / self.masses
        equilibrating = self.step <= self.plan.equilibration
        if equilibrating:
            self._cap_velocities()
        self.event = self._watch(labels)
        self.energies.append(labels.energy)
        if self.event is None and not equilibrating:
            self._store()

    def trajectory(self) -> Trajectory:
        if self.event is None:
            return Trajectory(Dataset(self.frames), None, self.step)
        kept = self.frames[: max(0, len(self.frames) - self.settings.guards.drop_frames)]
        start = self.blank if self.step else None  # at step 0 the start itself is the trouble
        last = self.frames[-1] if self.frames else start
        return Trajectory(Dataset(kept), self.event, self.step, last)

    def _store(self) -> None:
        if (self.step - self.plan.equilibration) % self.plan.interval == 0:
            self.frames.append(self.structure())

    def _watch(self, labels: Labels) -> str | None:
        return self.settings.guards.event(
            self.structure(),
            labels,
            target=self.plan.temperature,
            temperature=self._temperature(),
            energies=self.energies,
            volume=self.volume if self.plan.start.is_periodic else None,
        )

    def _take(self, labels: Labels) -> None:
        self.forces = labels.forces + wall_forces(self.positions, self.wall)

    def _thermal_velocities(self) -> FloatArray:
        return np.asarray(
            np.sqrt(self.thermal / self.masses) * self.rng.standard_normal(self.positions.shape)
        )

    def _temperature(self) -> float:
        """K, kinetic, of all 3 N degrees of freedom."""
        twice_kinetic = float((self.masses * self.velocities**2).sum())
        return twice_kinetic / (3.0 * len(self.positions) * BOLTZMANN_EV_PER_KELVIN)

    def _cap_velocities(self) -> None:
        """Drain the heat of a strained start, so that it settles instead of tripping a guard."""
        excess = self._temperature() / (_SETTLING * self.plan.temperature)
        if excess > 1.0:
            self.velocities /= np.sqrt(excess)


def wall_radius(start: AtomStructure, confine: float | None) -> float:
    """Å: the outermost atom's distance from the centroid plus `confine`; infinite where there is no wall."""
    if confine is None or start.is_periodic:
        return np.inf
    return float(np.linalg.norm(start.positions - start.positions.mean(axis=0), axis=1).max()) + confine


def wall_forces(positions: FloatArray, radius: float) -> FloatArray:
    """(n, 3), eV/Å: minus the gradient of ½ k Σ_i max(0, |r_i − centroid| − radius)².

    The wall moves with the centroid, so the forces sum to zero.
    """
    offset = positions - positions.mean(axis=0)
    distance = np.linalg.norm(offset, axis=1)
    outside = np.maximum(distance - radius, 0.0)
    pull = -WALL_STIFFNESS * (outside / np.maximum(distance, 1e-12))[:, None] * offset
    return np.asarray(pull - pull.mean(axis=0))
