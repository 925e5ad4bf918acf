"""Ridge regression on normal equations, with a strength chosen from the data.

The unknowns are scaled by s_f = p_f √(G_ff), so that λ is a pure number and p (a smoothness prior, ≥ 1) says
how much more expensive a function is than the simplest: minimise |A c − y|² + λ Σ_f s_f² (c_f − c⁰_f)² with
c⁰ the prior's mean. Functions that no row knows (G_ff = 0) keep the prior's mean.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf, log, pi, sqrt

import numpy as np

from pyacemaker.ace.gram import NormalEquations
from pyacemaker.structures import FloatArray

STRENGTHS = tuple(10.0**-k for k in range(13))
"""The ridge strengths that are tried: 1, 0.1 … 10⁻¹²."""


@dataclass(frozen=True, eq=False)
class RidgeSolution:
    """Coefficients (K,) and how they came about.

    strength: λ. method: `given`, `cross-validation` or `evidence`. criterion: the value of the method for
    every λ that was tried (to be minimised): mean log of the squared held-out residual, or −2 log evidence.
    condition: an estimate of the condition number of the scaled, regularised normal equations.
    """

    coefficients: FloatArray
    strength: float
    method: str
    condition: float
    criterion: dict[float, float] = field(default_factory=dict)


def solve(
    state: NormalEquations, strength: float, prior: FloatArray, mean: FloatArray | None = None
) -> RidgeSolution:
    """The ridge solution for a given λ. prior: (K,) p_f. mean: (K,) the prior's mean, zero where None."""
    system = _Scaled(state, prior, mean)
    factor = system.factor(strength)
    if factor is None:
        return RidgeSolution(np.full(len(prior), np.nan), strength, "given", inf)
    return RidgeSolution(system.coefficients(factor), strength, "given", system.condition(factor))


def cross_validate(
    folds: Sequence[NormalEquations],
    prior: FloatArray,
    mean: FloatArray | None = None,
    strengths: Sequence[float] = STRENGTHS,
    slack: float = 0.01,
) -> RidgeSolution:
    """The λ with the smallest mean log squared residual on the folds left out, then the solution on all.

    The geometric mean over folds keeps a few extreme structures, all in one fold or two, from choosing λ
    alone.

    Scales come from all the data, so every fold regularises alike. Of the strengths whose criterion is
    within `slack` of the best, the largest wins.
    """
    whole = merge(folds)
    scale = _scale(whole, prior)

    def held_out(tried: Sequence[float]) -> list[float]:
        logarithms = np.zeros(len(tried))
        for fold in folds:
            # one fold's system at a time: each is as large as the Gram matrix
            system = _Scaled(whole - fold, prior, mean, scale=scale)
            logarithms += [system.held_out_logarithm(fold, strength) for strength in tried]
        return list(map(float, logarithms / len(folds)))

    return _chosen(whole, prior, mean, _search(held_out, strengths), "cross-validation", slack)


def maximise_evidence(
    state: NormalEquations,
    prior: FloatArray,
    mean: FloatArray | None = None,
    strengths: Sequence[float] = STRENGTHS,
) -> RidgeSolution:
    """The λ with the largest marginal likelihood, noise variance integrated out at its optimum.

    −2 log p(y|λ) = R log(2π σ²) + R + log det(G̃ + λ) − K log λ with R σ² = |A c − y|² + λ |s(c − c⁰)|².
    """
    system = _Scaled(state, prior, mean)

    def evidence(tried: Sequence[float]) -> list[float]:
        return [system.minus_log_evidence(strength) for strength in tried]

    return _chosen(state, prior, mean, _search(evidence, strengths), "evidence", 0.0)


def merge(states: Sequence[NormalEquations]) -> NormalEquations:
    """The sum of states, in their order."""
    total = states[0]
    for state in states[1:]:
        total = total + state
    return total


def _search(
    criterion: Callable[[Sequence[float]], list[float]], strengths: Sequence[float]
) -> dict[float, float]:
    """The criterion at all strengths, and half-way (in log λ) to the neighbours of the best."""
    found = dict(zip(strengths, criterion(strengths), strict=True))
    best = min(found, key=lambda strength: found[strength])
    ordered = sorted(strengths)
    place = ordered.index(best)
    others = ordered[max(0, place - 1) : place] + ordered[place + 1 : place + 2]
    middles = [sqrt(best * other) for other in others]
    found.update(zip(middles, criterion(middles), strict=True))
    return found


