"""MACE potentials: agreement with MACE itself, physics, batching, descriptors, reference energies."""

import logging
import subprocess
import sys
import warnings
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.neighborlist import neighbor_list
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from pyacemaker.errors import FoundationModelError, UnsupportedElementError
from pyacemaker.potentials.mace import MacePotential, mean_descriptors
from pyacemaker.potentials.mace_graph import batches_by_atoms, edges_within
from pyacemaker.potentials.mace_model import load_model, quiet_mace, save_model
from pyacemaker.processes import single_thread_environment
from pyacemaker.structures import AtomStructure, Dataset, Labels
from pyacemaker.structures.formats import read_structures

DATA = Path(__file__).parents[1] / "data"
TURNED = 1e-6
"""A file saved in single precision holds its coupling coefficients to seven digits."""


@pytest.fixture(scope="module")
def sn2() -> MacePotential:
    return MacePotential(DATA / "sn2_foundation.model")


@pytest.fixture(scope="module")
def cual() -> MacePotential:
    return MacePotential(DATA / "cual_foundation.model")


@pytest.fixture(scope="module")
def molecules() -> Dataset:
    return read_structures(DATA / "sn2_small.xyz")


@pytest.fixture(scope="module")
def crystals() -> Dataset:
    return read_structures(DATA / "cual_small.xyz")


def in_cell(structure: AtomStructure, strain: np.ndarray) -> AtomStructure:
    deformation = np.eye(3) + strain
    return structure.replace(
        positions=structure.positions @ deformation, cell=structure.cell @ deformation, labels=None
    )


def test_numbers_are_those_of_maces_own_calculator(
    cual: MacePotential, sn2: MacePotential, crystals: Dataset, molecules: Dataset
) -> None:
    with quiet_mace():
        from mace.calculators import MACECalculator

    for potential, structure in ((cual, crystals[5]), (cual, crystals[9]), (sn2, molecules[11])):
        with quiet_mace():
            reference = MACECalculator(model_paths=str(potential.path), device="cpu", default_dtype="float64")
        atoms = structure.to_atoms()
        atoms.calc = reference
        ours = potential.evaluate([structure])[0]
        assert ours.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-9)
        np.testing.assert_allclose(ours.forces, atoms.get_forces(), atol=1e-9)
        assert ours.energies is not None
        assert ours.energies.sum() == pytest.approx(ours.energy, abs=1e-9)
        if ours.stress is not None:
            np.testing.assert_allclose(ours.stress, atoms.get_stress(), atol=1e-11)
        invariant = reference.get_descriptors(structure.to_atoms(), invariants_only=True)
        np.testing.assert_allclose(potential.descriptors([structure])[0], invariant, atol=1e-9)


def test_labels_do_not_depend_on_the_batch(sn2: MacePotential, molecules: Dataset) -> None:
    together = sn2.evaluate(molecules)
    small = MacePotential(sn2.path, max_atoms_per_batch=13).evaluate(molecules)
    for k, structure in enumerate(molecules):
        alone = sn2.evaluate([structure])[0]
        for other in (alone, small[k]):
            assert together[k].energy == pytest.approx(other.energy, rel=1e-13)
            np.testing.assert_allclose(together[k].forces, other.forces, atol=1e-11)


def test_the_first_call_in_a_process_gives_the_bits_of_the_later_ones() -> None:
    code = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from pyacemaker.potentials.mace import MacePotential\n"
        "from pyacemaker.structures.formats import read_structures\n"
        "data = Path(sys.argv[1])\n"
        "model = MacePotential(data / 'sn2_foundation.model')\n"
        "structures = read_structures(data / 'sn2_small.xyz')[:12]\n"
        "first, second, third = (model.evaluate(structures) for _ in range(3))\n"
        "for a, b, c in zip(first, second, third, strict=True):\n"
        "    assert a.energy == b.energy == c.energy\n"
        "    assert np.array_equal(a.forces, b.forces) and np.array_equal(b.forces, c.forces)\n"
    )
    environment = single_thread_environment()
    subprocess.run([sys.executable, "-W", "ignore", "-c", code, str(DATA)], check=True, env=environment)


def test_the_same_call_gives_the_same_bits(sn2: MacePotential, molecules: Dataset) -> None:
    runs = [sn2.evaluate(molecules) for _ in range(4)]
    fresh = MacePotential(sn2.path).evaluate(molecules)
    for run in [*runs[1:], fresh]:
        assert [label.energy for label in run] == [label.energy for label in runs[0]]
        assert all((a.forces == b.forces).all() for a, b in zip(run, runs[0], strict=True))


