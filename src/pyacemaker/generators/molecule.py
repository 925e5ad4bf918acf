"""Everything that may matter around a molecule."""

import itertools
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from pyacemaker.base import InputFile
from pyacemaker.errors import ConfigError, DataError
from pyacemaker.generators.base import Generator
from pyacemaker.generators.bonds import (
    bond_length,
    bonds_of,
    fragments,
    set_bond_length,
)
from pyacemaker.generators.langevin import Langevin
from pyacemaker.generators.molecular import ShortRuns, plausible
from pyacemaker.generators.normal_modes import normal_modes
from pyacemaker.generators.poses import posed
from pyacemaker.generators.rattle import rattled
from pyacemaker.generators.reaction_path import relax_in_place
from pyacemaker.generators.torsions import random_torsions, torsion_scans
from pyacemaker.potentials.base import Potential
from pyacemaker.selection.filters import HardFilters
from pyacemaker.structures import AtomStructure, Dataset, IntArray
from pyacemaker.units import BOLTZMANN_EV_PER_KELVIN

if TYPE_CHECKING:
    from ase import Atoms

_Positive = tuple[PositiveFloat, ...]


class MoleculeGenerator(Generator):
    """Candidates around a molecule (or a complex of molecules), given by a file, its name or its formula.

    Tags: `molecule/minimum`, `molecule/mode`, `molecule/thermal`, `molecule/rattle`, `molecule/torsion`,
    `molecule/conformer`, `molecule/stretch`, `molecule/fragments`, `molecule/md300`, ….
    """

    kind: Literal["molecule"] = "molecule"
    structure: InputFile | None = None
    """A file with one molecule or several isomers or conformers of it, in any format that ASE reads."""
    molecule: str | None = None
    """A name that `ase.build.molecule` knows, such as `CH3CH2OH`, or a formula such as `C2H6O`, which stands
    for all the isomers of that list; or give `structure`."""
    charge: int | None = None
    """Total charge in e; default: the one in the file."""
    multiplicity: PositiveInt | None = None
    """2S + 1; default: the one in the file, or else the lowest."""
    mode_energies: _Positive = (0.05, 0.15, 0.4)
    """eV, to which each normal mode is displaced, both ways."""
    thermal_temperatures: _Positive = (300.0, 1000.0)
    """K, of displacements along all normal modes at random."""
    n_thermal: NonNegativeInt = 20
    """Of these, at each temperature."""
    rattle_amplitudes: _Positive = (0.02, 0.1, 0.25)
    """Å, standard deviations of random displacements of all atoms."""
    n_rattles: NonNegativeInt = 20
    """Rattled structures for each amplitude."""
    torsion_angles: PositiveInt = 12
    """Equal steps in a turn about each single bond; 1 = none."""
    n_conformers: NonNegativeInt = 24
    """Structures in which all of several such bonds are turned at random."""
    stretch_points: NonNegativeInt = 8
    """Lengths of each bond, the others kept."""
    stretch_range: tuple[PositiveFloat, PositiveFloat] = (0.8, 2.0)
    """Shortest and longest of these lengths, over the bond's own."""
    separations: _Positive = (2.2, 2.6, 3.0, 3.5, 4.0, 5.0, 6.5, 8.0)
    """Å, closest approach of fragments: of the molecules of a complex, or of what the bonds in no ring tie
    together, one bond broken at a time."""
    n_orientations: NonNegativeInt = 4
    """Random orientations of fragments at each separation; the bonds take turns."""
    md_temperatures: _Positive = (300.0, 600.0, 1000.0)
    """K, of short molecular dynamics from the minimum."""
    md_frames: NonNegativeInt = 30
    """Frames of each of these trajectories."""
    md_interval: PositiveInt = 10
    """Steps from one of these frames to the next."""
    dynamics: Langevin = Langevin()
    """Time step, thermostat, wall and guards of the molecular dynamics."""
    filters: HardFilters = HardFilters()
    """What no candidate may violate, by its geometry and by the teacher's labels; minima always stay."""

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if (self.structure is None) == (self.molecule is None):
            raise ValueError("give either `structure`, a file, or `molecule`, a name or a formula")
        if self.molecule is not None:
            known_molecules(self.molecule)
        return self

    def generate(self, teacher: Potential, rng: np.random.Generator) -> Dataset:
        """All candidates, unlabelled, each geometry once, the minima first.

        Raises `DataError` for a file that holds a crystal.
        """
        minima = Dataset(relax_in_place(start, teacher) for start in self.inputs())
        found: list[AtomStructure] = []
        for minimum in minima:
            if len(minimum) > 1:
                found += [*self._modes(minimum, teacher, rng), *self._turns(minimum, rng)]
                found += [*self._stretches(minimum), *self._fragments(minimum, rng)]
        runs = ShortRuns(self.md_temperatures, self.md_frames, self.md_interval)
        moving = minima.filter(lambda minimum: len(minimum) > 1)
        found += runs.frames(moving, teacher, self.dynamics, rng, "molecule/")
        return plausible(minima, found, teacher, self.filters, "molecule")

    def inputs(self) -> Dataset:
        """The molecules as the file or ASE's list gives them."""
        return Dataset(self._checked(given) for given in self._given().unique())

    def _given(self) -> Dataset:
        if self.molecule is not None:
            return known_molecules(self.molecule)
        from pyacemaker.structures.formats import read_structures

        if self.structure is None:
            raise ConfigError("the molecule generator has neither `structure` nor `molecule`: set one")
        return read_structures(self.structure)

    def _checked(self, given: AtomStructure) -> AtomStructure:
        if given.is_periodic:
            raise DataError(
                f"{self.structure} holds {given.formula} with pbc = {given.pbc.tolist()}; a molecule is not "
                "periodic: set pbc to F F F, or use the crystal generator"
            )
        return given.replace(
            charge=given.charge if self.charge is None else self.charge,
            multiplicity=given.multiplicity if self.multiplicity is None else self.multiplicity,
            tag="molecule/minimum",
            labels=None,
            label_weights=None,
            source="",
        )

    def _modes(
        self, minimum: AtomStructure, teacher: Potential, rng: np.random.Generator
    ) -> list[AtomStructure]:
        """Displacements along normal modes, one by one and all together, and of all atoms at random."""
        modes = normal_modes(minimum, teacher)
        single = [x for energy in self.mode_energies for x in modes.turning_points(energy)]
        thermal = [
            modes.thermal(BOLTZMANN_EV_PER_KELVIN * temperature, rng)
            for temperature in self.thermal_temperatures
            for _ in range(self.n_thermal)
        ]
        found = [minimum.replace(positions=x, tag="molecule/mode") for x in single]
        found += [minimum.replace(positions=x, tag="molecule/thermal") for x in thermal]
        nearest = self.filters.min_distance
        for amplitude in self.rattle_amplitudes:
            found += rattled(
                minimum, amplitude, self.n_rattles, rng, tag="molecule/rattle", min_distance=nearest
            )
        return found

    def _turns(self, minimum: AtomStructure, rng: np.random.Generator) -> list[AtomStructure]:
        scans = torsion_scans(minimum, self.torsion_angles)
        conformers = random_torsions(minimum, self.n_conformers, rng)
        found = [minimum.replace(positions=x, tag="molecule/torsion") for x in scans]
        return found + [minimum.replace(positions=x, tag="molecule/conformer") for x in conformers]

    def _stretches(self, minimum: AtomStructure) -> list[AtomStructure]:
        """Every bond at every length, with all that hangs on it, or the atom alone in a ring."""
        bonds = bonds_of(minimum)
        stretches = np.linspace(*self.stretch_range, self.stretch_points)
        found = []
        for bond, stretch in itertools.product(sorted(bonds), stretches):
            length = stretch * bond_length(minimum.positions, bond)
            moved = set_bond_length(minimum.positions, bond, length, bonds - {bond})
            found.append(minimum.replace(positions=moved, tag="molecule/stretch"))
        return found

    def _fragments(self, minimum: AtomStructure, rng: np.random.Generator) -> list[AtomStructure]:
        ways = ways_apart(minimum)
        if not ways:
            return []
        places = np.repeat(self.separations, self.n_orientations)
        turns = rng.permutation(len(ways))
        found = []
        for number, separation in enumerate(places):
            parts = ways[int(turns[number % len(ways)])]
            moved = posed(minimum.positions, parts, float(separation), rng)
            found.append(minimum.replace(positions=moved, tag="molecule/fragments"))
        return found


