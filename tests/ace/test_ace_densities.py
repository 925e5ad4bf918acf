"""The embedded-atom start of the second density."""

import numpy as np
import pytest
from ace_refinements import make_data, make_pair_basis
from hypothesis import given, settings
from hypothesis import strategies as st

from pyacemaker.ace.densities import embeddings, normalised, pair_density
from pyacemaker.ace.design import Design
from pyacemaker.ace.radial import radial_functions
from pyacemaker.structures import AtomStructure

START, NEAREST = np.array([[1.8]]), np.array([[2.5]])


@pytest.fixture(scope="module")
def basis():
    return make_pair_basis(nradmax=(8, 2))


@given(st.floats(1.0, 9.0))
@settings(max_examples=20, deadline=None)
def test_the_density_of_one_pair_decays_and_is_positive(basis, decay):
    """ρ at one atom of a dimer is φ(r) = e^{−β(r/r₀ − 1)} (1 − r²/r_c²)², as far as eight g_k can say so."""
    coefficients = pair_density(basis, decay, START, NEAREST)
    r = np.linspace(1.8, 4.4, 40)
    found = radial_functions(basis.bonds[0, 0], r)[0] @ coefficients[: basis.bonds[0, 0].nradbase]
    expected = np.exp(-decay * (r / 2.5 - 1.0)) * (1.0 - (r / 4.5) ** 2) ** 2
    np.testing.assert_allclose(found, expected, atol=0.02 * expected.max())


def test_only_pair_functions_carry_it(basis):
    coefficients = pair_density(basis, 4.0, START, NEAREST)
    assert np.all(coefficients[basis.ranks > 1] == 0.0)
    assert np.all(coefficients[basis.ranks == 1] != 0.0)


def test_normalised_to_one_per_element():
    basis = make_pair_basis(elements=("Al", "Cu"))
    rng = np.random.default_rng(0)
    data = [s.replace(numbers=rng.choice([13, 29], len(s))) for s in make_data(20)]
    both = np.full((2, 2), 2.5)
    found = normalised(basis, pair_density(basis, 4.0, both - 0.7, both), data)
    values = Design(basis).invariants(data) @ found
    numbers = np.concatenate([s.numbers for s in data])
    for number in (13, 29):
        assert np.mean(values[numbers == number]) == pytest.approx(1.0)


def test_an_element_without_neighbours_has_no_density():
    basis = make_pair_basis()
    alone = [AtomStructure(np.array([29]), np.zeros((1, 3)))]
    assert np.all(normalised(basis, pair_density(basis, 4.0, START, NEAREST), alone) == 0.0)


def test_unseen_pairs_have_a_finite_density(basis):
    unseen = np.array([[np.inf]])
    assert np.isfinite(pair_density(basis, 4.0, unseen, unseen)).all()


def test_embeddings_are_finnis_sinclair():
    found = embeddings(3, 2)
    assert set(found) == {0, 1, 2}
    assert found[0].weights == (1.0, 1.0)
    assert found[0].exponents == (1.0, 0.5)
    assert embeddings(1, 1)[0].parameters == (1.0, 1.0)
