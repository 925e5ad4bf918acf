"""Labels in parts: whole or absent, never made twice, the same bytes however often a call was cut short."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from pyacemaker.errors import UnsupportedElementError
from pyacemaker.oracles.mace import MaceOracle
from pyacemaker.potentials.base import Potential
from pyacemaker.potentials.label_parts import LabelParts
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.structures import AtomStructure, Dataset, Labels
from pyacemaker.structures.formats import read_structures

DATA = Path(__file__).parents[1] / "data"


class Counted(Potential):
    """ASE's EMT, which notes what it was asked for."""

    name = "emt"
    elements = ("Cu",)

    def __init__(self):
        self.seen = []

    def evaluate(self, structures):
        found = []
        for structure in structures:
            self.seen.append(structure.id)
            atoms = structure.to_atoms()
            atoms.calc = EMT()
            stress = atoms.get_stress() if structure.pbc.all() else None
            found.append(Labels(atoms.get_potential_energy(), atoms.get_forces(), stress))
        return found

    def calculator(self):
        return EMT()


@pytest.fixture
def copper():
    """Eleven rattled cells, one of them a cluster without stress."""
    found = []
    for seed in range(11):
        atoms = bulk("Cu", cubic=True)
        atoms.rattle(0.1, seed=seed)
        atoms.pbc = seed != 4
        found.append(AtomStructure.from_atoms(atoms, tag=f"t{seed % 2}"))
    return Dataset(found)


def labelled(parts, structures, potential):
    return sum(parts.label(structures, lambda: potential), start=Dataset())


