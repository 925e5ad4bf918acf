import numpy as np
import pytest

from pyacemaker.generators.prototypes import find_prototype, parse_formula, prototype_cell
from pyacemaker.generators.surfaces import low_index_slabs
from pyacemaker.selection.filters import closest_fraction


def cell_of(formula, name, a):
    return prototype_cell(parse_formula(formula), find_prototype(name), a)


def slabs(cell, n=3, thickness=8.0, max_atoms=40):
    return low_index_slabs(cell, n, thickness=thickness, vacuum=10.0, max_atoms=max_atoms)


def area(slab):
    return float(np.linalg.norm(np.cross(slab.cell[0], slab.cell[1])))


def heights(slab):
    return np.sort(slab.positions @ slab.cell[2] / np.linalg.norm(slab.cell[2]))


@pytest.mark.parametrize(
    ("name", "a", "areas"),
    [
        ("fcc", 4.0, [3**0.5 / 4, 1 / 2, 1 / 2**0.5]),  # 111, 100, 110
        ("bcc", 3.0, [1 / 2**0.5, 1.0, 6**0.5 / 2]),  # 110, 100, 211
        ("sc", 3.0, [1.0, 2**0.5, 3**0.5]),  # 100, 110, 111
    ],
)
def test_the_widest_spaced_planes_with_their_smallest_cells(name, a, areas):
    found = slabs(cell_of("Al", name, a))
    assert [area(slab) for slab in found] == pytest.approx([x * a**2 for x in areas])


def test_slabs_are_cut_from_the_crystal():
    crystal = cell_of("Al", "fcc", 4.0)
    for slab in slabs(crystal):
        planes = heights(slab)
        assert np.allclose(np.diff(planes), crystal.volume / area(slab))
        assert closest_fraction(slab) == pytest.approx(closest_fraction(crystal))
        assert np.linalg.norm(slab.cell[2]) == pytest.approx(np.ptp(planes) + 10.0)
        assert abs(slab.cell[2] @ slab.cell[0]) + abs(slab.cell[2] @ slab.cell[1]) < 1e-9
        assert np.ptp(planes) >= 8.0
        assert slab.pbc.all()
        assert np.mean(planes) == pytest.approx(0.5 * np.linalg.norm(slab.cell[2]))


def test_no_charged_surfaces_of_an_ionic_crystal():
    crystal = cell_of("MgO", "rocksalt", 4.21)
    found = slabs(crystal, n=2)
    assert [area(slab) for slab in found] == pytest.approx([4.21**2 / 2, 4.21**2 / 2**0.5])  # 100, 110
    for slab in found:
        planes = np.round(slab.positions @ slab.cell[2] / np.linalg.norm(slab.cell[2]), 4)
        for height in np.unique(planes):
            assert set(slab.numbers[planes == height]) == {8, 12}


def test_fluorite_ends_with_whole_sandwiches():
    slab = slabs(cell_of("CaF2", "fluorite", 5.46), n=1)[0]
    assert area(slab) == pytest.approx(3**0.5 / 4 * 5.46**2)  # 111
    order = np.argsort(slab.positions @ slab.cell[2])
    numbers = slab.numbers[order]
    assert numbers[:3].tolist() == [9, 20, 9]
    assert np.array_equal(numbers, numbers[::-1])


def test_slabs_within_the_number_of_atoms():
    crystal = cell_of("Cu3Au", "L1_2", 3.75)
    assert all(len(slab) <= 12 for slab in slabs(crystal, max_atoms=12))
    assert slabs(crystal, max_atoms=7) == []
