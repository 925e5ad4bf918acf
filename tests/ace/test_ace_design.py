"""Design rows against the evaluator, finite differences and symmetry."""

import numpy as np
import pytest
from ace_bases import make_basis, make_crystal, make_molecule
from ase import Atoms

from pyacemaker.ace.design import Design, design_features, species_of
from pyacemaker.ace.evaluator import evaluate
from pyacemaker.errors import UnsupportedElementError
from pyacemaker.structures import AtomStructure

VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])


@pytest.fixture(scope="module", params=[(True, "ChebExpCos"), (False, "SBessel")], ids=["zbl", "no core"])
def design(request):
    core, radial_basis = request.param
    return Design(make_basis(core=core, radial_basis=radial_basis))


def coefficients(design):
    rng = np.random.default_rng(5)
    return rng.normal(size=len(design.basis)) / (1.0 + design.basis.degrees) ** 2


@pytest.mark.parametrize("make", [make_crystal, make_molecule])
def test_rows_are_what_the_evaluator_says(design, make):
    structure = make(np.random.default_rng(1))
    e0 = np.array([-1.5, 2.5])
    c = coefficients(design)
    found = evaluate(
        design.basis.to_model(c, e0), structure.numbers, structure.positions, structure.cell, structure.pbc
    )
    rows = design.rows([structure])
    values = c @ rows.matrix + rows.core
    shift = e0[species_of(design.basis.elements, structure)].sum()
    scale = np.abs(found.forces).max()
    n = len(structure)
    assert values[0] + shift == pytest.approx(found.energy, rel=1e-9)
    np.testing.assert_allclose(values[1 : 1 + 3 * n], found.forces.ravel(), atol=1e-9 * scale)
    assert len(values) == 1 + 3 * n + (6 if structure.pbc.all() else 0)
    if structure.pbc.all():
        stress = found.virial[VOIGT] / abs(np.linalg.det(structure.cell))
        np.testing.assert_allclose(values[-6:], stress, atol=1e-9 * np.abs(stress).max())


def test_force_rows_are_derivatives_of_the_energy_row(design):
    structure = make_crystal(np.random.default_rng(2))
    rows, step = design.rows([structure]), 1e-5
    for atom, axis in ((0, 0), (1, 2), (3, 1)):
        energies = []
        for sign in (1, -1):
            moved = structure.positions.copy()
            moved[atom, axis] += sign * step
            shifted = design.rows([structure.replace(positions=moved)])
            energies.append(np.append(shifted.matrix[:, 0], shifted.core[0]))
        numeric = -(energies[0] - energies[1]) / (2 * step)
        row = 1 + 3 * atom + axis
        exact = np.append(rows.matrix[:, row], rows.core[row])
        np.testing.assert_allclose(numeric, exact, rtol=1e-6, atol=1e-6 * np.abs(exact).max())


def test_stress_rows_are_strain_derivatives(design):
    structure = make_crystal(np.random.default_rng(3))
    rows, step = design.rows([structure]), 1e-5
    volume = abs(np.linalg.det(structure.cell))
    for number, (a, b) in enumerate(zip(*VOIGT, strict=True)):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += 0.5 * sign * step
            strain[b, a] += 0.5 * sign * step
            strained = structure.replace(positions=structure.positions @ strain, cell=structure.cell @ strain)
            moved = design.rows([strained])
            energies.append(np.append(moved.matrix[:, 0], moved.core[0]))
        numeric = (energies[0] - energies[1]) / (2 * step * volume)
        exact = np.append(rows.matrix[:, -6 + number], rows.core[-6 + number])
        np.testing.assert_allclose(numeric, exact, rtol=1e-6, atol=1e-6 * np.abs(exact).max())


def test_every_function_is_invariant(design):
    """Under rotation with reflection, translation, and exchange of atoms."""
    rng = np.random.default_rng(4)
    structure = make_crystal(rng)
    reference = design.invariants([structure])
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    order = rng.permutation(len(structure))
    turned = structure.replace(positions=structure.positions @ turn + 0.3, cell=structure.cell @ turn)
    shuffled = structure.replace(positions=structure.positions[order], numbers=structure.numbers[order])
    scale = np.abs(reference).max(axis=0)
    assert np.abs(design.invariants([turned]) - reference).max(axis=0) == pytest.approx(
        0.0 * scale, abs=1e-9 * scale.max()
    )
    np.testing.assert_allclose(design.invariants([shuffled]), reference[order], atol=1e-11 * scale.max())


def test_functions_are_linearly_independent():
    """On enough environments the invariants of one centre have full rank."""
    basis = make_basis(elements=("Cu",), functions=60, core=False)
    rng = np.random.default_rng(6)
    clusters = [
        AtomStructure(np.full(9, 29), np.vstack([np.zeros(3), rng.normal(scale=1.6, size=(8, 3))]))
        for _ in range(3 * len(basis))
    ]
    values = Design(basis).invariants(clusters)[::9]
    singular = np.linalg.svd(values / np.linalg.norm(values, axis=0), compute_uv=False)
    assert singular[-1] > 1e-9 * singular[0]


def test_a_batch_is_its_structures_one_by_one(design):
    rng = np.random.default_rng(7)
    structures = [make_crystal(rng), make_molecule(rng), make_crystal(rng, 1)]
    together = design.rows(structures)
    assert len(together.starts) == 4
    for structure, first, last in zip(structures, together.starts, together.starts[1:], strict=False):
        alone = design.rows([structure])
        np.testing.assert_array_equal(together.matrix[:, first:last], alone.matrix)
        np.testing.assert_allclose(together.core[first:last], alone.core, atol=1e-14)


def test_an_isolated_atom_has_no_invariants(design):
    rows = design.rows([AtomStructure(np.array([29]), np.zeros((1, 3)))])
    assert rows.matrix.shape == (len(design.basis), 4)
    assert not rows.matrix.any()
    assert not rows.core.any()


def test_an_unknown_element_is_named(design):
    helium = AtomStructure.from_atoms(Atoms("He2", [[0, 0, 0], [0, 0, 2]]))
    with pytest.raises(UnsupportedElementError, match="holds He, but the basis covers Al, Cu"):
        design.rows([helium])


def test_features_tell_structures_apart_and_not_their_orientation():
    rng = np.random.default_rng(8)
    first, second = make_molecule(rng), make_molecule(rng)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    features = design_features([first, second, first.replace(positions=first.positions @ turn)])
    assert features.shape[0] == 3
    np.testing.assert_allclose(features[0], features[2], atol=1e-9 * np.abs(features).max())
    assert np.abs(features[0] - features[1]).max() > 1e-3 * np.abs(features).max()
