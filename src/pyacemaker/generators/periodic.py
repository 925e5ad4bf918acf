"""What crystals, alloys and melts share: where the cell comes from, and molecular dynamics near melting."""

import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from ase.data import atomic_masses
from pydantic import AfterValidator, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from pyacemaker.base import Spec
from pyacemaker.errors import DataError
from pyacemaker.generators.believable import check_bound, check_contacts
from pyacemaker.generators.langevin import Langevin, TrajectoryPlan
from pyacemaker.generators.prototypes import checked_formula, find_prototype
from pyacemaker.generators.rattle import rattled
from pyacemaker.generators.strains import at_volume
from pyacemaker.potentials.base import Potential
from pyacemaker.structures import AtomStructure, Dataset
from pyacemaker.units import BOLTZMANN_EV_PER_KELVIN

log = logging.getLogger(__name__)

Amplitudes = tuple[PositiveFloat, ...]
Strain = Annotated[float, Field(gt=0.0, lt=0.5)]
Fraction = Annotated[float, Field(gt=0.0, lt=1.5)]
Formula = Annotated[str, AfterValidator(checked_formula)]
"""A chemical formula that is one."""
PrototypeName = Annotated[str, AfterValidator(lambda name: find_prototype(name).name)]
"""The name or an alias of a prototype; becomes its name."""

_COLDEST, _HOTTEST = 200.0, 4000.0  # K, bounds of a melting temperature that is believed


@dataclass(frozen=True)
class Streams:
    """Independent random numbers for each purpose, so that leaving one family out leaves the others alone."""

    seed: int

    @classmethod
    def of(cls, rng: np.random.Generator) -> "Streams":
        """Streams that follow from the next number of `rng`."""
        return cls(int(rng.integers(2**31)))

    def __call__(self, purpose: str) -> np.random.Generator:
        """The random numbers for `purpose`, the same every time."""
        return np.random.default_rng([self.seed, zlib.crc32(purpose.encode())])


class ThermalMotion(Spec):
    """Molecular dynamics on the teacher, at temperatures relative to the melting point."""

    temperatures: tuple[PositiveFloat, ...] = (0.5, 1.0, 1.5, 2.5)
    """In melting temperatures."""
    melting_temperature: PositiveFloat | None = None
    """K; default: 0.032 of the teacher's cohesive energy per atom, over Boltzmann's constant."""
    n_frames: NonNegativeInt = 12
    """Frames of each trajectory; 0 = no molecular dynamics."""
    interval: PositiveInt = 10
    """Steps from one of these frames to the next."""
    expansion: NonNegativeFloat = 0.05
    """Relative growth of the start's volume per melting temperature."""
    dynamics: Langevin | None = None
    """Time step, thermostat and guards; default: steps of 0.5 fs times the square root of the lightest mass
    in atomic mass units, 3 fs at most."""

    def frames(
        self, starts: Sequence[AtomStructure], teacher: Potential, rng: np.random.Generator, tag: str
    ) -> list[AtomStructure]:
        """Frames of a trajectory from every start at every temperature, tag: `tag` + `/md0.5Tm`, …."""
        if not (self.n_frames and self.temperatures and starts):
            return []
        plans = [
            self._plan(start, melting, relative, int(rng.integers(2**31)), tag)
            for start, melting in zip(starts, self._melting_temperatures(starts, teacher), strict=True)
            for relative in self.temperatures
        ]
        dynamics = self.dynamics or suitable_dynamics(starts)
        trajectories = dynamics.run(plans, teacher)
        for plan, trajectory in zip(plans, trajectories, strict=True):
            if trajectory.event:
                log.info("%s at %.0f K ended by %s", plan.tag, plan.temperature, trajectory.event)
        return [frame for trajectory in trajectories for frame in trajectory.frames]

    def _melting_temperatures(self, starts: Sequence[AtomStructure], teacher: Potential) -> list[float]:
        if self.melting_temperature is not None:
            return [self.melting_temperature] * len(starts)
        return melting_temperatures(starts, teacher)

    def _plan(
        self, start: AtomStructure, melting: float, relative: float, seed: int, tag: str
    ) -> TrajectoryPlan:
        return TrajectoryPlan(
            start=at_volume(start, 1.0 + self.expansion * relative),
            temperature=relative * melting,
            seed=seed,
            n_frames=self.n_frames,
            interval=self.interval,
            equilibration=5 * self.interval,
            tag=f"{tag}/md{relative:g}Tm",
        )


