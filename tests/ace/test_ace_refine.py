"""Refinement of linear fits: it helps where it can, and keeps the start where it cannot."""

from dataclasses import replace

import numpy as np
import pytest
from ace_refinements import (
    E0,
    WEIGHTS,
    embedded_atoms,
    label,
    linear_fit,
    make_data,
    make_pair_basis,
    make_structure,
    rows_of,
)

from pyacemaker.ace.evaluator import CompiledModel
from pyacemaker.ace.levenberg import Limits
from pyacemaker.ace.refine import drawn, refine
from pyacemaker.ace.residuals import LabelledRows, RowLoss
from pyacemaker.ace.stages import LinearStart, Plan, Run
from pyacemaker.ace.yace import read_yace, write_yace
from pyacemaker.structures import AtomStructure, Labels
from pyacemaker.trainers.refinement import Refinement

QUICK = Limits(iterations=8)


@pytest.fixture(scope="module")
def basis():
    return make_pair_basis()


@pytest.fixture(scope="module")
def data():
    return make_data(60)


@pytest.fixture(scope="module")
def linear(basis, data):
    return linear_fit(basis, rows_of(data))


@pytest.fixture(scope="module")
def unseen():
    return rows_of(make_data(20, seed=7))


@pytest.fixture(scope="module")
def refined(linear, data, unseen):
    """Densities and radial functions, with validation data."""
    return refine(linear, rows_of(data), rows_of(make_data(15, seed=5)), Plan(limits=QUICK))


def loss(model, rows):
    problem = RowLoss(model, rows)
    return problem.loss(problem.parameters(model))


def test_two_densities_learn_embedded_atoms_that_a_linear_fit_cannot(linear, data, unseen):
    found = refine(linear, rows_of(data), rows_of(make_data(15, seed=5)), Plan(radial=False, limits=QUICK))
    assert found.kept
    assert len(found.model.coefficients) == 2
    assert loss(found.model, unseen) < 0.3 * loss(linear.model(), unseen)


def test_radial_functions_gain_on_top(refined, linear, unseen):
    assert refined.kept
    assert loss(refined.model, unseen) < 0.1 * loss(linear.model(), unseen)
    stages = refined.facts["stages"]
    assert stages["radial"]["validation_loss"] < stages["densities"]["validation_loss"]


def test_radial_functions_alone(linear, data, unseen):
    found = refine(linear, rows_of(data), rows_of(make_data(15, seed=5)), Plan(densities=1, limits=QUICK))
    assert found.kept
    assert len(found.model.coefficients) == 1
    assert loss(found.model, unseen) < loss(linear.model(), unseen)


def test_facts_say_what_happened(refined):
    facts = refined.facts
    assert facts["kept"] is True
    assert facts["after"]["validation_loss"] < facts["before"]["validation_loss"]
    assert facts["after"]["train_loss"] < facts["before"]["train_loss"]
    assert set(facts["stages"]) == {"densities", "radial"}
    assert {"iterations", "ended", "train_loss", "validation_loss"} <= set(facts["stages"]["radial"])
    assert facts["seconds"] > 0.0


def test_the_file_says_the_same(refined, data, tmp_path):
    """The refined potential, written and read back, evaluates identically."""
    write_yace(refined.model.to_model(), tmp_path / "refined.yace")
    here, there = CompiledModel(refined.model.to_model()), CompiledModel(read_yace(tmp_path / "refined.yace"))
    for structure in data[:5]:
        arguments = structure.numbers, structure.positions, structure.cell, structure.pbc
        one, other = here.evaluate(*arguments), there.evaluate(*arguments)
        assert one.energy == pytest.approx(other.energy, rel=1e-10)
        np.testing.assert_allclose(one.forces, other.forces, atol=1e-9)


def test_a_refinement_that_hurts_is_not_kept(linear, data, caplog):
    """Validation data that the linear potential itself labels: nothing can be better than it."""
    rng = np.random.default_rng(0)
    exact = rows_of(label(linear.model().to_model(), [make_structure(rng, 4) for _ in range(10)]))
    with caplog.at_level("INFO"):
        found = refine(linear, rows_of(data), exact, Plan(limits=QUICK))
    assert not found.kept
    np.testing.assert_array_equal(found.model.coefficients[0], linear.coefficients)
    assert found.facts["kept"] is False
    assert "the linear potential is kept" in found.facts["why"]
    assert "the linear potential is kept" in caplog.text


def test_without_validation_data_some_structures_are_held_out(linear, data, unseen):
    found = refine(linear, rows_of(data), None, Plan(limits=QUICK))
    assert found.kept
    assert found.facts["held_out"] == 6
    assert loss(found.model, unseen) < 0.3 * loss(linear.model(), unseen)


def test_few_structures_are_not_refined(linear, data):
    found = refine(linear, rows_of(data[:20]), None, Plan())
    assert not found.kept
    assert "20 structures are too few" in found.facts["why"]
    np.testing.assert_array_equal(found.model.coefficients[0], linear.coefficients)


