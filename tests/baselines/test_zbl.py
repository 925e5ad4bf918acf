import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st
from lammps_reference import lammps_labels
from pydantic import TypeAdapter, ValidationError

from pyacemaker.baselines import AnyBaseline, LennardJones, Zbl
from pyacemaker.baselines.zbl import COULOMB_LAMMPS_METAL, repulsion, screening, switched_repulsion
from pyacemaker.structures import AtomStructure
from pyacemaker.units import COULOMB_EV_ANGSTROM

# A triclinic cell smaller than the window, so that most of its energy comes from periodic images.
CELL = np.array([[2.9, 0.0, 0.0], [0.4, 3.1, 0.0], [-0.3, 0.5, 2.8]])
NIAL = AtomStructure(
    np.array([28, 13]), np.array([[0.1, 0.0, 0.2], [1.5, 1.7, 1.3]]), cell=CELL, pbc=np.ones(3, dtype=bool)
)
# What LAMMPS 22 Jul 2025 gives for this cell: units metal, pair_style zbl 2.0 4.0.
LAMMPS_ENERGY = 8.198753303266088
LAMMPS_FORCE_ON_NICKEL = (-2.163529751396462, 1.9581308705355496, -3.0940729496785155)
LAMMPS_STRESS = (-0.75150935265, -0.82857155698, -0.74935902901, 0.17013076277, -0.12668666282, 0.15191872105)
WIDE = Zbl(window=(2.0, 4.0), unit="angstrom")


def strained(structure: AtomStructure, strain: np.ndarray) -> AtomStructure:
    deform = np.eye(3) + strain
    return structure.replace(positions=structure.positions @ deform, cell=structure.cell @ deform)


def energy(baseline: Zbl | LennardJones, structure: AtomStructure) -> float:
    return baseline.evaluate([structure])[0].energy


@pytest.mark.parametrize(
    ("x", "value"),
    # the universal function of Ziegler, Biersack and Littmark in 30-digit decimal arithmetic
    [
        (0.0, 1.0),
        (1.0, 0.416439410680222570350),
        (5.0, 0.0522418328926784945162),
        (10.0, 0.00877806045460861941545),
        (25.0, 0.000194106627104401827744),
    ],
)
def test_the_screening_function_has_its_published_values(x, value):
    assert screening(x) == pytest.approx(value, rel=1e-14)


def test_close_nuclei_repel_like_bare_charges():
    r = np.array([1e-7])
    bare = COULOMB_EV_ANGSTROM * 28 * 13 / r
    assert repulsion(28, 13, r)[0] == pytest.approx(bare, rel=1e-5)


def test_the_coulomb_constant_is_the_codata_one_as_far_as_lammps_rounds_it():
    assert pytest.approx(COULOMB_EV_ANGSTROM, rel=3e-8) == COULOMB_LAMMPS_METAL


@pytest.mark.parametrize("order", [1, 2])
def test_the_derivatives_of_the_repulsion_are_its_differences(order):
    r, h = np.linspace(0.4, 3.0, 14), 1e-5
    below, above = (repulsion(13, 29, r + s * h)[order - 1] for s in (-1, 1))
    assert repulsion(13, 29, r)[order] == pytest.approx((above - below) / (2 * h), rel=1e-7)


@pytest.mark.parametrize(("inner", "outer"), [(1.4, 2.2), (0.5, 1.0), (2.0, 6.0)])
def test_energy_force_and_curvature_vanish_at_the_outer_radius_and_are_continuous_at_the_inner(inner, outer):
    def three(r):
        h = 1e-4
        points = np.array([r - h, r, r + h])
        value, slope = switched_repulsion(29, 29, points, inner, outer)
        return value[1], slope[1], (slope[2] - slope[0]) / (2 * h)

    scale = abs(repulsion(29, 29, np.array([outer]))[0][0]) + 1e-3
    assert np.abs(three(outer)) == pytest.approx(0.0, abs=2e-4 * scale)
    jump = np.array(three(inner + 1e-6)) - np.array(three(inner - 1e-6))
    size = np.abs([part[0] for part in repulsion(29, 29, np.array([inner]))])
    assert np.all(np.abs(jump) < 1e-3 * size)


