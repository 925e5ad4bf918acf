"""D-optimal selection: the rows that span the largest volume in feature space.

Maximises log det(ε I + Σ_s x_s x_sᵀ) greedily, then by exchanges (Fedorov, Theory of Optimal Experiments,
1972). For n ≤ d this is the volume of the n rows (MaxVol), for n > d D-optimality; ε makes all cases one.
"""

from typing import Literal

import numpy as np
from pydantic import NonNegativeInt, PositiveFloat, PositiveInt

from pyacemaker.selection.base import Selector
from pyacemaker.structures import Dataset, FloatArray, IntArray

_REFRESH = 50  # rank-one updates between two fresh inverses
_GAIN = 1e-9  # an exchange has to raise the determinant by more than this factor


class MaxvolSelector(Selector):
    """The most extreme structures, as linear regression on the features sees it. Deterministic."""

    kind: Literal["maxvol"] = "maxvol"
    ridge: PositiveFloat = 1e-6
    """ε, relative to columns scaled to a root mean square of 1."""
    max_exchanges: NonNegativeInt = 200
    """How many exchanges of a selected row for another are tried at most after the greedy pass."""

    features: Literal["model", "ace"] = "model"
    """Model: the foundation model's descriptors. Ace: the functions of an ACE basis, averaged over the atoms
    of a structure, so that the structures fix the coefficients of a linear ACE best (D-optimal design)."""
    cutoff: PositiveFloat = 5.0
    """Å, of the ACE basis."""
    functions: PositiveInt = 60
    """Functions of the ACE basis per element, about."""

    def features_of(self, structures: Dataset, features: FloatArray) -> FloatArray:
        """(structures, d): `features` themselves, or energy rows per atom of the ACE basis."""
        if self.features == "model":
            return features
        from pyacemaker.ace.design import design_features

        return design_features(structures, cutoff=self.cutoff, functions=self.functions)

    def pick(self, features: FloatArray, n: int, rng: np.random.Generator) -> IntArray:
        """`n` distinct rows of (locally) largest determinant; ties go to the lower index."""
        rows = _scaled(features)
        chosen = _greedy(rows, n, self.ridge)
        for _ in range(self.max_exchanges):
            exchange = _best_exchange(rows, chosen, self.ridge)
            if exchange is None:
                break
            position, newcomer = exchange
            chosen[position] = newcomer
        return chosen


def _scaled(features: FloatArray) -> FloatArray:
    size = np.sqrt(np.mean(features**2, axis=0))
    return np.asarray(features[:, size > 0] / size[size > 0])


def _inverse(rows: FloatArray, ridge: float) -> FloatArray:
    """(ε I + Σ x xᵀ)⁻¹, (d, d)."""
    return np.asarray(np.linalg.inv(ridge * np.eye(rows.shape[1]) + rows.T @ rows))


def _leverage(rows: FloatArray, inverse: FloatArray) -> FloatArray:
    """(rows,) x M⁻¹ xᵀ of each row."""
    return np.asarray(np.einsum("ij,ij->i", rows @ inverse, rows))


def _greedy(rows: FloatArray, n: int, ridge: float) -> IntArray:
    """`n` rows, each the one that raises the determinant most: det grows by the factor 1 + leverage."""
    chosen = np.empty(n, dtype=np.int64)
    free = np.ones(len(rows), dtype=bool)
    inverse = _inverse(rows[:0], ridge)
    leverage = _leverage(rows, inverse)
    for step in range(n):
        best = int(np.argmax(np.where(free, leverage, -np.inf)))
        chosen[step], free[best] = best, False
        if step % _REFRESH == _REFRESH - 1:
            inverse = _inverse(rows[chosen[: step + 1]], ridge)
            leverage = _leverage(rows, inverse)
            continue
        direction = inverse @ rows[best]
        growth = 1.0 + rows[best] @ direction
        inverse = inverse - np.outer(direction, direction) / growth
        leverage = leverage - (rows @ direction) ** 2 / growth
    return chosen


def _best_exchange(rows: FloatArray, chosen: IntArray, ridge: float) -> tuple[int, int] | None:
    """(position in `chosen`, newcomer) that raises the determinant most, None where none does.

    Exchanging i for j multiplies it by 1 + h_j − h_i − h_i h_j + h_ij² ≤ 1 + h_j − h_i, so only rows with
    h_j > min h_i are looked at, the 256 largest.
    """
    inverse = _inverse(rows[chosen], ridge)
    leverage = _leverage(rows, inverse)
    inside = leverage[chosen]
    outside = leverage.copy()
    outside[chosen] = -np.inf
    candidates = np.argsort(-outside, kind="stable")[:256]
    candidates = candidates[outside[candidates] > inside.min()]
    if not len(candidates):
        return None
    cross = rows[chosen] @ inverse @ rows[candidates].T
    factor = (1.0 - inside)[:, None] * (1.0 + leverage[candidates])[None, :] + cross**2
    best = int(np.argmax(factor))
    if factor.flat[best] <= 1.0 + _GAIN:
        return None
    position, column = divmod(best, len(candidates))
    return position, int(candidates[column])
