"""Laws of physics that hold for every ACE potential, whatever its coefficients."""

import numpy as np
import pytest
from physics_models import KINDS, cluster, crystal, numbers_of, potential
from scipy.optimize import brentq
from scipy.spatial.transform import Rotation

from pyacemaker.ace.cores import core_pair, core_terms
from pyacemaker.ace.evaluator import CompiledModel
from pyacemaker.ace.neighbours import neighbour_list

NO_CELL = np.zeros((3, 3))
STRAINS = [np.outer(np.eye(3)[a], np.eye(3)[b]) for a in range(3) for b in range(a, 3)]


@pytest.fixture(scope="module", params=KINDS, ids=str)
def ace(request):
    return CompiledModel(potential(request.param, seed=len(str(request.param))))


def free(ace, numbers, positions):
    return ace.evaluate(numbers, positions, NO_CELL, False)


def slope_of(energy, step=1e-5):
    """Fourth-order central difference of energy(t) at t = 0."""
    near, far = energy(step) - energy(-step), energy(2 * step) - energy(-2 * step)
    return (8 * near - far) / (12 * step)


# ---------------------------------------------------------------- derivatives


@pytest.mark.parametrize("periodic", [False, True])
def test_forces_are_minus_the_gradient(ace, periodic):
    rng = np.random.default_rng(1)
    numbers, positions, cell = crystal(ace.model) if periodic else (*cluster(ace.model), NO_CELL)
    forces = ace.evaluate(numbers, positions, cell, periodic).forces
    for _ in range(6):
        direction = rng.normal(size=positions.shape)
        numeric = slope_of(
            lambda t, d=direction: ace.evaluate(numbers, positions + t * d, cell, periodic).energy
        )
        assert -np.sum(forces * direction) == pytest.approx(
            numeric, rel=1e-6, abs=1e-6 * np.abs(forces).max()
        )


def test_stress_is_the_derivative_with_strain(ace):
    numbers, positions, cell = crystal(ace.model)
    virial = ace.evaluate(numbers, positions, cell, True).virial
    size = np.abs(virial).max()
    for strain in STRAINS:

        def energy(t, strain=strain):
            deformed = np.eye(3) + t * strain
            return ace.evaluate(numbers, positions @ deformed, cell @ deformed, True).energy

        assert np.sum(virial * strain) == pytest.approx(slope_of(energy, 1e-6), rel=1e-6, abs=2e-6 * size)
    assert virial == pytest.approx(virial.T, abs=1e-10 * size)


def test_a_slab_pulls_only_within_its_plane(ace):
    numbers, positions, cell = crystal(ace.model)
    cell[2] = [0.0, 0.0, 15.0]
    slab = ace.evaluate(numbers, positions, cell, (True, True, False))
    roomy = ace.evaluate(numbers, positions, cell * [[1], [1], [3]], (True, True, False))
    full = ace.evaluate(numbers, positions, cell, True)
    for other in (roomy, full):
        assert other.energies == pytest.approx(slab.energies, rel=1e-12)
        assert other.virial == pytest.approx(slab.virial, rel=1e-9, abs=1e-9 * np.abs(slab.virial).max())


# ---------------------------------------------------------------- symmetries


def test_rotations_and_reflections(ace):
    numbers, positions = cluster(ace.model)
    found = free(ace, numbers, positions)
    size = np.abs(found.forces).max()
    turn = Rotation.random(rng=np.random.default_rng(1)).as_matrix()
    for matrix in (turn, -np.eye(3), turn @ np.diag([1.0, 1.0, -1.0]), np.eye(3)[[2, 0, 1]]):
        turned = free(ace, numbers, positions @ matrix.T)
        assert turned.energies == pytest.approx(found.energies, rel=1e-9, abs=1e-9)
        assert turned.forces == pytest.approx(found.forces @ matrix.T, abs=1e-8 * size)
        assert turned.virial == pytest.approx(matrix @ found.virial @ matrix.T, abs=1e-8 * size)


def test_translations_and_other_images(ace):
    numbers, positions, cell = crystal(ace.model)
    found = ace.evaluate(numbers, positions, cell, True)
    images = np.array([[1, 0, 0], [0, -2, 1], [0, 0, 0], [3, 1, -1]]) @ cell
    moved = ace.evaluate(numbers, positions + images + [0.3, -5.0, 7.7], cell, True)
    assert moved.energies == pytest.approx(found.energies, rel=1e-9, abs=1e-9)
    assert moved.forces == pytest.approx(found.forces, abs=1e-8 * np.abs(found.forces).max())


def test_atoms_of_an_element_are_alike(ace):
    numbers, positions = cluster(ace.model)
    found = free(ace, numbers, positions)
    order = np.random.default_rng(2).permutation(len(numbers))
    shuffled = free(ace, numbers[order], positions[order])
    assert shuffled.energies == pytest.approx(found.energies[order], rel=1e-9, abs=1e-9)
    assert shuffled.forces == pytest.approx(found.forces[order], abs=1e-9 * np.abs(found.forces).max())


def test_no_net_force_and_no_torque(ace):
    numbers, positions = cluster(ace.model)
    forces = free(ace, numbers, positions).forces
    assert forces.sum(axis=0) == pytest.approx(0.0, abs=1e-10 * np.abs(forces).max())
    assert np.cross(positions, forces).sum(axis=0) == pytest.approx(0.0, abs=1e-9 * np.abs(forces).max())