def test_lazy_labels_are_those_of_evaluate_a_batch_at_a_time(sn2: MacePotential, molecules: Dataset) -> None:
    few = MacePotential(sn2.path, max_atoms_per_batch=30)
    largest = max(len(part) for part in few.batches(molecules))
    alive: weakref.WeakSet[Labels] = weakref.WeakSet()
    energies, most = [], 0
    for label in few.evaluate_lazily(molecules):
        alive.add(label)
        most = max(most, len(alive))
        energies.append(label.energy)
    assert energies == [label.energy for label in few.evaluate(molecules)]
    assert most <= largest + 1 < len(molecules)


def test_no_structures_no_labels(sn2: MacePotential) -> None:
    assert sn2.evaluate([]) == []
    assert sn2.descriptors([]) == []


def test_forces_are_minus_the_gradient(sn2: MacePotential, cual: MacePotential, molecules, crystals) -> None:
    for potential, structure in ((sn2, molecules[9]), (cual, crystals[6])):
        forces = potential.evaluate([structure])[0].forces
        step = 1e-4
        for atom, axis in ((0, 0), (1, 2), (len(structure) - 1, 1)):
            shift = np.zeros_like(structure.positions)
            shift[atom, axis] = step
            up, down = potential.evaluate(
                [structure.replace(positions=structure.positions + sign * shift) for sign in (1, -1)]
            )
            assert forces[atom, axis] == pytest.approx(-(up.energy - down.energy) / (2 * step), abs=2e-6)


def test_stress_is_the_strain_derivative_per_volume(cual: MacePotential, crystals: Dataset) -> None:
    structure = in_cell(crystals[6], np.array([[0.02, 0.01, 0], [0, -0.01, 0.03], [0, 0, 0.01]]))
    stress = cual.evaluate([structure])[0].stress
    assert stress is not None
    volume, step = abs(np.linalg.det(structure.cell)), 1e-5
    for voigt, (i, j) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
        strain = np.zeros((3, 3))
        strain[i, j] += step / 2
        strain[j, i] += step / 2
        up, down = cual.evaluate([in_cell(structure, strain), in_cell(structure, -strain)])
        assert stress[voigt] == pytest.approx((up.energy - down.energy) / (2 * step * volume), abs=1e-7)


def test_stress_only_where_all_directions_are_periodic(cual: MacePotential, crystals: Dataset) -> None:
    solid = crystals[6]
    slab = solid.replace(pbc=[True, True, False])
    cluster = solid.replace(pbc=[False] * 3, cell=np.zeros((3, 3)))
    mixed = cual.evaluate([cluster, solid, slab])
    assert [label.stress is None for label in mixed] == [True, False, True]
    np.testing.assert_allclose(mixed[1].forces, cual.evaluate([solid])[0].forces, atol=1e-11)
    np.testing.assert_allclose(mixed[0].forces, cual.evaluate([cluster])[0].forces, atol=1e-11)


def test_an_isolated_atom_has_no_forces(sn2: MacePotential, molecules: Dataset) -> None:
    atom = molecules[0]
    assert len(atom) == 1
    alone = sn2.evaluate([atom])[0]
    assert (alone.forces == 0).all()
    assert alone.energy == pytest.approx(sn2.evaluate([molecules[8], atom])[1].energy, abs=1e-10)


def test_supercell_energy_is_extensive(cual: MacePotential, crystals: Dataset) -> None:
    cell = crystals[6].to_atoms()
    double = AtomStructure.from_atoms(cell.repeat((2, 1, 1)))
    single, twice = cual.evaluate([crystals[6], double])
    assert twice.energy == pytest.approx(2 * single.energy, abs=1e-9)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), reflect=st.booleans())
def test_descriptors_are_invariant_and_forces_turn_along(seed: int, reflect: bool) -> None:
    potential = _shared_sn2()
    rng = np.random.default_rng(seed)
    structure = read_structures(DATA / "sn2_small.xyz")[5 + seed % 40]
    turn = Rotation.random(rng=rng).as_matrix() * (-1 if reflect else 1)
    order = rng.permutation(len(structure))
    moved = structure.replace(
        numbers=structure.numbers[order],
        positions=(structure.positions @ turn.T + rng.normal(size=3))[order],
    )
    for before, after in zip(potential.descriptors([structure]), potential.descriptors([moved]), strict=True):
        assert before.shape == (len(structure), 64)
        np.testing.assert_allclose(after, before[order], atol=TURNED)
    before, after = potential.evaluate([structure, moved])
    assert after.energy == pytest.approx(before.energy, abs=TURNED)
    np.testing.assert_allclose(after.forces, (before.forces @ turn.T)[order], atol=TURNED)


