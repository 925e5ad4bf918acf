"""DIRECT: dimensionality reduction, clustering, one structure per cluster.

Qi, Ko, Wood, Pham, Ong, npj Comput. Mater. 10, 43 (2024). Standardised features are reduced to the principal
components whose eigenvalue exceeds 1 (Kaiser's rule), each scaled by its share of the explained variance;
BIRCH gathers the points into sub-clusters, which are merged to exactly n clusters; each cluster gives the
structure nearest to its centroid.
"""

import hashlib
import logging
from typing import Literal

import numpy as np
from pydantic import PositiveFloat, PositiveInt

from pyacemaker.errors import InsufficientDataError
from pyacemaker.selection.base import Selector
from pyacemaker.structures import FloatArray, IntArray

log = logging.getLogger(__name__)

_DECIMALS = 6  # standardised features that agree to this are the same structure, e.g. a rotated copy
_SAMPLE = 10_000  # points on which the BIRCH threshold is first bracketed
_BISECTIONS = 40


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
        first, unique = _unique_rows(features)
        if n > len(first):
            raise InsufficientDataError(
                f"{n} structures were asked for but only {len(first)} of the {len(features)} differ in their "
                "features: ask for fewer, or make a larger pool"
            )
        points = principal_components(unique, self.min_eigenvalue)
        order = np.lexsort(points.T[::-1])
        points, first = points[order], first[order]
        return first[_nearest_to_centroids(points, self._clusters(points, n))]

    def _clusters(self, points: FloatArray, n: int) -> IntArray:
        """(points,) labels 0 … n−1 of n clusters, none of them empty."""
        assignment = _subclusters(points, n, self.max_subclusters_per_cluster * n)
        centroids = _means(points, assignment)
        if len(centroids) == n:
            return assignment
        from sklearn.cluster import AgglomerativeClustering

        merged = AgglomerativeClustering(n_clusters=n, linkage="ward").fit_predict(centroids)
        return np.asarray(merged, dtype=np.int64)[assignment]


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
    varies = deviation > 1e-12 * np.maximum(np.abs(features).max(axis=0), 1e-300)
    return np.asarray((features[:, varies] - features[:, varies].mean(axis=0)) / deviation[varies])


def _unique_rows(features: FloatArray) -> tuple[IntArray, FloatArray]:
    """Indices of the first row of each kind, in an order decided by content alone, and those rows."""
    order = _content_order(features)
    rounded = np.round(_standardised(features[order]), _DECIMALS) + 0.0  # + 0.0 turns -0 into 0
    seen: dict[bytes, int] = {}
    for index, row in zip(order, rounded, strict=True):
        seen.setdefault(_digest(row), int(index))
    first = np.array(list(seen.values()), dtype=np.int64)
    return first, features[first]


def _content_order(features: FloatArray) -> IntArray:
    """An order of the rows that a shuffle of the input does not change (equal rows: by index)."""
    digests = np.array([_digest(row) for row in features + 0.0], dtype="S32")
    return np.argsort(digests, kind="stable")


def _digest(row: FloatArray) -> bytes:
    return hashlib.blake2b(row.tobytes(), digest_size=16).hexdigest().encode()


def _subclusters(points: FloatArray, fewest: int, most: int) -> IntArray:
    """(points,) labels of k BIRCH sub-clusters, fewest ≤ k ≤ most, none empty; `points` sorted and distinct.

    The threshold is bisected, first on a thinned set where the points are many.
    """
    if len(points) <= most:
        return np.arange(len(points), dtype=np.int64)
    sample = points[:: max(1, len(points) // max(_SAMPLE, 5 * fewest))]
    low, high = 0.0, 4.0 * float(np.sqrt(points.var(axis=0).sum()))
    # more points fill more sub-clusters: aim low on the sample
    threshold, low, high = _bisect_threshold(sample, fewest, max(2 * fewest, fewest + 1), low, high)
    if len(sample) < len(points):
        high = max(high, 2.0 * threshold)
    for _ in range(_BISECTIONS):
        assignment = _assign(points, _birch_centres(points, threshold))
        count = int(assignment.max()) + 1
        if fewest <= count <= most:
            return assignment
        low, high = (threshold, high) if count > most else (low, threshold)
        threshold = 0.5 * (low + high)
    raise InsufficientDataError(  # pragma: no cover - distinct points always separate
        f"no BIRCH threshold gives {fewest} to {most} clusters: the structures are too alike: ask for fewer"
    )


def _bisect_threshold(
    points: FloatArray, fewest: int, most: int, low: float, high: float
) -> tuple[float, float, float]:
    """(threshold, low, high): the threshold that gives `fewest` to `most` sub-clusters, and its bracket."""
    threshold = 0.1 * high
    for _ in range(_BISECTIONS):
        count = len(_birch_centres(points, threshold))
        if fewest <= count <= most:
            break
        low, high = (threshold, high) if count > most else (low, threshold)
        threshold = 0.5 * (low + high)
    return threshold, low, high


def _birch_centres(points: FloatArray, threshold: float) -> FloatArray:
    from sklearn.cluster import Birch

    tree = Birch(threshold=threshold, n_clusters=None, compute_labels=False).fit(points)
    return np.asarray(tree.subcluster_centers_)


def _assign(points: FloatArray, centres: FloatArray) -> IntArray:
    """(points,) index of the nearest centre, renumbered without gaps."""
    from scipy.spatial import cKDTree

    nearest = cKDTree(centres).query(points)[1]
    return np.unique(nearest, return_inverse=True)[1].astype(np.int64)


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
