"""Who is bonded to whom, and the fragments that bonds hold together."""

from collections.abc import Iterable

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from pyacemaker.selection.filters import pair_fractions
from pyacemaker.structures import AtomStructure, FloatArray, IntArray

Bond = tuple[int, int]

BOND_FRACTION = 1.25
"""Two atoms nearer than this fraction of the sum of their covalent radii are bonded."""


def bonds_of(structure: AtomStructure) -> frozenset[Bond]:
    """The bonds (i, j), i < j, of a structure without periodic images."""
    near = np.triu(pair_fractions(structure.numbers, structure.positions) < BOND_FRACTION)
    return frozenset((int(i), int(j)) for i, j in np.argwhere(near))


def fragments(n_atoms: int, bonds: Iterable[Bond]) -> list[IntArray]:
    """The connected components of `n_atoms` atoms, as increasing indices, ordered by first atom."""
    label = list(range(n_atoms))
    for first, second in bonds:
        old, new = max(label[first], label[second]), min(label[first], label[second])
        label = [new if value == old else value for value in label]
    return [np.flatnonzero(np.array(label) == value).astype(np.int64) for value in sorted(set(label))]


def fragment_formulas(structure: AtomStructure) -> list[str]:
    """The formula (Hill order) of every group of atoms that bonds hold together, periodic images included.

    A crystal is one group, and has the formula of its cell.
    """
    parts = fragments(len(structure), periodic_bonds(structure))
    return [str(Atoms(numbers=structure.numbers[part]).get_chemical_formula()) for part in parts]


def periodic_bonds(structure: AtomStructure) -> frozenset[Bond]:
    """The bonds (i, j), i < j, across cell boundaries too."""
    if not structure.is_periodic:
        return bonds_of(structure)
    from pyacemaker.structures.neighbours import neighbour_list

    radii = covalent_radii[structure.numbers]
    reach = 2.0 * BOND_FRACTION * float(radii.max())
    edges = neighbour_list(structure.positions, structure.cell, structure.pbc, reach)
    bonded = edges.distances < BOND_FRACTION * (radii[edges.i] + radii[edges.j])
    near = bonded & (edges.i < edges.j)
    return frozenset(zip(edges.i[near].tolist(), edges.j[near].tolist(), strict=True))


def checked_fragment(formula: str) -> str:
    """The Hill order of a chemical formula; `ValueError` where it is none."""
    try:
        atoms = Atoms(formula)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{formula!r} is no chemical formula such as H2 or CH3Cl") from error
    if not len(atoms):
        raise ValueError("an empty formula forbids nothing: leave it out")
    return str(atoms.get_chemical_formula())


def bond_length(positions: FloatArray, bond: Bond) -> float:
    """Å: the distance of the two atoms."""
    return float(np.linalg.norm(positions[bond[1]] - positions[bond[0]]))


def set_bond_length(
    positions: FloatArray, bond: Bond, length: float, kept_bonds: Iterable[Bond]
) -> FloatArray:
    """New positions in which `bond` = (fixed, moving) has `length` (Å), moved along its axis.

    Everything that `kept_bonds` ties to the moving atom moves with it, unless that includes the fixed one.
    """
    fixed, moving = bond
    axis = positions[moving] - positions[fixed]
    distance = np.linalg.norm(axis)
    group = next(part for part in fragments(len(positions), kept_bonds) if moving in part)
    group = np.array([moving]) if fixed in group else group
    moved = positions.copy()
    moved[group] += (length - distance) * axis / distance
    return moved
