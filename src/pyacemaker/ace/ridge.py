"""Ridge regression on normal equations, with a strength chosen from the data.

The unknowns are scaled by s_f = p_f √(G_ff), so that λ is a pure number and p (a smoothness prior, ≥ 1) says
how much more expensive a function is than the simplest: minimise |A c − y|² + λ Σ_f s_f² (c_f − c⁰_f)² with
c⁰ the prior's mean. Functions that no row knows (G_ff = 0) keep the prior's mean.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf, log, pi, sqrt

import numpy as np

from pyacemaker.ace.gram import NormalEquations, merge
from pyacemaker.ace.posterior import Posterior
from pyacemaker.structures import FloatArray, IntArray

UNSEEN = 1e-15
"""Share of the largest scale below which a function is zero but for rounding, as some are by symmetry."""

STRENGTHS = tuple(10.0**-k for k in range(13))
"""The ridge strengths that are considered: 1, 0.1 … 10⁻¹²."""

Adjust = Callable[[Posterior], Posterior]
"""What a fit undergoes after its solution (restraints): it moves the mean."""

COARSE = 3
"""Every so many of the strengths are tried first."""


@dataclass(frozen=True, eq=False)
class RidgeSolution:
    """Coefficients (K,) and how they came about.

    strength: λ. method: `given`, `cross-validation` or `evidence`. criterion: the value of the method for
    every λ that was tried (to be minimised): mean log of the squared held-out residual, or −2 log evidence.
    condition: an estimate of the condition number of the scaled, regularised normal equations. posterior: the
    distribution of the coefficients; None without a finite solution.
    """

    coefficients: FloatArray
    strength: float
    method: str
    condition: float
    criterion: dict[float, float] = field(default_factory=dict)
    posterior: Posterior | None = None


def solve(
    state: NormalEquations,
    strength: float,
    prior: FloatArray,
    mean: FloatArray | None = None,
    adjust: Adjust | None = None,
) -> RidgeSolution:
    """The ridge solution for a given λ.

    prior: (K,) p_f. mean: (K,) the prior's mean, zero where None. adjust: applied to the solution.
    """
    system = _Scaled(state, _scale(state, prior), mean)
    factor = system.factor(strength)
    if factor is None:
        return RidgeSolution(np.full(len(prior), np.nan), strength, "given", inf)
    posterior = system.posterior(factor, adjust)
    condition = system.condition(factor)
    return RidgeSolution(posterior.mean, strength, "given", condition, posterior=posterior)


def cross_validate(
    folds: Sequence[NormalEquations],
    prior: FloatArray,
    mean: FloatArray | None = None,
    strengths: Sequence[float] = STRENGTHS,
    slack: float = 0.01,
    adjust: Adjust | None = None,
) -> RidgeSolution:
    """The λ with the smallest mean log squared residual on the folds left out, then the solution on all.

    The geometric mean over folds keeps a few extreme structures, all in one fold or two, from choosing λ
    alone. Scales come from all the data, so every fold regularises alike. Of the strengths whose criterion is
    within `slack` of the best, the largest wins.
    """
    whole = merge(folds)
    scale = _scale(whole, prior)

    def held_out(tried: Sequence[float]) -> list[float]:
        logarithms = np.zeros(len(tried))
        for fold in folds:
            # one fold's system at a time: each is as large as the Gram matrix
            system = _Scaled(whole, scale, mean, without=fold)
            logarithms += [system.held_out_logarithm(fold, strength, adjust) for strength in tried]
        return list(map(float, logarithms / len(folds)))

    criterion = _search(held_out, strengths, slack)
    return _chosen(whole, prior, mean, criterion, "cross-validation", slack, adjust)


def maximise_evidence(
    state: NormalEquations,
    prior: FloatArray,
    mean: FloatArray | None = None,
    strengths: Sequence[float] = STRENGTHS,
    adjust: Adjust | None = None,
) -> RidgeSolution:
    """The λ with the largest marginal likelihood, noise variance integrated out at its optimum.

    adjust: applied to the solution; it takes no part in the choice of λ.

    −2 log p(y|λ) = R log(2π σ²) + R + log det(G̃ + λ) − K log λ with R σ² = |A c − y|² + λ |s(c − c⁰)|².
    """
    system = _Scaled(state, _scale(state, prior), mean)

    def evidence(tried: Sequence[float]) -> list[float]:
        return [system.minus_log_evidence(strength) for strength in tried]

    return _chosen(state, prior, mean, _search(evidence, strengths, 0.0), "evidence", 0.0, adjust)


def _search(
    criterion: Callable[[Sequence[float]], list[float]], strengths: Sequence[float], slack: float
) -> dict[float, float]:
    """The criterion around its minimum: every `COARSE`-th strength, then the neighbours of the best until
    none is better, then half-way (in log λ) to them, then upwards until it exceeds the minimum by `slack`.

    A criterion with one minimum gives what trying all strengths would give, with about half the solutions.
    """
    ordered = sorted(strengths, reverse=True)
    found: dict[float, float] = {}

    def evaluate(places: Sequence[float]) -> None:
        new = [place for place in places if place not in found]
        if new:
            found.update(zip(new, criterion(new), strict=True))

    def best() -> float:
        return min(found, key=lambda strength: found[strength])

    evaluate(ordered if len(ordered) <= COARSE else ordered[1::COARSE])
    tried = -1
    while tried != len(found):
        tried = len(found)
        place = ordered.index(best())
        evaluate(ordered[max(0, place - 1) : place + 2])
    lowest = best()
    place = ordered.index(lowest)
    evaluate([sqrt(lowest * other) for other in ordered[max(0, place - 1) : place + 2] if other != lowest])
    limit = min(found.values()) + slack
    for strength in reversed(ordered[:place]):
        evaluate([strength])
        if found[strength] > limit:
            break
    return found


def _chosen(
    state: NormalEquations,
    prior: FloatArray,
    mean: FloatArray | None,
    criterion: dict[float, float],
    method: str,
    slack: float,
    adjust: Adjust | None,
) -> RidgeSolution:
    limit = min(criterion.values()) + slack
    strength = max(s for s, value in criterion.items() if value <= limit)
    ordered = {s: criterion[s] for s in sorted(criterion, reverse=True)}
    return replace(solve(state, strength, prior, mean, adjust), method=method, criterion=ordered)


def _scale(state: NormalEquations, prior: FloatArray) -> FloatArray:
    return prior * np.sqrt(np.maximum(np.diag(state.gram), 0.0))


class _Scaled:
    """Normal equations in scaled unknowns z = s (c − c⁰), without the functions that no row knows.

    without: a state whose rows are left out. Only lower triangles are ever read.
    """

    def __init__(
        self,
        state: NormalEquations,
        scale: FloatArray,
        mean: FloatArray | None,
        without: NormalEquations | None = None,
    ) -> None:
        self.mean = np.zeros(len(scale)) if mean is None else mean
        self.known: IntArray = np.flatnonzero(~(scale <= UNSEEN * scale.max(initial=0.0))).astype(np.int64)
        self.scale = scale[self.known]
        gram = state.gram if without is None else state.gram - without.gram
        if len(self.known) < len(scale):
            gram = gram[np.ix_(self.known, self.known)]
        self.gram = np.asfortranarray(gram / self.scale)
        self.gram /= self.scale[:, None]
        residual, self.square, self.rows = _about(state, mean)
        if without is not None:
            other, square, rows = _about(without, mean)
            residual, self.square, self.rows = residual - other, self.square - square, self.rows - rows
        self.target = residual[self.known] / self.scale

    def factor(self, strength: float) -> FloatArray | None:
        """The Cholesky factor (lower) of G̃ + λ, or None where it is not positive definite."""
        from scipy.linalg.lapack import dpotrf

        if not len(self.gram):
            return self.gram
        shifted = self.gram.copy(order="F")
        shifted[np.diag_indices(len(shifted))] += strength
        factor, info = dpotrf(shifted, lower=1, clean=0, overwrite_a=1)
        return factor if info == 0 and np.isfinite(np.diag(factor)).all() else None

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

    def posterior(self, factor: FloatArray, adjust: Adjust | None) -> Posterior:
        """The distribution of the coefficients, adjusted."""
        found = Posterior(self.coefficients(factor), self.noise(factor), self.known, self.scale, factor)
        return found if adjust is None else adjust(found)

    def held_out_logarithm(self, fold: NormalEquations, strength: float, adjust: Adjust | None) -> float:
        """log of the mean squared residual on the rows of `fold`; infinite without a solution."""
        factor = self.factor(strength)
        if factor is None:
            return inf
        coefficients = self.posterior(factor, adjust).mean
        # what is met exactly leaves rounding, of which no λ has less
        floor = max(1e-14 * fold.square, 1e-300)
        return log(max(fold.loss(coefficients), floor) / max(1, fold.rows))

    def noise(self, factor: FloatArray) -> float:
        """σ² = (|A c − y|² + λ|z|²)/R at the solution."""
        # at the minimum the sum is yᵀy − zᵀb̃
        explained = float(self.scaled_solution(factor) @ self.target)
        return max(self.square - explained, 1e-14 * self.square, 1e-300) / max(1, self.rows)

    def minus_log_evidence(self, strength: float) -> float:
        """−2 log p(y|λ); infinite without a solution."""
        factor = self.factor(strength)
        if factor is None:
            return inf
        determinant = 2.0 * float(np.log(np.diag(factor)).sum())
        return (
            self.rows * (log(2.0 * pi * self.noise(factor)) + 1.0)
            + determinant
            - len(self.scale) * log(strength)
        )


def _about(state: NormalEquations, mean: FloatArray | None) -> tuple[FloatArray, float, int]:
    """Aᵀ(y − A c⁰), |y − A c⁰|² and R."""
    if mean is None:
        return state.projection, state.square, state.rows
    return state.projection - state.times(mean), state.loss(mean), state.rows


def smoothness(degrees: FloatArray, power: float) -> FloatArray:
    """(K,) p_f = (1 + degree)^power / smallest: rough functions cost more."""
    weights = (1.0 + degrees) ** power
    return np.asarray(weights / weights.min()) if len(weights) else weights
