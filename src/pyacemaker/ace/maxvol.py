"""MaxVol: the rows of a tall matrix that span the largest volume.

Rows are exchanged until none of the others, written in those chosen, has a coefficient above a tolerance
(Goreinov et al., in Matrix Methods: Theory, Algorithms and Applications, World Scientific 2010).
"""

import numpy as np
from numba import njit
from scipy.linalg.lapack import dgetrf

from pyacemaker.structures import FloatArray, IntArray

TOLERANCE = 1.01
"""Factor by which no exchange can raise the volume any more."""


def maxvol(rows: FloatArray, tolerance: float = TOLERANCE) -> IntArray:
    """K distinct rows of `rows` (n ≥ K, K) such that no exchange raises |det| by more than `tolerance`.

    Also for rank-deficient rows: those chosen span what all span. Deterministic.
    """
    if len(rows) < rows.shape[1]:
        raise ValueError(f"{len(rows)} rows for {rows.shape[1]} columns; MaxVol needs at least as many")
    if not rows.shape[1]:
        return np.zeros(0, dtype=np.int64)
    lower, chosen = _pivoted(rows)
    return exchanged(lower @ np.linalg.inv(lower[chosen]), chosen, tolerance)


def _pivoted(rows: FloatArray) -> tuple[FloatArray, IntArray]:
    """The unit lower trapezoidal factor of an LU decomposition, in the order of `rows`, and the pivot rows.

    Unlike the upper factor it is well-conditioned, also for rank-deficient rows (whose zero pivots do not
    matter here).
    """
    functions = rows.shape[1]
    factors, swaps, _ = dgetrf(rows / column_sizes(rows))
    order = np.arange(len(rows))
    for k, other in enumerate(swaps[:functions]):
        order[[k, other]] = order[[other, k]]
    lower = np.tril(factors, -1)
    lower[np.arange(functions), np.arange(functions)] = 1.0
    unsorted = np.empty_like(lower, order="C")
    unsorted[order] = lower
    return unsorted, order[:functions].astype(np.int64)


def exchanged(weights: FloatArray, chosen: IntArray, tolerance: float) -> IntArray:
    """The rows chosen after all exchanges. weights: (n, K) W with rows = W · rows[chosen].

    The K rows that stick out most are exchanged one by one; then W follows for all rows at once.
    """
    functions = weights.shape[1]
    chosen = chosen.copy()
    while True:
        largest = np.abs(weights).max(axis=1)
        largest[chosen] = 0.0
        outside = np.flatnonzero(largest > tolerance)
        if not len(outside):
            return chosen
        worst = outside[np.argsort(-largest[outside], kind="stable")[:functions]]
        pool = np.concatenate([chosen, worst])
        places = np.arange(functions)
        _exchange(np.ascontiguousarray(weights[pool]), places, tolerance)
        chosen = pool[places]
        weights = weights @ np.linalg.inv(weights[chosen])


@njit(cache=True)  # type: ignore[untyped-decorator]
def _exchange(weights: FloatArray, places: IntArray, tolerance: float) -> None:
    """Exchange rows while an entry of `weights` (n, K) exceeds `tolerance`; `places` (K,) are those in use.

    Putting row i in place k multiplies the volume by |W_ik| and changes W by
    −W_·k (W_i· − e_k)/W_ik.
    """
    rows, functions = weights.shape
    while True:
        row, column, largest = 0, 0, 0.0
        for i in range(rows):
            for k in range(functions):
                if abs(weights[i, k]) > largest:
                    row, column, largest = i, k, abs(weights[i, k])
        if largest <= tolerance:
            return
        direction = weights[row] / weights[row, column]
        direction[column] -= 1.0 / weights[row, column]
        for i in range(rows):
            factor = weights[i, column]
            if factor != 0.0:
                for k in range(functions):
                    weights[i, k] -= factor * direction[k]
        places[column] = row


def column_sizes(rows: FloatArray) -> FloatArray:
    """(K,) the largest absolute value of each column; 1 for columns of zeros."""
    size = np.abs(rows).max(axis=0, initial=0.0)
    return np.where(size > 0.0, size, 1.0)
