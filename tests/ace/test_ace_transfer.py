"""A potential taken over as the start of another fit."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ace_bases import make_basis, make_crystal, make_molecule

from pyacemaker.ace.basis import graded_blocks
from pyacemaker.ace.design import Design
from pyacemaker.ace.evaluator import evaluate
from pyacemaker.ace.model import Embedding
from pyacemaker.ace.transfer import transfer
from pyacemaker.ace.yace import read_yace
from pyacemaker.errors import PotentialFormatError, UnsupportedElementError

DATA = Path(__file__).parents[1] / "data" / "ace"


@pytest.fixture(scope="module")
def source():
    basis = make_basis(functions=30, max_rank=4)
    coefficients = np.random.default_rng(0).normal(size=len(basis))
    return basis, coefficients, basis.to_model(coefficients, np.array([-3.0, 1.0]))


def same_energy(one, other, structure):
    found = [
        evaluate(model, structure.numbers, structure.positions, structure.cell, structure.pbc)
        for model in (one, other)
    ]
    assert found[1].energy == pytest.approx(found[0].energy, rel=1e-10)
    np.testing.assert_allclose(found[1].forces, found[0].forces, rtol=1e-8, atol=1e-9)


def test_our_own_potentials_come_back(source):
    _, coefficients, model = source
    basis, found = transfer(model, ("Al", "Cu"))
    assert len(basis) == len(coefficients)
    np.testing.assert_allclose(np.sort(np.abs(found)), np.sort(np.abs(coefficients)), atol=1e-12)
    rng = np.random.default_rng(1)
    for structure in (make_crystal(rng), make_molecule(rng)):
        same_energy(model, basis.to_model(found, model.e0), structure)


@pytest.mark.parametrize("name", ["cu-chebexpcos-82", "cu-distance-core", "cu-zbl-core", "ethanol-cho-744"])
def test_the_first_density_of_files_of_the_reference(name):
    """Without the second density, functions of the file's own coupling are reproduced, cores included,
    also by the design matrix."""
    model = read_yace(DATA / f"{name}.yace")
    linear = replace(
        model,
        embeddings={mu: replace(e, ndensity=1, parameters=(0.7, 1.0)) for mu, e in model.embeddings.items()},
        functions={
            mu: tuple(replace(f, ctildes=f.ctildes[:, :1]) for f in functions)
            for mu, functions in model.functions.items()
        },
    )
    basis, found = transfer(linear, linear.elements)
    from pyacemaker.structures.formats import read_structures

    structure = read_structures(DATA / f"{name}.extxyz")[0]
    again = basis.to_model(found, linear.e0)
    same_energy(linear, again, structure)
    rows = Design(basis).rows([structure])
    value = evaluate(linear, structure.numbers, structure.positions, structure.cell, structure.pbc)
    e0 = sum(linear.e0[linear.elements.index(symbol)] for symbol in structure.symbols)
    assert found @ rows.matrix[:, 0] + rows.core[0] + e0 == pytest.approx(value.energy, rel=1e-8)


def test_more_functions_come_with_zero_where_the_radial_functions_allow_them(source):
    basis, coefficients, model = source
    more = [graded_blocks(mu, [9, 9], 200, 4, 8, 8) for mu in range(2)]
    larger, found = transfer(model, ("Al",), more)
    assert len(larger) > 2 * len(basis)
    assert np.count_nonzero(found) == np.count_nonzero(coefficients)
    columns = [c for of_one in larger.blocks for block in of_one for c in block.columns]
    assert max(n for _, n, _ in columns) <= 6
    assert max(ell for _, _, ell in columns) <= 4
    same_energy(model, larger.to_model(found, model.e0), make_crystal(np.random.default_rng(2)))


def test_what_is_not_linear_is_refused():
    with pytest.raises(PotentialFormatError, match="2 densities with the exponents"):
        transfer(read_yace(DATA / "cu-chebexpcos-82.yace"), ("Cu",))
    basis = make_basis(functions=20)
    embeddings = dict.fromkeys(range(2), Embedding(1, (1.0, 0.5)))
    model = basis.to_model(np.ones(len(basis)), np.zeros(2), embeddings)
    with pytest.raises(PotentialFormatError, match="linear: one density with the exponent 1"):
        transfer(model, ("Al",))


def test_a_missing_element_is_named(source):
    with pytest.raises(UnsupportedElementError, match="holds Ni, but the prior potential covers Al, Cu"):
        transfer(source[2], ("Al", "Ni"))


def test_a_potential_that_is_not_invariant_is_refused():
    basis = make_basis(functions=120, max_rank=2)
    model = basis.to_model(np.ones(len(basis)), np.zeros(2))
    function = next(f for f in model.functions[0] if len(f.ms_combs) > 1)
    broken = replace(function, ctildes=function.ctildes * np.arange(len(function.ctildes))[:, None])
    others = tuple(broken if f is function else f for f in model.functions[0])
    with pytest.raises(PotentialFormatError, match="not invariant"):
        transfer(replace(model, functions={**model.functions, 0: others}), ("Al",))
