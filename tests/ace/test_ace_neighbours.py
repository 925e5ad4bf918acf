import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyacemaker.ace.neighbours import EdgeMemory, neighbour_list
from pyacemaker.errors import DataError


def by_hand(positions, cell, pbc, cutoff):
    """All edges by looking at seven images in every periodic direction."""
    found = []
    images = itertools.product(*(range(-7, 8) if periodic else [0] for periodic in pbc))
    for shift in images:
        for i, j in itertools.product(range(len(positions)), repeat=2):
            vector = positions[j] + np.array(shift) @ cell - positions[i]
            if (any(shift) or i != j) and np.linalg.norm(vector) < cutoff:
                found.append((i, j, *vector))
    return sorted_rows(found)


def rows(edges):
    return sorted_rows(np.column_stack([edges.i, edges.j, edges.vectors]))


def sorted_rows(array):
    array = np.round(np.array(array, float).reshape(-1, 5), 6) + 0.0
    return array[np.lexsort(array.T)]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    atoms=st.integers(1, 4),
    pbc=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    zero_vectors=st.booleans(),
)
def test_edges_of_skewed_narrow_and_partly_periodic_cells(seed, atoms, pbc, zero_vectors):
    rng = np.random.default_rng(seed)
    cell = np.eye(3) * rng.uniform(2.0, 4.0) + rng.normal(0, 0.3, (3, 3))
    if zero_vectors:
        cell[~np.array(pbc)] = 0.0
    positions = rng.uniform(-5, 5, (atoms, 3))
    edges = neighbour_list(positions, cell, pbc, 4.0)
    assert rows(edges) == pytest.approx(by_hand(positions, cell, pbc, 4.0), abs=3e-6)
    assert (np.diff(edges.i) >= 0).all()
    assert edges.distances == pytest.approx(np.linalg.norm(edges.vectors, axis=1))
    assert edges.offsets(atoms)[-1] == len(edges)


def test_one_atom_cell_sees_its_own_images():
    edges = neighbour_list(np.zeros((1, 3)), np.eye(3) * 2.0, True, 2.5)
    assert len(edges) == 6
    assert set(edges.j) == {0}


def test_same_input_same_order():
    positions = np.random.default_rng(0).uniform(0, 8, (30, 3))
    first, second = (neighbour_list(positions, np.eye(3) * 8.0, True, 4.0) for _ in range(2))
    assert (first.j == second.j).all()
    assert first.vectors.tobytes() == second.vectors.tobytes()


def test_many_bins_find_what_few_find():
    rng = np.random.default_rng(1)
    cell = np.array([[24.0, 0, 0], [6.0, 21.0, 0], [-5.0, 4.0, 26.0]])
    positions = rng.uniform(-1.5, 2.5, (400, 3)) @ cell
    for pbc in ([True, True, True], [True, False, True], [False, False, False]):
        edges = neighbour_list(positions, cell, pbc, 5.0)
        assert rows(edges) == pytest.approx(by_images(positions, cell, pbc, 5.0), abs=3e-6)


def by_images(positions, cell, pbc, cutoff):
    """All edges within the nearest images of wrapped positions."""
    shift = np.floor(positions @ np.linalg.inv(cell)) * pbc
    wrapped = positions - shift @ cell
    found = []
    for image in itertools.product(*((-1, 0, 1) if periodic else (0,) for periodic in pbc)):
        apart = wrapped[None, :] + np.array(image) @ cell - wrapped[:, None]
        near = np.linalg.norm(apart, axis=2) < cutoff
        if not any(image):
            np.fill_diagonal(near, False)
        found += [(i, j, *apart[i, j]) for i, j in zip(*np.nonzero(near), strict=True)]
    return sorted_rows(found)


def test_far_apart_clusters_cost_no_memory():
    positions = np.array([[0, 0, 0], [0, 0, 2.0], [1e7, 1e7, 1e7], [1e7, 1e7, 1e7 + 2.0]])
    edges = neighbour_list(positions, np.zeros((3, 3)), False, 3.0)
    assert edges.i.tolist() == [0, 1, 2, 3]
    assert edges.j.tolist() == [1, 0, 3, 2]


def test_memory_is_used_again():
    memory = EdgeMemory()
    positions = np.random.default_rng(0).uniform(0, 8, (30, 3))
    first = neighbour_list(positions, np.eye(3) * 8.0, True, 4.0, memory)
    kept = first.vectors.copy()
    assert not np.shares_memory(first.vectors, neighbour_list(positions, np.eye(3) * 8.0, True, 4.0).vectors)
    second = neighbour_list(positions[::-1], np.eye(3) * 8.0, True, 4.0, memory)
    assert np.shares_memory(first.vectors, second.vectors)
    assert len(second.vectors) == len(kept)


def test_no_atoms_have_no_edges():
    for pbc in (False, True):
        assert len(neighbour_list(np.zeros((0, 3)), np.eye(3), pbc, 4.0)) == 0


def test_cell_vectors_in_a_plane_do_not_matter_without_periodicity():
    cell = [[3, 0, 0], [6, 0, 0], [0, 0, 3]]
    assert len(neighbour_list([[0, 0, 0], [1, 0, 0]], cell, False, 4.0)) == 2


def test_a_lone_atom_has_no_neighbours():
    edges = neighbour_list(np.zeros((1, 3)), np.zeros((3, 3)), False, 5.0)
    assert len(edges) == 0
    assert edges.offsets(1).tolist() == [0, 0]


def test_coinciding_atoms_are_named():
    positions = [[0, 0, 0], [3, 0, 0], [3, 0, 1e-9]]
    with pytest.raises(DataError, match="atoms 1 and 2"):
        neighbour_list(positions, np.zeros((3, 3)), False, 5.0)


@pytest.mark.parametrize(
    ("positions", "cell", "pbc", "message"),
    [
        ([[0, 0, np.nan], [1, 0, 0]], np.eye(3), False, "NaN"),
        ([[0, 0, 0]], np.zeros((3, 3)), True, "no cell vector"),
        ([[0, 0, 0]], [[3, 0, 0], [6, 0, 0], [0, 0, 3]], True, "one plane"),
    ],
)
def test_bad_geometry_is_refused(positions, cell, pbc, message):
    with pytest.raises(DataError, match=message):
        neighbour_list(positions, cell, pbc, 4.0)
