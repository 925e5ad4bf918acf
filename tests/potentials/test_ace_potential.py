import itertools
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
        assert (label.stress is None) == (not atoms.pbc.any())
        if atoms.pbc.all():
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


def strain_derivative(atoms, calculator, a, b, step=1e-5):
    """(dE/dε_ab)/V by central differences."""
    energy = []
    for sign in (1, -1):
        strain = np.eye(3)
        strain[a, b] += sign * step
        strained = atoms.copy()
        strained.set_cell(atoms.cell.array @ strain, scale_atoms=True)
        strained.calc = calculator
        energy.append(strained.get_potential_energy())
    return (energy[0] - energy[1]) / (2 * step * atoms.get_volume())


@pytest.mark.parametrize("pbc", list(itertools.product([False, True], repeat=3)), ids=str)
def test_stress_exists_wherever_there_is_a_volume(copper, pbc):
    atoms = bulk("Cu", cubic=True)
    atoms.set_cell(atoms.cell.array + np.array([[0, 0.2, 0], [0, 0, 0.1], [0.3, 0, 6]]), scale_atoms=True)
    atoms.rattle(0.1, seed=1)
    atoms.pbc = pbc
    atoms.calc = copper.calculator()
    expected = [strain_derivative(atoms, atoms.calc, *pair) for pair in ((0, 0), (2, 2), (1, 2), (0, 1))]
    assert atoms.get_stress()[[0, 2, 3, 5]] == pytest.approx(expected, rel=1e-5, abs=1e-8)
    label = copper.evaluate([AtomStructure.from_atoms(atoms)])[0]
    if any(pbc):
        assert (label.stress == atoms.get_stress()).all()
    else:
        assert label.stress is None  # a molecule in a box is still a molecule


def test_no_stress_without_a_volume(copper):
    atoms = bulk("Cu", cubic=True)
    atoms.pbc = False
    for cell in (np.zeros((3, 3)), np.diag([5.0, 5.0, 0.0])):
        atoms.cell = cell
        atoms.calc = copper.calculator()
        assert np.isfinite(atoms.get_forces()).all()
        with pytest.raises(PropertyNotImplementedError, match="cell vectors of these atoms span none"):
            atoms.get_stress()
        assert copper.evaluate([AtomStructure.from_atoms(atoms)])[0].stress is None


def test_cells_of_one_atom_and_positions_outside_the_cell(copper):
    primitive, cubic = bulk("Cu"), bulk("Cu", cubic=True)
    one, four = copper.evaluate([AtomStructure.from_atoms(atoms) for atoms in (primitive, cubic)])
    assert 4 * one.energy == pytest.approx(four.energy, rel=1e-10)
    assert one.stress == pytest.approx(four.stress, rel=1e-8, abs=1e-12)
    cubic.rattle(0.1, seed=4)
    wrapped = copper.evaluate([AtomStructure.from_atoms(cubic)])[0]
    cubic.positions += np.array([[5, 0, 0], [0, -3, 1], [0, 0, 0], [-40, 40, 7]]) @ cubic.cell.array
    outside = copper.evaluate([AtomStructure.from_atoms(cubic)])[0]
    assert outside.energy == pytest.approx(wrapped.energy, rel=1e-10)
    assert outside.forces == pytest.approx(wrapped.forces, abs=1e-9)


@pytest.mark.parametrize("pbc", [False, True])
def test_atoms_without_neighbours_and_no_atoms(copper, pbc):
    cell = 40.0 * np.eye(3)
    far = AtomStructure(np.array([29, 29]), np.array([[0, 0, 0], [0, 0, 20.0]]), cell, np.full(3, pbc))
    none = AtomStructure(np.zeros(0, int), np.zeros((0, 3)), cell, np.full(3, pbc))
    apart, nothing = copper.evaluate([far, none])
    assert apart.energy == pytest.approx(2 * copper.model.e0[0])
    assert not apart.forces.any()
    assert nothing.energy == 0.0
    assert nothing.forces.shape == (0, 3)
    atoms = none.to_atoms()
    atoms.calc = copper.calculator()
    assert atoms.get_potential_energy() == 0.0
    assert not atoms.get_stress().any()


def many_structures():
    """Enough for several chunks."""
    found = []
    for seed in range(12):
        atoms = bulk("Cu", cubic=True) * (3, 3, 2)
        atoms.rattle(0.1, seed=seed)
        atoms.pbc = [True, True, bool(seed % 2)]
        found.append(AtomStructure.from_atoms(atoms))
    return found


def test_two_processes_say_the_same_to_the_bit(copper):
    structures = many_structures()
    alone, together = (copper.evaluate(structures, processes=number) for number in (1, 2))
    for one, other in zip(alone, together, strict=True):
        assert one.energy == other.energy
        for name in ("forces", "stress", "energies"):
            assert getattr(one, name).tobytes() == getattr(other, name).tobytes()
            assert not getattr(other, name).flags.writeable


def test_two_processes_name_the_bad_structure(copper):
    structures = many_structures()
    structures[9] = AtomStructure.from_atoms(bulk("Ni"))
    with pytest.raises(UnsupportedElementError, match=rf"structure 9 .*{structures[9].id}.*Ni"):
        copper.evaluate(structures, processes=2)


def test_processes_are_started_only_for_much_work(copper):
    few = many_structures()
    assert copper.worthwhile_processes(few, 8) == 1
    assert 1 < copper.worthwhile_processes(few * 1000, 8) <= 8
    assert copper.worthwhile_processes(few * 9000, 2) == 2
    assert copper.worthwhile_processes([], 8) == 1


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