def test_nothing_is_left_beyond_the_outer_radius_and_the_wall_is_above_it():
    zbl = Zbl(window=(1.0, 2.0), unit="angstrom")

    def dimer(r):
        return AtomStructure(np.array([29, 29]), np.array([[0, 0, 0], [r, 0, 0]]))

    energies = [energy(zbl, dimer(r)) for r in np.linspace(0.2, 2.0, 40)]
    assert np.all(np.diff(energies) < 0)
    assert energy(zbl, dimer(2.0)) == 0.0
    assert energy(zbl, dimer(3.0)) == 0.0


def test_one_atom_in_a_cubic_cell_has_the_explicit_lattice_sum():
    a, inner, outer = 1.7, 2.0, 4.0
    atom = AtomStructure(np.array([29]), np.zeros((1, 3)), cell=a * np.eye(3), pbc=np.ones(3, dtype=bool))
    shifts = a * np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3), -1).reshape(-1, 3)
    r = np.linalg.norm(shifts, axis=1)
    r = r[(r > 0) & (r < outer)]
    expected = 0.5 * switched_repulsion(29, 29, r, inner, outer)[0].sum()
    labels = WIDE.evaluate([atom])[0]
    assert expected > 10
    assert labels.energy == pytest.approx(expected, rel=1e-13)
    assert labels.forces == pytest.approx(np.zeros((1, 3)), abs=1e-10)
    assert labels.stress[0] < 0  # it pushes outwards
    assert labels.stress[:3] == pytest.approx(labels.stress[0], rel=1e-12)


def test_a_triclinic_cell_agrees_with_a_sum_over_explicit_images():
    images = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 3), -1).reshape(-1, 3) @ CELL
    expected = np.zeros(2)
    for i in range(2):
        for j in range(2):
            r = np.linalg.norm(NIAL.positions[j] + images - NIAL.positions[i], axis=1)
            near = r[(r > 1e-9) & (r < 4.0)]
            z = int(NIAL.numbers[i]), int(NIAL.numbers[j])
            expected[i] += 0.5 * switched_repulsion(*z, near, 2.0, 4.0)[0].sum()
    assert WIDE.evaluate([NIAL])[0].energies == pytest.approx(expected, rel=1e-12)


def test_the_cell_has_the_energy_forces_and_stress_that_lammps_gives():
    labels = WIDE.evaluate([NIAL])[0]
    assert labels.energy == pytest.approx(LAMMPS_ENERGY, rel=1e-12)
    assert labels.forces[0] == pytest.approx(np.array(LAMMPS_FORCE_ON_NICKEL), rel=1e-11)
    assert labels.stress == pytest.approx(np.array(LAMMPS_STRESS), rel=1e-6)  # its bar is a rounded unit


@pytest.mark.lammps
@pytest.mark.parametrize("window", [(1.0, 2.0), (2.0, 4.0), (3.0, 7.0)])
def test_lammps_agrees(window):
    energy, forces, stress = lammps_labels(NIAL, f"zbl {window[0]} {window[1]}", ["1 1 13 13", "2 2 28 28"])
    labels = Zbl(window=window, unit="angstrom").evaluate([NIAL])[0]
    assert labels.energy == pytest.approx(energy, rel=1e-9)
    assert labels.forces == pytest.approx(forces, rel=1e-9, abs=1e-12)
    assert labels.stress == pytest.approx(stress, rel=1e-6)


def test_the_share_of_each_atom_adds_up_to_the_energy():
    labels = WIDE.evaluate([NIAL])[0]
    assert labels.energies.sum() == pytest.approx(labels.energy, rel=1e-14)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_forces_and_stress_are_the_derivatives_of_the_energy(seed, pbc):
    rng = np.random.default_rng(seed)
    structure = NIAL.replace(
        positions=NIAL.positions + rng.normal(0, 0.1, (2, 3)), pbc=np.array(pbc, dtype=bool)
    )
    labels, h = WIDE.evaluate([structure])[0], 1e-5
    step = np.zeros((2, 3))
    step[rng.integers(2), rng.integers(3)] = h
    slope = (
        energy(WIDE, structure.replace(positions=structure.positions + step))
        - energy(WIDE, structure.replace(positions=structure.positions - step))
    ) / (2 * h)
    assert labels.forces[step > 0][0] == pytest.approx(-slope, rel=1e-6, abs=1e-6)
    if not any(pbc):
        assert labels.stress is None
        return
    component = int(rng.integers(6))
    i, j = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)][component]
    strain = np.zeros((3, 3))
    strain[i, j] += h / 2
    strain[j, i] += h / 2
    volume = abs(np.linalg.det(CELL))
    slope = (energy(WIDE, strained(structure, strain)) - energy(WIDE, strained(structure, -strain))) / (2 * h)
    assert labels.stress[component] == pytest.approx(slope / volume, rel=1e-6, abs=1e-8)