def test_huber_resists_a_corrupted_structure(basis, data, unseen):
    """One energy off by 5 eV and one force component by 20 eV/Å, in a fit that could be exact otherwise."""
    model = linear_fit(basis, rows_of(data)).model()
    exact = label(model.to_model(), data)
    bad = exact[3].labels
    forces = bad.forces.copy()
    forces[0, 0] += 20.0
    rng = np.random.default_rng(0)
    noisy = [
        s.replace(
            labels=Labels(
                s.labels.energy + 1e-3 * rng.normal(), s.labels.forces + 1e-3 * rng.normal(size=(len(s), 3))
            )
        )
        for s in exact
    ]
    noisy[3] = exact[3].replace(labels=Labels(bad.energy + 5.0, forces))
    linear = linear_fit(basis, rows_of(noisy))
    held_out = rows_of(label(model.to_model(), make_data(15, seed=5)))
    truth = rows_of(label(model.to_model(), make_data(20, seed=7)))
    plan = Plan(densities=1, radial=False, huber=3.0, limits=QUICK)
    found = refine(linear, rows_of(noisy), held_out, plan)
    assert found.kept
    assert loss(found.model, truth) < 0.05 * loss(linear.model(), truth)


def test_restraints_hold_the_wall_where_no_data_comes(linear, data):
    """Dimers below the closest distance of the data keep the linear potential's forces much better."""
    distances = np.linspace(1.2, 1.6, 5)
    dimers = [
        AtomStructure(
            np.array([29, 29]),
            np.array([[0.0, 0, 0], [r, 0, 0]]),
            labels=Labels(0.0, [[-5.0, 0, 0], [5.0, 0, 0]]),
        )
        for r in distances
    ]
    wall = LabelledRows.of_wall(dimers, linear.model().to_model(), 3.0)
    assert wall.rows == 10
    assert loss(linear.model(), wall) == pytest.approx(0.0, abs=1e-12)
    plan = Plan(radial=False, limits=QUICK)
    free = refine(linear, rows_of(data), None, plan)
    held = refine(linear, rows_of(data), None, plan, restraints=wall)
    assert held.facts["held_out"] == free.facts["held_out"] == 6
    assert loss(held.model, wall) < 0.1 * loss(free.model, wall)


def test_what_alone_speaks_for_the_forces_is_not_held_out():
    """Two large cells among forty atoms by themselves: all forces come from them."""
    rng = np.random.default_rng(0)
    small = [make_structure(rng, 2) for _ in range(40)]
    large = [AtomStructure(np.full(60, 29), rng.uniform(0, 20, size=(60, 3))) for _ in range(2)]
    structures = [
        s.replace(labels=Labels(0.0, np.zeros((len(s), 3)))) for s in (*small[:20], *large, *small[20:])
    ]
    for seed in range(10):
        chosen = drawn(rows_of(structures), Plan(seed=seed, validation_fraction=0.45))
        assert len(chosen) == 19
        assert not {20, 21} & set(chosen)


def test_results_do_not_depend_on_the_number_of_processes(linear, data, monkeypatch):
    monkeypatch.setattr("pyacemaker.ace.refine.WORTH_PROCESSES", 0.0)
    plan = Plan(limits=Limits(iterations=2))
    one, two = (refine(linear, rows_of(data), None, plan, processes=count) for count in (1, 2))
    assert one.model.coefficients.tobytes() == two.model.coefficients.tobytes()
    assert one.model.radial.tobytes() == two.model.radial.tobytes()


def test_folds_choose_the_ridge_of_few_structures(linear, data, unseen):
    """The weakest ridge that held-out folds cannot tell from the best is taken."""
    found = refine(linear, rows_of(data), None, Plan(by_folds=True, limits=QUICK))
    assert found.kept
    facts = found.facts
    assert facts["folds"] == 5
    assert "held_out" not in facts
    losses = facts["held_out_losses"]
    alike = [name for name, value in losses.items() if value <= 1.02 * min(losses.values())]
    assert f"{facts['ridge']:.0e}" == alike[-1]
    assert facts["after"]["validation_loss"] == losses[alike[-1]]
    assert loss(found.model, unseen) < 0.1 * loss(linear.model(), unseen)


def test_folds_keep_the_linear_fit_where_more_freedom_only_learns_noise(linear, caplog):
    rng = np.random.default_rng(4)
    truth = label(linear.model().to_model(), [make_structure(rng, 4) for _ in range(30)])
    noisy = [
        s.replace(labels=replace(s.labels, forces=s.labels.forces + rng.normal(0.0, 0.3, (len(s), 3))))
        for s in truth
    ]
    start = linear_fit(linear.basis, rows_of(noisy))
    with caplog.at_level("INFO"):
        found = refine(start, rows_of(noisy), None, Plan(by_folds=True, limits=QUICK))
    assert not found.kept
    np.testing.assert_array_equal(found.model.coefficients[0], start.coefficients)
    assert found.facts["after"]["validation_loss"] >= found.facts["before"]["validation_loss"]
    assert "the linear potential is kept" in caplog.text


