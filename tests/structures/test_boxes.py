import numpy as np
import pytest
from ase.build import bulk, fcc111, molecule
from hypothesis import given, settings
from hypothesis import strategies as st

from pyacemaker.structures import AtomStructure
from pyacemaker.structures.boxes import ASYMMETRY, boxed, kpoint_grid

CUBE = AtomStructure.from_atoms(bulk("Al", cubic=True, a=4.0))


def distances(structure):
    return np.linalg.norm(structure.positions[:, None] - structure.positions[None], axis=2)


@pytest.mark.parametrize(
    ("kspacing", "points"), [(10.0, 1), (2 * np.pi / 4, 1), (1.5, 2), (0.7, 3), (0.25, 7)]
)
def test_grid_of_a_cube(kspacing, points):
    """2π/4 Å = 1.571 1/Å between the reciprocal lattice points of a 4 Å cube."""
    assert kpoint_grid(CUBE, kspacing) == (points, points, points)


@settings(max_examples=50, deadline=None)
@given(st.floats(0.1, 2.0), st.integers(1, 4), st.integers(0, 2))
def test_a_longer_cell_needs_fewer_points(kspacing, repeats, axis):
    plain = kpoint_grid(CUBE, kspacing)
    cell = np.array(CUBE.cell)
    cell[axis] *= repeats
    longer = kpoint_grid(CUBE.replace(cell=cell), kspacing)
    assert plain[axis] / repeats <= longer[axis] < plain[axis] / repeats + 1
    assert [n for k, n in enumerate(longer) if k != axis] == [n for k, n in enumerate(plain) if k != axis]
    assert 2 * np.pi / (4.0 * plain[axis]) <= kspacing * (1 + 1e-5)


def test_one_point_along_what_is_not_periodic():
    slab = AtomStructure.from_atoms(fcc111("Al", (1, 1, 3), vacuum=None, periodic=False))
    assert kpoint_grid(slab.replace(pbc=np.array([True, True, False])), 0.25)[2] == 1
    assert kpoint_grid(AtomStructure.from_atoms(molecule("H2O")), 0.01) == (1, 1, 1)


@pytest.mark.parametrize("pbc", [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 1, 1), (1, 0, 1)])
def test_boxes_leave_vacuum_and_turn_nothing(pbc):
    rng = np.random.default_rng(2)
    cell = np.diag([4.0, 5.0, 6.0]) + rng.normal(scale=0.5, size=(3, 3))
    structure = AtomStructure(
        np.array([8, 1, 1]), rng.normal(size=(3, 3)), cell=cell, pbc=np.array(pbc, dtype=bool)
    )
    found = boxed(structure, vacuum=4.0)
    assert found.pbc.all()
    assert np.linalg.det(found.cell) > 0
    assert np.allclose(distances(found), distances(structure))
    images = found.to_atoms().get_all_distances(mic=True)
    assert (images <= distances(structure) + 1e-9).all()
    for axis in range(3):
        if pbc[axis]:
            assert np.allclose(np.abs(found.cell[axis]), np.abs(structure.cell[axis]))
        else:
            inside = found.positions @ found.cell[axis] / np.linalg.norm(found.cell[axis])
            assert np.linalg.norm(found.cell[axis]) - np.ptp(inside) >= 8.0 - 1e-9


def test_an_atom_has_no_symmetric_box():
    lengths = np.linalg.norm(boxed(AtomStructure(np.array([6]), np.zeros((1, 3))), vacuum=5.0).cell, axis=1)
    assert lengths == pytest.approx([10 + extra for extra in ASYMMETRY])


def test_left_handed_cells_become_right_handed():
    left = CUBE.replace(cell=CUBE.cell[[1, 0, 2]])
    found = boxed(left, vacuum=5.0)
    assert np.linalg.det(left.cell) < 0 < np.linalg.det(found.cell)
    assert np.array_equal(found.positions, left.positions)
    assert np.allclose(
        found.to_atoms().get_all_distances(mic=True), left.to_atoms().get_all_distances(mic=True)
    )
