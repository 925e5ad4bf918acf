"""Who is bonded to whom, and the fragments that bonds hold together."""

from collections.abc import Iterable

import numpy as np

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
