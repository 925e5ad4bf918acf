import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyacemaker.generators.occupations import (
    PairShells,
    occupied,
    quasi_random_occupation,
    random_occupation,
    random_swap,
    spread_compositions,
    vegard_scale,
)
from pyacemaker.generators.prototypes import find_prototype, prototype_cell
from pyacemaker.generators.supercells import compact_supercell

FCC = compact_supercell(prototype_cell({"Cu": 1}, find_prototype("fcc")), 16)
SITES = np.arange(16)
SHELLS = PairShells.of(FCC, SITES)
ELEMENTS = np.array([13, 29])


def test_shells_hold_all_neighbours_of_a_close_packed_lattice():
    assert [len(i) / 16 for i, _ in SHELLS.pairs] == [12, 6, 24]


def test_the_error_of_an_ordered_and_of_an_alike_alloy():
    alike = np.zeros(16, dtype=int)
    assert SHELLS.disorder_error(alike, 2) == pytest.approx(0.0)
    layered = (np.round(FCC.positions[:, 2] / (3.61 / 2)).astype(int)) % 2
    if layered.sum() != 8:
        pytest.skip("the cell does not hold whole layers along z")
    # L1_0: 4 of 12 nearest neighbours alike, all of the second, 8 of 24 of the third
    shares = [1 / 3, 1.0, 1 / 3]
    errors = [4 * (share / 2 - 1 / 4) ** 2 / n for n, share in enumerate(shares, 1)]
    assert SHELLS.disorder_error(layered, 2) == pytest.approx(sum(errors))


@given(st.integers(2, 14), st.integers(0, 1000))
@settings(max_examples=6, deadline=None)
def test_quasi_random_is_nearer_to_disorder_than_chance(copper, seed):
    counts = (16 - copper, copper)
    found = quasi_random_occupation(SHELLS, ELEMENTS, counts, np.random.default_rng(seed))
    assert [int(np.sum(found == z)) for z in ELEMENTS] == list(counts)
    error = SHELLS.disorder_error(np.searchsorted(ELEMENTS, found), 2)
    rng = np.random.default_rng(seed + 1)
    by_chance = [
        SHELLS.disorder_error(np.searchsorted(ELEMENTS, random_occupation(ELEMENTS, counts, rng)), 2)
        for _ in range(30)
    ]
    assert error <= min(by_chance) + 1e-12


def test_half_and_half_on_sixteen_sites_is_nearly_random():
    found = quasi_random_occupation(SHELLS, ELEMENTS, (8, 8), np.random.default_rng(1))
    assert SHELLS.disorder_error(np.searchsorted(ELEMENTS, found), 2) < 0.02


@given(st.integers(2, 4), st.integers(4, 12), st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_compositions_are_distinct_mixed_and_complete(elements, sites, n):
    found = spread_compositions(sites, [(0.0, 1.0)] * elements, n)
    assert len(set(found)) == len(found) <= n
    assert all(sum(counts) == sites and max(counts) < sites for counts in found)
    assert max(found[0]) - min(found[0]) <= 1  # the most even one first


def test_compositions_reach_both_ends_and_stay_in_range():
    assert spread_compositions(16, [(0, 1), (0, 1)], 3) == [(8, 8), (1, 15), (15, 1)]
    within = spread_compositions(16, [(0, 1), (0.1, 0.3)], 9)
    assert sorted(counts[1] for counts in within) == [2, 3, 4]
    assert spread_compositions(4, [(0.4, 0.45), (0, 1)], 3) == []


@pytest.mark.parametrize(("elements", "sites"), [(3, 16), (4, 12), (6, 32), (8, 64)])
def test_half_of_the_compositions_hold_every_element_and_the_others_reach_the_edges(elements, sites):
    found = spread_compositions(sites, [(0.0, 1.0)] * elements, 14)
    complete = [counts for counts in found if min(counts) > 0]
    assert 7 <= len(complete) < len(found) == 14
    assert found == spread_compositions(sites, [(0.0, 1.0)] * elements, 14)


def test_narrow_shares_of_many_elements_are_met():
    narrow = [(0.1, 0.15)] * 8
    found = spread_compositions(64, narrow, 9)
    assert len(found) == 9
    assert all(sum(counts) == 64 and min(counts) >= 7 and max(counts) <= 9 for counts in found)


def test_swaps_exchange_unlike_atoms_only():
    rng = np.random.default_rng(0)
    mixed = occupied(FCC, SITES, random_occupation(ELEMENTS, (4, 12), rng))
    for _ in range(20):
        first, second = random_swap(mixed, SITES, rng)
        assert mixed.numbers[first] != mixed.numbers[second]
    assert random_swap(FCC, SITES, rng) is None


def test_lengths_follow_the_mean_volume():
    assert vegard_scale((1, 3), np.array([1.5, 1.1])) == pytest.approx(1.2 ** (1 / 3))
