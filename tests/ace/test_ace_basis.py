"""Enumeration of basis functions, and coefficients to a model."""

import numpy as np
import pytest
from ace_bases import make_basis

from pyacemaker.ace.basis import graded_blocks, orthonormal_bond, rectangular_blocks
from pyacemaker.ace.radial import radial_functions


def count(blocks):
    return sum(len(block) for block in blocks)


def test_rectangular_counts_are_those_of_the_reference():
    assert count(rectangular_blocks(0, [99], [15, 3, 2, 2, 1], [0, 2, 2, 1, 1])) == 82
    by_rank = [count(rectangular_blocks(0, [99], *limits)) for limits in (([15], [0]), ([15, 3], [0, 2]))]
    assert by_rank == [15, 33]


def test_two_species_have_the_blocks_of_one_and_the_mixed_ones():
    blocks = rectangular_blocks(0, [99, 99], [2, 1], [0, 0])
    assert [block.columns for block in blocks if block.rank == 2] == [
        ((0, 1, 0), (0, 1, 0)),
        ((0, 1, 0), (1, 1, 0)),
        ((1, 1, 0), (1, 1, 0)),
    ]


def test_no_term_asks_for_more_neighbours_than_there_are():
    blocks = graded_blocks(0, [3, 1, 0], 200, 4, 8)
    for block in blocks:
        species = [column[0] for column in block.columns]
        assert species.count(1) <= 1
        assert species.count(2) == 0
        assert species.count(0) <= 3
    assert any(block.rank == 4 for block in blocks)


@pytest.mark.parametrize("functions", [20, 60, 200, 500])
@pytest.mark.parametrize("limits", [[99], [99, 99], [3, 1, 1]])
def test_graded_count_is_near_the_request(functions, limits):
    reached = count(graded_blocks(0, limits, functions, 3, 10))
    assert max(10 * len(limits), 0.5 * functions) <= reached <= max(10 * len(limits), 2.0 * functions)


def test_graded_blocks_are_whole_shells():
    small = {block.columns for block in graded_blocks(0, [99], 100, 4, 8)}
    large = {block.columns for block in graded_blocks(0, [99], 400, 4, 8)}
    assert small < large


def test_pair_terms_only():
    blocks = graded_blocks(1, [99, 99], 500, 1, 7)
    assert [block.columns for block in blocks] == [((mu, n, 0),) for mu in (0, 1) for n in range(1, 8)]


def test_an_element_without_neighbours_has_no_functions():
    assert graded_blocks(0, [0, 0], 50, 3, 6) == ()


def test_radial_functions_are_orthonormal():
    bond = orthonormal_bond(5.0, "ChebExpCos", 3.0, (6, 2, 8), 1.2)
    r = np.linspace(1.2, 5.0, 20001)
    values = radial_functions(bond, r)[0] @ bond.coefficients[:, 1, :].T
    np.testing.assert_allclose(values.T @ values * (r[1] - r[0]), np.eye(6), atol=2e-3)
    # R_n is made of g_1 … g_n alone
    assert np.all(np.triu(bond.coefficients[:, 0, :6], 1) == 0.0)


def test_numbers_of_the_functions():
    basis = make_basis()
    assert len(basis) == sum(basis.counts) == len(basis.degrees) == len(basis.ranks)
    assert basis.offsets == (0, basis.counts[0], len(basis))
    assert basis.degrees[basis.ranks == 1].min() == 0.0


def test_model_of_coefficients_has_one_linear_density():
    basis = make_basis()
    model = basis.to_model(np.arange(len(basis), dtype=float), np.array([-1.0, -2.0]))
    assert model.elements == basis.elements
    assert {embedding.parameters for embedding in model.embeddings.values()} == {(1.0, 1.0)}
    first = model.functions[0][3]
    np.testing.assert_allclose(first.ctildes[:, 0], 3.0 * basis.blocks[0][3].coupling[0])
    with pytest.raises(ValueError, match="coefficients for"):
        basis.to_model(np.zeros(3), np.zeros(2))
