"""DIRECT: dimensionality reduction, clustering, one structure per cluster.

Qi, Ko, Wood, Pham, Ong, npj Comput. Mater. 10, 43 (2024). Standardised features are reduced to the principal
components whose eigenvalue exceeds 1 (Kaiser's rule), each scaled by its share of the explained variance;
BIRCH gathers the points into sub-clusters, which are merged to exactly n clusters; each cluster gives the
structure nearest to its centroid.

BIRCH and the merging see no more than some ten thousand points: beyond that, a division of the space into
boxes of about equal size comes first, and the centroids of the boxes take the place of the points.
"""

import hashlib
import logging
from typing import Literal

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from pyacemaker.errors import InsufficientDataError
from pyacemaker.selection.base import Selector
from pyacemaker.selection.cells import divide_by_number, divide_evenly
from pyacemaker.structures import FloatArray, IntArray

log = logging.getLogger(__name__)

_DECIMALS = 6  # standardised features that agree to this are the same structure, e.g. a rotated copy
_CLUSTERED = 10_000  # points, or twice n, that clustering is given; more are gathered in boxes first
_MERGED = 8_000  # sub-clusters that are merged at once, at a cost of their number squared
_BISECTIONS = 40
_RESOLUTION = 1e-6  # relative width of the bracket of a threshold at which the search ends
_TREE_COLUMNS = 12  # beyond so many, comparing all pairs finds the nearest sooner than a k-d tree
_PAIRS = 8_000_000  # distances held at a time


class DirectSelector(Selector):
    """Structures that cover the feature space evenly: one per cluster, n clusters.

    The answer does not depend on the order of the structures, nor on the random state.
    """

    kind: Literal["direct"] = "direct"
    min_eigenvalue: PositiveFloat = 1.0
    """Principal components of the standardised features with a larger eigenvalue are kept (at least two)."""
    max_subclusters_per_cluster: PositiveInt = 8
    """The BIRCH threshold makes n to this · n sub-clusters; merging them costs their number squared."""

    def pick(self, features: FloatArray, n: int, rng: np.random.Generator) -> IntArray:
        """The n rows nearest to the centroids of n clusters; `InsufficientDataError` below n unique rows."""
        points, rows = distinct_points(features, n, self.min_eigenvalue)
        return rows[_nearest_to_centroids(points, self._clusters(points, n))]

    def _clusters(self, points: FloatArray, n: int) -> IntArray:
        """(points,) labels 0 … n−1 of n clusters, none of them empty."""
        if n in (1, len(points)):
            return np.arange(len(points), dtype=np.int64) % n
        fewer = max(_CLUSTERED, 2 * n)
        if len(points) > fewer:
            boxes = divide_evenly(points, fewer)
            return self._clusters(_means(points, boxes), n)[boxes]
        assignment = _subclusters(points, n, self.max_subclusters_per_cluster * n)
        return _merged(_means(points, assignment), n)[assignment]


def distinct_points(features: FloatArray, n: int, min_eigenvalue: float = 1.0) -> tuple[FloatArray, IntArray]:
    """The scaled principal components (points, m) of the rows that differ, sorted, and their row indices.

    Rows whose standardised features agree to six decimals are one point, at the first of them. Bits and order
    do not depend on the order of the rows. Raises `InsufficientDataError` for fewer than `n` points.
    """
    first, unique = _unique_rows(features)
    if n > len(first):
        raise InsufficientDataError(
            f"{n} structures were asked for but only {len(first)} of the {len(features)} differ in their "
            "features: ask for fewer, or make a larger pool"
        )
    points = principal_components(unique, min_eigenvalue)
    order = np.lexsort(points.T[::-1])
    return points[order], first[order]


def principal_components(features: FloatArray, min_eigenvalue: float = 1.0) -> FloatArray:
    """(structures, m) principal components of the standardised `features` (structures, d), scaled.

    Kept: eigenvalues above `min_eigenvalue`, but at least two (or all, where d < 2). Component k is
    multiplied by λ_k / Σλ; its sign is fixed by its largest coefficient.
    """
    standard = _standardised(features)
    if not standard.shape[1]:
        return np.zeros((len(features), 1))
    values, vectors = np.linalg.eigh(standard.T @ standard / max(len(standard) - 1, 1))
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = min(max(int(np.sum(values > min_eigenvalue)), 2), len(values))
    basis = vectors[:, :kept]
    largest = basis[np.argmax(np.abs(basis), axis=0), np.arange(kept)]
    scale = np.sign(largest) * values[:kept] / values.sum()
    log.debug("%d principal components explain %.1f %%", kept, 100 * values[:kept].sum() / values.sum())
    return np.asarray(standard @ (basis * scale))


def _standardised(features: FloatArray) -> FloatArray:
    """Columns with mean 0 and standard deviation 1; columns that do not vary are dropped."""
    deviation = features.std(axis=0)
    largest = np.maximum(features.max(axis=0), -features.min(axis=0))
    varies = deviation > 1e-12 * np.maximum(largest, 1e-300)
    standard = features[:, varies]
    standard -= standard.mean(axis=0)
    standard /= deviation[varies]
    return standard


def _unique_rows(features: FloatArray) -> tuple[IntArray, FloatArray]:
    """Indices of the first row of each kind, in an order decided by content alone, and those rows."""
    order = _content_order(features)
    seen: dict[bytes, int] = {}
    for index, row in zip(order, _standardised(features[order]), strict=True):
        seen.setdefault(_digest(np.round(row, _DECIMALS)), int(index))
    first = np.array(list(seen.values()), dtype=np.int64)
    return first, features[first]


