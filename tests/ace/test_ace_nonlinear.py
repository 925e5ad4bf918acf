"""Values and Jacobian of non-linear models against the evaluator and its finite differences."""

from dataclasses import replace

import numpy as np
import pytest
from ace_bases import make_crystal, make_molecule
from ace_models import CORES

from pyacemaker.ace.basis import Basis, rectangular_blocks
from pyacemaker.ace.design import Design, species_of
from pyacemaker.ace.evaluator import CompiledModel
from pyacemaker.ace.model import Bond, Embedding
from pyacemaker.ace.nonlinear import DensityModel, NonlinearDesign
from pyacemaker.structures import AtomStructure

VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])
EXPONENTS = (1.0, 0.5, 0.8)


def make_model(elements=("Al", "Cu"), densities=2, core="none", function="FinnisSinclairShiftedScaled"):
    rng = np.random.default_rng(11)
    count = len(elements)
    bonds = {}
    for a in range(count):
        for b in range(a, count):
            mix = 0.5 * rng.normal(size=(2, 2, 3))
            bond = Bond(4.0 - 0.2 * (a + b), 0.4, "ChebExpCos", (2.5,), mix, **CORES[core])
            bonds[a, b] = bonds[b, a] = bond
    nradmax, lmax = ([3, 2, 1, 1], [0, 1, 1, 1]) if count > 1 else ([3, 2, 2, 1, 1], [0, 1, 1, 1, 1])
    blocks = tuple(rectangular_blocks(mu, np.full(count, 9), nradmax, lmax) for mu in range(count))
    basis = Basis(elements, bonds, blocks)
    weights = (1.0, -0.7, 0.4)[:densities]
    parameters = tuple(np.stack([weights, EXPONENTS[:densities]], axis=1).ravel().tolist())
    embeddings = {mu: Embedding(densities, parameters, function, 12.0, 9.0) for mu in range(count)}
    sizes = 0.4 ** (basis.ranks - 1)
    return DensityModel(
        basis, rng.normal(size=(densities, len(basis))) * sizes, embeddings, rng.normal(size=count)
    )


def make_slab(rng):
    return replace(make_crystal(rng), pbc=np.array([True, True, False]))


def make_wire(rng):
    """A single atom that sees nothing but its own images."""
    cell = np.diag([2.7, 9.0, 9.0]) + rng.normal(scale=0.1, size=(3, 3))
    return AtomStructure(np.array([29]), np.zeros((1, 3)), cell, np.array([True, False, False]))


def only(structure, elements):
    """The same atoms, all of them of elements that are there."""
    numbers = structure.numbers if "Al" in elements else np.full(len(structure), 29)
    return structure.replace(numbers=numbers)


def predicted(model, structure):
    """The rows as the evaluator has them, E0 left out."""
    compiled = CompiledModel(model.to_model())
    found = compiled.evaluate(structure.numbers, structure.positions, structure.cell, structure.pbc)
    shift = model.e0[species_of(model.basis.elements, structure)].sum()
    stress = [] if structure.volume is None else found.virial[VOIGT] / structure.volume
    return np.concatenate([[found.energy - shift], found.forces.ravel(), stress])


def numeric_column(model, structure, parameter, step=1e-4):
    sides = []
    for move in (step, -step):
        both = np.concatenate([model.coefficients.ravel(), model.radial])
        both[parameter] += move
        linear = model.coefficients.size
        moved = model.moved(both[:linear].reshape(model.coefficients.shape), both[linear:])
        sides.append(predicted(moved, structure))
    return (sides[0] - sides[1]) / (2.0 * step)


CASES = [
    pytest.param(("Cu",), 1, "none", make_crystal, id="one density"),
    pytest.param(("Cu",), 2, "distance", make_wire, id="own images"),
    pytest.param(("Cu",), 3, "density", make_slab, id="slab"),
    pytest.param(("Al", "Cu"), 2, "zbl", make_crystal, id="zbl"),
    pytest.param(("Al", "Cu"), 2, "distance", make_molecule, id="molecule"),
]


@pytest.mark.parametrize(("elements", "densities", "core", "make"), CASES)
def test_jacobian_is_the_derivative_of_the_evaluator(elements, densities, core, make):
    model = make_model(elements, densities, core)
    structure = only(make(np.random.default_rng(1)), elements)
    rows = NonlinearDesign(model, radial=True).rows([structure])
    expected = predicted(model, structure)
    np.testing.assert_allclose(rows.values, expected, atol=1e-8 * np.abs(expected).max())
    parameters = model.coefficients.size + len(model.radial)
    assert rows.jacobian.shape == (parameters, len(expected))
    assert rows.jacobian.flags.c_contiguous
    chosen = np.arange(parameters)
    if parameters > 80:
        chosen = np.random.default_rng(2).choice(parameters, 80, replace=False)
    for parameter in chosen:
        numeric = numeric_column(model, structure, parameter)
        exact = rows.jacobian[parameter]
        scale = max(np.abs(exact).max(), 1e-3 * np.abs(expected).max())
        np.testing.assert_allclose(exact, numeric, atol=1e-6 * scale)
