import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.emt import EMT
from ase.optimize import BFGS
from ase_potential import AsePotential, Springs
from scipy.stats import chi2

from pyacemaker.generators.normal_modes import normal_modes
from pyacemaker.structures import AtomStructure

EMT_ANY = AsePotential(EMT, ["C", "H", "O", "N", "Cu"])


def relaxed(name):
    atoms = molecule(name)
    atoms.calc = EMT()
    BFGS(atoms, logfile=None).run(fmax=1e-4)
    return AtomStructure.from_atoms(atoms)


@pytest.mark.parametrize(("name", "count"), [("H2O", 3), ("CO2", 4), ("N2", 1), ("CH4", 9), ("H", 0)])
def test_so_many_vibrations(name, count):
    structure = AtomStructure.from_atoms(molecule(name))
    assert len(normal_modes(structure, EMT_ANY)) == count


def test_the_frequency_of_a_dimer_is_that_of_its_bond():
    atoms = relaxed("N2")
    found = normal_modes(atoms, EMT_ANY)
    distance = np.linalg.norm(atoms.positions[1] - atoms.positions[0])

    def energy(r):
        return EMT_ANY.evaluate([AtomStructure(atoms.numbers, [[0, 0, 0], [0, 0, r]])])[0].energy

    h = 1e-3
    bond = (energy(distance + h) - 2 * energy(distance) + energy(distance - h)) / h**2
    reduced = 14.007 / 2
    assert found.stiffness[0] == pytest.approx(bond / reduced, rel=1e-3)


def test_modes_move_neither_centre_nor_orientation():
    water = AtomStructure.from_atoms(molecule("H2O"))
    masses = Atoms(numbers=water.numbers).get_masses()[:, None]
    for direction in normal_modes(water, EMT_ANY).directions:
        assert np.abs((masses * direction).sum(axis=0)).max() < 1e-9
        assert np.abs((masses * np.cross(water.positions, direction)).sum(axis=0)).max() < 1e-9


def test_turning_points_have_the_energy_asked_for():
    water = AtomStructure.from_atoms(molecule("H2O"))
    springs = Springs(water.positions, 5.0)
    found = normal_modes(water, springs).turning_points(0.03)
    energies = [labels.energy for labels in springs.evaluate([water.replace(positions=x) for x in found])]
    assert energies == pytest.approx([0.03] * 6, rel=1e-6)


def test_thermal_energies_follow_the_canonical_distribution():
    water = AtomStructure.from_atoms(molecule("H2O"))
    springs = Springs(water.positions, 5.0)
    modes, rng = normal_modes(water, springs), np.random.default_rng(1)
    samples = [water.replace(positions=modes.thermal(0.02, rng)) for _ in range(1000)]
    energies = np.array([labels.energy for labels in springs.evaluate(samples)])
    # three times half k_B T, each chi-squared: 2 E / k_B T has the standard error 0.077
    assert 2 * energies.mean() / 0.02 == pytest.approx(3.0, abs=0.25)
    assert 2 * np.quantile(energies, 0.9) / 0.02 == pytest.approx(chi2.ppf(0.9, 3), rel=0.1)


def test_no_atom_is_thrown_far():
    water = AtomStructure.from_atoms(molecule("H2O"))
    for positions in normal_modes(water, EMT_ANY).turning_points(1e3):
        assert np.linalg.norm(positions - water.positions, axis=1).max() == pytest.approx(0.6)
