import itertools
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ace_models import CORES, angular_part, cluster, crystal, make_model
from ase.data import atomic_numbers
from ase.io import read
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from pyacemaker.ace.cores import core_terms
from pyacemaker.ace.embedding import embed
from pyacemaker.ace.evaluator import CompiledModel, evaluate
from pyacemaker.ace.model import EMBEDDINGS, RADIAL_BASES, Embedding
from pyacemaker.ace.neighbours import neighbour_list
from pyacemaker.ace.radial import cut_radial_functions
from pyacemaker.ace.yace import read_yace
from pyacemaker.errors import UnsupportedElementError

GOLDEN = sorted((Path(__file__).parent.parent / "data" / "ace").glob("*.yace"))
NO_CELL = np.zeros((3, 3))
KINDS = list(itertools.product(RADIAL_BASES, EMBEDDINGS, CORES))


@pytest.fixture(scope="module", params=KINDS, ids="-".join)
def compiled(request):
    return CompiledModel(make_model(*request.param))


# ---------------------------------------------------------------- against other evaluations


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_golden_potentials(path):
    model = CompiledModel(read_yace(path))
    for atoms in read(path.with_suffix(".extxyz"), ":"):
        found = model.evaluate(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc)
        # the positions are rounded to 1e-8 Å, which moves energies of atoms by up to |F| times that
        slack = 1e-8 * max(1.0, np.abs(atoms.arrays["ref_forces"]).max())
        energies = atoms.arrays["ref_energies"]
        assert found.energy / len(atoms) == pytest.approx(
            atoms.info["ref_energy"] / len(atoms), rel=1e-6, abs=1e-6
        )
        assert found.energies == pytest.approx(energies, rel=1e-6, abs=1e-6 + slack)
        forces = atoms.arrays["ref_forces"]
        assert found.forces == pytest.approx(forces, abs=1e-5 * np.abs(forces).max() + 1e-8)
        if "ref_stress" in atoms.info:
            stress = (found.virial / atoms.get_volume())[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
            assert stress == pytest.approx(atoms.info["ref_stress"], rel=1e-6, abs=1e-7)


def energies_by_hand(model, numbers, positions, cell, pbc):
    """E_i by the equations as they are printed: every product with every m, nothing shared."""
    species = np.array([[atomic_numbers[s] for s in model.elements].index(number) for number in numbers])
    edges = neighbour_list(positions, cell, pbc, model.cutoff)
    core = core_terms(model, species, edges)
    energies = []
    for i, mu in enumerate(species):
        rho = np.zeros((1, model.embeddings[mu].ndensity))
        mine = np.flatnonzero(edges.i == i)
        for function in model.functions[mu]:
            for ms, weights in zip(function.ms_combs, function.ctildes, strict=True):
                factors = [
                    density_by_hand(model, mu, nu, n, ell, m, function.rank, species, edges, mine)
                    for nu, n, ell, m in zip(function.mus, function.ns, function.ls, ms, strict=True)
                ]
                rho[0] += weights * np.prod(factors).real
        ace = embed(model.embeddings[mu], rho)[0][0]
        energies.append(core.f[i] * ace + core.energy[i] + model.e0[mu])
    return np.array(energies)


def density_by_hand(model, mu, nu, n, ell, m, rank, species, edges, mine):
    mine = mine[species[edges.j[mine]] == nu]
    bond = model.bonds[mu, nu]
    g = cut_radial_functions(bond, edges.distances[mine])[0]
    if rank == 1:
        return g[:, n - 1].sum()
    unit = edges.vectors[mine] / edges.distances[mine, None]
    return (g @ bond.coefficients[n - 1, ell] * angular_part(unit, ell, int(m))).sum()


@pytest.mark.parametrize("max_rank", range(1, 7))
@pytest.mark.parametrize("ndensity", [1, 2])
def test_every_rank_against_the_plain_equations(max_rank, ndensity):
    model = make_model(max_rank=max_rank, ndensity=ndensity, seed=max_rank)
    numbers, positions = cluster(model)
    expected = energies_by_hand(model, numbers, positions, NO_CELL, False)
    found = evaluate(model, numbers, positions, NO_CELL, False)
    assert found.energies == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_every_kind_against_the_plain_equations(compiled):
    numbers, positions, cell = crystal(compiled.model)
    expected = energies_by_hand(compiled.model, numbers, positions, cell, True)
    found = compiled.evaluate(numbers, positions, cell, True)
    assert found.energies == pytest.approx(expected, rel=1e-9, abs=1e-9)


PLAIN = """
import json, numpy as np
from ace_models import crystal, make_model
from pyacemaker.ace.evaluator import evaluate
for core, ndensity, embedding in (
    ("distance", 1, "FinnisSinclair"),
    ("zbl", 2, "FinnisSinclairShiftedScaled"),
    ("density", 2, "FinnisSinclair"),
):
    model = make_model("SBessel", embedding, core, ndensity=ndensity, max_rank=3)
    numbers, positions, cell = crystal(model)
    numbers, positions = np.append(numbers, numbers[0]), np.append(positions, [[1.9, 0.1, -2.0]], axis=0)
    found = evaluate(model, numbers, positions, cell, [True, True, False])
    print(json.dumps([found.energies.tolist(), found.forces.tolist(), found.virial.tolist()]))
"""


def test_compiled_and_plain_python_agree():
    answers = []
    for disable in ("0", "1"):
        environment = os.environ | {"NUMBA_DISABLE_JIT": disable, "PYTHONPATH": str(Path(__file__).parent)}
        run = subprocess.run(
            [sys.executable, "-c", PLAIN], env=environment, capture_output=True, text=True, check=True
        )
        answers.append([json.loads(line) for line in run.stdout.splitlines()])
    assert len(answers[0]) == len(answers[1]) == 3
    for compiled, plain in zip(*answers, strict=True):
        for found, expected in zip(compiled, plain, strict=True):
            size = max(1.0, np.abs(expected).max())
            assert np.array(found) == pytest.approx(np.array(expected), rel=1e-12, abs=1e-12 * size)


# ---------------------------------------------------------------- laws of physics


def test_forces_are_minus_the_gradient(compiled):
    numbers, positions, cell = crystal(compiled.model)
    forces = compiled.evaluate(numbers, positions, cell, True).forces
    step = 1e-5
    for atom, axis in itertools.product(range(len(numbers)), range(3)):
        energy = []
        for sign in (1, -1):
            moved = positions.copy()
            moved[atom, axis] += sign * step
            energy.append(compiled.evaluate(numbers, moved, cell, True).energy)
        numeric = -(energy[0] - energy[1]) / (2 * step)
        assert forces[atom, axis] == pytest.approx(numeric, rel=1e-6, abs=2e-6 * np.abs(forces).max())


def test_virial_is_the_derivative_with_strain(compiled):
    numbers, positions, cell = crystal(compiled.model)
    virial = compiled.evaluate(numbers, positions, cell, True).virial
    step = 1e-6
    for a, b in itertools.product(range(3), repeat=2):
        energy = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * step
            energy.append(compiled.evaluate(numbers, positions @ strain, cell @ strain, True).energy)
        numeric = (energy[0] - energy[1]) / (2 * step)
        assert virial[a, b] == pytest.approx(numeric, rel=1e-6, abs=2e-6 * np.abs(virial).max())
    assert virial == pytest.approx(virial.T, abs=1e-9 * np.abs(virial).max())


def test_rotation_inversion_translation_permutation(compiled):
    numbers, positions = cluster(compiled.model)
    found = compiled.evaluate(numbers, positions, NO_CELL, False)
    close = {"rel": 1e-8, "abs": 1e-8 * max(1.0, np.abs(found.forces).max())}
    rotation = Rotation.random(rng=np.random.default_rng(1)).as_matrix()
    for matrix in (rotation, -np.eye(3), rotation @ np.diag([1.0, 1.0, -1.0])):
        turned = compiled.evaluate(numbers, positions @ matrix.T + [3.0, -1.0, 2.0], NO_CELL, False)
        assert turned.energies == pytest.approx(found.energies, **close)
        assert turned.forces == pytest.approx(found.forces @ matrix.T, **close)
    order = np.random.default_rng(2).permutation(len(numbers))
    shuffled = compiled.evaluate(numbers[order], positions[order], NO_CELL, False)
    assert shuffled.energies == pytest.approx(found.energies[order], **close)
    assert shuffled.forces == pytest.approx(found.forces[order], **close)
    assert found.forces.sum(axis=0) == pytest.approx(0.0, abs=close["abs"])


def test_a_supercell_has_the_same_energy_per_atom(compiled):
    numbers, positions, cell = crystal(compiled.model)
    small = compiled.evaluate(numbers, positions, cell, True)
    large = compiled.evaluate(
        np.tile(numbers, 2), np.concatenate([positions, positions + cell[1]]), cell * [[1], [2], [1]], True
    )
    assert large.energies == pytest.approx(np.tile(small.energies, 2), rel=1e-9)
    assert large.virial == pytest.approx(2 * small.virial, rel=1e-8, abs=1e-8 * np.abs(small.virial).max())


def test_an_atom_alone_has_its_own_energy(compiled):
    for mu, symbol in enumerate(compiled.model.elements):
        found = compiled.evaluate([atomic_numbers[symbol]], np.zeros((1, 3)), NO_CELL, False)
        assert found.energy == pytest.approx(compiled.model.e0[mu], abs=1e-12)
        assert not found.forces.any()


@pytest.mark.parametrize("basis", ["ChebExpCos", "ChebPow", "SBessel"])
@pytest.mark.parametrize("core", CORES)
def test_energy_and_forces_vanish_smoothly_at_the_cutoff(basis, core):
    model = CompiledModel(make_model(basis, "FinnisSinclairShiftedScaled", core))
    numbers = [13, 13]
    # the bond of two Al atoms is the longest: 4 Å
    for r, energy_limit, force_limit in ((4.0 - 1e-5, 1e-8, 1e-3), (4.0, 1e-14, 1e-14), (4.2, 1e-14, 1e-14)):
        found = model.evaluate(numbers, [[0, 0, 0], [0, r, 0]], NO_CELL, False)
        assert abs(found.energy - 2 * model.model.e0[0]) < energy_limit
        assert np.abs(found.forces).max() < force_limit


@settings(max_examples=25, deadline=None)
@given(r=st.floats(0.05, 4.1), basis=st.sampled_from(RADIAL_BASES), core=st.sampled_from(list(CORES)))
def test_tables_are_exact_at_any_distance(r, basis, core):
    model = DIMERS[basis, core]
    positions = np.array([[0, 0, 0], [0, 0.6 * r, 0.8 * r]])
    expected = energies_by_hand(model.model, [13, 28], positions, NO_CELL, False)
    found = model.evaluate([13, 28], positions, NO_CELL, False)
    assert found.energies == pytest.approx(expected, rel=1e-8, abs=1e-8)


DIMERS = {
    (basis, core): CompiledModel(make_model(basis, core=core, max_rank=2))
    for basis, core in itertools.product(RADIAL_BASES, CORES)
}


# ---------------------------------------------------------------- the rest


def test_embeddings_are_odd_and_smooth():
    for function in EMBEDDINGS:
        embedding = Embedding(3, (1.0, 1.0, 1.0, 0.5, -0.5, 0.7), function)
        rho = np.random.default_rng(0).normal(size=(50, 3))
        energy, slope = embed(embedding, rho)
        assert embed(embedding, -rho)[0] == pytest.approx(-energy)
        for p in range(3):
            step = 1e-6 * np.eye(3)[p]
            numeric = (embed(embedding, rho + step)[0] - embed(embedding, rho - step)[0]) / 2e-6
            assert slope[:, p] == pytest.approx(numeric, rel=1e-6, abs=1e-8)
        assert embed(embedding, np.zeros((1, 3)))[0][0] == 0.0
        assert np.isfinite(embed(embedding, np.array([[0.0, 1e-9, -1e-5]]))[1]).all()


def test_square_roots_far_from_zero():
    for function in EMBEDDINGS:
        energy, _ = embed(Embedding(1, (2.0, 0.5), function), np.array([[49.0], [-100.0]]))
        assert energy == pytest.approx([14.0, -20.0])


def test_the_same_input_gives_the_same_bits(compiled):
    numbers, positions, cell = crystal(compiled.model)
    first, second = (compiled.evaluate(numbers, positions, cell, True) for _ in range(2))
    assert first.forces.tobytes() == second.forces.tobytes()
    assert first.energies.tobytes() == second.energies.tobytes()


def test_an_unknown_element_is_named():
    model = make_model()
    with pytest.raises(UnsupportedElementError, match=r"holds H, O, .* Al, Ni"):
        evaluate(model, [1, 8, 13], np.eye(3) * 2, NO_CELL, False)


def test_many_atoms_of_many_species_are_the_sum_of_few():
    """Groups of eight, full and not, of neighbours of one species and of several."""
    model = CompiledModel(make_model(elements=("Al", "Cu", "Ni"), max_rank=4))
    numbers, positions = cluster(model.model, atoms=30, spread=4.0)
    numbers[:17] = 13
    found = model.evaluate(numbers, positions, NO_CELL, False)
    for atom in range(len(numbers)):
        near = np.flatnonzero(np.linalg.norm(positions - positions[atom], axis=1) < model.model.cutoff)
        alone = model.evaluate(numbers[near], positions[near], NO_CELL, False)
        assert found.energies[atom] == pytest.approx(alone.energies[near == atom][0], rel=1e-9, abs=1e-9)
    assert found.forces.sum(axis=0) == pytest.approx(0.0, abs=1e-9 * np.abs(found.forces).max())


def test_one_evaluation_does_not_disturb_the_next():
    model = CompiledModel(make_model(core="zbl"))
    small, large = cluster(model.model, atoms=2), cluster(model.model, atoms=25, spread=3.5)
    first = model.evaluate(*small, NO_CELL, False)
    forces = first.forces.copy()
    model.evaluate(*large, NO_CELL, False)
    again = model.evaluate(*small, NO_CELL, False)
    assert first.forces.tobytes() == again.forces.tobytes() == forces.tobytes()


@pytest.mark.parametrize("share", [np.nextafter(1.0, 0.0), 1.0 - 1e-12, 1.0 - 1e-7])
def test_the_last_bin_ends_at_the_cutoff(share):
    for model in DIMERS.values():
        r = share * model.model.bonds[0, 1].rcut
        found = model.evaluate([13, 28], [[0, 0, 0], [r, 0, 0]], NO_CELL, False)
        expected = energies_by_hand(model.model, [13, 28], np.array([[0, 0, 0], [r, 0, 0]]), NO_CELL, False)
        assert found.energies == pytest.approx(expected, abs=1e-9)


def test_no_atoms():
    found = evaluate(make_model(), np.zeros(0, int), np.zeros((0, 3)), NO_CELL, False)
    assert found.energy == 0.0
    assert found.forces.shape == (0, 3)


def test_a_switch_narrower_than_the_bins_is_not_overlooked():
    model = make_model(elements=("Al",), max_rank=2)
    narrow = replace(model, bonds={(0, 0): replace(model.bonds[0, 0], dcut=0.01)})
    compiled = CompiledModel(narrow)
    for r in (3.9895, 3.9921, 3.9957, 3.9993):
        positions = np.array([[0, 0, 0], [0, 0.6 * r, 0.8 * r]])
        expected = energies_by_hand(narrow, [13, 13], positions, NO_CELL, False) - narrow.e0[0]
        found = compiled.evaluate([13, 13], positions, NO_CELL, False).energies - narrow.e0[0]
        assert found == pytest.approx(expected, rel=1e-6)
        assert abs(expected[0]) > 1e-12
