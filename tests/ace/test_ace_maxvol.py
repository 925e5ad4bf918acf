"""MaxVol: distinct rows whose volume no exchange raises."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyacemaker.ace.maxvol import TOLERANCE, maxvol

matrices = st.tuples(st.integers(0, 10**6), st.integers(1, 7), st.integers(0, 25)).map(
    lambda drawn: np.random.default_rng(drawn[0]).normal(size=(drawn[1] + drawn[2], drawn[1]))
)


def volume(rows):
    return abs(np.linalg.det(rows))


@given(matrices)
@settings(max_examples=60, deadline=None)
def test_no_single_exchange_raises_the_volume_by_more_than_the_tolerance(rows):
    chosen = maxvol(rows)
    assert len(set(chosen.tolist())) == len(chosen) == rows.shape[1]
    before = volume(rows[chosen])
    for place in range(len(chosen)):
        for other in set(range(len(rows))) - set(chosen.tolist()):
            exchanged = chosen.copy()
            exchanged[place] = other
            assert volume(rows[exchanged]) <= before * TOLERANCE * (1 + 1e-9)


@given(matrices, st.integers(-8, 8))
@settings(max_examples=30, deadline=None)
def test_units_of_the_columns_do_not_matter(rows, power):
    scale = 10.0 ** (power * np.arange(rows.shape[1]))
    found, scaled = maxvol(rows), maxvol(rows * scale)
    assert volume(rows[scaled]) == pytest.approx(volume(rows[found]), rel=1e-6)


def test_the_volume_is_close_to_the_largest_of_all_subsets():
    rng = np.random.default_rng(5)
    for _ in range(10):
        rows = rng.normal(size=(9, 3))
        largest = max(volume(rows[list(subset)]) for subset in combinations(range(9), 3))
        assert volume(rows[maxvol(rows)]) > 0.5 * largest


def test_rank_deficient_rows_are_spanned():
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(40, 3)) @ rng.normal(size=(3, 6))
    assert np.linalg.matrix_rank(rows[maxvol(rows)]) == 3


def test_repeated_rows_change_nothing():
    rows = np.random.default_rng(3).normal(size=(30, 5))
    assert volume(np.repeat(rows, 3, axis=0)[maxvol(np.repeat(rows, 3, axis=0))]) == pytest.approx(
        volume(rows[maxvol(rows)]), rel=TOLERANCE**5 - 1
    )


def test_too_few_rows():
    with pytest.raises(ValueError, match="3 rows for 4 columns"):
        maxvol(np.ones((3, 4)))
