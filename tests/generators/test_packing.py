import numpy as np
import pytest
from ase.build import molecule
from hypothesis import given, settings
from hypothesis import strategies as st

from pyacemaker.generators.packing import packed_atoms, packed_molecules, volume_at_density
from pyacemaker.selection.filters import closest_fraction, pair_fractions
from pyacemaker.structures import AtomStructure

WATER = AtomStructure.from_atoms(molecule("H2O"))


@given(st.integers(0, 10**6), st.sampled_from([13, 29, 17, 11]), st.integers(4, 40), st.floats(0.6, 0.9))
@settings(max_examples=15, deadline=None)
def test_no_two_atoms_are_nearer_than_asked(seed, partner, n, contact):
    numbers = np.resize([13, partner], n)
    found = packed_atoms(numbers, 22.0 * n, contact, np.random.default_rng(seed), "melt/packing")
    assert found.volume == pytest.approx(22.0 * n)
    assert closest_fraction(found) >= min(contact, 0.7) - 1e-9
    assert np.array_equal(found.numbers, numbers)


def test_packings_are_random_and_repeatable():
    numbers = np.full(12, 13)
    first, again, other = (
        packed_atoms(numbers, 200.0, 0.8, np.random.default_rng(seed), "x") for seed in (1, 1, 2)
    )
    assert first.id == again.id != other.id


def test_more_atoms_than_fit_come_closer():
    found = packed_atoms(np.full(30, 13), 30 * 7.0, 1.0, np.random.default_rng(0), "x")
    assert 0.5 < closest_fraction(found) < 0.9


def test_density():
    assert volume_at_density(np.array([8, 1, 1]), 1.0) == pytest.approx(29.9, abs=0.1)


def test_molecules_stay_whole_and_apart():
    volume = 8 * volume_at_density(WATER.numbers, 1.0)
    found = packed_molecules(WATER, 8, volume, 0.7, np.random.default_rng(3), "melt/packing")
    assert len(found) == 24
    whole = pair_fractions(WATER.numbers, WATER.positions)
    for k in range(8):
        part = found.positions[3 * k : 3 * k + 3]
        assert np.allclose(pair_fractions(WATER.numbers, part), whole)
    box = found.cell[0, 0]
    apart = found.positions[:, None] - found.positions[None]
    distance = np.linalg.norm(apart - box * np.rint(apart / box), axis=2)
    other = np.arange(24)[:, None] // 3 != np.arange(24)[None] // 3
    assert distance[other].min() > 1.0
    tight = packed_molecules(WATER, 8, 0.5 * volume, 1.2, np.random.default_rng(3), "x")
    assert tight.volume == pytest.approx(0.5 * volume)
