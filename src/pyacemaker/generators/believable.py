"""Cells, densities and positions that a user's slip made impossible: found before anything runs."""

from collections.abc import Iterable

import numpy as np
from ase.data import chemical_symbols, covalent_radii

from pyacemaker.errors import ConfigError, DataError
from pyacemaker.generators.packing import volume_at_density
from pyacemaker.generators.prototypes import atomic_volume
from pyacemaker.structures import AtomStructure, IntArray
from pyacemaker.structures.neighbours import closest_contact, neighbour_list

_VOLUME_MARGIN = 4.0  # factor on the volume that is guessed of a crystal; guesses are good to a half
_THINNEST = 10.0  # factor on the volume that is guessed of a liquid: fluids above the critical point
_LONE = 2.0  # nearest distance over the cube root of the volume per atom; 1.12 in close packing


def check_contacts(structure: AtomStructure, min_distance: float, place: str) -> None:
    """Raise `DataError` where two atoms are nearer than `min_distance` of their covalent radii's sum.

    place: the file or settings that the structure comes from, for the message.
    """
    radii = min_distance * covalent_radii[structure.numbers]
    ratio, i, j = closest_contact(radii, structure.positions, structure.cell, structure.pbc)
    if ratio >= 1.0:
        return
    limit = float(radii[i] + radii[j])
    first, second = (f"{structure.symbols[atom]} {atom}" for atom in (i, j))
    pair = f"{first} and its own image" if i == j else f"{first} and {second}"
    raise DataError(
        f"{place}: the atoms {pair} (counted from 0) are {ratio * limit:.2f} Å apart, nearer than "
        f"{limit:.2f} Å, {min_distance:g} of the sum of their covalent radii: correct positions and cell"
    )


def check_bound(structure: AtomStructure, place: str) -> None:
    """Raise `DataError` for a cell in which no two atoms are near enough to belong together.

    Empty space alone is no reason: porous, layered and molecular crystals have it, and slabs in a vacuum.
    """
    expected = float(np.mean([atomic_volume(symbol) for symbol in structure.symbols]))
    reach = _LONE * expected ** (1 / 3)
    if len(neighbour_list(structure.positions, structure.cell, structure.pbc, reach)):
        return
    raise DataError(
        f"{place}: no two atoms are nearer than {reach:.1f} Å, in a cell of {structure.volume or 0.0:.0f} Å³ "
        f"where about {expected * len(structure):.0f} Å³ are expected: correct the cell (in Å)"
    )


def check_constant(a: float, given: AtomStructure, guessed: AtomStructure, formula: str) -> None:
    """Raise `ConfigError` where the lattice constant `a` (Å) makes a volume far from the guessed one.

    given, guessed: the cells of the same structure type with `a` and without.
    """
    ratio = (given.volume or np.nan) / (guessed.volume or np.nan)
    if 1 / _VOLUME_MARGIN <= ratio <= _VOLUME_MARGIN:
        return
    expected = a / ratio ** (1 / 3)
    raise ConfigError(
        f"a = {a:g} Å is far from what {formula} can have in the structure of {given.tag}: from atomic sizes "
        f"about {expected:.2f} Å are estimated; give the conventional cell's constant in Å, or leave a out"
    )


def check_densities(numbers: IntArray, estimated: float, density: float, ratios: Iterable[float]) -> None:
    """Raise `ConfigError` where a ratio × density (g/cm³) is one that the liquid cannot have.

    numbers: of the atoms that take the volume `estimated` (Å³).
    """
    usual = volume_at_density(numbers, 1.0) / estimated
    for ratio in ratios:
        if usual / _THINNEST <= ratio * density <= _VOLUME_MARGIN * usual:
            continue
        symbols = " ".join(dict.fromkeys(chemical_symbols[number] for number in numbers))
        raise ConfigError(
            f"a density of {ratio:g} × {density:.3g} g/cm³ is far from what a melt of {symbols} can have: "
            f"from atomic sizes about {usual:.3g} g/cm³ are estimated; correct density (in g/cm³), densities "
            "or the cell of the file"
        )
