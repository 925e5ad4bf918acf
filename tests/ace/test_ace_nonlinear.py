"""Values and Jacobian of non-linear models against the evaluator and its finite differences."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

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
    embeddings = {mu: Embedding(densities, parameters, function, 5.0, 4.0) for mu in range(count)}
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


@pytest.mark.parametrize("function", ["FinnisSinclair", "FinnisSinclairShiftedScaled"])
def test_both_embeddings(function):
    model = make_model(("Cu",), 3, "none", function)
    structure = only(make_molecule(np.random.default_rng(3)), ("Cu",))
    exact = NonlinearDesign(model, radial=True).rows([structure]).jacobian
    for parameter in range(0, len(exact), 7):
        numeric = numeric_column(model, structure, parameter, step=1e-5)
        np.testing.assert_allclose(exact[parameter], numeric, atol=2e-6 * np.abs(exact[parameter]).max())


@pytest.mark.parametrize("core", ["none", "zbl"])
def test_one_linear_density_is_the_linear_design(core):
    model = make_model(("Al", "Cu"), 1, core)
    structures = [make(np.random.default_rng(4)) for make in (make_crystal, make_molecule, make_slab)]
    linear = Design(model.basis).rows(structures)
    rows = NonlinearDesign(model).rows(structures)
    np.testing.assert_array_equal(rows.starts, linear.starts)
    np.testing.assert_allclose(rows.jacobian, linear.matrix, atol=1e-12 * np.abs(linear.matrix).max())
    values = model.coefficients[0] @ linear.matrix + linear.core
    np.testing.assert_allclose(rows.values, values, atol=1e-11 * np.abs(values).max())


def test_the_tables_serve_at_other_parameters():
    model = make_model()
    structure = make_crystal(np.random.default_rng(5))
    design = NonlinearDesign(model, radial=True)
    moved = model.moved(1.1 * model.coefficients, model.radial + 0.05)
    np.testing.assert_allclose(moved.radial, model.radial + 0.05)
    found, fresh = (d.rows([structure]) for d in (design.at(moved), NonlinearDesign(moved, radial=True)))
    np.testing.assert_array_equal(found.jacobian, fresh.jacobian)
    np.testing.assert_array_equal(found.values, fresh.values)
    assert np.abs(found.values - design.rows([structure]).values).max() > 1e-3
    with pytest.raises(ValueError, match="another set of basis functions"):
        design.at(make_model(("Cu",)))


def test_an_isolated_atom_has_no_rows_but_zeros():
    rows = NonlinearDesign(make_model(), radial=True).rows([AtomStructure(np.array([29]), np.zeros((1, 3)))])
    assert not rows.values.any()
    assert not rows.jacobian.any()


def test_what_does_not_fit_together_is_refused():
    model = make_model()
    with pytest.raises(ValueError, match="the densities of every embedding"):
        model.moved(model.coefficients[:1])
    with pytest.raises(ValueError, match=r"\(3,\) radial coefficients; expected \(36,\)"):
        model.moved(model.coefficients, np.zeros(3))
    bonds = dict(model.basis.bonds)
    bonds[0, 1] = replace(bonds[0, 1], coefficients=2.0 * bonds[0, 1].coefficients)
    with pytest.raises(ValueError, match=r"bonds \(0, 1\) and \(1, 0\) differ"):
        replace(model, basis=replace(model.basis, bonds=bonds))


def by_every_kernel():
    model = make_model(("Cu",), 2, "zbl")
    cell = only(make_slab(np.random.default_rng(9)), ("Cu",))
    rows, linear = NonlinearDesign(model, radial=True).rows([cell]), Design(model.basis)
    return rows.values, rows.jacobian, linear.rows([cell]).matrix, linear.invariants([cell])


def test_kernels_without_the_compiler_say_the_same(tmp_path):
    """The kernels as plain Python, where every branch is visible, on the smallest cell with a core."""
    program = (
        "import sys, types; sys.path.insert(0, sys.argv[1]); import numpy, test_ace_nonlinear as t\n"
        "from pyacemaker.ace.nonlinear_kernel import accumulate_nonlinear\n"
        "assert isinstance(accumulate_nonlinear, types.FunctionType)\n"
        "numpy.savez(sys.argv[2], *t.by_every_kernel())\n"
    )
    path = tmp_path / "found.npz"
    command = [sys.executable, "-c", program, str(Path(__file__).parent), str(path)]
    subprocess.run(command, check=True, env={**os.environ, "NUMBA_DISABLE_JIT": "1"})
    plain = np.load(path)
    for name, compiled in zip(plain.files, by_every_kernel(), strict=True):
        np.testing.assert_allclose(plain[name], compiled, atol=1e-12 * np.abs(compiled).max())
