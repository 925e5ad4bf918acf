import numpy as np
import pytest
from ace_models import angular_part
from hypothesis import given, settings
from hypothesis import strategies as st

from pyacemaker.ace.angular import packed_size, spherical_harmonics

LMAX = 6
POLES = np.array([[0.0, 0, 1], [0, 0, -1], [1, 0, 0], [0, -1, 0]])


def directions(seed, count=20):
    vectors = np.random.default_rng(seed).normal(size=(count, 3))
    return np.concatenate([POLES, vectors / np.linalg.norm(vectors, axis=1, keepdims=True)])


def test_values_are_those_of_scipy():
    unit = directions(0)
    values, _ = spherical_harmonics(unit, LMAX)
    assert values.shape == (len(unit), packed_size(LMAX))
    for ell in range(LMAX + 1):
        for m in range(ell + 1):
            column = values[:, ell * (ell + 1) // 2 + m]
            assert column == pytest.approx(angular_part(unit, ell, m), abs=1e-12)


def test_first_functions_by_hand():
    x, y, z = unit = np.array([0.36, 0.48, 0.8])
    values = spherical_harmonics(unit[None], 1)[0][0]
    assert values == pytest.approx([1.0, np.sqrt(3) * z, -np.sqrt(1.5) * (x + 1j * y)])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_gradients_are_tangential_derivatives(seed):
    unit = directions(seed, 3)
    gradients = spherical_harmonics(unit, LMAX)[1]
    assert np.abs(np.einsum("pca,pa->pc", gradients, unit)).max() < 1e-11
    step = 1e-6
    for axis in range(3):
        ahead, behind = (_normalised(unit + sign * step * np.eye(3)[axis]) for sign in (1, -1))
        numeric = (spherical_harmonics(ahead, LMAX)[0] - spherical_harmonics(behind, LMAX)[0]) / (2 * step)
        assert gradients[:, :, axis] == pytest.approx(numeric, abs=1e-7)


def test_addition_theorem():
    values, _ = spherical_harmonics(directions(1), LMAX)
    for ell in range(LMAX + 1):
        first = ell * (ell + 1) // 2
        squares = np.abs(values[:, first : first + ell + 1]) ** 2
        total = squares[:, 0] + 2 * squares[:, 1:].sum(axis=1)
        assert total == pytest.approx(2 * ell + 1)


def _normalised(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