def ways_apart(structure: AtomStructure) -> list[list[IntArray]]:
    """How a structure can fall apart: into its molecules, or into two by the loss of one bond in no ring."""
    bonds = bonds_of(structure)
    molecules = fragments(len(structure), bonds)
    if len(molecules) > 1:
        return [molecules]
    ways = [fragments(len(structure), bonds - {bond}) for bond in sorted(bonds)]
    return [parts for parts in ways if len(parts) == 2]


def known_molecules(name: str) -> Dataset:
    """The molecule of ASE's list with this name, or else all of that formula; `ValueError` for none.

    ASE's list: the G2 set (Curtiss et al., J. Chem. Phys. 106, 1063 (1997)) and a few others.
    """
    from ase.build import molecule
    from ase.build.molecule import extra
    from ase.collections import g2

    listed = [*g2.names, *extra]
    if name in listed:
        return Dataset([_bare(molecule(name))])
    wanted = _hill(name)
    found = [molecule(known) for known in listed]
    isomers = [atoms for atoms in found if wanted and atoms.get_chemical_formula() == wanted]
    if not isomers:
        raise ValueError(
            f"{name!r} is neither a name nor the formula of a molecule that ASE knows (such as CH3CH2OH, "
            "H2O or C2H6O): give a file with its structure in `structure`"
        )
    return Dataset(_bare(atoms) for atoms in isomers)


def _bare(atoms: "Atoms") -> AtomStructure:
    """The molecule without ASE's spins and charges per atom, which are guesses.

    The sum of the spins is the known ground state's: O₂ is a triplet, which no count of electrons tells.
    """
    unpaired = round(float(atoms.get_initial_magnetic_moments().sum()))
    return AtomStructure(atoms.numbers, atoms.positions, multiplicity=unpaired + 1 if unpaired else None)


def _hill(name: str) -> str | None:
    """The formula in Hill order; None for what is no formula."""
    from ase.formula import Formula

    try:
        return str(Formula(name).format("hill"))
    except ValueError:
        return None