def files(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def same(a, b):
    assert a.ids == b.ids
    for one, other in zip(a.labels, b.labels, strict=True):
        assert one.energy == other.energy
        assert np.array_equal(one.forces, other.forces)
        assert (one.stress is None) == (other.stress is None)
        assert one.stress is None or np.array_equal(one.stress, other.stress)


def test_the_labels_are_the_potentials(copper, tmp_path):
    found = labelled(LabelParts(tmp_path, "emt", 4), copper, Counted())
    same(found, Counted().label(copper))
    assert [s.tag for s in found] == [s.tag for s in copper]
    assert found[4].labels.stress is None
    assert {s.source for s in found} == {"emt"}
    assert len(files(tmp_path)) == 3


def test_a_call_cut_short_goes_on_without_computing_anything_twice(copper, tmp_path):
    whole = tmp_path / "whole"
    labelled(LabelParts(whole, "emt", 4), copper, Counted())
    emt = Counted()
    started = LabelParts(tmp_path / "cut", "emt", 4).label(copper, lambda: emt)
    next(started)
    next(started)
    started.close()
    assert emt.seen == copper.ids[:8]
    again = Counted()
    labelled(LabelParts(tmp_path / "cut", "emt", 4), copper, again)
    assert again.seen == copper.ids[8:]
    assert files(tmp_path / "cut") == files(whole)


def test_the_potential_is_not_even_loaded_when_all_is_known(copper, tmp_path):
    labelled(LabelParts(tmp_path, "emt", 4), copper, Counted())

    def refuse():
        raise AssertionError("loaded")

    same(sum(LabelParts(tmp_path, "emt", 4).label(copper, refuse), Dataset()), Counted().label(copper))


def test_structures_are_taken_one_part_at_a_time(copper, tmp_path):
    taken = []

    def source():
        for structure in copper:
            taken.append(structure.id)
            yield structure

    parts = LabelParts(tmp_path, "emt", 4).label(source(), Counted)
    assert len(next(parts)) == 4
    assert len(taken) == 4
    parts.close()


def test_appended_structures_leave_the_parts_before_them_alone(copper, tmp_path):
    labelled(LabelParts(tmp_path, "emt", 4), copper[:8], Counted())
    emt = Counted()
    labelled(LabelParts(tmp_path, "emt", 4), copper, emt)
    assert emt.seen == copper.ids[8:]


def test_another_potential_makes_its_own_labels_and_the_old_ones_go(copper, tmp_path):
    labelled(LabelParts(tmp_path, "emt", 4), copper, Counted())
    before, emt = files(tmp_path), Counted()
    labelled(LabelParts(tmp_path, "other", 4), copper, emt)
    assert emt.seen == copper.ids
    assert not before.keys() & files(tmp_path).keys()


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut", None])
def test_a_damaged_part_is_made_again(copper, tmp_path, damage):
    parts, emt = LabelParts(tmp_path, "emt", 4), Counted()
    labelled(parts, copper, Counted())
    whole, path = files(tmp_path), parts.path(copper[4:8])
    path.write_bytes(path.read_bytes()[:-400] if damage is None else damage)
    labelled(parts, copper, emt)
    assert emt.seen == copper.ids[4:8]
    assert files(tmp_path) == whole


def test_a_part_of_other_structures_is_not_believed(copper, tmp_path):
    parts = LabelParts(tmp_path, "emt", 4)
    labelled(parts, copper, Counted())
    parts.path(copper[:4]).write_bytes(parts.path(copper[4:8]).read_bytes())
    same(labelled(parts, copper, Counted()), Counted().label(copper))


def test_broken_structures_harm_no_other(copper, tmp_path):
    with np.errstate(invalid="ignore"):  # its id is a hash of integers
        broken = copper[0].replace(positions=copper[0].positions * np.nan)
        assert len(broken.id) == 16
    emt = Counted()
    found = labelled(LabelParts(tmp_path, "emt", 4), Dataset([copper[0], broken, copper[1]]), emt)
    assert emt.seen == copper.ids[:2]
    assert np.isnan(found.labels[1].energy)
    same(found[[0, 2]], Counted().label(copper[:2]))


def test_progress_counts_structures(copper, tmp_path):
    done = []
    list(LabelParts(tmp_path, "emt", 4).label(copper, Counted, done.append))
    assert done == [4, 8, 11]


def test_mace_streams_what_it_labels_at_once(tmp_path):
    structures = read_structures(DATA / "sn2_small.xyz")[5:35]
    oracle = MaceOracle(model=str(DATA / "sn2_foundation.model"))
    streamed = sum(oracle.compute_stream(structures, tmp_path), start=Dataset())
    for structure, label in zip(streamed, oracle.compute_batch(structures), strict=True):
        assert structure.labels.energy == label.energy
        assert np.array_equal(structure.labels.forces, label.forces)
    single = MaceOracle(model=oracle.model, dtype="float32")
    floats = sum(single.compute_stream(structures, tmp_path / "32"), start=Dataset())
    for structure, other in zip(streamed, floats, strict=True):
        assert structure.labels.energy != other.labels.energy
        assert other.labels.energy == pytest.approx(structure.labels.energy, rel=1e-5)
        np.testing.assert_allclose(other.labels.forces, structure.labels.forces, atol=2e-3)


def test_coinciding_atoms_spoil_only_their_own_label(tmp_path):
    structures = list(read_structures(DATA / "sn2_small.xyz")[5:9])
    positions = structures[1].positions.copy()
    positions[1] = positions[0]
    spoilt = [structures[0], structures[1].replace(positions=positions), *structures[2:]]
    mace = MacePotential(DATA / "sn2_foundation.model")
    alone, company = mace.evaluate(structures), mace.evaluate(spoilt)
    for k in (0, 2, 3):
        assert company[k].energy == pytest.approx(alone[k].energy, rel=1e-12)
        np.testing.assert_allclose(company[k].forces, alone[k].forces, atol=1e-10)


def test_an_element_that_the_model_lacks_is_named(copper, tmp_path):
    mace = MacePotential(DATA / "sn2_foundation.model")
    with pytest.raises(UnsupportedElementError, match="Cu"):
        labelled(LabelParts(tmp_path, "mace"), copper, mace)
    assert not list(tmp_path.glob("*"))