def _shared_sn2(cache: list[MacePotential] = []) -> MacePotential:  # noqa: B006 - hypothesis and fixtures
    if not cache:
        cache.append(MacePotential(DATA / "sn2_foundation.model"))
    return cache[0]


def test_descriptors_tell_environments_apart(sn2: MacePotential, molecules: Dataset) -> None:
    features = sn2.structure_features(molecules[5:])
    distances = np.linalg.norm(features[:, None] - features[None], axis=-1)
    assert distances[np.triu_indices(len(features), 1)].min() > 1e-3


def test_mean_descriptors_by_hand(molecules: Dataset) -> None:
    atom, molecule = molecules[0], molecules[6]
    descriptors = [np.arange(2.0).reshape(1, 2), np.arange(12.0).reshape(6, 2)]
    rows = mean_descriptors([atom, molecule], descriptors, ["C", "H", "Br"])
    assert rows.shape == (2, 8)
    np.testing.assert_array_equal(rows[0], [0, 1, 0, 1, 0, 0, 0, 0])
    hydrogens = descriptors[1][molecule.numbers == 1]
    np.testing.assert_allclose(rows[1, :2], descriptors[1].mean(axis=0))
    np.testing.assert_allclose(rows[1, 4:6], hydrogens.mean(axis=0))
    np.testing.assert_array_equal(rows[1, 6:], 0)


def test_features_do_not_depend_on_the_batch(sn2: MacePotential, molecules: Dataset) -> None:
    elements = list(molecules.elements)
    together = sn2.structure_features(molecules, elements)
    one_by_one = np.vstack([sn2.structure_features([s], elements) for s in molecules])
    np.testing.assert_allclose(together, one_by_one, atol=1e-11)


def test_calculator_equals_evaluate(cual: MacePotential, sn2: MacePotential, crystals, molecules) -> None:
    for potential, structure in ((cual, crystals[7]), (sn2, molecules[12])):
        atoms = structure.to_atoms()
        atoms.calc = potential.calculator()
        labels = potential.evaluate([structure])[0]
        assert atoms.get_potential_energy() == labels.energy
        assert atoms.get_potential_energy(force_consistent=True) == labels.energy
        np.testing.assert_array_equal(atoms.get_forces(), labels.forces)
        np.testing.assert_array_equal(atoms.get_potential_energies(), labels.energies)
        if labels.stress is not None:
            np.testing.assert_array_equal(atoms.get_stress(), labels.stress)


def test_calculator_follows_the_atoms(sn2: MacePotential, molecules: Dataset) -> None:
    atoms = molecules[12].to_atoms()
    atoms.calc = sn2.calculator()
    first = atoms.get_potential_energy()
    atoms.positions[0] += 0.1
    moved = atoms.get_potential_energy()
    assert moved != first
    assert moved == pytest.approx(sn2.evaluate([AtomStructure.from_atoms(atoms)])[0].energy, abs=1e-12)


def test_an_element_outside_the_model_is_named(sn2: MacePotential) -> None:
    structure = AtomStructure(np.array([79, 1]), np.array([[0.0, 0, 0], [0, 0, 1.5]]))
    for call in (sn2.evaluate, sn2.descriptors):
        with pytest.raises(UnsupportedElementError, match=r"Au.*sn2_foundation.*Br-C-Cl-F-H"):
            call([structure])


def test_single_and_double_precision_agree(sn2: MacePotential, molecules: Dataset) -> None:
    single = MacePotential(sn2.path, dtype="float32")
    for a, b in zip(sn2.evaluate(molecules[5:15]), single.evaluate(molecules[5:15]), strict=True):
        assert a.energy == pytest.approx(b.energy, abs=2e-3)
        np.testing.assert_allclose(a.forces, b.forces, atol=2e-3)


def test_other_reference_energies_shift_the_energy_alone(
    sn2: MacePotential, molecules: Dataset, tmp_path: Path
) -> None:
    given = {"C": -1000.123456789, "F": 12.25}
    shifted = sn2.with_reference_energies(tmp_path / "shifted.model", given)
    old = sn2.reference_energies
    assert shifted.reference_energies == {**old, **given}
    assert MacePotential(sn2.path).reference_energies == old
    change = {symbol: shifted.reference_energies[symbol] - old[symbol] for symbol in old}
    expected = molecules.reference_energies(change)
    for a, b, difference in zip(sn2.evaluate(molecules), shifted.evaluate(molecules), expected, strict=True):
        assert b.energy - a.energy == pytest.approx(difference, abs=1e-9)
        np.testing.assert_array_equal(a.forces, b.forces)


