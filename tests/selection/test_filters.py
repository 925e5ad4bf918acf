import weakref

import numpy as np
import pytest
from ase import Atoms
from ase.data import covalent_radii
from hypothesis import given, settings
from hypothesis import strategies as st

from pyacemaker.selection.filters import HardFilters, closest_fraction
from pyacemaker.structures import AtomStructure, Dataset, Labels


def dimer(distance, symbols="H2"):
    return AtomStructure.from_atoms(Atoms(symbols, [[0, 0, 0], [0, 0, distance]]))


def labels(energy=0.0, force=0.0, n=2):
    return Labels(energy, np.full((n, 3), force))


def test_distance_is_measured_in_sums_of_covalent_radii():
    assert closest_fraction(dimer(0.62)) == pytest.approx(1.0)
    assert closest_fraction(dimer(0.76 + 0.57, "CF")) == pytest.approx(1.0)
    assert closest_fraction(dimer(9.0)) == np.inf


def test_the_images_of_a_single_atom_count():
    cell = AtomStructure(np.array([29]), np.zeros((1, 3)), 1.32 * np.eye(3), np.ones(3, dtype=bool))
    assert closest_fraction(cell) == pytest.approx(1.32 / (2 * covalent_radii[29]))


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), pbc=st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_closest_fraction_agrees_with_a_supercell(seed, pbc):
    rng = np.random.default_rng(seed)
    atoms = Atoms("SiOH2", rng.random((4, 3)) * 4, cell=4 * np.eye(3) + rng.random((3, 3)), pbc=pbc)
    repeats = [3 if periodic else 1 for periodic in pbc]
    large = atoms.repeat(repeats)
    radii = covalent_radii[large.numbers]
    fraction = large.get_all_distances() / (radii[:, None] + radii[None])
    np.fill_diagonal(fraction, np.inf)
    expected = fraction.min()
    found = closest_fraction(AtomStructure.from_atoms(atoms))
    assert found == (pytest.approx(expected) if expected <= 1.5 else np.inf)


def test_every_reason_is_given_and_counted():
    structures = Dataset(
        [dimer(0.74), dimer(0.30), dimer(np.nan), dimer(0.74), *(dimer(0.75 + 0.01 * i) for i in range(6))]
    )
    opinions = [labels() for _ in structures]
    opinions[4] = labels(force=100.0)
    opinions[5] = labels(energy=np.inf)
    opinions[6] = labels(energy=-50.0)
    found = HardFilters().check(structures, opinions)
    assert found.rejected == {
        1: "too close",
        2: "not finite",
        3: "duplicate",
        4: "large force",
        5: "not finite",
        6: "unreasonable energy",
    }
    assert found.reasons["not finite"] == 2
    kept, reasons = HardFilters().apply(structures, opinions)
    assert kept.ids == structures[[0, 7, 8, 9]].ids
    assert sum(reasons.values()) == 6


def test_energies_are_compared_within_a_composition_only():
    structures = [dimer(0.74 + 0.01 * i, symbols) for symbols in ("H2", "CF") for i in range(3)]
    opinions = [labels(energy) for energy in (-1.0, -1.1, -1.2, -900.0, -900.1, -930.0)]
    found = HardFilters(min_distance=0.1).check(structures, opinions)
    assert found.rejected == {5: "unreasonable energy"}


def test_labels_are_not_kept():
    structures = [dimer(0.74 + 0.001 * i) for i in range(20)]
    alive: weakref.WeakSet[Labels] = weakref.WeakSet()
    most = 0

    def opinions():
        nonlocal most
        for _ in structures:
            opinion = labels()
            alive.add(opinion)
            most = max(most, len(alive))
            yield opinion
            del opinion

    assert len(HardFilters().check(structures, opinions()).kept) == 20
    assert most <= 3


def test_limits_can_be_switched_off():
    structures = [dimer(0.74), dimer(0.75), dimer(0.76)]
    opinions = [labels(), labels(), labels(energy=1e6, force=1e6)]
    assert len(HardFilters(max_force=None, max_energy=None).check(structures, opinions).kept) == 3


def test_stresses_beyond_the_limit_are_rejected():
    crystal = AtomStructure(np.array([13]), np.zeros((1, 3)), 2.5 * np.eye(3), np.ones(3, dtype=bool))
    one_gpa = 1.0 / 160.21766208
    labels = [
        Labels(0.0, np.zeros((1, 3)), np.array([0, 0, 0, 0, 0, -size * one_gpa])) for size in (190, 210)
    ]
    filters = HardFilters()
    assert filters.apply(Dataset([crystal]), labels[:1])[1] == {}
    assert filters.apply(Dataset([crystal]), labels[1:])[1] == {"large stress": 1}
    assert HardFilters(max_stress=None).apply(Dataset([crystal]), labels[1:])[1] == {}