def suitable_dynamics(starts: Sequence[AtomStructure]) -> Langevin:
    """Langevin dynamics with a time step that the lightest atom's vibrations allow."""
    lightest = min(float(atomic_masses[start.numbers].min()) for start in starts)
    return Langevin(timestep=round(min(0.5 * lightest**0.5, 3.0), 2), friction=0.02)


def melting_temperatures(structures: Sequence[AtomStructure], teacher: Potential) -> list[float]:
    """K: 0.032 E_coh / k_B (Guinea, Rose, Smith, Ferrante, Appl. Phys. Lett. 44, 53 (1984)), 200 to 4000 K.

    E_coh: the atoms' energies, each alone, minus the structure's, per atom.
    """
    numbers = sorted({int(z) for structure in structures for z in structure.numbers})
    atoms = [AtomStructure(np.array([z]), np.zeros((1, 3)), tag="isolated_atom") for z in numbers]
    alone = {z: label.energy for z, label in zip(numbers, teacher.evaluate(atoms), strict=True)}
    found = []
    for structure, label in zip(structures, teacher.evaluate(structures), strict=True):
        cohesive = (sum(alone[int(z)] for z in structure.numbers) - label.energy) / len(structure)
        melting = 0.032 * cohesive / BOLTZMANN_EV_PER_KELVIN
        found.append(float(np.clip(melting, _COLDEST, _HOTTEST)) if np.isfinite(melting) else _COLDEST)
    return found


def rattles(
    structures: Sequence[AtomStructure],
    amplitudes: Amplitudes,
    n: int,
    rng: np.random.Generator,
    *,
    tag: str,
    min_distance: float,
) -> list[AtomStructure]:
    """`n` rattled copies of every structure for every amplitude (Å)."""
    return [
        copy
        for structure in structures
        for amplitude in amplitudes
        for copy in rattled(structure, amplitude, n, rng, tag=tag, min_distance=min_distance)
    ]


def tagged(structures: Sequence[AtomStructure], tag: str) -> list[AtomStructure]:
    """The bare structures with `tag`."""
    return [bare(s).replace(tag=tag) for s in structures]


def checked_cell(
    structure: AtomStructure, place: str, max_atoms: int, setting: str, min_distance: float
) -> AtomStructure:
    """A crystal's cell, all directions periodic, without the labels and facts of its file.

    Raises `DataError` for a structure that has no cell or that holds more than `max_atoms` atoms, the limit
    that `setting` names, for atoms nearer than `min_distance` of their covalent radii's sum, and where all
    atoms are far apart; `place`: the file.
    """
    if structure.volume is None or not structure.pbc.all():
        periodic = "no periodic direction" if not structure.is_periodic else f"pbc = {structure.pbc.tolist()}"
        raise DataError(
            f"{place} holds {structure.formula} with {periodic}; a crystal is periodic in all three: give "
            "its cell, or use the molecule generator for a molecule"
        )
    if len(structure) > max_atoms:
        raise DataError(
            f"{place} holds a cell of {len(structure)} atoms, more than {setting} = {max_atoms}: give "
            f"the primitive cell, or raise {setting}"
        )
    check_contacts(structure, min_distance, place)
    check_bound(structure, place)
    return bare(structure)


def bare(structure: AtomStructure) -> AtomStructure:
    """The geometry alone: no labels, weights or other facts of the file that it came from."""
    return structure.replace(labels=None, label_weights=None, source="", weight=1.0, info={})


def sane(structures: Sequence[AtomStructure], min_distance: float, what: str) -> Dataset:
    """Each geometry once, none with two atoms nearer than `min_distance` of their covalent radii's sum."""
    from pyacemaker.selection.filters import HardFilters

    kept, rejected = HardFilters(min_distance=min_distance).apply(Dataset(structures))
    if rejected:
        reasons = ", ".join(f"{count} {reason}" for reason, count in rejected.items())
        log.info("%s: %d of %d candidates kept; %s", what, len(kept), len(structures), reasons)
    return kept
