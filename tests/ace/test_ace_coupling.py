"""Clebsch–Gordan coefficients and invariants."""

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyacemaker.ace.angular import spherical_harmonics
from pyacemaker.ace.coupling import canonical_ms, chain_couplings, clebsch_gordan, invariants

ANGULAR = st.integers(0, 4)


@given(ANGULAR, ANGULAR)
def test_coefficients_are_an_orthogonal_matrix(l1, l2):
    uncoupled = list(product(range(-l1, l1 + 1), range(-l2, l2 + 1)))
    coupled = [(j, m) for j in range(abs(l1 - l2), l1 + l2 + 1) for m in range(-j, j + 1)]
    matrix = np.array([[clebsch_gordan(l1, a, l2, b, j, m) for a, b in uncoupled] for j, m in coupled])
    assert matrix.shape == (len(uncoupled), len(uncoupled))
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(len(uncoupled)), atol=1e-12)


@pytest.mark.parametrize(
    ("state", "value"),
    [
        ((1, 0, 1, 0, 0, 0), -np.sqrt(1 / 3)),
        ((1, 1, 1, -1, 0, 0), np.sqrt(1 / 3)),
        ((1, 1, 1, 0, 2, 1), np.sqrt(1 / 2)),
        ((2, 0, 1, 0, 1, 0), -np.sqrt(2 / 5)),
        ((2, 2, 1, -1, 3, 1), np.sqrt(1 / 15)),
        ((1, 1, 1, 0, 2, 0), 0.0),
        ((1, 0, 1, 0, 3, 0), 0.0),
    ],
)
def test_published_coefficients(state, value):
    assert clebsch_gordan(*state) == pytest.approx(value, abs=1e-14)


@pytest.mark.parametrize("ls", [(0,), (2, 2), (1, 2, 3), (1, 1, 2, 2), (2, 1, 3, 2), (1, 1, 1, 1, 2)])
def test_chain_coupling_is_invariant_under_rotation(ls):
    """Π Y contracted with each tensor does not change when every direction turns alike."""
    rng = np.random.default_rng(3)
    directions = rng.normal(size=(len(ls), 3))
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    tensors = chain_couplings(ls)
    assert tensors
    for tensor in tensors:
        before, after = (_contract(tensor, ls, vectors) for vectors in (directions, directions @ rotation.T))
        # an improper rotation changes the sign of an odd Σl
        sign = np.linalg.det(rotation) ** sum(ls)
        assert after == pytest.approx(sign * before, abs=1e-12)


def test_nothing_couples_to_zero_outside_the_polygon_rule():
    assert chain_couplings((1, 2)) == []
    assert chain_couplings((1, 1, 3)) == []
    assert len(invariants((1, 1, 3), (0, 1, 2)).coefficients) == 0


def test_odd_sums_are_left_out():
    assert len(invariants((1, 1, 1), (0, 1, 2)).coefficients) == 0


def test_number_of_invariants_of_distinct_factors():
    """One per chain of intermediate angular momenta: for l, l, l, l it is 2l + 1."""
    for angular in range(4):
        assert len(invariants((angular,) * 4, (0, 1, 2, 3)).coefficients) == 2 * angular + 1


def test_equal_factors_leave_fewer_invariants():
    """Four equal l = 1 vectors have one invariant, (v·v)²; two pairs have (u·u)(v·v) and (u·v)²."""
    assert len(invariants((1, 1, 1, 1), (0, 0, 0, 0)).coefficients) == 1
    assert len(invariants((1, 1, 1, 1), (0, 0, 1, 1)).coefficients) == 2
    assert len(invariants((1, 1, 1, 1), (0, 1, 2, 3)).coefficients) == 3


@given(st.lists(ANGULAR, min_size=2, max_size=4).map(tuple))
def test_rows_are_orthonormal_and_monomials_distinct(ls):
    found = invariants(ls, tuple(range(len(ls))))
    count = len(found.coefficients)
    np.testing.assert_allclose(found.coefficients @ found.coefficients.T, np.eye(count), atol=1e-10)
    assert len({tuple(ms) for ms in found.ms.tolist()}) == len(found.ms)
    assert np.all(found.ms.sum(axis=1) == 0)


@given(st.permutations([2, -1, -1, 0]))
def test_canonical_ms_do_not_depend_on_the_order_of_equal_factors(ms):
    reference = canonical_ms((2, -1, -1, 0), (0, 0, 0, 0))
    assert canonical_ms(tuple(ms), (0, 0, 0, 0)) == reference
    assert canonical_ms(tuple(-m for m in ms), (0, 0, 0, 0)) == reference
    assert reference in set(permutations([2, -1, -1, 0])) | set(permutations([-2, 1, 1, 0]))


def _contract(tensor, ls, vectors):
    total = tensor.astype(complex)
    for angular, vector in zip(ls, vectors, strict=True):
        total = np.tensordot(_harmonics(angular, vector), total, axes=(0, 0))
    return complex(total)


def _harmonics(angular, vector):
    packed, _ = spherical_harmonics((vector / np.linalg.norm(vector))[None], angular)
    first = angular * (angular + 1) // 2
    positive = packed[0, first : first + angular + 1]
    negative = [(-1) ** m * np.conj(positive[m]) for m in range(angular, 0, -1)]
    return np.array([*negative, *positive])
