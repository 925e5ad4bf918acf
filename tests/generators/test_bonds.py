import numpy as np
import pytest
from ase.build import molecule

from pyacemaker.generators.bonds import bond_length, bonds_of, fragments, set_bond_length
from pyacemaker.structures import AtomStructure


def test_bonds_of_ethanol():
    ethanol = AtomStructure.from_atoms(molecule("CH3CH2OH"))
    pairs = sorted("".join(sorted(ethanol.symbols[atom] for atom in bond)) for bond in bonds_of(ethanol))
    assert pairs == ["CC", "CH", "CH", "CH", "CH", "CH", "CO", "HO"]


def test_fragments_are_the_connected_components():
    parts = fragments(7, [(5, 6), (0, 2), (2, 4), (6, 1)])
    assert [list(part) for part in parts] == [[0, 2, 4], [1, 5, 6], [3]]


def test_a_bond_stretches_and_takes_its_group_along():
    ethanol = AtomStructure.from_atoms(molecule("CH3CH2OH"))
    positions, bonds = ethanol.positions, bonds_of(ethanol)
    carbon, oxygen = ethanol.symbols.index("C"), ethanol.symbols.index("O")
    fixed = next(i for i, j in (tuple(b) for b in bonds) if j == oxygen) if carbon < oxygen else carbon
    bond = next(b for b in ((i, oxygen) for i in range(9)) if tuple(sorted(b)) in bonds and b[0] != oxygen)
    bond = bond if ethanol.symbols[bond[0]] == "C" else (fixed, oxygen)
    kept = bonds - {tuple(sorted(bond))}
    moved = set_bond_length(positions, bond, 3.0, kept)
    assert bond_length(moved, bond) == pytest.approx(3.0)
    for other in kept:
        assert bond_length(moved, other) == pytest.approx(bond_length(positions, other))
    still = next(part for part in fragments(9, kept) if bond[0] in part)
    assert np.array_equal(moved[still], positions[still])


def test_in_a_ring_only_the_atom_moves():
    ring = AtomStructure.from_atoms(molecule("C3H6_D3h"))
    carbons = [i for i, symbol in enumerate(ring.symbols) if symbol == "C"]
    bond = (carbons[0], carbons[1])
    moved = set_bond_length(ring.positions, bond, 2.0, bonds_of(ring) - {bond})
    changed = np.flatnonzero(np.abs(moved - ring.positions).max(axis=1) > 1e-12)
    assert list(changed) == [carbons[1]]
    assert bond_length(moved, bond) == pytest.approx(2.0)