def test_the_bytes_of_a_saved_model_do_not_depend_on_its_path(sn2: MacePotential, tmp_path: Path) -> None:
    one = sn2.with_reference_energies(tmp_path / "one.model", {"C": -50.0})
    two = sn2.with_reference_energies(tmp_path / "sub" / "two.model", {"C": -50.0})
    assert one.sha256 == two.sha256 != sn2.sha256
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["one.model"]


def test_reference_energies_of_a_foreign_element_are_refused(sn2: MacePotential, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedElementError, match="Au"):
        sn2.with_reference_energies(tmp_path / "x.model", {"Au": 1.0})
    assert not list(tmp_path.iterdir())


def test_loading_leaves_no_trace(tmp_path: Path) -> None:
    filters, disabled = list(warnings.filters), logging.root.manager.disable
    potential = MacePotential(DATA / "cual_foundation.model", dtype="float32")
    potential.with_reference_energies(tmp_path / "x.model", {"Al": 1.0})
    assert torch.get_default_dtype() == torch.float32
    assert warnings.filters == filters
    assert logging.root.manager.disable == disabled


def test_heads(tmp_path: Path, cual: MacePotential, crystals: Dataset) -> None:
    path = tmp_path / "two_heads.model"
    save_model(_two_headed(cual), path)
    default, other = MacePotential(path), MacePotential(path, head="pt_head")
    assert (default.head, other.head) == ("Default", "pt_head")
    assert default.reference_energies == {"Al": 3.0, "Cu": 4.0}
    assert other.reference_energies == {"Al": 1.0, "Cu": 2.0}
    a, b = default.evaluate([crystals[6]])[0], other.evaluate([crystals[6]])[0]
    assert abs(a.energy - b.energy) > 0.1
    with pytest.raises(FoundationModelError, match=r"no head 'omat'.*pt_head, Default"):
        MacePotential(path, head="omat")


def _two_headed(like: MacePotential) -> torch.nn.Module:
    with quiet_mace():
        from e3nn import o3
        from mace import modules
        from mace.tools.scripts_utils import extract_config_mace_model

        config = extract_config_mace_model(load_model(like.path))
        config |= {
            "atomic_energies": np.array([[1.0, 2.0], [3.0, 4.0]]),
            "atomic_inter_scale": [1.0, 1.0],
            "atomic_inter_shift": [0.0, 0.5],
            "heads": ["pt_head", "Default"],
            "MLP_irreps": o3.Irreps("4x0e"),
        }
        config.pop("readout_cls", None)
        torch.manual_seed(0)
        return modules.ScaleShiftMACE(**config)


def test_edges_are_those_of_ase(crystals: Dataset, molecules: Dataset) -> None:
    one_atom = AtomStructure(np.array([29]), np.zeros((1, 3)), np.diag([2.5, 2.6, 2.7]), np.ones(3, bool))
    slab = crystals[6].replace(pbc=[True, True, False])
    big = AtomStructure.from_atoms(crystals[6].to_atoms().repeat((4, 4, 4))).replace(pbc=[False] * 3)
    for structure in (one_atom, crystals[5], slab, molecules[7], big):
        senders, receivers, shifts = edges_within(structure.positions, structure.cell, structure.pbc, 4.7)
        ours = structure.positions[receivers] - structure.positions[senders] + shifts @ structure.cell
        i, j, vectors = neighbor_list("ijD", structure.to_atoms(), 4.7)
        assert len(senders) == len(i) > 0
        assert _sorted_edges(senders, receivers, ours) == _sorted_edges(i, j, vectors)


def _sorted_edges(i, j, vectors) -> list[tuple[int, ...]]:
    grid = np.rint(vectors * 1e6).astype(int)
    return sorted((int(a), int(b), *map(int, v)) for a, b, v in zip(i, j, grid, strict=True))


@given(sizes=st.lists(st.integers(1, 30), max_size=20), limit=st.integers(1, 40))
def test_batches_cover_everything_once_within_the_bound(sizes: list[int], limit: int) -> None:
    structures = [AtomStructure(np.ones(n), np.zeros((n, 3))) for n in sizes]
    parts = list(batches_by_atoms(structures, limit))
    assert [index for part in parts for index in part] == list(range(len(sizes)))
    for part in parts:
        assert len(part) == 1 or sum(sizes[index] for index in part) <= limit
