import numpy as np
import pytest
from ase.build import bulk
from ase.geometry import get_distances

from pyacemaker.generators.defects import (
    antisites,
    distinct_sites,
    divacancies,
    dumbbells,
    interstitials,
    largest_voids,
    vacancies,
)
from pyacemaker.generators.prototypes import find_prototype, parse_formula, prototype_cell
from pyacemaker.generators.supercells import compact_supercell
from pyacemaker.selection.filters import closest_fraction
from pyacemaker.structures import AtomStructure

COPPER = AtomStructure.from_atoms(bulk("Cu", cubic=True) * (2, 2, 2))
GOLD_ALLOY = compact_supercell(prototype_cell(parse_formula("Cu3Au"), find_prototype("L1_2"), 3.75), 32)


def missing(structure, defect):
    """Positions of the structure's atoms that the defect lacks."""
    kept = {tuple(row) for row in np.round(defect.positions, 6).tolist()}
    return np.array([row for row in structure.positions if tuple(np.round(row, 6).tolist()) not in kept])


def test_sites_are_told_apart_by_what_surrounds_them():
    assert len(distinct_sites(COPPER)) == 1
    assert [GOLD_ALLOY.symbols[site] for site in distinct_sites(GOLD_ALLOY)] == ["Cu", "Au"]
    vacancy = vacancies(COPPER)[0]
    assert len(distinct_sites(vacancy)) == 3  # first and second neighbours of the hole, and the others


def test_one_vacancy_for_every_kind_of_site():
    assert [len(found) for found in vacancies(COPPER)] == [31]
    assert sorted(found.formula for found in vacancies(GOLD_ALLOY)) == ["Au7Cu24", "Au8Cu23"]


def test_divacancies_are_a_nearest_and_a_second_nearest_pair():
    distances = []
    for found in divacancies(COPPER):
        first, second = missing(COPPER, found)
        distances.append(float(get_distances(first, second, cell=COPPER.cell, pbc=True)[1][0, 0]))
    assert distances == pytest.approx([3.61 / 2**0.5, 3.61])


def test_voids_of_close_packed_copper_are_the_octahedral_and_the_tetrahedral():
    voids = largest_voids(COPPER, 5)
    radii = get_distances(voids, COPPER.positions, cell=COPPER.cell, pbc=True)[1].min(axis=1)
    assert radii == pytest.approx([3.61 / 2, 3.61 * 3**0.5 / 4])


def test_interstitials_have_one_atom_more_and_none_too_close():
    for structure, kinds in ((COPPER, 4), (GOLD_ALLOY, 6)):
        found = interstitials(structure)
        assert len(found) >= kinds
        for defect in found:
            assert len(defect) == len(structure) + 1
            assert closest_fraction(defect) >= 0.6
    assert interstitials(COPPER, min_distance=1.2) == []


def test_dumbbells_share_a_site():
    for found in dumbbells(COPPER):
        first = found.positions[distinct_sites(COPPER)[0]]
        middle = 0.5 * (first + found.positions[-1])
        assert np.abs(middle - COPPER.positions).sum(axis=1).min() < 1e-9
        assert np.linalg.norm(first - found.positions[-1]) == pytest.approx(0.7 * 3.61 / 2**0.5)


def test_antisites_change_the_composition_or_exchange_neighbours():
    formulas = sorted(found.formula for found in antisites(GOLD_ALLOY))
    assert formulas == ["Au7Cu25", "Au8Cu24", "Au8Cu24", "Au9Cu23"]
    for found in antisites(GOLD_ALLOY):
        changed = np.flatnonzero(found.numbers != GOLD_ALLOY.numbers)
        assert len(changed) in (1, 2)
        if len(changed) == 2:
            distance = get_distances(*found.positions[changed][:, None], cell=found.cell, pbc=True)[1]
            assert float(distance[0, 0]) == pytest.approx(3.75 / 2**0.5)
    assert antisites(COPPER) == []
