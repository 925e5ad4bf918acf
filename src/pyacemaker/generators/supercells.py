"""Supercells that keep periodic images as far apart as their number of atoms allows."""

import itertools

import numpy as np

from pyacemaker.structures import AtomStructure, FloatArray, IntArray

_REACH = 4  # lattice vectors are combinations of the reduced cell's with coefficients up to this
_SAME = 1e-4  # Å


def compact_supercell(structure: AtomStructure, max_atoms: int) -> AtomStructure:
    """The supercell of at most `max_atoms` atoms whose nearest periodic images are farthest apart.

    Of equally good ones the smallest. All superlattices of each size are compared (in Hermite normal form,
    Santoro & Mighell, Acta Cryst. A 28, 284 (1972)), so the cell need not be a multiple along the given axes;
    its vectors are Minkowski-reduced. A structure that has no room to grow comes back as it is.
    """
    best, best_image = np.eye(3, dtype=np.int64), 0.0
    vectors = _short_vectors(structure.cell)
    volume = abs(float(np.linalg.det(structure.cell)))
    for size in range(max(1, max_atoms // len(structure)), 0, -1):
        if (2.0**0.5 * size * volume) ** (1 / 3) < best_image - _SAME:  # no lattice packs spheres denser
            break
        candidates = _superlattices(size)
        images = nearest_image(candidates, structure.cell, vectors)
        chosen = int(np.argmax(np.round(images, 6)))
        if images[chosen] > best_image - _SAME:
            best, best_image = candidates[chosen], float(images[chosen])
    return structure if abs(np.linalg.det(best)) < 1.5 else repeated(structure, best)


def repeated(structure: AtomStructure, multiples: IntArray) -> AtomStructure:
    """The supercell whose vectors are the rows of `multiples` (3, 3) times the cell, Minkowski-reduced."""
    from ase.build import make_supercell
    from ase.geometry import minkowski_reduce

    atoms = make_supercell(structure.to_atoms(), multiples, wrap=False)
    cell, _ = minkowski_reduce(np.array(atoms.cell))
    atoms.set_cell(cell)
    atoms.wrap(eps=1e-6)
    order = np.lexsort((*np.round(atoms.get_scaled_positions(), 6).T, atoms.numbers))
    return structure.replace(
        numbers=atoms.numbers[order],
        positions=atoms.positions[order],
        cell=np.array(atoms.cell),
        labels=None,
        label_weights=None,
    )


def nearest_image(multiples: IntArray, cell: FloatArray, vectors: IntArray | None = None) -> FloatArray:
    """(n,) Å: the shortest vector of each superlattice `multiples` (n, 3, 3) of `cell`."""
    vectors = _short_vectors(cell) if vectors is None else vectors
    coordinates = np.einsum("mi,nij->nmj", vectors, np.linalg.inv(multiples))
    inside = np.abs(coordinates - np.rint(coordinates)).max(axis=2) < 1e-6
    lengths = np.linalg.norm(vectors @ cell, axis=1)
    return np.asarray(np.where(inside, lengths, np.inf).min(axis=1))


def _short_vectors(cell: FloatArray) -> IntArray:
    """(m, 3) integer coordinates in `cell` of the shortest lattice vectors, zero and inverses left out."""
    from ase.geometry import minkowski_reduce

    _, operation = minkowski_reduce(cell)
    steps = range(-_REACH, _REACH + 1)
    half = [v for v in itertools.product(steps, repeat=3) if v > (0, 0, 0)]
    return np.asarray(np.array(half, dtype=np.int64) @ operation)


def _superlattices(size: int) -> IntArray:
    """(n, 3, 3): every superlattice with `size` times the volume, as Hermite normal forms."""
    found = []
    for a in (d for d in range(1, size + 1) if size % d == 0):
        for c in (d for d in range(1, size // a + 1) if (size // a) % d == 0):
            e = size // a // c
            for b, d, f in itertools.product(range(c), range(e), range(e)):
                found.append([[a, b, d], [0, c, f], [0, 0, e]])
    return np.array(found, dtype=np.int64)
