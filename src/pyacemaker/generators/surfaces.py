"""Low-index slabs with the smallest surface cells."""

import itertools
import math
from collections.abc import Iterator

import numpy as np

from pyacemaker.generators.prototypes import are_metals
from pyacemaker.structures import AtomStructure, FloatArray, IntArray

_REACH = 3  # lattice vectors and Miller indices that are looked at
_LAYER = 0.2  # Å: atoms this near along the normal are one layer


def low_index_slabs(
    structure: AtomStructure, n: int, *, thickness: float, vacuum: float, max_atoms: int
) -> list[AtomStructure]:
    """Slabs of the `n` kinds of surface whose planes are farthest apart, each with its smallest cell.

    thickness: Å, that a slab has at least, unless it would hold more than `max_atoms`; slabs that are thinner
    than two planes are left out. vacuum: Å between a slab and its image. Of compounds with non-metals,
    surfaces that would be charged are left out where there are others. The third cell vector is the normal;
    all directions are periodic.
    """
    found = []
    for miller in surface_planes(structure, n):
        stacked = _stacked(structure, miller, thickness, max_atoms)
        if stacked is not None:
            found.append(_opened(stacked, vacuum))
    return found


def surface_planes(structure: AtomStructure, n: int) -> list[tuple[int, int, int]]:
    """Miller indices, in the structure's own cell, of `n` planes that differ in spacing or surface cell."""
    reciprocal = np.linalg.inv(structure.cell).T
    steps = range(-_REACH, _REACH + 1)
    half = [h for h in itertools.product(steps, steps, steps) if h > (0, 0, 0)]
    planes = [h for h in half if math.gcd(*h) == 1]
    planes.sort(key=lambda h: (round(float(np.linalg.norm(h @ reciprocal)), 6), [-x for x in h]))
    kinds: dict[tuple[float, ...], tuple[int, int, int]] = {}
    for h in planes[: 12 * n]:
        kinds.setdefault(_kind(structure, h), h)
    neutral = [h for kind, h in kinds.items() if kind[0] == 0.0]
    return (neutral or list(kinds.values()))[:n]


def _kind(structure: AtomStructure, miller: tuple[int, int, int]) -> tuple[float, ...]:
    """Equal for equivalent planes: whether the surface is polar, and the surface cell."""
    cell = _surface_cell(structure.cell, miller)
    in_plane = [float(np.linalg.norm(v)) for v in (cell[0], cell[1], cell[0] + cell[1], cell[0] - cell[1])]
    return (float(_is_polar(_recut(structure, cell))), *np.round(sorted(in_plane), 2).tolist())


def _is_polar(oriented: AtomStructure) -> bool:
    """Whether stacked layers of ions would make a dipole: their order is not the same from both sides."""
    if are_metals(oriented.symbols):
        return False
    normal = _normal(oriented.cell)
    layers = list(_layers(oriented.positions @ normal, float(oriented.cell[2] @ normal)))
    contents = [sorted(oriented.numbers[layer].tolist()) for layer in layers]
    shares = [np.unique(content, return_counts=True) for content in contents]
    alike = all(
        np.array_equal(z, shares[0][0]) and np.allclose(n / n.sum(), shares[0][1] / shares[0][1].sum())
        for z, n in shares
    ) and len(shares[0][0]) == len(set(oriented.numbers.tolist()))
    return not alike and contents != contents[::-1]


def _layers(heights: FloatArray, period: float) -> Iterator[IntArray]:
    """Groups of atoms (indices) between gaps along the normal, from the widest gap upwards."""
    wrapped = np.mod(heights, period)
    order = np.argsort(wrapped, kind="stable")
    gaps = np.diff(wrapped[order], append=wrapped[order[0]] + period)
    order = np.roll(order, -(int(np.argmax(np.round(gaps, 4))) + 1))
    gaps = np.roll(gaps, -(int(np.argmax(np.round(gaps, 4))) + 1))
    yield from (np.array(part) for part in np.split(order, np.flatnonzero(gaps[:-1] > _LAYER) + 1))


def _normal(cell: FloatArray) -> FloatArray:
    normal = np.cross(cell[0], cell[1])
    return np.asarray(normal / np.linalg.norm(normal))


def _surface_cell(cell: FloatArray, miller: tuple[int, int, int]) -> FloatArray:
    """(3, 3): two short lattice vectors in the plane, and one that leads to the next plane, right-handed."""
    grid = np.array(list(itertools.product(range(-_REACH, _REACH + 1), repeat=3)))
    grid = grid[np.argsort(np.round(np.linalg.norm(grid @ cell, axis=1), 6), kind="stable")][1:]
    step = grid @ np.array(miller)
    flat = grid[step == 0] @ cell
    first = flat[0]
    second = next(v for v in flat if np.linalg.norm(np.cross(first, v)) > 1e-6)
    third = (grid[step == 1] @ cell)[0]
    found = np.array([first, second, third])
    return found if np.linalg.det(found) > 0 else found * np.array([[1.0], [-1.0], [1.0]])


def _recut(structure: AtomStructure, cell: FloatArray) -> AtomStructure:
    """The same crystal in another primitive `cell`."""
    fractions = structure.positions @ np.linalg.inv(cell)
    return structure.replace(
        positions=(fractions - np.floor(fractions + 1e-9)) @ cell,
        cell=cell,
        labels=None,
        label_weights=None,
    )


def _stacked(
    structure: AtomStructure, miller: tuple[int, int, int], thickness: float, max_atoms: int
) -> AtomStructure | None:
    """Enough planes on each other, cut in the widest gap between layers; None where two do not fit."""
    cut = _recut(structure, _surface_cell(structure.cell, miller))
    period = float(cut.cell[2] @ _normal(cut.cell))
    fitting = max_atoms // len(cut)
    repeats = min(math.ceil(thickness / period) + 1, fitting)
    if repeats < 2:
        return None
    first = next(_layers(cut.positions @ _normal(cut.cell), period))
    start = float(np.mod(cut.positions[first[0]] @ _normal(cut.cell), period)) - 1e-6
    heights = cut.positions @ _normal(cut.cell)
    lifted = cut.positions - np.floor((heights - start) / period)[:, None] * cut.cell[2]
    positions = np.concatenate([lifted + k * cut.cell[2] for k in range(repeats)])
    return cut.replace(numbers=np.tile(cut.numbers, repeats), positions=positions)


def _opened(slab: AtomStructure, vacuum: float) -> AtomStructure:
    """The slab with its third cell vector along the normal, and so much vacuum."""
    normal = _normal(slab.cell)
    heights = slab.positions @ normal
    height = float(np.ptp(heights)) + vacuum
    cell = np.array([slab.cell[0], slab.cell[1], height * normal])
    shifted = slab.positions + (0.5 * height - 0.5 * (heights.min() + heights.max())) * normal
    fractions = shifted @ np.linalg.inv(cell)
    fractions[:, :2] -= np.floor(fractions[:, :2] + 1e-9)
    return slab.replace(positions=fractions @ cell, cell=cell, pbc=np.ones(3, dtype=bool))