def test_a_supercell_has_as_many_times_the_energy():
    atoms = NIAL.to_atoms()
    doubled = AtomStructure.from_atoms(atoms.repeat((2, 1, 3)))
    assert energy(WIDE, doubled) == pytest.approx(6 * energy(WIDE, NIAL), rel=1e-12)
    assert WIDE.evaluate([doubled])[0].stress == pytest.approx(WIDE.evaluate([NIAL])[0].stress, rel=1e-10)


def test_order_of_the_atoms_and_orientation_do_not_matter():
    from scipy.spatial.transform import Rotation

    turn = Rotation.random(random_state=3).as_matrix()
    turned = NIAL.replace(
        numbers=NIAL.numbers[::-1], positions=NIAL.positions[::-1] @ turn, cell=NIAL.cell @ turn
    )
    before, after = WIDE.evaluate([NIAL, turned])
    assert after.energy == pytest.approx(before.energy, rel=1e-12)
    assert after.forces[::-1] == pytest.approx(before.forces @ turn, rel=1e-9)


def test_the_window_follows_the_covalent_radii():
    inner, outer = Zbl(window=(0.5, 0.8)).window_of(6, 1)
    assert (inner, outer) == pytest.approx((0.5 * (0.76 + 0.31), 0.8 * (0.76 + 0.31)))


def test_the_default_window_leaves_bonds_alone():
    copper = AtomStructure.from_atoms(bulk("Cu", "fcc", a=3.61))
    assert energy(Zbl(), copper) == 0.0


def test_a_pair_can_have_a_window_of_its_own():
    zbl = Zbl(window=(1.0, 2.0), unit="angstrom", pair_windows={"Ni-Al": (1.2, 2.4)})
    assert zbl.window_of(13, 28) == (1.2, 2.4)
    assert zbl.window_of(28, 28) == (1.0, 2.0)
    r = np.array([2.2])
    pair = AtomStructure(np.array([13, 28]), np.array([[0, 0, 0], [2.2, 0, 0]]))
    assert energy(zbl, pair) == pytest.approx(switched_repulsion(13, 28, r, 1.2, 2.4)[0][0], rel=1e-13)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"window": (2.0, 1.0)}, "must be smaller"),
        ({"window": (0.0, 1.0)}, "greater than 0"),
        ({"pair_windows": {"Al": (1.0, 2.0)}}, "not a pair of elements"),
        ({"pair_windows": {"Al-Qq": (1.0, 2.0)}}, "not a pair of elements"),
        ({"pair_windows": {"Al-Ni": (2.0, 2.0)}}, "must be smaller"),
        ({"pair_windows": {"Al-Ni": (1.0, 2.0), "Ni-Al": (1.0, 2.0)}}, "twice"),
        ({"windwo": (1.0, 2.0)}, "Extra inputs"),
    ],
)
def test_settings_that_make_no_sense_are_refused(bad, message):
    with pytest.raises(ValidationError, match=message):
        Zbl(**bad)


def test_a_config_names_baselines_by_kind():
    adapter = TypeAdapter(AnyBaseline)
    assert adapter.validate_python({"kind": "zbl", "window": [0.4, 0.7]}) == Zbl(window=(0.4, 0.7))
    foreign = adapter.validate_python({"kind": "pyacemaker.baselines.zbl:Zbl"})
    assert isinstance(foreign, Zbl)
    with pytest.raises(ValidationError, match="zbl"):
        adapter.validate_python({"kind": "morse"})
