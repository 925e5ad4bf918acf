import dataclasses

import numpy as np
import pytest
from ase.build import bulk, molecule
from hypothesis import given
from hypothesis import strategies as st

from pyacemaker.structures import AtomStructure, Labels

WATER = AtomStructure.from_atoms(molecule("H2O"), tag="relaxed")
LABELS = Labels(-1.5, np.arange(9.0).reshape(3, 3), np.arange(6.0), np.full(3, -0.5))


def test_the_id_depends_on_geometry_elements_periodicity_charge_and_spin_alone():
    moved = WATER.positions + np.array([[0, 0, 1e-6], [0, 0, 0], [0, 0, 0]])
    different = [
        WATER.replace(positions=moved),
        WATER.replace(numbers=np.array([16, 1, 1])),
        WATER.replace(numbers=WATER.numbers[::-1]),
        WATER.replace(cell=8 * np.eye(3)),
        WATER.replace(pbc=np.array([True, False, False])),
        WATER.replace(charge=1),
        WATER.replace(multiplicity=3),
    ]
    same = [
        WATER.replace(labels=LABELS, source="dft"),
        WATER.replace(tag="md300"),
        WATER.replace(weight=20.0),
        WATER.replace(info={"round": 3}),
        WATER.replace(positions=WATER.positions + 1e-12),
    ]
    assert len({WATER.id, *(other.id for other in different)}) == 8
    assert {WATER.id} == {other.id for other in same}


def test_the_id_is_the_same_on_every_machine():
    carbon = AtomStructure(np.array([6]), np.array([[0.5, -0.25, 0.0]]), charge=-1, multiplicity=4)
    assert carbon.id == "e521776d22053076"


def test_negative_zero_is_zero():
    assert AtomStructure([1], [[-0.0, 0.0, 0.0]]).id == AtomStructure([1], [[0.0, 0.0, 0.0]]).id


@pytest.mark.parametrize("name", ["numbers", "positions", "cell", "pbc"])
def test_the_arrays_of_a_structure_cannot_be_written_to(name):
    with pytest.raises(ValueError, match="read-only"):
        getattr(WATER, name)[...] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(WATER, name, getattr(WATER, name))


@pytest.mark.parametrize("name", ["forces", "stress", "energies"])
def test_the_arrays_of_labels_cannot_be_written_to(name):
    with pytest.raises(ValueError, match="read-only"):
        getattr(LABELS, name)[...] = 0


def test_a_structure_does_not_change_with_the_array_it_was_made_from():
    positions = np.zeros((1, 3))
    structure = AtomStructure(np.array([1]), positions)
    positions[0, 0] = 5.0
    assert structure.positions[0, 0] == 0.0


def test_a_read_only_view_is_copied_because_its_owner_may_change():
    positions = np.zeros((1, 3))
    view = positions.view()
    view.setflags(write=False)
    structure = AtomStructure(np.array([1]), view)
    positions[0, 0] = 5.0
    assert structure.positions[0, 0] == 0.0


def test_a_changed_copy_shares_the_arrays_that_stay():
    structure = AtomStructure(np.array([1]), np.zeros((1, 3)))
    labelled = structure.replace(labels=Labels(1.0, np.ones((1, 3))), positions=np.ones((1, 3)))
    again = labelled.replace(tag="other")
    assert labelled.cell is structure.cell
    assert labelled.positions is not structure.positions
    assert again.positions is labelled.positions
    assert again.labels is labelled.labels


@pytest.mark.parametrize(
    "wrong",
    [
        {"positions": np.zeros((2, 3))},
        {"positions": np.zeros(9)},
        {"cell": np.ones(3)},
        {"pbc": np.array(True)},
        {"labels": Labels(0.0, np.zeros((2, 3)))},
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(wrong):
    with pytest.raises(ValueError, match=r"shape|labels of 2 atoms for 3"):
        WATER.replace(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"forces": np.zeros(9)},
        {"forces": np.zeros((3, 3)), "stress": np.zeros((3, 3))},
        {"forces": np.zeros((3, 3)), "energies": np.zeros(2)},
    ],
)
def test_labels_of_the_wrong_shape_are_refused(wrong):
    with pytest.raises(ValueError, match="shape"):
        Labels(0.0, **wrong)


@pytest.mark.parametrize("name", ["energy", "forces", "stress", "energies"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_number_that_is_not_finite_is_noticed(name, value):
    assert LABELS.is_finite()
    broken = np.array(getattr(LABELS, name))
    broken.flat[-1] = value
    assert not dataclasses.replace(LABELS, **{name: broken}).is_finite()


def test_labels_add_and_subtract_term_by_term():
    other = Labels(2.0, np.ones((3, 3)), np.ones(6), np.ones(3))
    total, back = LABELS + other, LABELS + other - other
    assert total.energy == 0.5
    assert np.array_equal(total.forces, LABELS.forces + 1)
    assert np.array_equal(total.stress, LABELS.stress + 1)
    assert np.array_equal(total.energies, LABELS.energies + 1)
    assert back.energy == LABELS.energy
    assert np.array_equal(back.forces, LABELS.forces)


def test_a_sum_has_no_stress_where_a_term_has_none():
    assert (LABELS + Labels(1.0, np.zeros((3, 3)))).stress is None
    assert (Labels(1.0, np.zeros((3, 3))) - LABELS).energies is None


def test_ase_and_back_keeps_everything_but_the_labels():
    before = AtomStructure.from_atoms(
        bulk("Cu", "fcc", a=3.6),
        charge=-2,
        multiplicity=5,
        tag="rattle",
        source="dft",
        weight=2.5,
        info={"round": 3, "volume": 0.9},
        labels=Labels(1.0, np.zeros((1, 3))),
    )
    after = AtomStructure.from_atoms(before.to_atoms())
    assert after.id == before.id
    for name in ("charge", "multiplicity", "tag", "source", "weight", "info"):
        assert getattr(after, name) == getattr(before, name)
    assert after.labels is None


def test_a_structure_from_ase_takes_config_type_for_its_tag_and_fields_over_info():
    atoms = molecule("H2O")
    atoms.info = {"config_type": "md", "charge": 1, "bulky": np.zeros(3)}
    structure = AtomStructure.from_atoms(atoms, charge=-1)
    assert (structure.tag, structure.charge, structure.info) == ("md", -1, {})
    assert AtomStructure.from_atoms(molecule("H2O")).tag == "untagged"


def test_what_it_says_of_itself():
    assert (len(WATER), WATER.formula, WATER.symbols) == (3, "H2O", ["O", "H", "H"])
    assert not WATER.is_periodic
    assert WATER.replace(pbc=np.array([False, True, False])).is_periodic
    assert repr(WATER) == f"AtomStructure(H2O, tag='relaxed', unlabelled, id={WATER.id[:8]})"


@given(st.permutations(range(3)))
def test_atoms_in_another_order_are_another_structure(order):
    shuffled = WATER.replace(numbers=WATER.numbers[order], positions=WATER.positions[order])
    assert (shuffled.id == WATER.id) == (list(order) == [0, 1, 2])
