"""Damped Gauss–Newton (Levenberg–Marquardt) on accumulated normal equations.

At parameters x with residuals r and J = ∂f/∂x the step δ solves
(JᵀJ + W + μ D) δ = Jᵀr − W (x − c), with a quadratic prior Σ W_i (x_i − c_i)² (Marquardt, J. Soc. Indust.
Appl. Math. 11, 431 (1963)). D holds the blocks of JᵀJ + W within each group of parameters. The size of a step
is thus what its groups change in the predictions, each on its own, and no linear change of parameters within
a group alters that; large steps of two groups that cancel each other, where the model is least linear, are
held back. Parameters in no group are not damped: given the others, the model must be linear in them.

The state is that of `NormalEquations`, so the Jacobian is never held; the loss alone is taken to be much
cheaper than JᵀJ, and several dampings μ are tried per JᵀJ.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf, isfinite
from typing import Literal, Protocol

import numpy as np

from pyacemaker.ace.gram import NormalEquations
from pyacemaker.structures import FloatArray

SMALL_GAINS = 5
"""Steps with little gain after which a descent has converged; few may only mean that it is damped."""

Reason = Literal["converged", "validation", "iterations", "time", "no step"]
"""Why a descent ended: the loss stood still, the validation loss did, a limit, or no damping gave a lower
loss."""

DAMPING = 0.1
"""μ of the first step."""
ROUNDING = 1e-14
"""Added to the unit diagonal, so that rounding alone does not make the equations indefinite."""
SMALLEST_DAMPING, LARGEST_DAMPING = 1e-12, 1e6
"""Bounds of μ."""
SHARE = 1e-3
"""Of μ that is also added to the unit diagonal of what is damped: the blocks alone leave directions free on
which nothing depends, such as a scale moved from a radial function to its coefficients."""
FACTOR = 10.0
"""Ratio of the dampings that are tried one after the other."""


class LeastSquares(Protocol):
    """A sum of (robust) squared residuals of the parameters x (N,)."""

    def linearise(self, x: FloatArray) -> NormalEquations:
        """JᵀJ and Jᵀr at x, with r = target − prediction, all weighted."""

    def loss(self, x: FloatArray) -> float:
        """The loss at x, whose gradient is −2 Jᵀr; not finite where the model breaks down."""


@dataclass(frozen=True, eq=False)
class Prior:
    """Σ_i weights_i (x_i − centre_i)²; both (N,)."""

    centre: FloatArray
    weights: FloatArray

    def penalty(self, x: FloatArray) -> float:
        """Its value at x."""
        return float(self.weights @ (x - self.centre) ** 2)


@dataclass(frozen=True)
class Limits:
    """When a descent ends: after `iterations`; after `patience` iterations without a lower validation loss;
    after `SMALL_GAINS` iterations that lower the loss by less than `tolerance` (a share); after `seconds`.
    """

    iterations: int = 30
    patience: int = 4
    tolerance: float = 1e-3
    seconds: float = inf


@dataclass(frozen=True, eq=False)
class Descent:
    """Where a descent ended: at the iterate with the lowest validation loss (training loss without one).

    parameters: (N,). loss, validation: there, without the prior. damping: μ of the last accepted step.
    iterations: accepted steps in all. history: loss and validation loss of all iterates, the start first.
    """

    parameters: FloatArray
    loss: float
    validation: float
    damping: float
    iterations: int
    reason: Reason
    history: tuple[tuple[float, float], ...]


def minimise(
    problem: LeastSquares,
    start: FloatArray,
    prior: Prior,
    limits: Limits,
    validate: Callable[[FloatArray], float] | None = None,
    *,
    groups: Sequence[slice] = (slice(None),),
    damping: float = DAMPING,
    progress: Callable[[int], None] | None = None,
) -> Descent:
    """Descend from `start` until a limit or the validation loss says so.

    validate: the loss on data that the steps do not see. groups: of parameters that are damped; the others
    are not. damping: the first μ. progress: called with the number of steps after each. The start itself is a
    candidate for the best iterate.
    """
    path = _Path(problem, start, prior, validate, tuple(groups), damping)
    deadline = time.monotonic() + limits.seconds
    reason: Reason | None = None
    while reason is None:
        if path.steps >= limits.iterations:
            reason = "iterations"
        elif time.monotonic() > deadline:
            reason = "time"
        elif not path.advance():
            reason = "no step"
        else:
            reason = path.finished(limits)
            if progress is not None:
                progress(path.steps)
    return path.descent(reason)


class _Path:
    """The iterates so far: where they are, what they cost, and the damping that worked last."""

    def __init__(
        self,
        problem: LeastSquares,
        start: FloatArray,
        prior: Prior,
        validate: Callable[[FloatArray], float] | None,
        groups: tuple[slice, ...],
        damping: float,
    ) -> None:
        self._problem, self._prior, self._validate = problem, prior, validate
        self._x, self._groups, self._damping = start, groups, damping
        loss = problem.loss(start)
        self._total = loss + prior.penalty(start)
        self._history = [(loss, self._held_out(start, loss))]
        self._totals = [self._total]
        self._best, self._best_step = start, 0

    @property
    def steps(self) -> int:
        return len(self._history) - 1

    def advance(self) -> bool:
        """One step: linearise, then the damping that lowers the loss most; False where none does."""
        state = self._problem.linearise(self._x)
        found = self._search(Normal(state, self._prior, self._x, self._groups))
        if found is None:
            return False
        self._total, self._x, loss, self._damping = found
        validation = self._held_out(self._x, loss)
        if validation < self._history[self._best_step][1]:
            self._best, self._best_step = self._x, len(self._history)
        self._history.append((loss, validation))
        self._totals.append(self._total)
        return True

    def finished(self, limits: Limits) -> Reason | None:
        """The reason to end after a step, if there is one."""
        if self.steps - self._best_step >= limits.patience:
            return "validation"
        gains = [1.0 - after / before for before, after in pairwise(self._totals[-SMALL_GAINS - 1 :])]
        return "converged" if len(gains) == SMALL_GAINS and max(gains) < limits.tolerance else None

    def descent(self, reason: Reason) -> Descent:
        loss, validation = self._history[self._best_step]
        return Descent(self._best, loss, validation, self._damping, self.steps, reason, tuple(self._history))

    def _search(self, normal: "Normal") -> tuple[float, FloatArray, float, float] | None:
        """(total, x, loss, μ) of the best of several dampings: downwards while it helps, else upwards."""
        damping = self._damping
        found = self._try(normal, damping)
        while found is not None and damping > SMALLEST_DAMPING:
            damping /= FACTOR
            other = self._try(normal, damping)
            if other is None or other[0] >= found[0]:
                break
            found = other
        while found is None and damping < LARGEST_DAMPING:
            damping *= FACTOR
            found = self._try(normal, damping)
        return found

    def _try(self, normal: "Normal", damping: float) -> tuple[float, FloatArray, float, float] | None:
        """The step with one damping, or None where it does not lower loss and prior together."""
        step = normal.step(damping)
        if step is None:
            return None
        x = self._x + step
        loss = self._problem.loss(x)
        total = loss + self._prior.penalty(x)
        return (total, x, loss, damping) if isfinite(total) and total < self._total else None

    def _held_out(self, x: FloatArray, loss: float) -> float:
        if self._validate is None:
            return loss
        value = self._validate(x)
        return value if isfinite(value) else inf


class Normal:
    """The equations for the step at one point, in unknowns scaled to a unit diagonal.

    Parameters that nothing depends on and that have no prior are left out: their step is zero.
    """

    def __init__(
        self, state: NormalEquations, prior: Prior, x: FloatArray, groups: Sequence[slice] = ()
    ) -> None:
        diagonal = np.diag(state.gram) + prior.weights
        self._size = len(x)
        self._known = np.flatnonzero(diagonal > 1e-290)
        self._scale = np.sqrt(diagonal[self._known])
        # only the lower triangle is up to date, and only it is used
        gram = state.gram[np.ix_(self._known, self._known)] / np.outer(self._scale, self._scale)
        gram[np.diag_indices(len(gram))] = 1.0
        self._system = np.asfortranarray(gram)
        self._force = (state.projection - prior.weights * (x - prior.centre))[self._known] / self._scale
        marks = np.full(self._size, -1)
        for number, group in enumerate(groups):
            marks[group] = number
        mine = marks[self._known]
        self._damped = (mine[:, None] == mine) & (mine >= 0)

    def step(self, damping: float) -> FloatArray | None:
        """(N,) the step for one μ; None where the equations are not positive definite."""
        from scipy.linalg.lapack import dpotrf, dpotrs

        step = np.zeros(self._size)
        if not len(self._known):
            return step
        system = self._system * np.where(self._damped, 1.0 + damping, 1.0)
        system[np.diag_indices(len(system))] += ROUNDING + damping * SHARE * np.diag(self._damped)
        factor, info = dpotrf(system, lower=1, clean=0, overwrite_a=1)
        if info != 0:
            return None
        step[self._known] = dpotrs(factor, self._force, lower=1)[0] / self._scale
        return step if bool(np.isfinite(step).all()) else None
