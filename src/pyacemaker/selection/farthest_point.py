"""Farthest-point selection: each structure as far as can be from those already chosen.

Gonzalez, Theor. Comput. Sci. 38, 293 (1985): no choice of n structures has less than half this one's largest
distance from a structure of the pool to the nearest chosen one.
"""

from typing import Literal

import numpy as np
from pydantic import PositiveFloat

from pyacemaker.selection.base import Selector
from pyacemaker.selection.direct import distinct_points
from pyacemaker.structures import FloatArray, IntArray


class FarthestPointSelector(Selector):
    """Structures that leave none of the pool far away; outliers come first. Deterministic.

    Distances are taken between the scaled principal components of DIRECT. The first structure is the one
    nearest to their mean. The answer does not depend on the order of the structures.
    """

    kind: Literal["farthest-point"] = "farthest-point"
    min_eigenvalue: PositiveFloat = 1.0
    """Principal components of the standardised features with a larger eigenvalue are kept (at least two)."""

    def pick(self, features: FloatArray, n: int, rng: np.random.Generator) -> IntArray:
        """`n` rows; `InsufficientDataError` where fewer differ."""
        points, rows = distinct_points(features, n, self.min_eigenvalue)
        return rows[farthest_points(points, n)]


def farthest_points(points: FloatArray, n: int) -> IntArray:
    """(n,) distinct indices of `points` (points, m) in the order of choice, from the one nearest the mean."""
    chosen = np.empty(n, dtype=np.int64)
    nearest = np.full(len(points), np.inf)
    best = int(np.argmin(_squared_distances(points, points.mean(axis=0))))
    for step in range(n):
        chosen[step] = best
        nearest = np.minimum(nearest, _squared_distances(points, points[best]))
        nearest[best] = -1.0  # never again, even where points coincide
        best = int(np.argmax(nearest))
    return chosen


def _squared_distances(points: FloatArray, centre: FloatArray) -> FloatArray:
    offsets = points - centre
    return np.asarray(np.einsum("ij,ij->i", offsets, offsets))
