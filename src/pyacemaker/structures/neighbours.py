"""Neighbour lists with periodic images."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyacemaker.errors import DataError

COINCIDENCE = 1e-8
"""Å: atoms closer than this are at the same place."""


@dataclass(frozen=True, eq=False)
class Edges:
    """Every pair of a centre i and a neighbour j (periodic images included) within a cutoff, sorted by i.

    i, j: (P,) atom indices. vectors: (P, 3), from i to j, Å. distances: (P,), Å. Each pair appears in both
    directions. An atom is a neighbour of its own images, never of itself.
    """

    i: NDArray[np.int64]
    j: NDArray[np.int64]
    vectors: NDArray[np.float64]
    distances: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.i)

    def offsets(self, atoms: int) -> NDArray[np.int64]:
        """(atoms + 1,) positions: the edges of centre i are those from offsets[i] to offsets[i + 1]."""
        return np.searchsorted(self.i, np.arange(atoms + 1)).astype(np.int64)


class EdgeMemory:
    """Memory that one search after the other uses: what an earlier one returned is then void.

    Fresh memory costs a large structure more time than the search itself.
    """

    def __init__(self) -> None:
        self.arrays = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty((0, 3)), np.empty(0))


def neighbour_list(
    positions: ArrayLike, cell: ArrayLike, pbc: ArrayLike, cutoff: float, memory: EdgeMemory | None = None
) -> Edges:
    """The edges of a structure of n atoms, in an order that depends on the input alone.

    positions: (n, 3), Å. cell: (3, 3), Å, rows are lattice vectors; those of non-periodic directions may be
    zero. pbc: three booleans, or one for all. cutoff: Å; a cell may be smaller than it. memory: where the
    edges may be written, for callers that are done with them before they ask for others.
    Raises `DataError` where two atoms coincide, where a periodic direction has no cell vector, or where a
    coordinate is not finite.
    """
    edges = _edges(positions, cell, pbc, cutoff, memory or EdgeMemory())
    _refuse_coincidence(edges)
    return edges


def closest_contact(
    radii: NDArray[np.float64], positions: ArrayLike, cell: ArrayLike, pbc: ArrayLike
) -> tuple[float, int, int]:
    """The pair that is closest in terms of its radii: distance / (r_i + r_j), and the two atoms.

    radii: (n,), Å. Looked for among the pairs nearer than twice the largest radius, periodic images included;
    (∞, 0, 0) where there is none. Coinciding atoms give 0. Raises `DataError` as `neighbour_list` does else.
    """
    reach = 2.0 * float(np.max(radii, initial=0.0))
    edges = None if reach == 0.0 else _edges(positions, cell, pbc, reach, EdgeMemory())
    if edges is None or not len(edges):
        return np.inf, 0, 0
    ratio = edges.distances / (radii[edges.i] + radii[edges.j])
    closest = int(np.argmin(ratio))
    return float(ratio[closest]), int(edges.i[closest]), int(edges.j[closest])


def _edges(positions: ArrayLike, cell: ArrayLike, pbc: ArrayLike, cutoff: float, memory: EdgeMemory) -> Edges:
    points = np.ascontiguousarray(positions, dtype=float).reshape(-1, 3)
    periodic = np.empty(3, dtype=bool)
    periodic[:] = pbc
    box = _complete_cell(np.array(cell, dtype=float), periodic)
    if not (np.isfinite(points).all() and np.isfinite(box).all()):
        raise DataError("positions or cell hold NaN or infinite numbers; expected finite coordinates in Å")
    if len(points) < (1 if periodic.any() else 2):
        return Edges(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros(0))
    return _search(points, box, periodic, float(cutoff), memory)


def _search(
    points: NDArray[np.float64],
    box: NDArray[np.float64],
    periodic: NDArray[np.bool_],
    cutoff: float,
    memory: EdgeMemory,
) -> Edges:
    from pyacemaker.structures.cell_list import search

    count, memory.arrays = search(points, box, np.linalg.inv(box), periodic, cutoff, memory.arrays)
    i, j, vectors, distances = memory.arrays
    return Edges(i[:count], j[:count], vectors[:count], distances[:count])


def _complete_cell(cell: NDArray[np.float64], periodic: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The cell with missing vectors of non-periodic directions replaced by unit normals."""
    if not periodic.any():
        return np.eye(3)
    present = np.linalg.norm(cell, axis=1) > 0.0
    if np.any(periodic & ~present):
        raise DataError(
            f"pbc is {periodic.tolist()} but a periodic direction has no cell vector; set the cell"
        )
    if not present.all():
        # unit vectors orthogonal to the vectors that are there
        normals = (
            np.linalg.svd(cell[present], full_matrices=True)[2][present.sum() :]
            if present.any()
            else np.eye(3)
        )
        cell[~present] = normals
    if abs(np.linalg.det(cell)) < 1e-12 * np.prod(np.linalg.norm(cell, axis=1)):
        raise DataError("the cell vectors lie in one plane; expected a cell with a volume")
    return cell


def _refuse_coincidence(edges: Edges) -> None:
    if len(edges) == 0:
        return
    closest = int(np.argmin(edges.distances))
    if edges.distances[closest] < COINCIDENCE:
        i, j = sorted((int(edges.i[closest]), int(edges.j[closest])))
        raise DataError(
            f"atoms {i} and {j} are {edges.distances[closest]:.1e} Å apart; move one of them or remove it"
        )
