import numpy as np
import pytest
from ase.build import molecule
from scipy.spatial.distance import cdist

from pyacemaker.generators.bonds import bonds_of
from pyacemaker.generators.torsions import random_torsions, torsion_scans, torsions_of, turned
from pyacemaker.structures import AtomStructure


def structure_of(name):
    return AtomStructure.from_atoms(molecule(name))


@pytest.mark.parametrize(
    ("name", "bonds"),
    [("CH3CH2OH", ["CC", "CO"]), ("C2H4", []), ("H2O", []), ("C3H6_D3h", []), ("H2O2", ["OO"]),
     ("N2H4", ["NN"]), ("C6H6", []), ("trans-butane", ["CC", "CC", "CC"]), ("CH3Cl", [])],
)  # fmt: skip
def test_bonds_that_turn(name, bonds):
    found = structure_of(name)
    symbols = sorted("".join(sorted(found.symbols[atom] for atom in t.bond)) for t in torsions_of(found))
    assert symbols == bonds


def test_turning_keeps_bonds_and_angles_and_comes_back():
    ethanol = structure_of("CH3CH2OH")
    for torsion in torsions_of(ethanol):
        moved = turned(ethanol.positions, torsion, 1.0)
        assert np.abs(moved - ethanol.positions).max() > 0.3
        before, after = cdist(ethanol.positions, ethanol.positions), cdist(moved, moved)
        near = before < 2.3  # bonds, and most of the pairs across an angle
        part = np.isin(np.arange(9), torsion.moving)
        same = near & (part[:, None] == part[None])
        assert np.allclose(before[same], after[same])
        for i, j in bonds_of(ethanol):
            assert before[i, j] == pytest.approx(after[i, j])
        back = turned(turned(moved, torsion, 2.0), torsion, 2.0 * np.pi - 3.0)
        assert np.allclose(back, ethanol.positions)


def test_the_dihedral_angle_changes_by_the_angle():
    peroxide = structure_of("H2O2")
    (torsion,) = torsions_of(peroxide)
    bonds = bonds_of(peroxide) - {tuple(sorted(torsion.bond))}
    first, last = (next(sum(bond) - atom for bond in bonds if atom in bond) for atom in torsion.bond)
    chain = [first, *torsion.bond, last]
    before = peroxide.to_atoms().get_dihedral(*chain)
    after = peroxide.replace(positions=turned(peroxide.positions, torsion, np.radians(50.0))).to_atoms()
    # ASE counts clockwise when seen along the bond, as the right hand does
    assert (after.get_dihedral(*chain) - before) % 360.0 == pytest.approx(50.0)


def test_scans_and_random_conformers():
    ethanol = structure_of("CH3CH2OH")
    assert len(torsion_scans(ethanol, 12)) == 2 * 11
    conformers = random_torsions(ethanol, 5, np.random.default_rng(1))
    assert len(conformers) == 5
    for positions in conformers:
        assert bonds_of(ethanol) <= bonds_of(ethanol.replace(positions=positions))
    assert random_torsions(structure_of("H2O2"), 5, np.random.default_rng(1)) == []
    assert torsion_scans(structure_of("H2O"), 12) == []
