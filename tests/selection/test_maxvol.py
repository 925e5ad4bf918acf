import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyacemaker.selection import MaxvolSelector
from pyacemaker.structures import AtomStructure, Dataset


def select(features, n):
    return MaxvolSelector().select(features, n, np.random.default_rng(0))


def log_volume(rows, ridge=1e-6):
    return np.linalg.slogdet(ridge * np.eye(rows.shape[1]) + rows.T @ rows)[1]


def scaled(features):
    return features / np.sqrt(np.mean(features**2, axis=0))


def test_ace_functions_tell_structures_apart_that_the_given_features_do_not():
    distances = np.linspace(1.0, 4.0, 12)
    pairs = Dataset(AtomStructure(np.array([1, 1]), np.array([[0.0, 0, 0], [0, 0, r]])) for r in distances)
    useless = np.ones((12, 3))
    assert MaxvolSelector().features_of(pairs, useless) is useless
    rows = MaxvolSelector(features="ace", functions=20).features_of(pairs, useless)
    assert len(np.unique(np.round(rows, 6), axis=0)) == 12
    chosen = MaxvolSelector(features="ace").select(rows, 4, np.random.default_rng(0))
    others = np.random.default_rng(0).permutation(12)[:4]
    assert log_volume(scaled(rows[:, rows.any(axis=0)])[chosen]) >= log_volume(
        scaled(rows[:, rows.any(axis=0)])[others]
    )


@settings(deadline=None, max_examples=20)
@given(n=st.integers(1, 9), d=st.integers(1, 6), seed=st.integers(0, 1000))
def test_no_exchange_of_one_structure_raises_the_volume(n, d, seed):
    rows = scaled(np.random.default_rng(seed).standard_normal((14, d)))
    chosen = select(rows, n)
    assert len(set(chosen)) == n
    best = log_volume(rows[chosen])
    for position, newcomer in itertools.product(range(n), set(range(14)) - set(chosen)):
        other = chosen.copy()
        other[position] = newcomer
        assert log_volume(rows[other]) <= best + 1e-6


@pytest.mark.parametrize("n", [2, 4, 6])  # fewer than, as many as, and more than the features
def test_close_to_the_largest_volume_there_is(n):
    rows = scaled(np.random.default_rng(3).standard_normal((13, 4)))
    largest = max(log_volume(rows[list(subset)]) for subset in itertools.combinations(range(13), n))
    assert log_volume(rows[select(rows, n)]) > largest + np.log(0.7)


def test_the_vertices_of_a_simplex_beat_its_inside():
    weights = np.random.default_rng(4).dirichlet(np.ones(5), size=200)
    features = np.concatenate([weights, np.eye(5)])
    assert list(select(features, 5)) == list(range(200, 205))


def test_the_scale_of_a_feature_does_not_matter():
    features = np.random.default_rng(5).standard_normal((60, 8))
    stretched = features * np.logspace(-4, 4, 8)
    assert np.array_equal(select(features, 20), select(stretched, 20))


def test_zero_features_are_ignored_and_many_steps_stay_accurate():
    features = np.random.default_rng(6).standard_normal((300, 5))
    padded = np.concatenate([features, np.zeros((300, 2))], axis=1)
    chosen = select(padded, 130)  # more than two refreshes of the inverse
    assert np.array_equal(chosen, select(features, 130))
    assert len(set(chosen)) == 130
