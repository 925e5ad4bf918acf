"""Normal equations and ridge regression on problems whose answer is known."""

import numpy as np
import pytest

from pyacemaker.ace.gram import NormalEquations, merge
from pyacemaker.ace.ridge import cross_validate, maximise_evidence, smoothness, solve
from pyacemaker.errors import DataError

K = 12


def problem(rows=200, noise=0.0, seed=0, functions=K):
    rng = np.random.default_rng(seed)
    scales = 10.0 ** rng.uniform(-4, 4, size=functions)
    matrix = rng.normal(size=(functions, rows)) * scales[:, None]
    truth = rng.normal(size=functions) / scales
    return matrix, truth @ matrix + noise * rng.normal(size=rows), truth, scales


def state_of(matrix, target):
    return NormalEquations.empty(len(matrix)).add_rows(np.ascontiguousarray(matrix), target, 1)


def test_state_is_the_normal_equations():
    matrix, target, _, _ = problem(noise=1.0)
    state = state_of(matrix, target)
    np.testing.assert_allclose(np.tril(state.gram), np.tril(matrix @ matrix.T), rtol=1e-12)
    np.testing.assert_allclose(state.projection, matrix @ target)
    trial = np.random.default_rng(1).normal(size=K) / np.sqrt(np.diag(state.gram))
    assert state.loss(trial) == pytest.approx(np.sum((trial @ matrix - target) ** 2), rel=1e-10)


def test_merged_shards_are_one_pass(tmp_path):
    matrix, target, _, _ = problem(noise=1.0)
    whole = state_of(matrix, target)
    for number, columns in enumerate(np.array_split(np.arange(len(target)), 4)):
        state_of(matrix[:, columns], target[columns]).save(tmp_path / f"{number}.npz")
    merged = merge([NormalEquations.load(tmp_path / f"{number}.npz") for number in range(4)])
    assert (merged.rows, merged.structures) == (200, 4)
    prior = np.ones(K)
    one, other = (solve(state, 1e-8, prior).coefficients for state in (whole, merged))
    np.testing.assert_allclose(one, other, rtol=1e-10)
    np.testing.assert_allclose(
        (whole - state_of(matrix[:, :50], target[:50])).gram,
        np.tril(matrix[:, 50:] @ matrix[:, 50:].T),
        rtol=1e-9,
        atol=1e-9 * whole.gram.max(),
    )


def test_a_file_that_is_no_state_is_refused(tmp_path):
    (tmp_path / "torn.npz").write_bytes(b"half a file")
    with pytest.raises(DataError, match=r"torn.npz is not a saved state"):
        NormalEquations.load(tmp_path / "torn.npz")


def test_states_of_different_sizes_do_not_add():
    with pytest.raises(ValueError, match="3 and 4 functions"):
        NormalEquations.empty(3) + NormalEquations.empty(4)


@pytest.mark.parametrize(
    "choose", [cross_validate, lambda folds, prior: maximise_evidence(merge(folds), prior)]
)
def test_known_coefficients_are_recovered(choose):
    matrix, target, truth, _ = problem(noise=1e-6)
    folds = [state_of(matrix[:, k::5], target[k::5]) for k in range(5)]
    found = choose(folds, np.ones(K))
    np.testing.assert_allclose(found.coefficients, truth, rtol=1e-5)
    assert found.strength < 1e-4
    assert np.isfinite(found.condition)


@pytest.mark.parametrize(
    "choose", [cross_validate, lambda folds, prior: maximise_evidence(merge(folds), prior)]
)
def test_noise_calls_for_a_stronger_ridge(choose):
    """With more unknowns than the noisy rows can carry, the chosen λ beats the weakest one on fresh rows."""
    matrix, target, truth, _ = problem(rows=40, noise=3.0, functions=30)
    fresh, _, _, scales = problem(rows=4000, functions=30)
    fresh = np.random.default_rng(9).normal(size=fresh.shape) * scales[:, None]
    folds = [state_of(matrix[:, k::5], target[k::5]) for k in range(5)]
    prior = np.ones(30)
    chosen, weakest = choose(folds, prior), solve(merge(folds), 1e-12, prior)
    errors = [np.mean(((found.coefficients - truth) @ fresh) ** 2) for found in (chosen, weakest)]
    assert chosen.strength > 1e-3
    assert errors[0] < 0.6 * errors[1]


def test_solution_does_not_depend_on_the_scale_of_a_function():
    matrix, target, _, _ = problem(noise=1.0)
    factors = 10.0 ** np.random.default_rng(2).uniform(-3, 3, size=K)
    one = solve(state_of(matrix, target), 1e-2, np.ones(K)).coefficients
    other = solve(state_of(matrix * factors[:, None], target), 1e-2, np.ones(K)).coefficients
    np.testing.assert_allclose(other * factors, one, rtol=1e-9)


def test_functions_without_data_keep_the_prior_mean():
    matrix, target, _, _ = problem()
    matrix[4] = 0.0
    state, prior = state_of(matrix, target), np.ones(K)
    assert solve(state, 1e-6, prior).coefficients[4] == 0.0
    mean = np.arange(K, dtype=float)
    assert solve(state, 1e-6, prior, mean).coefficients[4] == 4.0


def test_a_strong_ridge_returns_the_prior_mean_and_a_weak_one_the_data():
    matrix, target, truth, scales = problem()
    state, prior = state_of(matrix, target), np.ones(K)
    mean = 1.0 / scales
    np.testing.assert_allclose(solve(state, 1e12, prior, mean).coefficients, mean, rtol=1e-6)
    np.testing.assert_allclose(solve(state, 1e-12, prior, mean).coefficients, truth, rtol=1e-6)


def test_rough_functions_cost_more():
    np.testing.assert_allclose(smoothness(np.array([1.0, 0.0, 3.0]), 2.0), [4.0, 1.0, 16.0])
    matrix, target, _, _ = problem()
    state = state_of(matrix, target)
    rough = np.where(np.arange(K) == 3, 1e3, 1.0)
    even, penalised = (abs(solve(state, 1e-2, prior).coefficients[3]) for prior in (np.ones(K), rough))
    assert penalised < 1e-2 * even


def test_no_known_function_at_all():
    found = cross_validate([NormalEquations.empty(3), NormalEquations.empty(3)], np.ones(3))
    np.testing.assert_array_equal(found.coefficients, np.zeros(3))


def test_an_unsolvable_system_has_no_finite_coefficients():
    state = NormalEquations(np.full((2, 2), np.nan), np.ones(2), 1.0, 2, 1)
    assert not np.isfinite(solve(state, 1e-6, np.ones(2)).coefficients).any()
