"""Alloys: elements that share the sites of a lattice."""

import itertools
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from pyacemaker.base import InputFile
from pyacemaker.errors import ConfigError, DataError
from pyacemaker.generators.base import Generator
from pyacemaker.generators.defects import antisites, exchanged, without
from pyacemaker.generators.occupations import (
    PairShells,
    occupied,
    quasi_random_occupation,
    random_occupation,
    random_swap,
    spread_compositions,
    vegard_scale,
)
from pyacemaker.generators.periodic import (
    Amplitudes,
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
from pyacemaker.generators.prototypes import Prototype, find_prototype, ground_state, prototype_cell
from pyacemaker.generators.relaxation import relaxed_cell
from pyacemaker.generators.strains import at_volume, random_strain, strained
from pyacemaker.generators.supercells import compact_supercell
from pyacemaker.potentials.base import Potential
from pyacemaker.structures import AtomStructure, Dataset, FloatArray, IntArray

log = logging.getLogger(__name__)

_Share = Annotated[float, Field(ge=0.0, le=1.0)]


@dataclass(frozen=True)
class Lattice:
    """A supercell whose `sites` (atom indices) the alloy's elements share.

    ends: the small cell with only one element on them, relaxed, element by element. volumes: of those cells,
    over that of the supercell's parent.
    """

    cell: AtomStructure
    sites: IntArray
    ends: tuple[AtomStructure, ...]
    volumes: FloatArray

    def with_elements(self, numbers: IntArray, counts: tuple[int, ...]) -> AtomStructure:
        """The supercell with these atomic numbers on its sites, at the volume averaged over the elements."""
        return at_volume(occupied(self.cell, self.sites, numbers), vegard_scale(counts, self.volumes) ** 3)


class AlloyGenerator(Generator):
    """Candidates for elements that share the sites of a lattice, over a range of compositions.

    Tags: `alloy/minimum`, `alloy/ev`, `alloy/random`, `alloy/quasi_random`, `alloy/strain`, `alloy/rattle`,
    `alloy/swap`, `alloy/dilute`, `alloy/vacancy`, `alloy/ordered`, `alloy/antisite`, `alloy/md0.5Tm`, ….
    """

    kind: Literal["alloy"] = "alloy"
    elements: Annotated[tuple[str, ...], Field(min_length=2)]
    """The elements that share the sites: `[Al, Cu]`."""
    lattices: Annotated[tuple[PrototypeName, ...], Field(min_length=1)] | None = None
    """Structure types whose sites they share; default: the elements' ground states, or fcc."""
    structure: InputFile | None = None
    """A file with a crystal instead: the sites of those `elements` that it holds are shared."""
    composition: Mapping[str, tuple[_Share, _Share]] = {}
    """Smallest and largest share of an element on the sites; default: 0 to 1 for each."""
    n_compositions: PositiveInt | None = None
    """Compositions per lattice, spread evenly, half of them with every element; default: 7 for two elements,
    and 7 more for each further one."""
    n_random: NonNegativeInt = 4
    """Random occupations at each composition, each strained and rattled a little."""
    n_quasi_random: NonNegativeInt = 1
    """Occupations at each composition with the pair correlations of an infinite random alloy."""
    n_strains: NonNegativeInt = 2
    """Strained copies of every quasi-random cell."""
    n_rattles: NonNegativeInt = 1
    """Rattled copies of every quasi-random cell for each amplitude."""
    n_swaps: NonNegativeInt = 1
    """Copies of every quasi-random cell with two unlike atoms exchanged."""
    ordered: tuple[PrototypeName, ...] = ("L1_2", "L1_0", "cesiumchloride", "D0_3")
    """Ordered structure types of two elements, made of every two in both orders, without `structure`."""
    n_ordered: NonNegativeInt = 16
    """Ordered cells at most; more are drawn from."""
    n_ev: NonNegativeInt = 5
    """Points of the energy-volume curve of every ordered cell and of the pure elements."""
    dilute: bool = True
    """Whether each element is put singly and in pairs into the others' lattice."""
    antisites: bool = True
    """Whether atoms of the ordered cells change places."""
    vacancies: bool = True
    """Whether an atom is taken out of every quasi-random cell."""
    max_atoms: Annotated[int, Field(ge=4)] = 16
    """Most atoms of a supercell."""
    max_cell_atoms: Annotated[int, Field(ge=1)] = 32
    """Most atoms of a cell in a file."""
    ev_range: Strain = 0.12
    """Largest relative change of the volume on energy-volume curves."""
    largest_strain: Strain = 0.08
    """Largest component of the random strains."""
    rattle_amplitudes: Amplitudes = (0.02, 0.1, 0.25)
    """Å, standard deviations of random displacements."""
    n_motion: NonNegativeInt = 3
    """Quasi-random cells that are heated."""
    motion: ThermalMotion = ThermalMotion(n_frames=8)
    """Their molecular dynamics."""
    min_distance: Fraction = 0.6
    """Smallest allowed distance of two atoms, as a fraction of the sum of their covalent radii."""

    @field_validator("elements")
    @classmethod
    def _elements_exist(cls, elements: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [symbol for symbol in elements if symbol not in chemical_symbols[1:]]
        if unknown:
            raise ValueError(f"no element is called {' or '.join(unknown)}: give symbols, as in [Al, Cu]")
        if len(set(elements)) < len(elements):
            raise ValueError(f"{' '.join(elements)} names an element twice: give every one once")
        return elements

    @field_validator("ordered")
    @classmethod
    def _of_two_elements(cls, ordered: tuple[str, ...]) -> tuple[str, ...]:
        others = [name for name in ordered if len(find_prototype(name).counts) != 2]
        if others:
            raise ValueError(f"{' and '.join(others)} is no structure type of two elements: leave it out")
        return ordered

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        foreign = sorted(set(self.composition) - set(self.elements))
        if foreign:
            raise ValueError(
                f"composition names {' and '.join(foreign)}, which the alloy's elements "
                f"{' '.join(self.elements)} do not hold: name only these"
            )
        if any(low > high for low, high in self._ranges()):
            raise ValueError("composition gives a smallest share above the largest: exchange them")
        lowest, highest = (sum(bound) for bound in zip(*self._ranges(), strict=True))
        if lowest > 1.0 + 1e-9 or highest < 1.0 - 1e-9:
            raise ValueError(
                f"composition allows shares that sum to {lowest:g} at least and {highest:g} at most; they "
                "must be able to sum to 1"
            )
        if self.structure is not None and self.lattices is not None:
            raise ValueError("an alloy has its sites from `lattices` or from a `structure` file: give one")
        return self

    def inputs(self) -> Dataset:
        """One cell with all the elements; raises `DataError` for a file without fitting sites, `ConfigError`
        for shares that no cell can hold."""
        supercells = [self._supercell(*parent) for parent in self._parents()]
        for _, sites in supercells:
            self._compositions(len(sites))
        cell, shared = supercells[0]
        numbers = np.resize(self._numbers(), len(shared))
        return Dataset(tagged([occupied(cell, shared, numbers)], "alloy/random"))

    def generate(self, teacher: Potential, rng: np.random.Generator) -> Dataset:
        """All candidates, unlabelled, each geometry once, minima first; raises what `inputs` raises."""
        streams = Streams.of(rng)
        lattices = [self._lattice(parent, sites, teacher) for parent, sites in self._parents()]
        ends = [end for lattice in lattices for end in lattice.ends]
        candidates = tagged(ends, "alloy/minimum")
        candidates += tagged(self._volumes(ends), "alloy/ev")
        quasi_random = []
        for number, lattice in enumerate(lattices):
            quasi_random += self._quasi_random(lattice, streams(f"quasi-random {number}"))
            candidates += self._random(lattice, streams(f"random {number}"))
            candidates += self._dilute(lattice) if self.dilute else []
        candidates += tagged(quasi_random, "alloy/quasi_random")
        candidates += self._around(quasi_random, streams)
        candidates += self._ordered(teacher, streams("ordered")) if self.structure is None else []
        chosen = np.unique(np.linspace(0, len(quasi_random) - 1, self.n_motion).round().astype(int))
        starts = [quasi_random[index] for index in chosen] if quasi_random else []
        candidates += self.motion.frames(starts, teacher, streams("motion"), "alloy")
        return sane(candidates, self.min_distance, "alloy")

    def _numbers(self) -> IntArray:
        return np.array([atomic_numbers[symbol] for symbol in self.elements])

    def _ranges(self) -> list[tuple[float, float]]:
        return [self.composition.get(symbol, (0.0, 1.0)) for symbol in self.elements]

    def _parents(self) -> list[tuple[AtomStructure, IntArray]]:
        """Every lattice's cell, and its sites that the elements share."""
        if self.structure is None:
            first = self.elements[0]
            cells = [prototype_cell({first: 1}, find_prototype(name)) for name in self._lattice_names()]
            return [(cell, np.arange(len(cell))) for cell in cells]
        from pyacemaker.structures.formats import read_structures

        found = read_structures(self.structure)[-1]
        limit = (self.max_cell_atoms, "max_cell_atoms")
        cell = checked_cell(found, str(self.structure), *limit, self.min_distance)
        sites = np.flatnonzero(np.isin(cell.numbers, self._numbers()))
        if not len(sites):
            raise DataError(
                f"{self.structure} holds {cell.formula}, none of the elements {' '.join(self.elements)}, "
                "whose sites are to be shared: name an element of the file among them"
            )
        return [(cell, sites)]

    def _lattice_names(self) -> list[str]:
        if self.lattices is not None:
            return list(self.lattices)
        states = [ground_state(symbol) for symbol in self.elements]
        found = dict.fromkeys(state.name for state in states if state is not None)
        return [name for name in found if name in ("fcc", "bcc", "hcp", "diamond")] or ["fcc"]

    def _lattice(self, parent: AtomStructure, sites: IntArray, teacher: Potential) -> Lattice:
        """The supercell of a parent cell, with the volumes that the teacher gives the pure elements in it."""
        ends = []
        for symbol, number in zip(self.elements, self._numbers(), strict=True):
            start = occupied(parent, sites, np.full(len(sites), number))
            if self.structure is None:
                start = prototype_cell({symbol: 1}, find_prototype(parent.tag))
            ends.append(relaxed_cell(start, teacher))
        cell, shared = self._supercell(parent, sites)
        volumes = np.array([end.volume for end in ends]) / (parent.volume or 1.0)
        return Lattice(cell, shared, tuple(ends), volumes)

    def _supercell(self, parent: AtomStructure, sites: IntArray) -> tuple[AtomStructure, IntArray]:
        """A supercell with the placeholder 0 as element of the sites that are shared, and these sites."""
        marked = occupied(parent, sites, np.zeros(len(sites), dtype=np.int64))
        cell = compact_supercell(marked, self.max_atoms)
        shared = np.flatnonzero(cell.numbers == 0)
        if len(shared) < len(self.elements):
            raise ConfigError(
                f"a supercell of at most max_atoms = {self.max_atoms} atoms has {len(shared)} sites for "
                f"{len(self.elements)} elements: raise max_atoms"
            )
        return cell, shared

    def _compositions(self, sites: int) -> list[tuple[int, ...]]:
        wanted = self.n_compositions or 7 * (len(self.elements) - 1)
        found = spread_compositions(sites, self._ranges(), wanted)
        if not found:
            raise ConfigError(
                f"no composition of {sites} sites holds two elements within the shares that "
                "`composition` allows: widen each to a whole number of sites, or raise max_atoms"
            )
        return found

    def _quasi_random(self, lattice: Lattice, rng: np.random.Generator) -> list[AtomStructure]:
        shells = PairShells.of(lattice.cell, lattice.sites)
        return [
            lattice.with_elements(quasi_random_occupation(shells, self._numbers(), counts, rng), counts)
            for counts in self._compositions(len(lattice.sites))
            for _ in range(self.n_quasi_random)
        ]

    def _random(self, lattice: Lattice, rng: np.random.Generator) -> list[AtomStructure]:
        found = []
        for counts in self._compositions(len(lattice.sites)):
            for _ in range(self.n_random):
                cell = lattice.with_elements(random_occupation(self._numbers(), counts, rng), counts)
                cell = strained(cell, random_strain(0.5 * self.largest_strain, rng))
                found += self._rattled([cell], (0.05,), 1, rng, "alloy/random")
        return found

    def _around(self, cells: list[AtomStructure], streams: Streams) -> list[AtomStructure]:
        """Strained, rattled and swapped copies of quasi-random cells, and vacancies in them."""
        rng = streams("strain")
        strains = [
            strained(cell, random_strain(self.largest_strain, rng))
            for cell in cells
            for _ in range(self.n_strains)
        ]
        swaps, rng = [], streams("swap")
        shared = self._numbers()
        for cell in cells:
            sites = np.flatnonzero(np.isin(cell.numbers, shared))
            for _ in range(self.n_swaps):
                pair = random_swap(cell, sites, rng)
                swaps += [exchanged(cell, *pair)] if pair else []
        rng = streams("vacancy")
        holes = [without(cell, [int(rng.integers(len(cell)))]) for cell in cells if self.vacancies]
        return [
            *self._rattled(strains, (0.05,), 1, streams("strain rattle"), "alloy/strain"),
            *self._rattled(cells, self.rattle_amplitudes, self.n_rattles, streams("rattle"), "alloy/rattle"),
            *self._rattled(swaps, (0.02,), 1, streams("swap rattle"), "alloy/swap"),
            *self._rattled(holes, (0.05,), 1, streams("vacancy rattle"), "alloy/vacancy"),
        ]

    def _dilute(self, lattice: Lattice) -> list[AtomStructure]:
        """One atom, and two neighbours, of each element among atoms of each other one."""
        n = len(lattice.sites)
        pairs = PairShells.of(lattice.cell, lattice.sites, 1).pairs[0]
        partner = next((int(j) for i, j in zip(*pairs, strict=True) if i == 0 and j != 0), 0)
        found = []
        for host, guest in itertools.permutations(range(len(self.elements)), 2):
            for guests in dict.fromkeys([(0,), tuple({0, partner})]):
                numbers = np.full(n, self._numbers()[host])
                numbers[list(guests)] = self._numbers()[guest]
                counts = [0] * len(self.elements)
                counts[host], counts[guest] = n - len(guests), len(guests)
                found.append(lattice.with_elements(numbers, tuple(counts)))
        return tagged(found, "alloy/dilute")

    def _ordered(self, teacher: Potential, rng: np.random.Generator) -> list[AtomStructure]:
        """Ordered compounds of two elements: relaxed, compressed, stretched, rattled, with antisites."""
        wanted = self._compounds()
        kept = np.sort(rng.permutation(len(wanted))[: self.n_ordered])
        cells = [relaxed_cell(prototype_cell(*wanted[index]), teacher) for index in kept]
        large = [compact_supercell(cell, self.max_atoms) for cell in cells]
        wrong = [defect for cell in large if self.antisites for defect in antisites(cell)]
        return [
            *tagged(cells, "alloy/ordered"),
            *tagged(self._volumes(cells), "alloy/ordered"),
            *self._rattled(large, self.rattle_amplitudes, self.n_rattles, rng, "alloy/ordered"),
            *self._rattled(wrong, (0.02,), 1, rng, "alloy/antisite"),
        ]

    def _compounds(self) -> list[tuple[dict[str, int], Prototype]]:
        """Every two elements in every ordered type, in both orders where these differ."""
        found = []
        for name in self.ordered:
            prototype = find_prototype(name)
            both = len(set(prototype.counts)) > 1
            pairs = (itertools.permutations if both else itertools.combinations)(self.elements, 2)
            found += [(dict(zip(pair, prototype.counts, strict=True)), prototype) for pair in pairs]
        return found

    def _volumes(self, cells: list[AtomStructure]) -> list[AtomStructure]:
        ratios = 1.0 + np.linspace(-self.ev_range, self.ev_range, self.n_ev)
        return [at_volume(cell, float(ratio)) for cell in cells for ratio in ratios]

    def _rattled(
        self, cells: list[AtomStructure], amplitudes: Amplitudes, n: int, rng: np.random.Generator, tag: str
    ) -> list[AtomStructure]:
        return rattles(cells, amplitudes, n, rng, tag=tag, min_distance=self.min_distance)
