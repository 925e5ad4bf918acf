import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.lj import LennardJones as AseLennardJones
from hypothesis import given, settings
from hypothesis import strategies as st
from lammps_reference import lammps_labels
from pydantic import TypeAdapter, ValidationError

from pyacemaker.baselines import AnyBaseline, LennardJones, LennardJonesAtom
from pyacemaker.errors import UnsupportedElementError
from pyacemaker.structures import AtomStructure

ARGON = LennardJones(atoms={"Ar": LennardJonesAtom(epsilon=0.0104, sigma=3.4)}, cutoff=12.0)
MIXED = LennardJones(
    atoms={
        "Al": LennardJonesAtom(epsilon=0.01, sigma=2.5),
        "Ni": LennardJonesAtom(epsilon=0.02, sigma=2.2),
    },
    cutoff=7.0,
    shift=False,
)
NIAL = AtomStructure(
    np.array([28, 13]),
    np.array([[0.1, 0.0, 0.2], [1.5, 1.7, 1.3]]),
    cell=np.array([[2.9, 0.0, 0.0], [0.4, 3.1, 0.0], [-0.3, 0.5, 2.8]]),
    pbc=np.ones(3, dtype=bool),
)


def dimer(r: float, numbers: tuple[int, int] = (18, 18)) -> AtomStructure:
    return AtomStructure(np.array(numbers), np.array([[0, 0, 0], [0, r, 0]]))


def test_the_minimum_lies_at_the_sixth_root_of_two_sigma_with_depth_epsilon():
    labels = ARGON.model_copy(update={"shift": False}).evaluate([dimer(2 ** (1 / 6) * 3.4)])[0]
    assert labels.energy == pytest.approx(-0.0104, rel=1e-14)
    assert labels.forces == pytest.approx(np.zeros((2, 3)), abs=1e-15)


def test_the_energy_is_zero_at_sigma():
    assert ARGON.model_copy(update={"shift": False}).evaluate([dimer(3.4)])[0].energy == pytest.approx(0)


def test_the_shift_makes_the_energy_continuous_at_the_cutoff():
    assert ARGON.evaluate([dimer(12.0 - 1e-9)])[0].energy == pytest.approx(0.0, abs=1e-12)
    unshifted = ARGON.model_copy(update={"shift": False})
    assert unshifted.evaluate([dimer(12.0 - 1e-9)])[0].energy < -1e-5
    assert ARGON.evaluate([dimer(12.1)])[0].energy == 0.0


def test_unlike_atoms_mix_by_lorentz_and_berthelot():
    labels = MIXED.evaluate([dimer(2 ** (1 / 6) * 2.35, (13, 28))])[0]
    assert labels.energy == pytest.approx(-np.sqrt(0.01 * 0.02), rel=1e-14)


@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True), (False, False, True)])
def test_ase_agrees_on_energies_forces_and_stress(pbc):
    atoms = bulk("Ar", "fcc", a=5.3).repeat((1, 2, 1))
    atoms.rattle(0.2, seed=1)
    atoms.pbc = pbc
    atoms.calc = AseLennardJones(epsilon=0.0104, sigma=3.4, rc=12.0)
    labels = ARGON.evaluate([AtomStructure.from_atoms(atoms)])[0]
    assert labels.energy == pytest.approx(atoms.get_potential_energy(), rel=1e-12)
    assert labels.energies == pytest.approx(atoms.get_potential_energies(), rel=1e-12)
    assert labels.forces == pytest.approx(atoms.get_forces(), rel=1e-10, abs=1e-13)
    assert labels.stress == pytest.approx(atoms.get_stress(), rel=1e-10, abs=1e-15)


def test_the_cell_has_the_energy_and_forces_that_lammps_gives():
    # LAMMPS 22 Jul 2025, units metal, pair_style lj/cut 7.0
    labels = MIXED.evaluate([NIAL])[0]
    assert labels.energy == pytest.approx(-0.020526546460555035, rel=1e-11)
    on_nickel = np.array([-0.648375373355133, 0.8501079452695414, -0.7473263207527426])
    assert labels.forces[0] == pytest.approx(on_nickel, rel=1e-11)


@pytest.mark.lammps
def test_lammps_agrees_on_lj_cut():
    mixed = f"1 2 {np.sqrt(0.01 * 0.02):.17g} 2.35"
    energy, forces, stress = lammps_labels(NIAL, "lj/cut 7.0", ["1 1 0.01 2.5", "2 2 0.02 2.2", mixed])
    labels = MIXED.evaluate([NIAL])[0]
    assert labels.energy == pytest.approx(energy, rel=1e-9)
    assert labels.forces == pytest.approx(forces, rel=1e-9, abs=1e-12)
    assert labels.stress == pytest.approx(stress, rel=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_forces_are_the_derivatives_of_the_energy(seed):
    rng = np.random.default_rng(seed)
    structure = NIAL.replace(positions=NIAL.positions + rng.normal(0, 0.05, (2, 3)))
    step = np.zeros((2, 3))
    step[rng.integers(2), rng.integers(3)] = 1e-5
    below, above, here = MIXED.evaluate(
        [structure.replace(positions=structure.positions + k * step) for k in (-1, 1, 0)]
    )
    slope = (above.energy - below.energy) / 2e-5
    assert here.forces[step > 0][0] == pytest.approx(-slope, rel=1e-6, abs=1e-8)


def test_a_molecule_has_no_stress_and_its_forces_add_up_to_zero():
    water = AtomStructure.from_atoms(molecule("H2O"))
    spheres = LennardJones(
        atoms={s: LennardJonesAtom(epsilon=0.01, sigma=1.0) for s in ("H", "O")}, cutoff=5.0
    )
    labels = spheres.evaluate([water])[0]
    assert labels.stress is None
    assert labels.forces.sum(axis=0) == pytest.approx(np.zeros(3), abs=1e-15)


def test_an_element_without_parameters_is_refused_by_name():
    with pytest.raises(UnsupportedElementError, match="no parameters for Kr but for Ar"):
        ARGON.evaluate([dimer(3.0, (18, 36))])


@pytest.mark.parametrize(
    "bad",
    [
        {"atoms": {}, "cutoff": 5.0},
        {"atoms": {"Qq": {"epsilon": 1.0, "sigma": 1.0}}, "cutoff": 5.0},
        {"atoms": {"Ar": {"epsilon": -1.0, "sigma": 1.0}}, "cutoff": 5.0},
        {"atoms": {"Ar": {"epsilon": 1.0, "sigma": 1.0}}, "cutoff": 0.0},
    ],
)
def test_settings_that_make_no_sense_are_refused(bad):
    with pytest.raises(ValidationError):
        LennardJones(**bad)


def test_a_config_names_it_by_kind():
    settings = {"kind": "lennard_jones", "atoms": {"Ar": {"epsilon": 0.0104, "sigma": 3.4}}, "cutoff": 12.0}
    assert TypeAdapter(AnyBaseline).validate_python(settings) == ARGON
