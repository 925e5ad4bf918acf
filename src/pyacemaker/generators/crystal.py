"""Everything that may matter around a crystal."""

import logging
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveFloat, model_validator

from pyacemaker.base import InputFile
from pyacemaker.errors import ConfigError
from pyacemaker.generators.base import Generator
from pyacemaker.generators.believable import check_constant, check_contacts
from pyacemaker.generators.defects import antisites, divacancies, interstitials, vacancies
from pyacemaker.generators.periodic import (
    Amplitudes,
    Formula,
    Fraction,
    PrototypeName,
    Strain,
    Streams,
    ThermalMotion,
    checked_cell,
    rattles,
    sane,
    tagged,
)
from pyacemaker.generators.prototypes import (
    Prototype,
    are_alike,
    find_prototype,
    ground_state,
    is_molecular,
    matching_prototypes,
    parse_formula,
    prototype_cell,
)
from pyacemaker.generators.relaxation import downhill, relaxed_cell
from pyacemaker.generators.strains import at_volume, random_strain, strained
from pyacemaker.generators.supercells import compact_supercell
from pyacemaker.generators.surfaces import low_index_slabs
from pyacemaker.potentials.base import Potential
from pyacemaker.structures import AtomStructure, Dataset

log = logging.getLogger(__name__)