def _content_order(features: FloatArray) -> IntArray:
    """An order of the rows that a shuffle of the input does not change (equal rows: by index)."""
    digests = np.array([_digest(row) for row in features], dtype="S32")
    return np.argsort(digests, kind="stable")


def _digest(row: FloatArray) -> bytes:
    positive = row + 0.0  # turns -0 into 0
    return hashlib.blake2b(positive.tobytes(), digest_size=16).hexdigest().encode()


def _subclusters(points: FloatArray, fewest: int, most: int) -> IntArray:
    """(points,) labels of k BIRCH sub-clusters, fewest ≤ k ≤ most, none empty.

    The threshold is bisected. Where none gives such a number (all points equally far from each other), boxes
    stand in for the sub-clusters.
    """
    if len(points) <= most:
        return np.arange(len(points), dtype=np.int64)
    low, high = 0.0, 4.0 * float(np.sqrt(points.var(axis=0).sum()))
    threshold, low, high = _bisect_threshold(points, fewest, max(2 * fewest, fewest + 1), low, high)
    for _ in range(_BISECTIONS):
        assignment = _assign(points, _birch_centres(points, threshold))
        count = int(assignment.max()) + 1
        if fewest <= count <= most:
            return assignment
        low, high = (threshold, high) if count > most else (low, threshold)
        threshold = 0.5 * (low + high)
        if high - low <= _RESOLUTION * high:
            break
    log.debug("no BIRCH threshold gives %d to %d sub-clusters of %d points", fewest, most, len(points))
    return divide_evenly(points, most)


def _bisect_threshold(
    points: FloatArray, fewest: int, most: int, low: float, high: float
) -> tuple[float, float, float]:
    """(threshold, low, high): the threshold that gives `fewest` to `most` sub-clusters, and its bracket."""
    threshold = 0.1 * high
    for _ in range(_BISECTIONS):
        count = len(_birch_centres(points, threshold))
        if fewest <= count <= most or high - low <= _RESOLUTION * high:
            break
        low, high = (threshold, high) if count > most else (low, threshold)
        threshold = 0.5 * (low + high)
    return threshold, low, high


def _merged(centroids: FloatArray, n: int) -> IntArray:
    """(sub-clusters,) labels 0 … n−1 of n clusters of neighbouring `centroids` (sub-clusters, m).

    Ward's method; in parts of the space, each with its share of the n, where the sub-clusters are many.
    """
    if len(centroids) == n:
        return np.arange(n, dtype=np.int64)
    parts = divide_by_number(centroids, _MERGED)
    shares = np.diff(np.cumsum([0, *(len(part) for part in parts)]) * n // len(centroids))
    labels = np.empty(len(centroids), dtype=np.int64)
    for part, share, before in zip(parts, shares, np.cumsum(shares) - shares, strict=True):
        labels[part] = before + _ward(centroids[part], int(share))
    return labels


def _ward(centroids: FloatArray, n: int) -> IntArray:
    from sklearn.cluster import AgglomerativeClustering

    if n in (1, len(centroids)):
        return np.arange(len(centroids), dtype=np.int64) % n
    merging = AgglomerativeClustering(n_clusters=n, linkage="ward")
    return np.asarray(merging.fit_predict(centroids), dtype=np.int64)


def _birch_centres(points: FloatArray, threshold: float) -> FloatArray:
    from sklearn.cluster import Birch

    tree = Birch(threshold=threshold, n_clusters=None, compute_labels=False).fit(points)
    return np.asarray(tree.subcluster_centers_)


def _assign(points: FloatArray, centres: FloatArray) -> IntArray:
    """(points,) index of the nearest centre, renumbered without gaps."""
    from scipy.spatial import cKDTree

    by_tree = points.shape[1] <= _TREE_COLUMNS
    nearest = cKDTree(centres).query(points)[1] if by_tree else _nearest(points, centres)
    return np.unique(nearest, return_inverse=True)[1].astype(np.int64)


def _nearest(points: FloatArray, centres: FloatArray) -> IntArray:
    """(points,) index of the nearest centre, by comparing |c|² − 2 c·x over all of them."""
    found = np.empty(len(points), dtype=np.int64)
    half = 0.5 * np.einsum("ij,ij->i", centres, centres)
    step = max(1, _PAIRS // len(centres))
    for start in range(0, len(points), step):
        found[start : start + step] = np.argmin(half - points[start : start + step] @ centres.T, axis=1)
    return found


def _means(points: FloatArray, assignment: IntArray) -> FloatArray:
    """(clusters, m) mean of the points of each cluster."""
    counts = np.bincount(assignment)
    sums = [np.bincount(assignment, weights=column) for column in points.T]
    return np.asarray(np.stack(sums, axis=1) / counts[:, None])


def _nearest_to_centroids(points: FloatArray, assignment: IntArray) -> IntArray:
    """(clusters,) index of the point nearest to each cluster's mean, the first of several."""
    distance = np.linalg.norm(points - _means(points, assignment)[assignment], axis=1)
    order = np.lexsort((np.arange(len(points)), distance, assignment))
    starts = np.searchsorted(assignment[order], np.arange(assignment.max() + 1))
    return np.asarray(order[starts], dtype=np.int64)