def test_copies_of_structures_do_not_vouch_for_each_other(linear, data):
    """Thirty copies of one structure, or four of eight, say nothing about others: they are too few."""
    for structures in (data[:1] * 30, data[:8] * 4):
        found = refine(linear, rows_of(structures), None, Plan(by_folds=True))
        assert not found.kept
        assert "different structures are too few" in found.facts["why"]


def test_structures_without_weight_count_for_nothing(linear, data):
    rows = rows_of(data[:40])
    silent = replace(rows, weights=tuple(w * (k < 32) for k, w in enumerate(rows.weights)))
    plan = Plan(by_folds=True, limits=Limits(iterations=1))
    one, other = refine(linear, silent, None, plan), refine(linear, rows.part(np.arange(32)), None, plan)
    assert one.facts["held_out_losses"] == other.facts["held_out_losses"]
    assert np.isfinite(list(one.facts["held_out_losses"].values())).all()


def test_a_robust_loss_judges_by_its_own_minimum(linear, data):
    """The linear fit that a refinement has to beat is the best one under the same loss."""
    rows = rows_of(data)
    plan = Plan(huber=1.0)
    run = Run(linear, rows, rows, plan, None, map)
    best = run.losses(run.linear_start())[0]
    assert best <= run.losses(linear.model())[0]
    rng = np.random.default_rng(0)
    for _ in range(20):
        moved = run.linear_start()
        near = moved.coefficients * (1.0 + 1e-2 * rng.normal(size=moved.coefficients.shape))
        assert run.losses(replace(moved, coefficients=near))[0] > best


def test_two_elements_share_the_radial_functions_of_a_pair(unseen):
    elements = ("Al", "Cu")
    basis = make_pair_basis(elements=elements)
    rng = np.random.default_rng(1)
    pure = make_data(40)
    mixed = [s.replace(numbers=rng.choice([13, 29], len(s)), labels=s.labels) for s in pure]
    linear = replace(linear_fit_of_two(basis, mixed), e0=np.full(2, E0[0]))
    plan = Plan(limits=Limits(iterations=2))
    found = refine(linear, rows_of(mixed, elements), rows_of(mixed[:10], elements), plan)
    assert found.kept
    bonds = found.model.basis.bonds
    np.testing.assert_array_equal(bonds[0, 1].coefficients, bonds[1, 0].coefficients)
    assert np.any(bonds[0, 0].coefficients != bonds[0, 1].coefficients)


def linear_fit_of_two(basis, data):
    start = LinearStart(basis, np.zeros(len(basis)), np.full(2, E0[0]), 1e-9, np.ones(len(basis)))
    state = RowLoss(start.model(), rows_of(data, ("Al", "Cu"))).linearise(np.zeros(len(basis)))
    gram = np.tril(state.gram) + np.tril(state.gram, -1).T
    gram += 1e-9 * np.diag(np.diag(gram)) + 1e-12 * np.eye(len(gram))
    return replace(start, coefficients=np.linalg.solve(gram, state.projection))


def test_labels_of_the_truth_are_not_linear(linear, data):
    """The premise of these tests: the linear fit leaves a residual that matters."""
    assert loss(linear.model(), rows_of(data)) / rows_of(data).rows > 1e-5
    assert embedded_atoms().embeddings[0].ndensity == 2


def test_settings_reach_the_refinement():
    """Two steps of densities, then two with radial functions, are told and reported; both lower the loss."""
    data = make_data(40)
    linear, seen = linear_fit(make_pair_basis(), rows_of(data)), []
    found = Refinement(iterations=2).refine(
        linear,
        data,
        WEIGHTS,
        np.ones(40),
        validation=make_data(8, seed=3),
        progress=lambda *told: seen.append(told),
    )
    assert found.kept
    assert seen == [("densities", 1, 2), ("densities", 2, 2), ("radial", 1, 2), ("radial", 2, 2)]
    assert found.facts["stages"]["radial"]["iterations"] == 2
    assert "held_out" not in found.facts


def test_importance_reaches_the_rows():
    """Structures of importance zero do not matter: their labels may be anything."""
    data = make_data(40)
    linear = linear_fit(make_pair_basis(), rows_of(data))
    importance = np.ones(40)
    importance[5] = 0.0
    labels = data[5].labels
    spoiled = [*data[:5], data[5].replace(labels=labels + labels), *data[6:]]
    settings, more = Refinement(iterations=1, radial=False), make_data(8, seed=3)
    one, other = (
        settings.refine(linear, given, WEIGHTS, importance, validation=more) for given in (data, spoiled)
    )
    np.testing.assert_array_equal(one.model.coefficients, other.model.coefficients)
