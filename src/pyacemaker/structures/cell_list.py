"""The search behind `neighbour_list`: atoms sorted into bins, every bin looked at with those around it."""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Memory = tuple[Integers, Integers, Floats, Floats]

BINS_PER_CUTOFF = 1.0
"""Bins are about the cutoff over this wide: narrower ones hold fewer atoms in vain, but are more."""

SLACK = 1e-6
"""Å that the bins around an atom reach beyond the cutoff, for rounding."""


@njit(cache=True)  # type: ignore[untyped-decorator]
def search(
    points: Floats,
    cell: Floats,
    inverse: Floats,
    periodic: NDArray[np.bool_],
    cutoff: float,
    memory: Memory,
) -> tuple[int, Memory]:
    """The number of pairs within the cutoff; and i, j, vectors and distances, longer: see `neighbours.Edges`.

    points: (n, 3). cell, inverse: (3, 3), of full rank, and its inverse. memory: four arrays to write to;
    longer ones are returned where it does not suffice. The neighbours of an atom come in the order of the
    bins around it, and of their numbers within a bin.
    """
    inside, fractions = _wrap(points, cell, inverse, periodic)
    low, bins, reach = _grid(fractions, inverse, periodic, cutoff)
    home = _homes(fractions, low, bins)
    starts, order = _sort(home, bins)
    columns = np.empty((3, len(points)))
    for place in range(len(points)):
        for axis in range(3):
            columns[axis, place] = inside[order[place], axis]
    near = np.empty(len(points), np.int64)
    image, origin = np.empty(3, np.int64), np.empty(3)
    count = 0
    for atom in range(len(points)):
        ranges = _ranges(home[atom], reach, bins, periodic)
        for a in range(ranges[0, 0], ranges[0, 1]):
            for b in range(ranges[1, 0], ranges[1, 1]):
                begin = ranges[2, 0]
                while begin < ranges[2, 1]:
                    # the bins of a row that lie in one image of the cell hold consecutive atoms
                    image[0], image[1], image[2] = a // bins[0], b // bins[1], begin // bins[2]
                    end = min(ranges[2, 1], (image[2] + 1) * bins[2])
                    row = ((a - image[0] * bins[0]) * bins[1] + b - image[1] * bins[1]) * bins[2]
                    first, last = (
                        starts[row + begin - image[2] * bins[2]],
                        starts[row + end - image[2] * bins[2]],
                    )
                    begin = end
                    _look_from(inside[atom], image, cell, origin)
                    found = _candidates(columns, first, last, origin, cutoff, near)
                    if count + found > len(memory[0]):
                        memory = _grown(memory, found)
                    here = -1 if image[0] or image[1] or image[2] else atom
                    count = _append(atom, here, near[:found], columns, order, origin, memory, count)
    return count, memory


@njit(cache=True)  # type: ignore[untyped-decorator]
def _look_from(inside: Floats, image: Integers, cell: Floats, origin: Floats) -> None:
    """Where an atom would be if the image of the cell were the cell."""
    for axis in range(3):
        origin[axis] = inside[axis]
        for k in range(3):
            origin[axis] -= image[k] * cell[k, axis]


@njit(cache=True)  # type: ignore[untyped-decorator]
def _append(
    atom: int,
    here: int,
    near: Integers,
    columns: Floats,
    order: Integers,
    origin: Floats,
    memory: Memory,
    count: int,
) -> int:
    """Add the pairs of an atom with those near it, `here` left out; returns the number of all pairs."""
    i, j, vectors, distances = memory
    for place in near:
        other = order[place]
        if other == here:
            continue
        square = 0.0
        for axis in range(3):
            difference = columns[axis, place] - origin[axis]
            vectors[count, axis] = difference
            square += difference * difference
        i[count], j[count], distances[count] = atom, other, math.sqrt(square)
        count += 1
    return count


@njit(cache=True)  # type: ignore[untyped-decorator]
def _ranges(home: Integers, reach: Integers, bins: Integers, periodic: NDArray[np.bool_]) -> Integers:
    """(3, 2): the bins around one, first and last + 1; those below 0 and beyond the last are of images."""
    ranges = np.empty((3, 2), np.int64)
    for axis in range(3):
        ranges[axis, 0], ranges[axis, 1] = home[axis] - reach[axis], home[axis] + reach[axis] + 1
        if not periodic[axis]:
            ranges[axis, 0], ranges[axis, 1] = max(ranges[axis, 0], 0), min(ranges[axis, 1], bins[axis])
    return ranges


