"""Langevin dynamics of several structures in step with each other, watched by guards.

The structures are independent; they move together because a potential evaluates a batch faster than one
structure at a time. Integrator: BAOAB (Leimkuhler, Matthews, Appl. Math. Res. Express 2013, 34), with
stochastic cell rescaling beside its thermostat where there is a pressure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import units
from ase.data import atomic_masses
from pydantic import NonNegativeFloat, PositiveFloat

from pyacemaker.base import Spec
from pyacemaker.errors import ConfigError
from pyacemaker.generators.barostat import log_volume_step, pressure_of
from pyacemaker.generators.guards import GuardEvent, MdGuards, Watch, cell_volume
from pyacemaker.potentials.base import Potential
from pyacemaker.structures import AtomStructure, Dataset, FloatArray, Labels
from pyacemaker.units import BOLTZMANN_EV_PER_KELVIN, GPA_PER_EV_PER_CUBIC_ANGSTROM

WALL_STIFFNESS = 2.0
"""eV/Å², of the wall around molecules."""
_SETTLING = 2.0  # times the target: kinetic temperature at which velocities are capped while equilibrating


@dataclass(frozen=True)
class TrajectoryPlan:
    """One trajectory before it is run: everything it depends on besides the potential and the settings.

    start: its labels do not matter. temperature: K. seed: of its velocities and its thermostat. n_frames
    frames are stored, one every `interval` steps, after `equilibration` steps. tag: of the frames. pressure:
    GPa; None = constant volume. final_temperature, final_pressure: reached at the last step in equal steps,
    which begin after the equilibration; None = no ramp.
    """

    start: AtomStructure
    temperature: float
    seed: int
    n_frames: int
    interval: int
    equilibration: int
    tag: str
    pressure: float | None = None
    final_temperature: float | None = None
    final_pressure: float | None = None

    @property
    def steps(self) -> int:
        """Number of time steps, unless a guard ends it before."""
        return self.equilibration + self.n_frames * self.interval

    @property
    def highest_temperature(self) -> float:
        """K."""
        return max(self.temperature, self.final_temperature or 0.0)

    def temperature_at(self, step: int) -> float:
        """K: the target at a step."""
        return self._ramped(self.temperature, self.final_temperature, step)

    def pressure_at(self, step: int) -> float | None:
        """GPa: the target at a step; None at constant volume."""
        if self.pressure is None:
            return None
        return self._ramped(self.pressure, self.final_pressure, step)

    def _ramped(self, first: float, last: float | None, step: int) -> float:
        if last is None:
            return first
        done = max(0, step - self.equilibration) / max(1, self.steps - self.equilibration)
        return first + (last - first) * min(done, 1.0)


@dataclass(frozen=True)
class Trajectory:
    """What became of a plan.

    frames: unlabelled, in order. event: what ended it early, None where nothing did. steps: how many were
    made. last_safe: where a guard ended it, the last stored frame before the event (or the start), which is
    not among the frames and is worth a label. near: frames with atoms closer than the guards' warning.
    """

    frames: Dataset
    event: GuardEvent | None
    steps: int
    last_safe: AtomStructure | None = None
    near: int = 0


class Langevin(Spec):
    """Langevin dynamics at constant volume or pressure, of structures that do not influence each other."""

    timestep: PositiveFloat = 0.5
    """fs; 0.5 resolves vibrations of hydrogen."""
    friction: PositiveFloat = 0.01
    """1/fs, of the thermostat."""
    confine: NonNegativeFloat | None = 2.0
    """Å: a soft wall keeps a molecule's atoms within this distance beyond the start's outermost atom, both
    from the centroid, so that fragments come back; never in periodic structures. None: no wall."""
    barostat_time: PositiveFloat = 500.0
    """fs: how fast the volume follows, for plans with a pressure; averages do not depend on it."""
    bulk_modulus: PositiveFloat = 20.0
    """GPa, roughly that of the material, for the same purpose: 2 for water, 20 to 200 for crystals."""
    guards: MdGuards = MdGuards()
    """What ends a trajectory."""

    def run(
        self, plans: Sequence[TrajectoryPlan], potential: Potential, watch: Watch | None = None
    ) -> list[Trajectory]:
        """Run all plans together; the same plans, potential and settings give the same bits.

        watch: looks at every frame before it is stored, in addition to the guards. Raises `ConfigError` for a
        pressure on a potential without stress.
        """
        replicas = [_Replica(plan, self) for plan in plans]
        for replica, labels in zip(replicas, _evaluate(replicas, potential), strict=True):
            replica.begin(labels)
        active = [replica for replica in replicas if replica.is_running]
        while active:
            for replica in active:
                replica.move()
            for replica, labels in zip(active, _evaluate(active, potential), strict=True):
                replica.arrive(labels)
            _store([replica for replica in active if replica.is_due], watch)
            active = [replica for replica in active if replica.is_running]
        return [replica.trajectory() for replica in replicas]


def _evaluate(replicas: "Sequence[_Replica]", potential: Potential) -> list[Labels]:
    """Labels of each; NaN where the positions already are, which no potential should be shown."""
    finite = [replica.is_finite for replica in replicas]
    known = iter(
        potential.evaluate([r.structure() for r, good in zip(replicas, finite, strict=True) if good])
    )
    return [
        next(known) if good else Labels(np.nan, np.full_like(replica.positions, np.nan))
        for replica, good in zip(replicas, finite, strict=True)
    ]


def _store(replicas: "Sequence[_Replica]", watch: Watch | None) -> None:
    """Store the frames that are due, unless something is wrong with them."""
    events = (
        watch([replica.structure() for replica in replicas]) if watch and replicas else [None] * len(replicas)
    )
    for replica, event in zip(replicas, events, strict=True):
        replica.store(event)


class _Replica:
    """One trajectory on its way. ASE's units inside: Å, eV, atomic mass units, and the time they imply."""

    def __init__(self, plan: TrajectoryPlan, settings: Langevin) -> None:
        self.plan = plan
        self.settings = settings
        self.blank = plan.start.replace(labels=None, source="", tag=plan.tag)
        self.positions = plan.start.positions.copy()
        self.cell = plan.start.cell.copy()
        self.masses = atomic_masses[plan.start.numbers][:, None]
        self.rng = np.random.default_rng(plan.seed)
        self.step = 0
        self.velocities = self._thermal_velocities()
        self.velocities -= (self.masses * self.velocities).sum(axis=0) / self.masses.sum()
        self.wall = wall_radius(plan.start, settings.confine)
        self.volume = cell_volume(plan.start)
        self.forces = np.zeros_like(self.positions)
        self.stress: FloatArray | None = None
        self.energies: list[float] = []
        self.frames: list[AtomStructure] = []
        self.event: GuardEvent | None = None
        self.near = 0
        self.present: AtomStructure | None = None

    @property
    def is_running(self) -> bool:
        return self.event is None and self.step < self.plan.steps

    @property
    def is_finite(self) -> bool:
        return bool(np.isfinite(self.positions).all() and np.isfinite(self.cell).all())

    @property
    def is_due(self) -> bool:
        """Whether the present frame is one of those to be stored."""
        after = self.step - self.plan.equilibration
        return self.event is None and after > 0 and after % self.plan.interval == 0

    def structure(self) -> AtomStructure:
        """The present positions and cell; made once per step."""
        if self.present is None:
            self.present = self.blank.replace(positions=self.positions, cell=self.cell)
        return self.present

    def begin(self, labels: Labels) -> None:
        self._take(labels)
        self.event = self._watch(labels) or self.settings.guards.frame_event(self.structure())

    def move(self) -> None:
        """The half kick, drift, thermostat, barostat and drift of one step, up to where forces are needed."""
        dt = self.settings.timestep * units.fs
        self.present = None
        self.velocities += 0.5 * dt * self.forces / self.masses
        self.positions += 0.5 * dt * self.velocities
        memory = np.exp(-self.settings.friction * self.settings.timestep)
        self.velocities = memory * self.velocities + np.sqrt(1.0 - memory**2) * self._thermal_velocities()
        self._rescale()
        self.positions += 0.5 * dt * self.velocities

    def arrive(self, labels: Labels) -> None:
        """The second half kick; then the guards look."""
        self.step += 1
        self._take(labels)
        self.velocities += 0.5 * self.settings.timestep * units.fs * self.forces / self.masses
        if self.step <= self.plan.equilibration:
            self._cap_velocities()
        self.event = self._watch(labels)
        self.energies.append(labels.energy)

    def store(self, event: GuardEvent | None) -> None:
        """Keep the present frame, unless `event` or a guard of frames says what is wrong with it."""
        frame, guards = self.structure(), self.settings.guards
        self.event = event or guards.frame_event(frame)
        if self.event is None:
            self.frames.append(frame)
            self.near += guards.is_near(frame)

    def trajectory(self) -> Trajectory:
        if self.event is None:
            return Trajectory(Dataset(self.frames), None, self.step, near=self.near)
        kept = Dataset(self.frames[: max(0, len(self.frames) - self.settings.guards.drop_frames)])
        start = self.blank if self.step else None  # at step 0 the start itself is the trouble
        last = self.frames[-1] if self.frames else start
        return Trajectory(kept, self.event, self.step, last, sum(map(self.settings.guards.is_near, kept)))

    def _rescale(self) -> None:
        """Stretch cell and positions, and slow the velocities down, as the barostat wants."""
        target = self.plan.pressure_at(self.step)
        if target is None:
            return
        if self.stress is None:
            raise ConfigError(
                f"a pressure of {target:g} GPa is asked for {self.plan.start.formula}, but the potential "
                "gives no stress of it: leave pressures out where nothing is periodic in three directions"
            )
        volume = float(abs(np.linalg.det(self.cell)))
        present = pressure_of(self.stress, self._twice_kinetic(), volume)
        pace = self.settings.timestep / self.settings.barostat_time
        pace *= GPA_PER_EV_PER_CUBIC_ANGSTROM / self.settings.bulk_modulus
        excess = present - target / GPA_PER_EV_PER_CUBIC_ANGSTROM
        stretch = np.exp(log_volume_step(excess, self._thermal(), volume, pace, self.rng) / 3.0)
        self.cell *= stretch
        self.positions *= stretch
        self.velocities /= stretch

    def _watch(self, labels: Labels) -> GuardEvent | None:
        return self.settings.guards.event(
            self.structure(),
            labels,
            target=self.plan.temperature_at(self.step),
            temperature=self._temperature(),
            energies=self.energies,
            volume=self.volume if self.plan.start.is_periodic else None,
        )

    def _take(self, labels: Labels) -> None:
        self.forces = labels.forces + wall_forces(self.positions, self.wall)
        self.stress = labels.stress

    def _thermal(self) -> float:
        """k_B T of the target, eV."""
        return BOLTZMANN_EV_PER_KELVIN * self.plan.temperature_at(self.step)

    def _thermal_velocities(self) -> FloatArray:
        return np.asarray(
            np.sqrt(self._thermal() / self.masses) * self.rng.standard_normal(self.positions.shape)
        )

    def _twice_kinetic(self) -> float:
        """eV, of all 3 N degrees of freedom."""
        return float((self.masses * self.velocities**2).sum())

    def _temperature(self) -> float:
        """K, kinetic, of all 3 N degrees of freedom."""
        return self._twice_kinetic() / (3.0 * len(self.positions) * BOLTZMANN_EV_PER_KELVIN)

    def _cap_velocities(self) -> None:
        """Drain the heat of a strained start, so that it settles instead of tripping a guard."""
        excess = self._temperature() / (_SETTLING * self.plan.temperature_at(self.step))
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
