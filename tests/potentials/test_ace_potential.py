import pickle
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.io import read

from pyacemaker import ACECalculator
from pyacemaker.errors import DataError, PotentialFormatError, UnsupportedElementError
from pyacemaker.potentials.ace import ACEPotential
from pyacemaker.structures import AtomStructure

DATA = Path(__file__).parent.parent / "data" / "ace"
COPPER, ETHANOL = DATA / "cu-zbl-core.yace", DATA / "ethanol-cho-744.yace"


@pytest.fixture(scope="module")
def copper():
    return ACEPotential.from_yace(COPPER)


def test_labels_of_structures(copper):
    frames = read(COPPER.with_suffix(".extxyz"), ":")
    labels = copper.evaluate([AtomStructure.from_atoms(atoms) for atoms in frames])
    for atoms, label in zip(frames, labels, strict=True):
        assert label.is_finite()
        assert label.energy == pytest.approx(atoms.info["ref_energy"], rel=1e-6, abs=1e-6)
        assert label.energies.sum() == pytest.approx(label.energy)
        assert label.forces.shape == (len(atoms), 3)
        assert (label.stress is None) == (not atoms.pbc.all())
        if label.stress is not None:
            assert label.stress == pytest.approx(atoms.info["ref_stress"], rel=1e-6, abs=1e-7)
    assert copper.elements == ("Cu",)
    assert copper.label([AtomStructure.from_atoms(frames[0])])[0].source == "ace"


def test_the_calculator_gives_the_same_and_ase_confirms_its_derivatives(copper):
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=1)
    atoms.calc = copper.calculator()
    label = copper.evaluate([AtomStructure.from_atoms(atoms)])[0]
    assert atoms.get_potential_energy() == label.energy == atoms.get_potential_energy(force_consistent=True)
    assert (atoms.get_forces() == label.forces).all()
    assert (atoms.get_stress() == label.stress).all()
    assert (atoms.get_potential_energies() == label.energies).all()
    volume, step, energy = atoms.get_volume(), 1e-5, []
    for sign in (1, -1):
        strained = atoms.copy()
        strained.set_cell(atoms.cell.array @ (np.eye(3) + sign * step * np.diag([0, 0, 1])), scale_atoms=True)
        strained.calc = ACECalculator(COPPER)
        energy.append(strained.get_potential_energy())
    assert atoms.get_stress()[2] == pytest.approx((energy[0] - energy[1]) / (2 * step * volume), rel=1e-5)


def test_stress_needs_a_cell_periodic_in_all_directions():
    atoms = bulk("Cu", cubic=True)
    atoms.pbc = [True, True, False]
    atoms.calc = ACECalculator(str(COPPER))
    assert np.isfinite(atoms.get_forces()).all()
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_stress()


def test_a_molecule_of_several_species():
    atoms = molecule("CH3CH2OH")
    atoms.calc = ACECalculator(ETHANOL)
    assert atoms.get_forces().sum(axis=0) == pytest.approx(0.0, abs=1e-9)
    moved = atoms.copy()
    moved.positions[0, 0] += 0.1
    moved.calc = atoms.calc
    assert moved.get_potential_energy() != atoms.get_potential_energy()


def test_an_element_outside_the_potential(copper):
    with pytest.raises(UnsupportedElementError, match="Ni"):
        copper.evaluate([AtomStructure.from_atoms(bulk("Ni"))])
    atoms = bulk("Ni")
    atoms.calc = copper.calculator()
    with pytest.raises(UnsupportedElementError, match="Ni"):
        atoms.get_potential_energy()


def test_atoms_at_one_place(copper):
    with pytest.raises(DataError, match="atoms 0 and 1"):
        copper.evaluate([AtomStructure(np.array([29, 29]), np.zeros((2, 3)))])


def test_files_and_pickles_keep_the_potential(copper, tmp_path):
    copper.to_yace(tmp_path / "copy.yace")
    structure = AtomStructure.from_atoms(bulk("Cu", cubic=True) * (1, 1, 2))
    expected = copper.evaluate([structure])[0]
    for copy in (ACEPotential.from_yace(tmp_path / "copy.yace"), pickle.loads(pickle.dumps(copper))):
        found = copy.evaluate([structure])[0]
        assert found.energy == expected.energy
        assert found.forces.tobytes() == expected.forces.tobytes()
        assert copy.name == copper.name


def test_a_file_that_is_no_potential(tmp_path):
    (tmp_path / "x.yace").write_text("elements: [Cu]")
    with pytest.raises(PotentialFormatError, match=r"x\.yace lacks the key 'embeddings'"):
        ACECalculator(tmp_path / "x.yace")