@njit(cache=True)  # type: ignore[untyped-decorator]
def _wrap(
    points: Floats, cell: Floats, inverse: Floats, periodic: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Positions inside the cell (in its periodic directions), and their fractions of its vectors."""
    fractions, inside = np.zeros((len(points), 3)), np.empty((len(points), 3))
    for atom in range(len(points)):
        for axis in range(3):
            inside[atom, axis] = points[atom, axis]
        for axis in range(3):
            for k in range(3):
                fractions[atom, axis] += points[atom, k] * inverse[k, axis]
            if periodic[axis]:
                shift = math.floor(fractions[atom, axis])
                fractions[atom, axis] -= shift
                for k in range(3):
                    inside[atom, k] -= shift * cell[axis, k]
    return inside, fractions


@njit(cache=True)  # type: ignore[untyped-decorator]
def _grid(
    fractions: Floats, inverse: Floats, periodic: NDArray[np.bool_], cutoff: float
) -> tuple[Floats, Integers, Integers]:
    """Where the bins begin and how many per unit of the cell (3, 2); their numbers; how many to look at."""
    low = np.empty((3, 2))
    bins, reach = np.empty(3, np.int64), np.empty(3, np.int64)
    largest = math.ceil((8.0 * len(fractions)) ** (1.0 / 3.0)) + 4
    for axis in range(3):
        height = 1.0 / math.sqrt(inverse[0, axis] ** 2 + inverse[1, axis] ** 2 + inverse[2, axis] ** 2)
        begin, extent = 0.0, 1.0
        if not periodic[axis]:
            begin = end = fractions[0, axis]
            for atom in range(len(fractions)):
                begin, end = min(begin, fractions[atom, axis]), max(end, fractions[atom, axis])
            extent = end - begin
        length = extent * height
        bins[axis] = min(max(1, int(length / cutoff * BINS_PER_CUTOFF)), largest)
        reach[axis] = bins[axis]
        if periodic[axis] or bins[axis] > 1:
            reach[axis] = math.ceil((cutoff + SLACK) * bins[axis] / length)
        low[axis, 0] = begin
        low[axis, 1] = bins[axis] / extent if extent > 0.0 else 0.0
    return low, bins, reach


@njit(cache=True)  # type: ignore[untyped-decorator]
def _homes(fractions: Floats, low: Floats, bins: Integers) -> Integers:
    """(n, 3): the bin of each atom."""
    home = np.empty(fractions.shape, np.int64)
    for atom in range(len(fractions)):
        for axis in range(3):
            place = int((fractions[atom, axis] - low[axis, 0]) * low[axis, 1])
            home[atom, axis] = min(max(place, 0), bins[axis] - 1)
    return home


@njit(cache=True)  # type: ignore[untyped-decorator]
def _sort(home: Integers, bins: Integers) -> tuple[Integers, Integers]:
    """The first place of every bin, and the atoms in the order of their bins, then of their numbers."""
    flat = np.empty(len(home), np.int64)
    starts = np.zeros(bins[0] * bins[1] * bins[2] + 1, np.int64)
    for atom in range(len(home)):
        flat[atom] = (home[atom, 0] * bins[1] + home[atom, 1]) * bins[2] + home[atom, 2]
        starts[flat[atom] + 1] += 1
    for place in range(1, len(starts)):
        starts[place] += starts[place - 1]
    free, order = np.empty(len(starts), np.int64), np.empty(len(home), np.int64)
    for place in range(len(starts)):
        free[place] = starts[place]
    for atom in range(len(home)):
        order[free[flat[atom]]] = atom
        free[flat[atom]] += 1
    return starts, order


@njit(cache=True)  # type: ignore[untyped-decorator]
def _candidates(columns: Floats, first: int, last: int, origin: Floats, cutoff: float, near: Integers) -> int:
    """Write the places from `first` to `last` that are within the cutoff of `origin` to `near`."""
    x, y, z, largest, found = origin[0], origin[1], origin[2], cutoff * cutoff, 0
    for place in range(first, last):
        dx, dy, dz = columns[0, place] - x, columns[1, place] - y, columns[2, place] - z
        near[found] = place
        found += dx * dx + dy * dy + dz * dz < largest
    return found


@njit(cache=True)  # type: ignore[untyped-decorator]
def _grown(memory: Memory, more: int) -> Memory:
    """The four arrays with room for at least `more` pairs in addition."""
    i, j, vectors, distances = memory
    size = 2 * len(i) + more + 1024
    longer_i, longer_j = np.empty(size, np.int64), np.empty(size, np.int64)
    longer_vectors, longer_distances = np.empty((size, 3)), np.empty(size)
    for place in range(len(i)):
        longer_i[place], longer_j[place], longer_distances[place] = i[place], j[place], distances[place]
        for axis in range(3):
            longer_vectors[place, axis] = vectors[place, axis]
    return longer_i, longer_j, longer_vectors, longer_distances