def test_two_atoms_pull_along_their_line(ace):
    along = np.array([0.6, 0.0, 0.8])
    for r in (1.3, 2.2, 2.45, 3.0, 3.65):
        forces = free(ace, numbers_of(ace.model, 2), [[0, 0, 0], r * along]).forces
        assert forces[0] == pytest.approx(-forces[1], abs=1e-12 * np.abs(forces).max())
        assert forces[1] == pytest.approx(forces[1] @ along * along, abs=1e-12 * np.abs(forces).max())


# ---------------------------------------------------------------- additivity


def test_an_atom_alone_has_its_own_energy(ace):
    for mu, number in enumerate(numbers_of(ace.model, len(ace.model.elements))):
        for periodic in (False, True):
            found = ace.evaluate([number], np.zeros((1, 3)), 20.0 * np.eye(3), periodic)
            assert found.energy == ace.model.e0[mu]
            assert not found.forces.any()
            assert not found.virial.any()


def test_far_apart_the_energies_add_up(ace):
    numbers, positions = cluster(ace.model)
    one, two = free(ace, numbers, positions), free(ace, numbers[:3], positions[:3])
    both = free(
        ace, np.concatenate([numbers, numbers[:3]]), np.concatenate([positions, positions[:3] + 11.0])
    )
    assert both.energies == pytest.approx(np.concatenate([one.energies, two.energies]), rel=1e-12)
    assert both.energy == pytest.approx(one.energy + two.energy, rel=1e-12)
    size = np.abs(one.forces).max()
    assert both.forces == pytest.approx(np.concatenate([one.forces, two.forces]), abs=1e-9 * size)
    pair = free(ace, numbers[:2], [[0, 0, 0], [0, 0, ace.model.cutoff]])
    assert pair.energy == ace.model.e0[ace.species(numbers[:2])].sum()


def test_a_supercell_is_as_many_cells(ace):
    numbers, positions, cell = crystal(ace.model)
    small = ace.evaluate(numbers, positions, cell, True)
    shifts = np.array([[a, b, 0] for a in range(2) for b in range(2)]) @ cell
    many = (positions + shifts[:, None]).reshape(-1, 3)
    large = ace.evaluate(np.tile(numbers, 4), many, cell * [[2], [2], [1]], True)
    assert large.energies == pytest.approx(np.tile(small.energies, 4), rel=1e-9, abs=1e-9)
    assert large.forces == pytest.approx(np.tile(small.forces, (4, 1)), abs=1e-8 * np.abs(small.forces).max())
    assert large.virial == pytest.approx(4 * small.virial, abs=1e-8 * np.abs(small.virial).max())


# ---------------------------------------------------------------- smoothness


def special_distances(model, numbers):
    """Distances of two atoms at which some switch begins or ends."""
    bond = model.bonds[0, min(1, len(model.elements) - 1)]
    pair = int(numbers[0]), int(numbers[1])

    def share(r):
        return core_pair(bond, pair, np.array([r]))[0][0]

    marks = [bond.rcut, bond.rcut - bond.dcut, bond.rcut - 0.001]
    if bond.rcut_in > 0.0:
        marks += [bond.rcut_in, bond.rcut_in - bond.dcut_in]
    if bond.prehc and bond.inner_cutoff != "zbl":
        embedding = model.embeddings[0]
        for density in (embedding.rho_core_cutoff, embedding.rho_core_cutoff - embedding.drho_core_cutoff):
            marks.append(brentq(lambda r, d=density: share(r) - d, 0.3, bond.rcut))
    return marks


def test_energy_and_forces_are_continuous_where_switches_begin_and_end(ace):
    # each of the two atoms has another neighbour, which keeps its densities away from zero
    numbers = np.tile(numbers_of(ace.model, 2), 2)

    def chain(r):
        return free(ace, numbers, [[0, 0, 0], [r, 0, 0], [0, 2.9, 0], [r, -2.9, 0]])

    marks = special_distances(ace.model, numbers[:2])
    assert len(marks) >= 3
    for mark in marks:
        before, after = chain(mark - 1e-9), chain(mark + 1e-9)
        steepest = max(np.abs(chain(mark + shift).forces).max() for shift in (-5e-3, -5e-4, 5e-4, 5e-3))
        assert after.energy == pytest.approx(before.energy, rel=1e-13, abs=1e-8 * steepest + 1e-12)
        assert after.forces == pytest.approx(before.forces, abs=1e-4 * steepest + 1e-9)


def test_the_marks_matter():
    # the switches do act where the test above looks
    for kind in KINDS:
        model = potential(kind, seed=len(str(kind)))
        numbers = numbers_of(model, 2)
        marks = special_distances(model, numbers)
        if kind.core == "none":
            continue
        between = 0.5 * (marks[3] + marks[4])
        edges = neighbour_list([[0, 0, 0], [between, 0, 0]], NO_CELL, False, model.cutoff)
        f = core_terms(model, CompiledModel(model).species(numbers), edges).f
        assert 0.001 < f[0] < 0.9999 or kind.core == "distance"
