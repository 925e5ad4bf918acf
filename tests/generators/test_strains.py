import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st

from pyacemaker.generators.strains import at_volume, random_strain, strained
from pyacemaker.structures import AtomStructure

SALT = AtomStructure.from_atoms(bulk("NaCl", "rocksalt", 5.64))


def fractions(structure):
    return structure.positions @ np.linalg.inv(structure.cell)


@given(st.integers(0, 10**6), st.floats(0.01, 0.3))
@settings(max_examples=30, deadline=None)
def test_random_strains_are_symmetric_and_bounded(seed, largest):
    strain = random_strain(largest, np.random.default_rng(seed))
    assert np.array_equal(strain, strain.T)
    assert 0.0 < np.abs(strain).max() <= largest
    found = strained(SALT, strain)
    assert np.allclose(fractions(found), fractions(SALT))
    assert found.volume == pytest.approx(SALT.volume * np.linalg.det(np.eye(3) + strain))


def test_random_strains_reach_small_and_large():
    sizes = [np.abs(random_strain(0.08, np.random.default_rng(seed))).max() for seed in range(200)]
    assert min(sizes) < 0.01
    assert max(sizes) > 0.07


@pytest.mark.parametrize("ratio", [0.88, 1.0, 1.12])
def test_volumes(ratio):
    found = at_volume(SALT, ratio)
    assert found.volume == pytest.approx(ratio * SALT.volume)
    assert np.allclose(fractions(found), fractions(SALT))
