"""The invented wall: what it asks for, and what it leaves alone."""

import numpy as np
import pytest
from ace_bases import make_basis

from pyacemaker.ace.design import Design
from pyacemaker.ace.gram import NormalEquations
from pyacemaker.ace.pairs import PairStatistics
from pyacemaker.ace.restraints import (
    HIGHEST,
    LOWEST,
    STRENGTH,
    RestraintRows,
    Wall,
    acting,
    restrain,
    restraint_rows,
    restraint_structures,
    walls,
)
from pyacemaker.ace.ridge import solve
from pyacemaker.baselines.zbl import repulsion

ELEMENTS = ("Al", "Cu")


@pytest.fixture
def statistics():
    closest = np.array([[2.3, np.inf], [np.inf, 1.9]])
    typical = np.array([[2.8, np.inf], [np.inf, 2.5]])
    return PairStatistics(closest, typical, np.full((2, 2), 12), np.array([2.4, np.inf]), 5.0)


@pytest.fixture
def pairs(statistics):
    windows = dict.fromkeys([(0, 0), (0, 1), (1, 1)], (1.5, 0.4))
    return walls(ELEMENTS, statistics, windows, 5.0)


def test_the_force_is_a_falling_share_of_the_screened_repulsion():
    wall = Wall((13, 29), 1.1, 1.5, 2.1)
    for r, share in ((1.2, 0.5), (1.5, 0.5), (2.1, 0.2), (2.6, 0.2), (1.8, np.sqrt(0.1))):
        assert wall.force(r) == pytest.approx(-share * repulsion(13, 29, r)[1], rel=1e-5)


def test_walls_end_where_the_data_begins(pairs):
    assert pairs[0, 0].outer == 2.3
    assert pairs[1, 1].outer == pytest.approx(0.8 * 2.5)
    # a pair that the data does not hold: the sum of the covalent radii
    assert pairs[0, 1].outer == pytest.approx(1.21 + 1.32)
    assert {(wall.start, wall.inner) for wall in pairs.values()} == {(1.1, 1.5)}


def test_no_room_no_wall(statistics):
    windows = dict.fromkeys([(0, 0), (0, 1), (1, 1)], (2.2, 0.4))
    assert set(walls(ELEMENTS, statistics, windows, 5.0)) == {(0, 0), (0, 1)}


def test_dimers_of_all_pairs_and_crystals_of_condensed_elements(pairs, statistics):
    found = restraint_structures(pairs, statistics)
    crystals = [s for s in found if s.is_periodic]
    dimers = [s for s in found if not s.is_periodic]
    assert {s.formula for s in dimers} == {"Al2", "AlCu", "Cu2"}
    assert {s.formula for s in crystals} == {"Al"}
    assert all(s.tag == "restraint" and s.source == "invented" for s in found)
    for structure in dimers:
        assert structure.labels.forces[1, 0] > 0.0 > structure.labels.forces[0, 0]
    for structure in crystals:
        nearest = np.linalg.norm(structure.cell, axis=1).min()
        assert 1.1 - 1e-9 <= nearest <= 2.4 + 1e-9
        np.testing.assert_array_less(structure.labels.stress[:3], 0.0)


def test_rows_are_slopes_as_multiples_of_their_guess(pairs, statistics):
    """Against finite differences of the energies of the same basis."""
    design = Design(make_basis(ELEMENTS, functions=30, max_rank=3))
    structures = restraint_structures(pairs, statistics)
    rng = np.random.default_rng(0)
    coefficients = rng.normal(size=len(design.basis)) / (1 + design.basis.degrees) ** 3
    rows = restraint_rows(design, structures)
    found = coefficients @ rows.rows + rows.offset
    h = 1e-5
    for number in rng.choice(len(structures), size=8, replace=False):
        structure = structures[number]
        scaled = [
            structure.replace(positions=f * structure.positions, cell=f * structure.cell)
            for f in (1 - h, 1 + h)
        ]
        energies = [float(coefficients @ r.matrix[:, 0] + r.core[0]) for r in map(one_row(design), scaled)]
        slope = (energies[1] - energies[0]) / (2 * h)  # dE/d ln r
        if structure.is_periodic:
            guess = structure.volume * structure.labels.stress[:3].sum()
        else:
            guess = -structure.labels.forces[1, 0] * structure.positions[1, 0]
        assert found[number] == pytest.approx(slope / guess, rel=1e-4, abs=1e-5)


def one_row(design):
    return lambda structure: design.rows([structure])


@pytest.fixture
def solved():
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(12, 80))
    return solve(NormalEquations.empty(12).add_rows(matrix, rng.normal(size=80)), 1e-2, np.ones(12)), matrix


def rows_of(rng, count, shift):
    size = np.full(count, 1.0)
    return RestraintRows(rng.normal(size=(12, count)), shift * size, LOWEST * size, HIGHEST * size)


def test_content_rows_change_nothing(solved):
    posterior = solved[0].posterior
    rows = RestraintRows(np.zeros((12, 5)), np.ones(5), np.full(5, LOWEST), np.full(5, HIGHEST))
    assert restrain(posterior, rows) is posterior
    assert acting(posterior.mean, rows) == 0


@pytest.mark.parametrize("shift", [-2.0, 0.0, 6.0])
def test_restrained_coefficients_minimise_the_stated_loss(solved, shift):
    """Against a general optimiser on loss + (STRENGTH σ)² Σ violation²."""
    from scipy.optimize import minimize

    posterior = solved[0].posterior
    rows = rows_of(np.random.default_rng(2), 20, shift)
    whitened = np.linalg.inv(posterior.unwhitened(np.eye(12)))  # |whitened δ|² is the loss of δ

    def loss(c):
        q = c @ rows.rows + rows.offset
        excess = np.maximum(rows.lowest - q, 0.0) + np.maximum(q - rows.highest, 0.0)
        wall = STRENGTH**2 * posterior.noise * np.sum(excess**2)
        return np.sum((whitened @ (c - posterior.mean)) ** 2) + wall

    found = restrain(posterior, rows)
    assert acting(found.mean, rows) > 0
    best = minimize(loss, posterior.mean, method="BFGS", options={"gtol": 1e-9, "maxiter": 2000})
    assert loss(found.mean) <= best.fun * (1.0 + 1e-7)
    np.testing.assert_allclose(found.mean, best.x, atol=1e-4)
