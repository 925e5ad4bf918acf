"""Extrapolation grades of potentials: the reference's numbers, symmetries, and growth away from the data."""

import ase.io
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from conftest import ROOT
from pyacemaker.errors import PotentialFormatError, UnsupportedElementError
from pyacemaker.potentials.ace import ACEPotential
from pyacemaker.potentials.extrapolation import ActiveSet, ExtrapolatingCalculator, build_active_set
from pyacemaker.structures import AtomStructure
from pyacemaker.structures.formats import read_structures

GRADED = ROOT / "tests" / "data" / "active_set"
POTENTIALS = {
    "cu-chebexpcos-82": ROOT / "tests" / "data" / "ace" / "cu-chebexpcos-82.yace",
    "cho-order": GRADED / "cho-order.yace",
}


def load(name):
    return ActiveSet.load(GRADED / f"{name}.asi", ACEPotential.from_yace(POTENTIALS[name]))


@pytest.fixture(scope="module")
def organic():
    return load("cho-order")


@pytest.fixture(scope="module")
def cell():
    return read_structures(GRADED / "cho-order.extxyz")[0]


@pytest.mark.parametrize("name", POTENTIALS)
def test_grades_are_those_of_the_reference(name):
    """One element; three elements, which the `.yace` lists out of alphabetical order."""
    expected = [atoms.arrays["ref_gamma"] for atoms in ase.io.read(GRADED / f"{name}.extxyz", ":")]
    found = load(name).grades(read_structures(GRADED / f"{name}.extxyz"))
    assert len(found) == len(expected) == 4
    for ours, theirs in zip(found, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-7)
    assert max(values.max() for values in found) > 1.0


def test_rotation_permutation_and_translation_change_nothing(organic, cell):
    expected = organic.grades([cell])[0]
    turn = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()
    order = np.random.default_rng(1).permutation(len(cell))
    moved = AtomStructure(
        cell.numbers[order], cell.positions[order] @ turn.T + 0.4, cell.cell @ turn.T, cell.pbc
    )
    assert organic.grades([moved])[0] == pytest.approx(expected[order], rel=1e-7)


def test_compression_makes_the_grade_grow(organic, cell):
    squeezed = [
        AtomStructure(cell.numbers, cell.positions * f, cell.cell * f, cell.pbc) for f in (1.0, 0.8, 0.7, 0.6)
    ]
    largest = [values.max() for values in organic.grades(squeezed)]
    assert largest == sorted(largest)
    assert largest[-1] > 10.0


def test_a_set_is_saved_and_loaded(organic, cell, tmp_path):
    organic.save(tmp_path / "p.asi")
    again = ActiveSet.load(tmp_path / "p.asi", organic.potential)
    assert np.array_equal(again.grades([cell])[0], organic.grades([cell])[0])
    assert (tmp_path / "p.asi").read_bytes() == (GRADED / "cho-order.asi").read_bytes()


def test_the_calculator_has_the_grades_beside_the_potentials_answers(organic, cell):
    atoms = cell.to_atoms()
    atoms.calc = ExtrapolatingCalculator.from_files(POTENTIALS["cho-order"], GRADED / "cho-order.asi")
    forces = atoms.get_forces()
    assert atoms.calc.results["gamma"] == pytest.approx(organic.grades([cell])[0], rel=1e-9)
    assert atoms.calc.get_property("gamma", atoms).shape == (len(atoms),)
    plain = cell.to_atoms()
    plain.calc = organic.potential.calculator()
    assert np.array_equal(forces, plain.get_forces())
    before = atoms.calc.results["gamma"].copy()
    atoms.positions[0] += 0.2
    atoms.get_potential_energy()
    assert not np.array_equal(before, atoms.calc.results["gamma"])


def test_a_built_set_bounds_its_own_data():
    rng = np.random.default_rng(2)
    potential = ACEPotential.from_yace(POTENTIALS["cho-order"])
    structures = [
        AtomStructure(rng.permutation([1, 1, 1, 6, 6, 6, 8, 8, 8]), rng.uniform(0, 4.0, (9, 3)))
        for _ in range(30)
    ]
    active_set, parts = build_active_set(potential, structures)
    assert [part.element for part in parts] == ["C", "H", "O"]
    assert max(values.max() for values in active_set.grades(structures)) <= 1.01 + 1e-6


def test_the_set_of_another_potential_is_refused():
    copper = ACEPotential.from_yace(POTENTIALS["cu-chebexpcos-82"])
    with pytest.raises(PotentialFormatError, match=r"cho-order\.asi: the active set covers C, H, O"):
        ActiveSet.load(GRADED / "cho-order.asi", copper)
    with pytest.raises(PotentialFormatError, match=r"of Cu has shape \(81, 81\), and the potential 82"):
        ActiveSet(copper, {"Cu": np.eye(81)})


def test_an_unknown_element_is_named_with_its_structure(organic, cell):
    with pytest.raises(UnsupportedElementError, match="structure 1 "):
        organic.grades([cell, AtomStructure(np.array([29]), np.zeros((1, 3)))])


def test_a_lone_atom_has_grade_zero(organic):
    lone = AtomStructure(np.array([6]), np.zeros((1, 3)))
    assert organic.grades([lone])[0].tolist() == [0.0]
