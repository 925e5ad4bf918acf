import numpy as np
import pytest
from ase.build import molecule
from hypothesis import given
from hypothesis import strategies as st

from pyacemaker.structures import AtomStructure, Dataset, Labels

LABEL = Labels(-1.0, np.zeros((3, 3)))
WATER = AtomStructure.from_atoms(molecule("H2O"), tag="water")
FIVE = Dataset(
    [
        WATER.replace(labels=LABEL),
        AtomStructure.from_atoms(molecule("CH4"), tag="methane"),
        WATER.replace(tag="again"),
        AtomStructure.from_atoms(molecule("CO2"), tag="methane"),
        AtomStructure.from_atoms(molecule("H2")),
    ]
)


@given(st.slices(5))
def test_a_slice_is_the_dataset_of_the_slice(part):
    assert FIVE[part].ids == FIVE.ids[part]


@given(st.lists(st.integers(-5, 4)))
def test_a_list_of_indices_picks_in_its_order(indices):
    expected = [FIVE.ids[i] for i in indices]
    assert FIVE[indices].ids == expected
    assert FIVE[np.array(indices, dtype=np.int64)].ids == expected


@given(st.lists(st.booleans(), min_size=5, max_size=5))
def test_a_mask_keeps_where_it_is_true(mask):
    expected = [name for name, keep in zip(FIVE.ids, mask, strict=True) if keep]
    assert FIVE[np.array(mask)].ids == expected
    assert FIVE[mask].ids == expected


def test_an_integer_gives_a_structure_also_numpy_s():
    assert FIVE[1].formula == "CH4"
    assert FIVE[np.int64(-1)].formula == "H2"
    with pytest.raises(IndexError):
        FIVE[5]
    with pytest.raises(IndexError, match="mask"):
        FIVE[np.array([True, False])]


def test_slices_of_a_sum_are_its_parts():
    assert (FIVE[:2] + FIVE[2:]).ids == FIVE.ids
    assert len(FIVE) == 5
    assert [structure.id for structure in FIVE] == FIVE.ids


def test_a_dataset_has_no_way_to_change():
    with pytest.raises(TypeError):
        FIVE[0] = WATER


def test_unique_keeps_the_first_of_every_id_in_order():
    unique = FIVE.unique()
    assert [structure.tag for structure in unique] == ["water", "methane", "methane", "untagged"]
    assert unique[0].labels is LABEL
    assert unique.unique().ids == unique.ids
    assert (FIVE + FIVE).unique().ids == unique.ids


def test_what_it_says_of_itself():
    assert FIVE.n_atoms == 3 + 5 + 3 + 3 + 2
    assert FIVE.elements == ("C", "H", "O")
    assert list(FIVE.tag_counts().items()) == [("water", 1), ("methane", 2), ("again", 1), ("untagged", 1)]
    assert repr(FIVE) == (
        "Dataset(5 structures, 16 atoms, elements C-H-O, 1 labelled; water 1, methane 2, again 1, untagged 1)"
    )
    assert repr(Dataset()).startswith("Dataset(0 structures, 0 atoms, elements none")


def test_filters():
    assert FIVE.filter(lambda structure: len(structure) > 3).elements == ("C", "H")
    assert FIVE.labelled().ids == [WATER.id]


def test_labels_of_a_partly_labelled_dataset_are_an_error():
    with pytest.raises(ValueError, match="4 of 5 structures have no labels"):
        _ = FIVE.labels
    assert FIVE.labelled().labels == [LABEL]


def test_new_labels_come_with_their_source():
    waters = Dataset([WATER, WATER]).with_labels([LABEL, LABEL + LABEL], "emt")
    assert [structure.source for structure in waters] == ["emt", "emt"]
    assert [label.energy for label in waters.labels] == [-1.0, -2.0]
    assert waters.ids == [WATER.id, WATER.id]
    with pytest.raises(ValueError):
        FIVE.with_labels([LABEL], "emt")


def test_composition_counts_atoms_element_by_element():
    assert FIVE.composition(("O", "C", "H")).tolist() == [
        [1, 0, 2],
        [0, 1, 4],
        [1, 0, 2],
        [2, 1, 0],
        [0, 0, 2],
    ]
    assert FIVE.composition(FIVE.elements).sum() == FIVE.n_atoms
    assert Dataset().composition(("H",)).shape == (0, 1)


def test_reference_energies_are_the_sum_over_the_atoms():
    energies = FIVE.reference_energies({"H": -1.0, "C": -10.0, "O": -100.0, "Cu": 5.0})
    assert energies.tolist() == [-102.0, -14.0, -102.0, -210.0, -2.0]
    assert Dataset().reference_energies({}).shape == (0,)
    with pytest.raises(KeyError, match="O"):
        FIVE.reference_energies({"H": -1.0, "C": -10.0})