def _chosen(
    state: NormalEquations,
    prior: FloatArray,
    mean: FloatArray | None,
    criterion: dict[float, float],
    method: str,
    slack: float,
) -> RidgeSolution:
    limit = min(criterion.values()) + slack
    strength = max(s for s, value in criterion.items() if value <= limit)
    found = solve(state, strength, prior, mean)
    return RidgeSolution(found.coefficients, strength, method, found.condition, criterion)


def _scale(state: NormalEquations, prior: FloatArray) -> FloatArray:
    return prior * np.sqrt(np.maximum(np.diag(state.gram), 0.0))


class _Scaled:
    """Normal equations in scaled unknowns z = s (c − c⁰), without the functions that no row knows."""

    def __init__(
        self,
        state: NormalEquations,
        prior: FloatArray,
        mean: FloatArray | None,
        scale: FloatArray | None = None,
    ) -> None:
        scale = _scale(state, prior) if scale is None else scale
        self.mean = np.zeros(len(prior)) if mean is None else mean
        self.known = np.flatnonzero(~(scale <= 1e-150))
        self.scale = scale[self.known]
        lower = np.tril(state.gram[np.ix_(self.known, self.known)])
        self.gram = np.asfortranarray(lower / np.outer(self.scale, self.scale))
        residual, self.square = state.projection, state.square
        if mean is not None:
            full = state.gram + np.tril(state.gram, -1).T - np.triu(state.gram, 1)
            residual = state.projection - full @ mean
            self.square = state.loss(mean)
        self.target = residual[self.known] / self.scale
        self.rows = state.rows

    def factor(self, strength: float) -> FloatArray | None:
        """The Cholesky factor (lower) of G̃ + λ, or None where it is not positive definite."""
        from scipy.linalg.lapack import dpotrf

        if not len(self.gram):
            return self.gram
        shifted = self.gram.copy(order="F")
        shifted[np.diag_indices(len(shifted))] += strength
        factor, info = dpotrf(shifted, lower=1, clean=0, overwrite_a=1)
        return factor if info == 0 and np.isfinite(factor).all() else None

    def scaled_solution(self, factor: FloatArray) -> FloatArray:
        from scipy.linalg.lapack import dpotrs

        if not len(self.target):
            return self.target
        return np.asarray(dpotrs(factor, self.target, lower=1)[0])

    def coefficients(self, factor: FloatArray) -> FloatArray:
        coefficients = self.mean.copy()
        coefficients[self.known] += self.scaled_solution(factor) / self.scale
        return coefficients

    def condition(self, factor: FloatArray) -> float:
        """Estimated condition number in the 1-norm (LAPACK's `dpocon`), via |L|² as a bound of the norm."""
        from scipy.linalg.lapack import dpocon

        if not len(factor):
            return 1.0
        lower = np.tril(factor)
        norm = float(np.abs(lower @ (lower.T @ np.ones(len(lower)))).max())
        reciprocal, _ = dpocon(factor, norm, uplo="L")
        return float(1.0 / reciprocal) if reciprocal > 0 else inf

    def held_out_logarithm(self, fold: NormalEquations, strength: float) -> float:
        """log of the mean squared residual on the rows of `fold`; infinite without a solution."""
        factor = self.factor(strength)
        if factor is None:
            return inf
        return log(max(fold.loss(self.coefficients(factor)) / max(1, fold.rows), 1e-300))

    def minus_log_evidence(self, strength: float) -> float:
        """−2 log p(y|λ); infinite without a solution."""
        factor = self.factor(strength)
        if factor is None:
            return inf
        z = self.scaled_solution(factor)
        # |A c − y|² + λ|z|² at the minimum is yᵀy − zᵀb̃
        variance = max(self.square - float(z @ self.target), 1e-14 * self.square, 1e-300) / self.rows
        determinant = 2.0 * float(np.log(np.diag(factor)).sum())
        return self.rows * (log(2.0 * pi * variance) + 1.0) + determinant - len(z) * log(strength)


def smoothness(degrees: FloatArray, power: float) -> FloatArray:
    """(K,) p_f = (1 + degree)^power / smallest: rough functions cost more."""
    weights = (1.0 + degrees) ** power
    return np.asarray(weights / weights.min()) if len(weights) else weights