class CrystalGenerator(Generator):
    """Candidates around a crystal, given by a formula or by a structure file.

    Tags: `crystal/minimum`, `crystal/ev`, `crystal/strain`, `crystal/rattle`, `crystal/prototype_minimum`,
    `crystal/prototype`, `crystal/vacancy`, `crystal/divacancy`, `crystal/interstitial`, `crystal/antisite`,
    `crystal/slab`, `crystal/md0.5Tm`, ….
    """

    kind: Literal["crystal"] = "crystal"
    formula: Formula | None = None
    """`Al`, `MgO`, `Cu3Au`: the composition; or give `structure`."""
    structure: InputFile | None = None
    """A file with the crystal's cell, in any format that ASE reads; the last structure counts."""
    prototype: PrototypeName | None = None
    """The structure type of a `formula`: `fcc`, `rocksalt`, `L1_2`, …; default: an element's ground state, of
    a compound the type that fits with the lowest energy on the teacher."""
    a: PositiveFloat | None = None
    """Å, lattice constant of the conventional cell of a `formula`; default: guessed from atomic sizes."""
    c_over_a: PositiveFloat | None = None
    """Ratio of the conventional cell's axes; default: the prototype's."""
    relax: bool | None = None
    """Whether the teacher relaxes the cell first; default: only where it was guessed, not where a file or `a`
    gives it."""
    competing: tuple[PrototypeName, ...] | None = None
    """Other structure types of the same composition; default: all common ones that fit."""
    max_atoms: Annotated[int, Field(ge=4)] = 16
    """Most atoms of the supercells that are rattled and heated, and of slabs."""
    max_defect_atoms: Annotated[int, Field(ge=4)] = 32
    """Most atoms of the supercells that hold defects, and of a cell in a file."""
    ev_range: Strain = 0.12
    """Largest relative change of the volume on the energy-volume curve."""
    n_ev: NonNegativeInt = 13
    """Points of the energy-volume curve."""
    largest_strain: Strain = 0.08
    """Largest component of the random strains."""
    n_strains: NonNegativeInt = 24
    """Strained cells; every other one is a rattled supercell."""
    rattle_amplitudes: Amplitudes = (0.02, 0.1, 0.25)
    """Å, standard deviations of random displacements."""
    n_rattles: NonNegativeInt = 10
    """Rattled supercells for each amplitude; the competing types get a fifth of them."""
    vacancies: bool = True
    """Whether atoms are taken out, singly and in pairs."""
    interstitials: bool = True
    """Whether atoms are added in voids and as dumbbells."""
    antisites: bool = True
    """Whether atoms of a compound change places."""
    n_defect_rattles: NonNegativeInt = 2
    """Rattled copies (0.1 Å) of every defect and slab."""
    relaxation_steps: NonNegativeInt = 10
    """Steps downhill of defects and slabs, which are kept beside the ideal ones; 0 = only the ideal ones."""
    n_slabs: NonNegativeInt = 3
    """Kinds of low-index surface."""
    slab_thickness: PositiveFloat = 6.0
    """Å, that slabs have at least where `max_atoms` allows."""
    vacuum: PositiveFloat = 10.0
    """Å between slabs."""
    motion: ThermalMotion = ThermalMotion()
    """Molecular dynamics of a supercell."""
    min_distance: Fraction = 0.6
    """Smallest allowed distance of two atoms, as a fraction of the sum of their covalent radii."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.formula is None) == (self.structure is None):
            raise ValueError("a crystal comes from a `formula` or from a `structure` file: give one of them")
        given = [name for name in ("prototype", "a", "c_over_a") if getattr(self, name) is not None]
        if self.structure is not None and given:
            raise ValueError(f"a `structure` file has its own cell: leave out {' and '.join(given)}")
        return self

    def inputs(self) -> Dataset:
        """The cell before it is relaxed.

        Raises `DataError` for a file without a crystal's cell, with one too large, or with atoms that overlap
        or stand alone; `ConfigError` for a composition that no prototype, or not every one of `competing`,
        fits, and for an `a` that it cannot have.
        """
        parents = self._parents()
        self._competing_types(parents[0])
        return Dataset(tagged(parents[:1], "crystal/minimum"))

    def generate(self, teacher: Potential, rng: np.random.Generator) -> Dataset:
        """All candidates, unlabelled, each geometry once, minima first; raises what `inputs` raises."""
        streams = Streams.of(rng)
        parent, others = self._minima(teacher)
        candidates = [
            *tagged([parent], "crystal/minimum"),
            *tagged(others, "crystal/prototype_minimum"),
            *tagged(self._volumes(parent, self.n_ev), "crystal/ev"),
            *self._strains(parent, streams("strain")),
            *self._rattles([parent], self.n_rattles, streams("rattle"), "crystal/rattle"),
            *self._competitors(others, streams("prototype")),
            *self._defects(parent, teacher, streams),
            *self.motion.frames(
                [compact_supercell(parent, self.max_atoms)], teacher, streams("motion"), "crystal"
            ),
        ]
        return sane(candidates, self.min_distance, "crystal")

    def _parents(self) -> list[AtomStructure]:
        """The cell that the settings name; where they leave the structure type open, all that may be it."""
        if self.structure is not None:
            from pyacemaker.structures.formats import read_structures

            found = read_structures(self.structure)[-1]
            limit = (self.max_defect_atoms, "max_defect_atoms")
            return [checked_cell(found, str(self.structure), *limit, self.min_distance)]
        assert self.formula is not None
        counts = parse_formula(self.formula)
        types = [find_prototype(self.prototype)] if self.prototype else self._likely_types(counts)
        return [self._prototype_cell(counts, one) for one in types]

    def _prototype_cell(self, counts: dict[str, int], prototype: Prototype) -> AtomStructure:
        cell = prototype_cell(counts, prototype, self.a, self.c_over_a)
        if self.a is not None:
            guessed = prototype_cell(counts, prototype, None, self.c_over_a)
            check_constant(self.a, cell, guessed, str(self.formula))
        if self.a is not None or self.c_over_a is not None:
            check_contacts(cell, self.min_distance, f"{self.formula} with the a and c_over_a that are given")
        return cell

    def _likely_types(self, counts: dict[str, int]) -> list[Prototype]:
        element = next(iter(counts)) if len(counts) == 1 else None
        if is_molecular(counts):
            raise ConfigError(
                f"{self.formula} is a molecule, not a crystal with a simple cell: use the molecule "
                "generator, give a `structure` file, or set `prototype`"
            )
        own = ground_state(element) if element else None
        found = [own] if own else list(matching_prototypes(counts))
        if not found:
            raise ConfigError(
                f"no prototype is known for {self.formula}, with elements as "
                f"{':'.join(str(count) for count in counts.values())}: give its cell as a `structure` file"
            )
        return found

    def _competing_types(self, parent: AtomStructure) -> list[AtomStructure]:
        names = self.competing
        counts = parse_formula(self.formula or parent.formula)
        types = matching_prototypes(counts) if names is None else [find_prototype(name) for name in names]
        return [prototype_cell(counts, one) for one in types if one.name != parent.tag]

    def _minima(self, teacher: Potential) -> tuple[AtomStructure, list[AtomStructure]]:
        """The crystal's cell, and those of the competing types, relaxed where they were guessed."""
        parents = self._parents()
        relax = self.structure is None and self.a is None if self.relax is None else self.relax
        if relax:
            parents = [relaxed_cell(parent, teacher) for parent in parents]
        energies = [
            label.energy / len(parent)
            for parent, label in zip(parents, teacher.evaluate(parents), strict=True)
        ]
        parent = parents[int(np.argmin(energies))]
        known = {other.tag: other for other in parents}
        others = [
            known.get(other.tag) or relaxed_cell(other, teacher) for other in self._competing_types(parent)
        ]
        log.info("crystal: %s in the structure of %s", parent.formula, parent.tag)
        return parent, [other for other in others if not are_alike(other, parent)]

    def _volumes(self, cell: AtomStructure, n: int) -> list[AtomStructure]:
        return [at_volume(cell, 1.0 + x) for x in np.linspace(-self.ev_range, self.ev_range, n)]

    def _strains(self, parent: AtomStructure, rng: np.random.Generator) -> list[AtomStructure]:
        """The cell and, in turns, its rattled supercell, under random strains."""
        cells = (parent, compact_supercell(parent, self.max_atoms))
        found = []
        for number in range(self.n_strains):
            start = strained(cells[number % 2], random_strain(self.largest_strain, rng))
            amplitudes = (0.05,) if number % 2 and len(start) > 1 else ()
            found += self._rattles([start], 1, rng, "crystal/strain", amplitudes) or [start]
        return tagged(found, "crystal/strain")

    def _rattles(
        self,
        cells: list[AtomStructure],
        n: int,
        rng: np.random.Generator,
        tag: str,
        amplitudes: Amplitudes | None = None,
    ) -> list[AtomStructure]:
        chosen = self.rattle_amplitudes if amplitudes is None else amplitudes
        large = [compact_supercell(cell, self.max_atoms) for cell in cells] if amplitudes is None else cells
        return rattles(large, chosen, n, rng, tag=tag, min_distance=self.min_distance)

    def _competitors(self, others: list[AtomStructure], rng: np.random.Generator) -> list[AtomStructure]:
        n = -(-self.n_rattles // 5)
        volumes = [cell for other in others for cell in self._volumes(other, min(5, self.n_ev))]
        return tagged(volumes, "crystal/prototype") + self._rattles(others, n, rng, "crystal/prototype")

    def _defects(self, parent: AtomStructure, teacher: Potential, streams: Streams) -> list[AtomStructure]:
        """Defects and slabs: ideal, relaxed and rattled."""
        large = compact_supercell(parent, self.max_defect_atoms)
        families = {
            "vacancy": vacancies(large) if self.vacancies and len(large) > 1 else [],
            "divacancy": divacancies(large) if self.vacancies and len(large) > 2 else [],
            "interstitial": interstitials(large, min_distance=self.min_distance)
            if self.interstitials
            else [],
            "antisite": antisites(large) if self.antisites else [],
            "slab": low_index_slabs(
                parent,
                self.n_slabs,
                thickness=self.slab_thickness,
                vacuum=self.vacuum,
                max_atoms=self.max_atoms,
            ),
        }
        ideal = [s for name, found in families.items() for s in tagged(found, f"crystal/{name}")]
        relaxed = downhill(ideal, teacher, self.relaxation_steps) if self.relaxation_steps else []
        shaken = [
            copy
            for s in relaxed or ideal
            for copy in self._rattles([s], self.n_defect_rattles, streams(f"{s.tag}{s.id}"), s.tag, (0.1,))
        ]
        return ideal + relaxed + shaken
