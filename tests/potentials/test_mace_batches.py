"""Batches of an automatic size, and what happens when one does not fit."""

from pathlib import Path

import numpy as np
import pytest
import torch
from ase.build import bulk

from pyacemaker.potentials.mace import MacePotential
from pyacemaker.potentials.mace_batches import CPU_ATOMS, CPU_EDGES, expected_edges, halving, sized_batches
from pyacemaker.potentials.mace_graph import edges_within
from pyacemaker.structures import AtomStructure
from pyacemaker.structures.formats import read_structures

DATA = Path(__file__).parents[1] / "data"


def molecule(n):
    return AtomStructure(np.ones(n), 2.0 * np.arange(n)[:, None] * np.ones(3))


def crystal(repeat):
    return AtomStructure.from_atoms(bulk("Cu", cubic=True) * repeat)


@pytest.mark.parametrize("repeat", [1, 3])
def test_the_edges_of_a_crystal_are_foreseen(repeat):
    cell = crystal(repeat)
    found = len(edges_within(cell.positions, cell.cell, cell.pbc, 5.0)[0])
    assert expected_edges(cell, 5.0) == pytest.approx(found, rel=0.25)


def test_the_edges_of_a_molecule_are_at_most_all_pairs():
    assert expected_edges(molecule(6), 6.0) == 30
    assert expected_edges(molecule(400), 4.0) < 400 * 399 / 2


@pytest.mark.parametrize("kind", [lambda: molecule(6), lambda: crystal(1), lambda: crystal(2)])
def test_automatic_batches_keep_both_bounds_and_fill_one(kind):
    structures = [kind() for _ in range(150)]
    parts = list(sized_batches(structures, "auto", 5.0, "cpu"))
    assert [index for part in parts for index in part] == list(range(150))
    atoms = [sum(len(structures[i]) for i in part) for part in parts]
    edges = [sum(expected_edges(structures[i], 5.0) for i in part) for part in parts]
    assert all(
        len(part) == 1 or (a <= CPU_ATOMS and e <= CPU_EDGES)
        for part, a, e in zip(parts, atoms, edges, strict=True)
    )
    assert len(parts) == 1 or atoms[0] > 0.8 * CPU_ATOMS or edges[0] > 0.6 * CPU_EDGES


def test_one_that_is_too_large_stands_alone():
    structures = [crystal(1), crystal(6), crystal(1)]
    assert [len(part) for part in sized_batches(structures, "auto", 5.0, "cpu")] == [1, 1, 1]


def test_nothing_gives_no_batch():
    assert not list(sized_batches([], "auto", 5.0, "cpu"))


def test_what_does_not_fit_is_halved_until_it_does(caplog):
    calls = []

    def evaluate(structures):
        calls.append(len(structures))
        if len(structures) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return [len(structure) for structure in structures]

    structures = [molecule(n) for n in range(1, 12)]
    assert halving(evaluate, structures) == list(range(1, 12))
    assert calls == [11, 5, 2, 3, 6, 3, 3]
    assert "in halves" in caplog.text


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("full"), MemoryError()])
def test_a_single_structure_that_does_not_fit_is_an_error(error):
    def evaluate(_):
        raise error

    with pytest.raises(type(error)):
        halving(evaluate, [molecule(2), molecule(3)])


def test_other_errors_are_not_taken_for_a_lack_of_memory():
    calls = []

    def evaluate(structures):
        calls.append(len(structures))
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        halving(evaluate, [molecule(2), molecule(3)])
    assert calls == [2]


def test_labels_after_halving_are_the_same_up_to_rounding(monkeypatch):
    potential = MacePotential(DATA / "sn2_foundation.model")
    structures = read_structures(DATA / "sn2_small.xyz")[5:15]
    expected = potential.evaluate(structures)
    whole = potential._evaluate_batch

    def limited(batch):
        if len(batch) > 4:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(batch)

    monkeypatch.setattr(potential, "_evaluate_batch", limited)
    for found, label in zip(potential.evaluate(structures), expected, strict=True):
        assert found.energy == pytest.approx(label.energy, rel=1e-12)
        np.testing.assert_allclose(found.forces, label.forces, atol=1e-10)
