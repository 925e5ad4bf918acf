"""Liquids: random packings, hot dynamics, quenches."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from pyacemaker.base import InputFile
from pyacemaker.errors import DataError
from pyacemaker.generators.base import Generator
from pyacemaker.generators.believable import check_contacts, check_densities
from pyacemaker.generators.packing import cubic_cell, packed_atoms, packed_molecules, volume_at_density
from pyacemaker.generators.periodic import Formula, Fraction, Streams, ThermalMotion, bare, sane, tagged
from pyacemaker.generators.prototypes import crystal_volume, parse_formula
from pyacemaker.generators.relaxation import downhill
from pyacemaker.potentials.base import Potential
from pyacemaker.structures import AtomStructure, Dataset

_LIQUID = 0.9  # density of a liquid over that of the crystal
_HALO = 0.8  # Å: covalent radius + this is about an atom's radius in a molecular liquid, …
_FILLED = 0.8  # … of whose volume such spheres, overlaps counted twice, make up this share
_SETTLING = 20  # steps downhill before a packing is heated


class MeltGenerator(Generator):
    """Candidates for a liquid, given by its composition, by a crystal or by one of its molecules.

    Tags: `melt/packing`, `melt/md1.2Tm`, …, `melt/quench`.
    """

    kind: Literal["melt"] = "melt"
    formula: Formula | None = None
    """`Al`, `NaCl`, `Cu3Al`: the composition; or give `structure`."""
    structure: InputFile | None = None
    """A file with a crystal, whose composition and volume count, or with one molecule, which stays whole; the
    last structure counts."""
    n_atoms: Annotated[int, Field(ge=4, le=500)] = 24
    """Atoms of a box, rounded to whole formula units."""
    density: PositiveFloat | None = None
    """g/cm³, of the liquid; default: nine tenths of the crystal's, estimated from atomic sizes where only a
    formula is given."""
    densities: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (0.75, 0.9, 1.0, 1.1, 1.2)
    """The densities of the boxes, relative to `density`."""
    n_packings: PositiveInt = 8
    """Random packings at each density."""
    contacts: tuple[Fraction, Fraction] = (0.7, 1.0)
    """Smallest distances in the packings, over the sum of covalent radii (of atoms in different molecules: of
    covalent radii and 1 Å): the range from which they are drawn."""
    motion: ThermalMotion = ThermalMotion(temperatures=(1.2, 2.0), n_frames=8, expansion=0.0)
    """Molecular dynamics from one packing at each density."""
    quench_steps: NonNegativeInt = 16
    """Steps downhill of a quench, of which an early stage and the end are kept; 0 = no quenches."""
    n_quenches: NonNegativeInt = 10
    """Frames of the dynamics that are quenched."""
    min_distance: Fraction = 0.6
    """Smallest allowed distance of two atoms, as a fraction of the sum of their covalent radii."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.formula is None) == (self.structure is None):
            raise ValueError("a melt comes from a `formula` or from a `structure` file: give one of them")
        return self

    def inputs(self) -> Dataset:
        """A box with the atoms on a grid.

        Raises `DataError` for a molecule larger than `n_atoms` or with atoms that overlap, and `ConfigError`
        for densities that no melt of these elements has.
        """
        unit, volume = self._unit()
        numbers = np.tile(unit.numbers, self._units(unit))
        cell = cubic_cell(volume * self._units(unit))
        side = int(np.ceil(len(numbers) ** (1 / 3)))
        grid = np.array(list(np.ndindex(side, side, side)))[: len(numbers)] / side
        box = AtomStructure(numbers, grid @ cell, cell, np.ones(3, dtype=bool), tag="melt/packing")
        return Dataset([box])

    def generate(self, teacher: Potential, rng: np.random.Generator) -> Dataset:
        """All candidates, unlabelled, each geometry once; raises what `inputs` raises."""
        streams = Streams.of(rng)
        boxes = [self._packings(ratio, streams(f"packing {ratio}")) for ratio in self.densities]
        settled = downhill([box[0] for box in boxes], teacher, _SETTLING)
        hot = self.motion.frames(settled, teacher, streams("motion"), "melt")
        packed = [structure for box in boxes for structure in box]
        return sane([*packed, *hot, *self._quenches(hot or packed, teacher)], self.min_distance, "melt")

    def _packings(self, ratio: float, rng: np.random.Generator) -> list[AtomStructure]:
        unit, volume = self._unit()
        n = self._units(unit)
        found = []
        for _ in range(self.n_packings):
            contact = float(rng.uniform(*self.contacts))
            box = n * volume / ratio
            if unit.is_periodic:
                numbers = np.tile(unit.numbers, n)
                found.append(packed_atoms(numbers, box, contact, rng, "melt/packing"))
            else:
                found.append(packed_molecules(unit, n, box, contact, rng, "melt/packing"))
        return found

    def _quenches(self, hot: list[AtomStructure], teacher: Potential) -> list[AtomStructure]:
        """Two stages on the way from hot frames to the minima below them."""
        if not (self.quench_steps and self.n_quenches and hot):
            return []
        chosen = np.unique(np.linspace(0, len(hot) - 1, min(self.n_quenches, len(hot))).round().astype(int))
        starts = tagged([hot[index] for index in chosen], "melt/quench")
        early = downhill(starts, teacher, max(1, self.quench_steps // 4))
        return early + downhill(early, teacher, self.quench_steps - max(1, self.quench_steps // 4))

    def _units(self, unit: AtomStructure) -> int:
        return max(1, round(self.n_atoms / len(unit)))

    def _unit(self) -> tuple[AtomStructure, float]:
        """One formula unit (periodic: loose atoms; otherwise a molecule) and its volume in the liquid, Å³."""
        unit, volume = self._from_formula() if self.formula else self._from_file()
        if len(unit) > max(self.n_atoms, 1):
            raise DataError(
                f"{self.structure or self.formula} holds {len(unit)} atoms, more than the "
                f"n_atoms = {self.n_atoms} of a box: raise n_atoms"
            )
        given = volume if self.density is None else volume_at_density(unit.numbers, self.density)
        self._check_densities(unit, given, volume)
        return unit, given

    def _check_densities(self, unit: AtomStructure, given: float, estimated: float) -> None:
        """The thinnest and the densest box, against what the elements' or the molecule's size lets expect."""
        density = volume_at_density(unit.numbers, 1.0) / given
        if unit.is_periodic and self.structure is not None:
            estimated = _loose(parse_formula(unit.formula))[1]
        ratios = (min(self.densities), max(self.densities))
        check_densities(unit.numbers, estimated, density, ratios)

    def _from_formula(self) -> tuple[AtomStructure, float]:
        assert self.formula is not None
        return _loose(parse_formula(self.formula))

    def _from_file(self) -> tuple[AtomStructure, float]:
        from pyacemaker.structures.formats import read_structures

        found = bare(read_structures(str(self.structure))[-1])
        if not found.is_periodic:
            check_contacts(found, self.min_distance, str(self.structure))
            spheres = 4.0 / 3.0 * np.pi * float(np.sum((covalent_radii[found.numbers] + _HALO) ** 3))
            return found, spheres / _FILLED
        if found.volume is None:
            raise DataError(f"{self.structure} is periodic but its cell has no volume: give its cell")
        unit, _ = _loose(parse_formula(found.formula))
        return unit, found.volume * len(unit) / len(found) / _LIQUID


def _loose(counts: Mapping[str, int]) -> tuple[AtomStructure, float]:
    """One formula unit as atoms that are no molecule, and its estimated volume in the liquid, Å³."""
    numbers = np.repeat([atomic_numbers[symbol] for symbol in counts], list(counts.values()))
    unit = AtomStructure(numbers, np.zeros((len(numbers), 3)), pbc=np.ones(3, dtype=bool))
    return unit, crystal_volume(counts) / _LIQUID
