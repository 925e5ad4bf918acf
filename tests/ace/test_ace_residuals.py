"""The loss of non-linear models: rows, weights, Huber's function, and its gradient."""

from math import inf

import numpy as np
import pytest
from ace_refinements import (
    E0,
    WEIGHTS,
    label,
    linear_fit,
    make_data,
    make_pair_basis,
    rows_of,
)
from hypothesis import given
from hypothesis import strategies as st

from pyacemaker.ace.densities import embeddings
from pyacemaker.ace.nonlinear import DensityModel
from pyacemaker.ace.residuals import Huber, LabelledRows, RowLoss, row_kinds
from pyacemaker.processes import worker_map
from pyacemaker.structures import Labels


@pytest.fixture(scope="module")
def basis():
    return make_pair_basis()


@pytest.fixture(scope="module")
def data():
    return make_data(12)


@pytest.fixture(scope="module")
def model(basis):
    """Two densities of moderate size, the second one nowhere near zero."""
    rng = np.random.default_rng(3)
    coefficients = 0.03 * rng.normal(size=(2, len(basis)))
    coefficients[1, 0] += 0.5
    return DensityModel(basis, coefficients, embeddings(1, 2), E0)


def test_residuals_are_weighted_label_minus_prediction(model, data):
    """Against the documented weights: w_E √N/n, w_F, w_S V/√n, times the root of the importance."""
    importance = np.linspace(0.5, 2.0, len(data))
    found = LabelledRows.of(data, ("Cu",), E0, WEIGHTS, importance).residuals(model.to_model())
    for structure, other, factor, residual in zip(
        data, label(model.to_model(), data), importance, found, strict=True
    ):
        n, want, have = len(structure), structure.labels, other.labels
        parts = [[3.0 * 2.0 * (want.energy - have.energy) / n], (want.forces - have.forces).ravel()]
        if structure.volume is not None:
            parts.append(structure.volume * (want.stress - have.stress) / np.sqrt(n))
        np.testing.assert_allclose(residual, np.sqrt(factor) * np.concatenate(parts), atol=1e-10)


def test_labels_of_weight_zero_do_not_count(model, data):
    """A structure without a stress label has no stress residual."""
    structure = next(s for s in data if s.volume is not None)
    bare = structure.replace(labels=Labels(structure.labels.energy, structure.labels.forces))
    found = rows_of([bare])
    assert found.rows == 1 + 3 * len(bare)
    np.testing.assert_array_equal(found.residuals(model.to_model())[0][-6:], 0.0)


@pytest.mark.parametrize("radial", [False, True])
@pytest.mark.parametrize("huber", [None, Huber((0.3, 0.2, 0.1))])
def test_projection_is_the_gradient_of_the_loss(model, data, radial, huber):
    problem = RowLoss(model, rows_of(data), radial=radial, huber=huber)
    x = problem.parameters(model)
    gradient = -2.0 * problem.linearise(x).projection
    rng = np.random.default_rng(0)
    for _ in range(3):
        direction = rng.normal(size=len(x)) * np.maximum(np.abs(x), 0.01)
        step = 1e-4
        change = problem.loss(x + step * direction) - problem.loss(x - step * direction)
        assert change / (2 * step) == pytest.approx(direction @ gradient, rel=2e-4, abs=1e-3)


def test_stress_rows_count(model, data):
    """The loss changes with the stress labels alone, and so does its gradient."""
    problem = RowLoss(model, rows_of(data))
    shifted = [
        s
        if s.volume is None
        else s.replace(labels=Labels(s.labels.energy, s.labels.forces, s.labels.stress + 0.1))
        for s in data
    ]
    other = RowLoss(model, rows_of(shifted))
    x = problem.parameters(model)
    assert abs(problem.loss(x) / other.loss(x) - 1.0) > 1e-3
    assert np.abs(problem.linearise(x).projection / other.linearise(x).projection - 1.0).max() > 1e-3


def test_the_state_is_that_of_the_linear_fit_for_one_density(basis, data):
    """One density is linear: the loss at any x follows from JᵀJ and Jᵀr at another."""
    fit = linear_fit(basis, rows_of(data))
    problem = RowLoss(fit.model(), rows_of(data))
    state = problem.linearise(np.zeros(len(basis)))
    assert problem.loss(fit.coefficients) == pytest.approx(state.loss(fit.coefficients), rel=1e-5)


def test_processes_do_not_change_a_bit(model, data):
    x = RowLoss(model, rows_of(data), radial=True).parameters(model)
    with worker_map(2) as run:
        here, there = (RowLoss(model, rows_of(data), radial=True, run=how) for how in (map, run))
        first, second = here.linearise(x), there.linearise(x)
        assert here.loss(x) == there.loss(x)
    assert first.gram.tobytes() == second.gram.tobytes()
    assert first.projection.tobytes() == second.projection.tobytes()
    assert first.structures == len(data)


@given(st.lists(st.floats(-5, 5), min_size=8, max_size=8), st.floats(0.05, 3))
def test_huber_is_square_inside_and_linear_outside(values, threshold):
    residual = np.array(values)
    huber = Huber((threshold, threshold, inf))
    inside = np.abs(residual) <= threshold
    inside[7:] = True  # one atom: energy, three forces, stresses from row 4 on; these are never cut
    inside[4:] = True
    expected = np.where(inside, residual**2, 2 * threshold * np.abs(residual) - threshold**2).sum()
    assert huber.loss(residual, 1) == pytest.approx(expected, rel=1e-12)
    weights = huber.row_weights(residual, 1) ** 2
    np.testing.assert_allclose(
        weights * np.abs(residual), np.where(inside, np.abs(residual), threshold), atol=1e-12
    )


def test_huber_takes_its_thresholds_from_the_bulk_of_the_residuals():
    rng = np.random.default_rng(0)
    residuals = [rng.normal(size=13) * np.array([5.0, *[1.0] * 12]) for _ in range(400)]
    residuals[0][:] = 1e6
    found = Huber.from_residuals(residuals, [4] * 400, 3.0).thresholds
    assert found[0] == pytest.approx(15.0, rel=0.2)
    assert found[1] == pytest.approx(3.0, rel=0.1)
    assert found[2] == inf


def test_row_kinds():
    assert row_kinds(10, 1).tolist() == [0, 1, 1, 1, 2, 2, 2, 2, 2, 2]
    assert row_kinds(7, 2).tolist() == [0, 1, 1, 1, 1, 1, 1]


def test_a_part_and_a_sum_keep_the_order(data):
    whole = rows_of(data)
    halves = whole.part(np.arange(6)) + whole.part(np.arange(6, 12))
    assert halves.structures == whole.structures
    np.testing.assert_array_equal(np.concatenate(halves.targets), np.concatenate(whole.targets))
    assert halves.rows == whole.rows
