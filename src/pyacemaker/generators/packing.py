"""Atoms and molecules thrown into a periodic box without overlaps."""

import numpy as np
from ase.data import atomic_masses, covalent_radii

from pyacemaker.structures import AtomStructure, FloatArray, IntArray
from pyacemaker.structures.neighbours import neighbour_list

_DENSEST = 0.5  # volume fraction of hard spheres that random packing reaches without effort
_ITERATIONS = 200
_ATTEMPTS = 200
_SHRINK = 0.95
_AMU_PER_ANGSTROM3_IN_G_PER_CM3 = 1.66053906660


def cubic_cell(volume: float) -> FloatArray:
    """(3, 3), Å: a cube of `volume` Å³."""
    return np.asarray(volume ** (1 / 3) * np.eye(3))


def volume_at_density(numbers: IntArray, density: float) -> float:
    """Å³ of these atoms at `density`, g/cm³."""
    return float(atomic_masses[numbers].sum() * _AMU_PER_ANGSTROM3_IN_G_PER_CM3 / density)


def packed_atoms(
    numbers: IntArray, volume: float, contact: float, rng: np.random.Generator, tag: str
) -> AtomStructure:
    """Atoms at random in a cube, then pushed apart until none are nearer than they may be.

    volume: Å³. contact: smallest distance over the sum of covalent radii; less where so many spheres do not
    fit at random.
    """
    radii = covalent_radii[numbers]
    spheres = 4.0 / 3.0 * np.pi * float(np.sum(radii**3))
    contact = min(contact, (_DENSEST * volume / spheres) ** (1 / 3))
    cell = cubic_cell(volume)
    positions = rng.uniform(size=(len(numbers), 3)) @ cell
    done = False
    while not done:
        positions, done = _pushed_apart(positions, cell, contact * radii, rng)
        contact *= _SHRINK
    return AtomStructure(numbers, positions, cell, np.ones(3, dtype=bool), tag=tag)


def _pushed_apart(
    positions: FloatArray, cell: FloatArray, radii: FloatArray, rng: np.random.Generator
) -> tuple[FloatArray, bool]:
    """Positions after half of every overlap is taken back, again and again; and whether none is left."""
    reach = 2.0 * float(radii.max())
    positions = positions + 1e-3 * rng.standard_normal(positions.shape)  # none exactly on each other
    for _ in range(_ITERATIONS):
        edges = neighbour_list(positions, cell, True, reach)
        overlap = radii[edges.i] + radii[edges.j] - edges.distances
        inside = overlap > 0.0
        if not inside.any():
            return positions, True
        push = (0.5 * (overlap[inside] + 1e-3) / edges.distances[inside])[:, None] * edges.vectors[inside]
        move = np.zeros_like(positions)
        np.add.at(move, edges.i[inside], -push)
        positions = np.mod((positions + move) @ np.linalg.inv(cell), 1.0) @ cell
    return positions, False


def packed_molecules(
    molecule: AtomStructure, n: int, volume: float, contact: float, rng: np.random.Generator, tag: str
) -> AtomStructure:
    """`n` copies of a rigid molecule at random places and turns in a cube of `volume` Å³.

    contact: smallest distance between atoms of different molecules over the sum of their covalent radii and
    1 Å; less where the molecules do not fit at random.
    """
    cell = cubic_cell(volume)
    centred = molecule.positions - molecule.positions.mean(axis=0)
    while True:
        placed = _placed(centred, covalent_radii[molecule.numbers] + 0.5, n, cell, contact, rng)
        if placed is not None:
            return AtomStructure(
                np.tile(molecule.numbers, n),
                placed,
                cell,
                np.ones(3, dtype=bool),
                charge=n * molecule.charge,
                tag=tag,
            )
        contact *= _SHRINK


def _placed(
    centred: FloatArray, radii: FloatArray, n: int, cell: FloatArray, contact: float, rng: np.random.Generator
) -> FloatArray | None:
    """(n · atoms, 3): one molecule after the other where it fits; None where one finds no place."""
    from scipy.spatial.transform import Rotation

    box = float(cell[0, 0])
    placed = np.empty((0, 3))
    for count in range(n):
        for _ in range(_ATTEMPTS):
            turned = centred @ Rotation.random(rng=rng).as_matrix().T + rng.uniform(size=3) * box
            apart = placed[:, None] - turned[None]
            distance = np.linalg.norm(apart - box * np.rint(apart / box), axis=2)
            if np.all(distance >= contact * (np.tile(radii, count)[:, None] + radii[None])):
                placed = np.concatenate([placed, turned])
                break
        else:
            return None
    return placed
