"""From labelled structures to coefficients."""

import numpy as np
import pytest
from ace_bases import labelled, make_basis, make_crystal, make_molecule

from pyacemaker.ace.design import Design, species_of
from pyacemaker.ace.evaluator import evaluate
from pyacemaker.ace.fit import RowWeights, batches, folds, normal_equations, reference_energies
from pyacemaker.ace.gram import merge
from pyacemaker.ace.pairs import core_windows, pair_statistics
from pyacemaker.ace.ridge import solve
from pyacemaker.errors import ConfigError
from pyacemaker.structures import AtomStructure, Labels

VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])
WEIGHTS = RowWeights(3.0, 0.7, 2.0, 4.0)
E0 = np.array([-3.0, 1.0])


@pytest.fixture(scope="module")
def design():
    return Design(make_basis(functions=24, max_rank=3))


@pytest.fixture(scope="module")
def truth(design):
    rng = np.random.default_rng(0)
    return rng.normal(size=len(design.basis)) / (1.0 + design.basis.degrees) ** 2


@pytest.fixture(scope="module")
def structures(design, truth):
    """Labelled exactly by a potential of the same basis."""
    rng, model = np.random.default_rng(1), design.basis.to_model(truth, E0)
    found = []
    for number in range(60):
        structure = make_crystal(rng) if number % 2 else make_molecule(rng)
        value = evaluate(model, structure.numbers, structure.positions, structure.cell, structure.pbc)
        volume = abs(np.linalg.det(structure.cell))
        stress = value.virial[VOIGT] / volume if number % 4 == 1 else None
        found.append(structure.replace(labels=Labels(value.energy, value.forces, stress)))
    return found


def test_weighted_loss_is_the_documented_one(design):
    """Σ s [(w_E √N ΔE/n)² + Σ (w_F ΔF)² + Σ (w_S V Δσ/√n)²], here for c = 0."""
    rng = np.random.default_rng(2)
    some = [
        labelled(make_crystal(rng), rng),
        labelled(make_molecule(rng), rng),
        labelled(make_crystal(rng), rng, False),
    ]
    importance = np.array([1.0, 0.5, 3.0])
    state = normal_equations(design, some, E0, WEIGHTS, importance)
    expected, model = 0.0, design.basis.to_model(np.zeros(len(design.basis)), E0)
    for structure, factor in zip(some, importance, strict=True):
        found = evaluate(model, structure.numbers, structure.positions, structure.cell, structure.pbc)
        n, labels = len(structure), structure.labels
        expected += factor * 4.0 * (3.0 * (labels.energy - found.energy) / n) ** 2
        expected += factor * np.sum((0.7 * (labels.forces - found.forces)) ** 2)
        if labels.stress is not None:
            volume = abs(np.linalg.det(structure.cell))
            expected += factor * np.sum((2.0 * (volume * labels.stress - found.virial[VOIGT])) ** 2) / n
    assert state.loss(np.zeros(len(design.basis))) == pytest.approx(expected, rel=1e-9)
    assert state.structures == 3


def test_a_fit_to_its_own_basis_recovers_the_potential(design, truth, structures):
    state = normal_equations(design, structures, E0, WEIGHTS, np.ones(len(structures)))
    found = solve(state, 1e-13, np.ones(len(truth))).coefficients
    assert state.loss(found) < 1e-12 * state.square
    fresh = design.rows([make_crystal(np.random.default_rng(99))])
    wanted = truth @ fresh.matrix
    np.testing.assert_allclose(found @ fresh.matrix, wanted, atol=1e-4 * np.abs(wanted).max())


def test_shards_of_structures_merge_to_one_pass(design, structures):
    importance = np.linspace(0.5, 2.0, len(structures))
    whole = normal_equations(design, structures, E0, WEIGHTS, importance)
    parts = [
        normal_equations(design, [structures[k] for k in part], E0, WEIGHTS, importance[part])
        for part in folds(len(structures), 4, seed=3)
    ]
    prior = np.ones(len(whole.projection))
    one, merged = (solve(state, 1e-4, prior).coefficients for state in (whole, merge(parts)))
    np.testing.assert_allclose(merged, one, rtol=1e-10, atol=1e-10 * np.abs(one).max())


