"""Everything that may matter on the way from reactants to products."""

import itertools
import logging
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from pyacemaker.base import InputFile
from pyacemaker.generators.base import Generator
from pyacemaker.generators.bonds import bond_length, bonds_of, fragments, set_bond_length
from pyacemaker.generators.langevin import Langevin, TrajectoryPlan
from pyacemaker.generators.md import md_tag
from pyacemaker.generators.rattle import rattled
from pyacemaker.generators.reaction_path import Reaction, reaction_path, relax, transition_state
from pyacemaker.potentials.base import Potential
from pyacemaker.selection.filters import HardFilters
from pyacemaker.structures import AtomStructure, Dataset, FloatArray, IntArray

log = logging.getLogger(__name__)

_FRAGMENT_STEPS = 30  # relaxation steps of separated fragments, which must not have time to meet again
_APART = 12.0  # Å between fragments while they relax

_Amplitudes = tuple[PositiveFloat, ...]


class ReactionGenerator(Generator):
    """Candidates around a reaction between molecules, given by its two ends.

    Tags: `reactant`, `product`, `ts`, `path`, `path_rattle`, `grid`, `rattle`, `fragments`, `md300`, ….
    """

    kind: Literal["reaction"] = "reaction"
    reactant: InputFile
    """A file with the reactants as one complex; the last structure counts."""
    product: InputFile
    """A file with the products as one complex: the same atoms in the same order."""
    charge: int | None = None
    """Total charge in e; default: the one in the files."""
    multiplicity: PositiveInt | None = None
    """2S + 1; default: the one in the files, or else the lowest."""
    breaking: tuple[tuple[int, int], ...] | None = None
    """Pairs of atom indices (from 0) whose bond breaks; default: by covalent radii."""
    forming: tuple[tuple[int, int], ...] | None = None
    """Pairs of atom indices whose bond forms; default: by covalent radii."""
    n_path: Annotated[int, Field(ge=3)] = 24
    """Images of the path."""
    neb_steps: NonNegativeInt = 30
    """Steps by which the path is improved on the teacher; 0 = interpolation only."""
    n_path_rattles: NonNegativeInt = 160
    """Rattled images of the path."""
    path_amplitudes: Annotated[_Amplitudes, Field(min_length=1)] = (0.03, 0.08, 0.15)
    """Å, standard deviations of their displacements, in turns."""
    grid_points: NonNegativeInt = 14
    """Lengths per bond of the grid in the first breaking and the first forming bond."""
    grid_range: tuple[PositiveFloat, PositiveFloat] = (0.85, 2.2)
    """Shortest and longest of these lengths, over the bond's equilibrium length."""
    rattle_amplitudes: _Amplitudes = (0.02, 0.1, 0.25)
    """Å, standard deviations of the displacements of both ends and the transition state."""
    n_rattles: NonNegativeInt = 20
    """Rattled structures for each of these three and each amplitude."""
    separations: tuple[PositiveFloat, ...] = (2.2, 2.6, 3.0, 3.5, 4.0, 5.0, 6.5, 8.0)
    """Å, closest approach of the separated fragments of either side."""
    n_orientations: NonNegativeInt = 4
    """Random orientations of the fragments at each separation."""
    md_temperatures: tuple[PositiveFloat, ...] = (300.0, 600.0, 1000.0)
    """K, of short molecular dynamics from both ends and the transition state."""
    md_frames: NonNegativeInt = 30
    """Frames of each of these trajectories."""
    md_interval: PositiveInt = 10
    """Steps from one of these frames to the next."""
    dynamics: Langevin = Langevin()
    """Time step, thermostat, wall and guards of the molecular dynamics."""
    filters: HardFilters = HardFilters(max_energy=1.0)
    """What no candidate may violate, by its geometry and by the teacher's labels; anchors always stay."""

    def generate(self, teacher: Potential, rng: np.random.Generator) -> Dataset:
        """All candidates, unlabelled, each geometry once, anchors first.

        Raises `DataError` for ends that do not fit together, `ConfigError` for bonds that do not exist.
        """
        reaction = self.reaction().relaxed(teacher)
        path = reaction_path(reaction, teacher, self.n_path, self.neb_steps)
        energies = np.array([labels.energy for labels in teacher.evaluate(path)])
        anchors = Dataset([reaction.reactant, reaction.product, transition_state(reaction, path, energies)])
        candidates = [
            *path,
            *self._path_rattles(path, rng),
            *self._grid(reaction, path),
            *self._rattles(anchors, rng),
            *self._fragments(reaction, teacher, rng),
            *self._dynamics(anchors, teacher, rng),
        ]
        return self._filtered(anchors, Dataset(candidates), teacher)

    def inputs(self) -> Dataset:
        """Both ends; raises what `reaction` raises."""
        reaction = self.reaction()
        return Dataset([reaction.reactant, reaction.product])

    def reaction(self) -> Reaction:
        """The two ends as the files give them, tagged, and the bonds that change between them."""
        reactant, product = self._end("reactant"), self._end("product")
        return Reaction.between(reactant, product, self.breaking, self.forming)

    def _end(self, tag: Literal["reactant", "product"]) -> AtomStructure:
        from pyacemaker.structures.formats import read_structures

        found = read_structures(getattr(self, tag))[-1].replace(tag=tag, labels=None, source="")
        charge = found.charge if self.charge is None else self.charge
        multiplicity = found.multiplicity if self.multiplicity is None else self.multiplicity
        return found.replace(charge=charge, multiplicity=multiplicity)

    def _path_rattles(self, path: Dataset, rng: np.random.Generator) -> list[AtomStructure]:
        found = []
        for number in range(self.n_path_rattles):
            amplitude = self.path_amplitudes[number // len(path) % len(self.path_amplitudes)]
            found += self._rattled(path[number % len(path)], amplitude, 1, rng, "path_rattle")
        return found

    def _rattles(self, anchors: Dataset, rng: np.random.Generator) -> list[AtomStructure]:
        found = []
        for anchor, amplitude in itertools.product(anchors, self.rattle_amplitudes):
            found += self._rattled(anchor, amplitude, self.n_rattles, rng, "rattle")
        return found

    def _rattled(
        self, structure: AtomStructure, amplitude: float, n: int, rng: np.random.Generator, tag: str
    ) -> list[AtomStructure]:
        return rattled(structure, amplitude, n, rng, tag=tag, min_distance=self.filters.min_distance)

    def _grid(self, reaction: Reaction, path: Dataset) -> list[AtomStructure]:
        """Both bonds set to every combination of lengths, from the path's image that is nearest to it."""
        bonds = [*reaction.breaking[:1], *reaction.forming[:1]]
        scale = np.array([reaction.equilibrium_length(bond) for bond in bonds])
        stretches = np.linspace(*self.grid_range, self.grid_points)
        on_path = np.array([[bond_length(image.positions, bond) for bond in bonds] for image in path]) / scale
        found = []
        for target in itertools.product(stretches, repeat=len(bonds)):
            nearest = path[int(np.argmin(np.linalg.norm(on_path - target, axis=1)))]
            positions = nearest.positions
            for bond, stretch, length in zip(bonds, target, scale, strict=True):
                positions = set_bond_length(positions, bond, stretch * length, reaction.kept_bonds)
            found.append(nearest.replace(positions=positions, tag="grid"))
        return found

    def _fragments(
        self, reaction: Reaction, teacher: Potential, rng: np.random.Generator
    ) -> list[AtomStructure]:
        """The fragments of each side, relaxed far apart, then brought to each separation in random poses."""
        found = []
        for end in (reaction.reactant, reaction.product):
            parts = fragments(len(end), bonds_of(end))
            if len(parts) < 2:
                continue
            apart = end.replace(positions=posed(end.positions, parts, _APART, rng), tag="fragments")
            apart = relax(apart, teacher, steps=_FRAGMENT_STEPS)
            for separation in np.repeat(self.separations, self.n_orientations):
                found.append(apart.replace(positions=posed(apart.positions, parts, float(separation), rng)))
        return found

    def _dynamics(
        self, anchors: Dataset, teacher: Potential, rng: np.random.Generator
    ) -> list[AtomStructure]:
        plans = [
            TrajectoryPlan(
                start=anchor,
                temperature=temperature,
                seed=int(rng.integers(2**31)),
                n_frames=self.md_frames,
                interval=self.md_interval,
                equilibration=5 * self.md_interval,
                tag=md_tag(temperature),
            )
            for anchor, temperature in itertools.product(anchors, self.md_temperatures)
            if self.md_frames
        ]
        trajectories = self.dynamics.run(plans, teacher)
        for plan, trajectory in zip(plans, trajectories, strict=True):
            if trajectory.event:
                log.info("%s from %s ended by %s", plan.tag, plan.start.tag, trajectory.event)
        return [frame for trajectory in trajectories for frame in trajectory.frames]

    def _filtered(self, anchors: Dataset, candidates: Dataset, teacher: Potential) -> Dataset:
        sane, rejected = self.filters.apply(candidates)
        sane, mislabelled = self.filters.apply(sane, teacher.evaluate(sane))
        reasons = ", ".join(f"{count} {reason}" for reason, count in {**rejected, **mislabelled}.items())
        log.info("reaction: %d of %d candidates kept; rejected: %s", len(sane), len(candidates), reasons)
        return (anchors + sane).unique()


def posed(
    positions: FloatArray, parts: list[IntArray], separation: float, rng: np.random.Generator
) -> FloatArray:
    """(n, 3): every part turned at random; each after the first at `separation` (Å) from those before it.

    The separation is that of the two nearest atoms, along a random direction.
    """
    moved = positions.copy()
    for part in parts:
        moved[part] = _random_rotation(moved[part] - moved[part].mean(axis=0), rng)
    placed = parts[0]
    for part in parts[1:]:
        direction = rng.standard_normal(3)
        direction /= np.linalg.norm(direction)
        moved[part] += _approach(moved[placed], moved[part], direction, separation) * direction
        placed = np.concatenate([placed, part])
    return moved


def _random_rotation(positions: FloatArray, rng: np.random.Generator) -> FloatArray:
    from scipy.spatial.transform import Rotation

    return np.asarray(positions @ Rotation.random(rng=rng).as_matrix().T)


def _approach(fixed: FloatArray, moving: FloatArray, direction: FloatArray, separation: float) -> float:
    """Å along `direction` at which the nearest atoms of two groups are `separation` apart, by bisection."""

    def gap(shift: float) -> float:
        return float(np.linalg.norm(fixed[:, None] - (moving + shift * direction)[None], axis=2).min())

    extent = np.linalg.norm(fixed, axis=1).max() + np.linalg.norm(moving, axis=1).max()
    near, far = 0.0, float(extent) + separation
    for _ in range(60):
        middle = 0.5 * (near + far)
        near, far = (near, middle) if gap(middle) > separation else (middle, far)
    return far
