"""Everything that may matter on the way from reactants to products."""

import itertools
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from pyacemaker.base import InputFile
from pyacemaker.generators.base import Generator
from pyacemaker.generators.bonds import bond_length, bonds_of, fragments, set_bond_length
from pyacemaker.generators.langevin import Langevin
from pyacemaker.generators.molecular import ShortRuns, plausible
from pyacemaker.generators.normal_modes import normal_modes
from pyacemaker.generators.poses import posed
from pyacemaker.generators.rattle import rattled
from pyacemaker.generators.reaction_path import Reaction, reaction_path, relax, transition_state
from pyacemaker.generators.torsions import torsion_scans
from pyacemaker.potentials.base import Potential
from pyacemaker.selection.filters import HardFilters
from pyacemaker.structures import AtomStructure, Dataset

_FRAGMENT_STEPS = 30  # relaxation steps of separated fragments, which must not have time to meet again
_APART = 12.0  # Å between fragments while they relax

_Amplitudes = tuple[PositiveFloat, ...]


class ReactionGenerator(Generator):
    """Candidates around a reaction between molecules, given by its two ends.

    Tags: `reactant`, `product`, `ts`, `path`, `path_rattle`, `grid`, `rattle`, `fragments`, `md300`, …,
    `mode`, `torsion`.
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
    interpolation: Literal["idpp", "geodesic"] = "idpp"
    """How the path starts: by even changes of distances, or as a geodesic, good without a teacher."""
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
    mode_energies: tuple[PositiveFloat, ...] = (0.15,)
    """eV, to which each normal mode of these three is displaced, both ways."""
    torsion_angles: PositiveInt = 6
    """Equal steps in a turn about each single bond that both ends keep; 1 = none."""
    filters: HardFilters = HardFilters(max_energy=1.0)
    """What no candidate may violate, by its geometry and by the teacher's labels; anchors always stay."""

    def generate(self, teacher: Potential, rng: np.random.Generator) -> Dataset:
        """All candidates, unlabelled, each geometry once, anchors first.

        Raises `DataError` for ends that do not fit together, `ConfigError` for bonds that do not exist.
        """
        reaction = self.reaction().relaxed(teacher)
        path = reaction_path(reaction, teacher, self.n_path, self.neb_steps, self.interpolation)
        energies = np.array([labels.energy for labels in teacher.evaluate(path)])
        anchors = Dataset([reaction.reactant, reaction.product, transition_state(reaction, path, energies)])
        candidates = [
            *path,
            *self._path_rattles(path, rng),
            *self._grid(reaction, path),
            *self._rattles(anchors, rng),
            *self._fragments(reaction, teacher, rng),
            *self._dynamics(anchors, teacher, rng),
            *self._modes(anchors, teacher),
            *self._torsions(anchors),
        ]
        return plausible(anchors, candidates, teacher, self.filters, "reaction")

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
        runs = ShortRuns(self.md_temperatures, self.md_frames, self.md_interval)
        return runs.frames(anchors, teacher, self.dynamics, rng)

    def _modes(self, anchors: Dataset, teacher: Potential) -> list[AtomStructure]:
        if not self.mode_energies:
            return []
        return [
            anchor.replace(positions=positions, tag="mode")
            for anchor in anchors
            for modes in [normal_modes(anchor, teacher)]
            for energy in self.mode_energies
            for positions in modes.turning_points(energy)
        ]

    def _torsions(self, anchors: Dataset) -> list[AtomStructure]:
        return [
            anchor.replace(positions=positions, tag="torsion")
            for anchor in anchors
            for positions in torsion_scans(anchor, self.torsion_angles)
        ]
