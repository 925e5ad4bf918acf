"""Rotations about single bonds."""

from dataclasses import dataclass

import numpy as np
from ase.data import covalent_radii

from pyacemaker.generators.bonds import Bond, bond_length, bonds_of, fragments
from pyacemaker.structures import AtomStructure, FloatArray, IntArray

_SINGLE = 0.9  # of the sum of covalent radii: shorter bonds are double and do not turn


@dataclass(frozen=True)
class Torsion:
    """A bond that can turn: `bond` = (fixed atom, moving atom), and the indices that move with the latter."""

    bond: Bond
    moving: IntArray


def torsions_of(structure: AtomStructure) -> list[Torsion]:
    """Every bond about which a part of a molecule can turn: single, in no ring, with atoms at both ends.

    Bonds are found by covalent radii; the smaller part is the one that moves.
    """
    bonds = bonds_of(structure)
    found = []
    for bond in sorted(bonds):
        radii = covalent_radii[structure.numbers[list(bond)]].sum()
        if bond_length(structure.positions, bond) < _SINGLE * radii:
            continue
        parts = fragments(len(structure), bonds - {bond})
        first, second = (next(part for part in parts if atom in part) for atom in bond)
        if first is second or min(len(first), len(second)) < 2:
            continue
        found.append(Torsion(bond, second) if len(second) <= len(first) else Torsion(bond[::-1], first))
    return found


def turned(positions: FloatArray, torsion: Torsion, angle: float) -> FloatArray:
    """(n, 3): the moving part of `torsion` turned by `angle` (radians) about the bond, right-handed.

    Rodrigues' formula; the axis points from the fixed to the moving atom.
    """
    origin, end = positions[list(torsion.bond)]
    axis = (end - origin) / np.linalg.norm(end - origin)
    arm = positions[torsion.moving] - end
    along = np.outer(arm @ axis, axis)
    moved = positions.copy()
    moved[torsion.moving] = end + along + np.cos(angle) * (arm - along) + np.sin(angle) * np.cross(axis, arm)
    return moved


def torsion_scans(structure: AtomStructure, angles: int) -> list[FloatArray]:
    """Positions with one bond at a time turned by every multiple of 2π / `angles` but zero."""
    steps = 2.0 * np.pi * np.arange(1, angles) / max(angles, 1)
    return [turned(structure.positions, t, float(a)) for t in torsions_of(structure) for a in steps]


def random_torsions(structure: AtomStructure, count: int, rng: np.random.Generator) -> list[FloatArray]:
    """`count` positions with all bonds turned at random; none where fewer than two can turn."""
    torsions = torsions_of(structure)
    found = []
    for _ in range(count if len(torsions) > 1 else 0):
        positions = structure.positions
        for torsion in torsions:
            positions = turned(positions, torsion, float(rng.uniform(0.0, 2.0 * np.pi)))
        found.append(positions)
    return found
