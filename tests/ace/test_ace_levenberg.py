"""Levenberg–Marquardt on problems whose minima are known."""

from itertools import pairwise
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyacemaker.ace.gram import NormalEquations
from pyacemaker.ace.levenberg import Limits, Prior, minimise

LONG = Limits(iterations=200, patience=200, tolerance=1e-12)


class Problem:
    """Σ r(x)² from residual (target − prediction) and Jacobian of the prediction, given as functions."""

    def __init__(self, residual, jacobian):
        self.residual, self.jacobian = residual, jacobian
        self.linearised = 0

    def linearise(self, x):
        self.linearised += 1
        rows = np.ascontiguousarray(self.jacobian(x).T)
        return NormalEquations.empty(len(x)).add_rows(rows, self.residual(x))

    def loss(self, x):
        return float(np.sum(self.residual(x) ** 2))


def rosenbrock():
    """Predictions 10 (x₂ − x₁²) and x₁ of the targets 0 and 1: the minimum 0 lies at (1, 1)."""
    return Problem(
        lambda x: np.array([-10.0 * (x[1] - x[0] ** 2), 1.0 - x[0]]),
        lambda x: np.array([[-20.0 * x[0], 10.0], [1.0, 0.0]]),
    )


def free(size):
    return Prior(np.zeros(size), np.zeros(size))


@given(st.floats(-3, 3), st.floats(-3, 3))
@settings(max_examples=30, deadline=None)
def test_rosenbrocks_valley_ends_at_its_minimum(a, b):
    found = minimise(rosenbrock(), np.array([a, b]), free(2), LONG)
    np.testing.assert_allclose(found.parameters, [1.0, 1.0], atol=1e-4)


def test_the_loss_never_rises():
    found = minimise(rosenbrock(), np.array([-1.2, 1.0]), free(2), LONG)
    losses = [loss for loss, _ in found.history]
    assert all(after < before for before, after in pairwise(losses))
    assert found.iterations == len(losses) - 1


def test_a_linear_problem_takes_the_ridge_solution():
    rng = np.random.default_rng(0)
    matrix, target = rng.normal(size=(30, 5)) * 10.0 ** np.arange(5), rng.normal(size=30)
    weights, centre = 10.0 ** (2 * np.arange(5)), rng.normal(size=5) / 10.0 ** np.arange(5)
    problem = Problem(lambda x: target - matrix @ x, lambda x: matrix)
    found = minimise(problem, np.zeros(5), Prior(centre, weights), LONG)
    expected = np.linalg.solve(matrix.T @ matrix + np.diag(weights), matrix.T @ target + weights * centre)
    np.testing.assert_allclose(found.parameters, expected, rtol=1e-6)


def test_exponentials_are_told_apart():
    """y = 2 e^{−t} + e^{−5t}, from a start where one step of plain Gauss–Newton diverges."""
    t = np.linspace(0.0, 3.0, 40)
    truth = np.array([2.0, 1.0, 1.0, 5.0])

    def predict(x):
        return x[0] * np.exp(-x[1] * t) + x[2] * np.exp(-x[3] * t)

    def jacobian(x):
        first, second = np.exp(-x[1] * t), np.exp(-x[3] * t)
        return np.stack([first, -x[0] * t * first, second, -x[2] * t * second], axis=1)

    problem = Problem(lambda x: predict(truth) - predict(x), jacobian)
    found = minimise(problem, np.array([1.0, 0.1, 0.5, 9.0]), free(4), LONG)
    np.testing.assert_allclose(found.parameters, truth, rtol=1e-4)


def test_a_parameter_without_influence_stays_where_it_is():
    problem = Problem(lambda x: np.array([3.0 - x[0] ** 2]), lambda x: np.array([[2 * x[0], 0.0]]))
    found = minimise(problem, np.array([1.0, 7.0]), free(2), LONG)
    assert found.parameters[0] == pytest.approx(np.sqrt(3.0))
    assert found.parameters[1] == 7.0


def test_the_best_validated_iterate_wins_and_patience_ends_the_descent():
    """Validation is lowest on the way: the descent overshoots and comes back with that iterate."""
    problem, seen = rosenbrock(), []

    def validate(x):
        seen.append(abs(x[0]))
        return seen[-1]

    limits = Limits(iterations=100, patience=2, tolerance=1e-12)
    found = minimise(problem, np.array([-1.2, 1.0]), free(2), limits, validate)
    assert found.reason == "validation"
    assert found.validation == min(seen) < seen[-1]
    assert abs(found.parameters[0]) == found.validation
    assert found.iterations == np.argmin(seen) + 2


def test_limits():
    problem = rosenbrock()
    found = minimise(problem, np.array([-1.2, 1.0]), free(2), Limits(iterations=3, patience=9))
    assert (found.reason, found.iterations, problem.linearised) == ("iterations", 3, 3)
    stopped = minimise(rosenbrock(), np.array([-1.2, 1.0]), free(2), Limits(seconds=-1.0))
    assert (stopped.reason, stopped.iterations) == ("time", 0)
    np.testing.assert_array_equal(stopped.parameters, [-1.2, 1.0])


def test_a_model_that_breaks_down_is_stepped_around():
    """log x: the full Gauss–Newton step from x = 20 towards log x = −5 leaves the domain."""

    def residual(x):
        return np.array([-5.0 - np.log(x[0])]) if x[0] > 0 else np.array([inf])

    found = minimise(Problem(residual, lambda x: np.array([[1 / x[0]]])), np.array([20.0]), free(1), LONG)
    assert found.parameters[0] == pytest.approx(np.exp(-5.0), rel=1e-4)


def test_no_step_at_the_minimum():
    found = minimise(rosenbrock(), np.array([1.0, 1.0]), free(2), LONG)
    assert found.reason == "no step"
    assert found.loss == 0.0
