"""The posterior of the coefficients, against Bayesian linear regression written out."""

import numpy as np
import pytest

from pyacemaker.ace.gram import NormalEquations
from pyacemaker.ace.ridge import cross_validate, maximise_evidence, solve

K, ROWS, STRENGTH = 9, 60, 0.05


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(K, ROWS)) * 10.0 ** rng.uniform(-2, 2, size=K)[:, None]
    truth = rng.normal(size=K) / np.abs(matrix).mean(axis=1)
    target = truth @ matrix + 0.3 * rng.normal(size=ROWS)
    prior = np.linspace(1.0, 3.0, K)
    return matrix, target, prior


@pytest.fixture(scope="module")
def solved(problem):
    matrix, target, prior = problem
    return solve(NormalEquations.empty(K).add_rows(matrix, target), STRENGTH, prior)


def brute_force(problem):
    """Mean, covariance without σ², and σ² from the joint Gaussian of coefficients and noise."""
    matrix, target, prior = problem
    precision = STRENGTH * np.diag(prior**2 * np.sum(matrix**2, axis=1))
    covariance = np.linalg.inv(matrix @ matrix.T + precision)
    mean = covariance @ matrix @ target
    residual = target - mean @ matrix
    return mean, covariance, (residual @ residual + mean @ precision @ mean) / ROWS


def test_mean_variance_and_covariance(problem, solved):
    mean, covariance, noise = brute_force(problem)
    posterior = solved.posterior
    np.testing.assert_allclose(posterior.mean, mean, rtol=1e-9)
    assert posterior.noise == pytest.approx(noise, rel=1e-9)
    rows = problem[0][:, :7]
    expected = noise * rows.T @ covariance @ rows
    np.testing.assert_allclose(posterior.covariance(rows), expected, rtol=1e-8, atol=1e-12)
    np.testing.assert_allclose(posterior.variance(rows), np.diag(expected), rtol=1e-8)


def test_samples_have_the_mean_and_the_covariance(problem, solved):
    mean, covariance, noise = brute_force(problem)
    samples = solved.posterior.sample(np.random.default_rng(1), 20000)
    assert samples.shape == (20000, K)
    spread = np.sqrt(noise * np.diag(covariance))
    np.testing.assert_array_less(np.abs(samples.mean(axis=0) - mean), 5.0 * spread / np.sqrt(20000))
    correlation = np.cov((samples / spread).T)
    expected = noise * covariance / np.outer(spread, spread)
    np.testing.assert_allclose(correlation, expected, atol=0.05)


def test_functions_without_data_add_no_variance(problem):
    matrix, target, prior = problem
    blind = matrix.copy()
    blind[4] = 0.0
    posterior = solve(NormalEquations.empty(K).add_rows(blind, target), STRENGTH, prior).posterior
    assert posterior.variance(np.eye(K))[4] == 0.0
    np.testing.assert_array_equal(posterior.sample(np.random.default_rng(2), 5)[:, 4], np.zeros(5))


@pytest.mark.parametrize("many", [30, 300])
def test_more_data_leaves_less_variance(many):
    rng = np.random.default_rng(3)
    matrix = rng.normal(size=(K, many))
    target = matrix.sum(axis=0) + rng.normal(size=many)
    folds = [
        NormalEquations.empty(K).add_rows(np.ascontiguousarray(matrix[:, k::3]), target[k::3])
        for k in range(3)
    ]
    for found in (
        cross_validate(folds, np.ones(K)),
        maximise_evidence(folds[0] + folds[1] + folds[2], np.ones(K)),
    ):
        variance = found.posterior.variance(np.eye(K))
        np.testing.assert_allclose(variance.mean(), 1.0 / many, rtol=0.6)


def test_the_search_finds_what_trying_everything_finds():
    rng = np.random.default_rng(4)
    for noise in (1e-3, 0.3, 5.0):
        matrix = rng.normal(size=(25, 60))
        target = rng.normal(size=25) @ matrix + noise * rng.normal(size=60)
        folds = [
            NormalEquations.empty(25).add_rows(np.ascontiguousarray(matrix[:, k::5]), target[k::5])
            for k in range(5)
        ]
        found = cross_validate(folds, np.ones(25), slack=0.0)
        for strength in (10.0**-k for k in range(13)):
            tried = cross_validate(folds, np.ones(25), strengths=[strength], slack=0.0)
            assert min(found.criterion.values()) <= tried.criterion[strength] + 1e-12
        assert len(found.criterion) <= 11
