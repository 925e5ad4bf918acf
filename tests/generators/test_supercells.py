import itertools

import numpy as np
import pytest
from ase.build import bulk, make_supercell
from ase.calculators.emt import EMT
from hypothesis import given, settings
from hypothesis import strategies as st

from pyacemaker.generators.supercells import compact_supercell, nearest_image
from pyacemaker.structures import AtomStructure

COPPER = AtomStructure.from_atoms(bulk("Cu"))


def shortest_vector(cell):
    steps = [v for v in itertools.product(range(-4, 5), repeat=3) if any(v)]
    return np.linalg.norm(np.array(steps) @ cell, axis=1).min()


def energy(structure):
    atoms = structure.to_atoms()
    atoms.calc = EMT()
    return atoms.get_potential_energy()


def test_the_crystal_is_the_same():
    found = compact_supercell(COPPER, 16)
    assert found.volume / len(found) == pytest.approx(COPPER.volume)
    assert energy(found) / len(found) == pytest.approx(energy(COPPER))
    assert set(found.symbols) == {"Cu"}


def test_sixteen_atoms_of_a_close_packed_metal_stand_in_a_body_centred_cell():
    found = compact_supercell(COPPER, 16)
    bond = 3.61 / 2**0.5
    assert len(found) == 16
    assert shortest_vector(found.cell) == pytest.approx(6**0.5 * bond)  # 2 × 2 × 2 would have 2 bonds
    assert len(compact_supercell(COPPER, 31)) == 27  # the largest that packs as well as 3 × 3 × 3


@given(st.integers(0, 10**6), st.integers(2, 12))
@settings(max_examples=15, deadline=None)
def test_no_supercell_along_the_axes_keeps_images_farther_apart(seed, largest):
    rng = np.random.default_rng(seed)
    cell = 3.0 * np.eye(3) + rng.uniform(-1.0, 1.0, (3, 3))
    one = AtomStructure(np.array([29]), np.zeros((1, 3)), cell, np.ones(3, dtype=bool))
    found = compact_supercell(one, largest)
    assert len(found) <= largest
    assert found.volume == pytest.approx(len(found) * one.volume)
    straight = [np.diag(n) for n in itertools.product(range(1, 5), repeat=3) if np.prod(n) <= largest]
    best = max(shortest_vector(multiples @ cell) for multiples in straight)
    assert shortest_vector(found.cell) >= best - 1e-3


def test_nearest_image_of_known_superlattices():
    multiples = np.array([np.eye(3), 2 * np.eye(3), [[0, 1, 1], [1, 0, 1], [1, 1, 0]]], dtype=np.int64)
    assert np.allclose(nearest_image(multiples, 3.0 * np.eye(3)), [3.0, 6.0, 3.0 * 2**0.5])


def test_a_cell_without_room_to_grow_stays():
    large = AtomStructure.from_atoms(make_supercell(bulk("Cu"), 2 * np.eye(3)))
    assert compact_supercell(large, 8) is large
    assert compact_supercell(large, 15) is large