def test_the_same_input_gives_the_same_bits(design, structures):
    one, other = (normal_equations(design, structures, E0, WEIGHTS, np.ones(60)) for _ in range(2))
    assert one.gram.tobytes() == other.gram.tobytes()
    assert one.projection.tobytes() == other.projection.tobytes()


def test_progress_counts_every_structure(design, structures):
    done = []
    normal_equations(design, structures, E0, WEIGHTS, np.ones(60), done.append)
    assert sum(done) == 60


def test_batches_and_folds_partition_the_structures(structures):
    many = structures * 5
    parts = list(batches(many))
    assert len(parts) > 1
    np.testing.assert_array_equal(np.concatenate(parts), np.arange(len(many)))
    split = folds(17, 5, seed=0)
    np.testing.assert_array_equal(np.sort(np.concatenate(split)), np.arange(17))
    assert {len(fold) for fold in split} == {3, 4}


def atom(number, energy):
    return AtomStructure(np.array([number]), np.zeros((1, 3)), labels=Labels(energy, np.zeros((1, 3))))


def with_energy(structure, energy):
    return structure.replace(labels=Labels(energy, np.zeros((len(structure), 3))))


def test_reference_energies_of_isolated_atoms_come_first():
    rng = np.random.default_rng(4)
    data = [atom(13, -2.0), atom(29, -4.0), with_energy(make_molecule(rng), 77.0)]
    np.testing.assert_array_equal(reference_energies(data, ("Al", "Cu")), [-2.0, -4.0])


def test_reference_energies_by_least_squares():
    rng = np.random.default_rng(5)
    data = []
    for numbers in ((13, 13, 29), (13, 29, 29), (29, 29, 29, 13)):
        structure = make_molecule(rng, numbers)
        data.append(with_energy(structure, float(E0[species_of(("Al", "Cu"), structure)].sum())))
    np.testing.assert_allclose(reference_energies(data, ("Al", "Cu")), E0, atol=1e-9)


def test_reference_energies_at_one_composition_are_equal_per_atom():
    rng = np.random.default_rng(6)
    data = [with_energy(make_molecule(rng), -10.0) for _ in range(3)]
    np.testing.assert_allclose(reference_energies(data, ("Al", "Cu")), [-2.0, -2.0], atol=1e-9)


def test_reference_energies_with_one_known_atom():
    data = [atom(13, -2.0), *(with_energy(make_molecule(np.random.default_rng(7)), -10.0) for _ in range(2))]
    # two Al at −2 leave −6 for three Cu
    np.testing.assert_allclose(reference_energies(data, ("Al", "Cu")), [-2.0, -2.0], atol=1e-9)


def test_pair_statistics_and_windows():
    structures = [
        AtomStructure(np.array([13, 29, 29]), np.array([[0, 0, 0], [2.4, 0, 0], [0, x, 0]]))
        for x in (2.6, 2.2)
    ]
    found = pair_statistics(structures, ("Al", "Cu", "He"), 5.0)
    assert found.closest[0, 1] == pytest.approx(2.2)
    assert found.typical[0, 1] == pytest.approx(2.3)
    assert found.neighbours[0].tolist() == [0, 2, 0]
    assert np.isinf(found.closest[2, 2])
    windows = core_windows(found, ("Al", "Cu", "He"), {(0, 1): 1.5})
    assert windows[0, 1][0] == windows[1, 0][0] == 1.5
    # one width for all: E stays continuous when two neighbours compete for being the closest
    assert len({width for _, width in windows.values()}) == 1
    assert windows[1, 1][0] < found.closest[1, 1]
    assert 0.3 < windows[2, 2][0] < 0.6
    chosen = core_windows(found, ("Al", "Cu", "He"), {}, 0.1)
    assert {width for _, width in chosen.values()} == {0.1}
    with pytest.raises(ConfigError, match="window_width"):
        core_windows(found, ("Al", "Cu", "He"), {}, 0.7)
