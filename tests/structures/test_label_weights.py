"""Weights of single labels: on structures, in files, in error figures."""

from pathlib import Path

import ase.io
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyacemaker.errors import DataError
from pyacemaker.structures import Accuracy, AtomStructure, Dataset, Labels, LabelWeights
from pyacemaker.structures.accuracy import LabelCounts
from pyacemaker.structures.formats import read_labelled, read_structures, write_structures

FRAME = """2
Lattice="5 0 0 0 5 0 0 0 5" Properties=species:S:1:pos:R:3:REF_forces:R:3{columns} REF_energy={energy} {info}
H 0 0 0 {first} 0.0 0.0 {one}
H 0 0 1 0.1 0.2 0.3 {two}
"""


def frame(tmp_path, columns="", one="", two="", info="", energy="-1.0", first="0.5") -> Path:
    path = tmp_path / "data.xyz"
    text = FRAME.format(columns=columns, one=one, two=two, info=info, energy=energy, first=first)
    path.write_text(text)
    return path


def dimer(weights=None, labels=None):
    return AtomStructure(
        np.array([1, 1]), np.array([[0, 0, 0], [0, 0, 1.0]]), labels=labels, label_weights=weights
    )


@pytest.mark.parametrize("name", ["forces_weight", "force_weights"])
def test_names_of_the_field(tmp_path, name):
    info = "config_weight=3 config_energy_weight=2 config_forces_weight=0.5 config_stress_weight=0"
    path = frame(tmp_path, f":{name}:R:1:forces_mask:L:3", "4.0 T F T", "1.0 T T T", info)
    structure = read_structures(path)[0]
    assert structure.weight == 3.0
    weights = structure.label_weights
    assert weights.energy == 2.0
    np.testing.assert_array_equal(weights.forces, [[2.0, 0.0, 2.0], [0.5, 0.5, 0.5]])
    np.testing.assert_array_equal(weights.stress, np.zeros(6))
    assert structure.info == {}


@pytest.mark.parametrize(("one", "two"), [("T", "F"), ("1", "0"), ("1.0", "0.0")])
def test_masks_are_booleans_or_numbers(tmp_path, one, two):
    kind = {"T": "L", "1": "I", "1.0": "R"}[one]
    weights = read_structures(frame(tmp_path, f":force_mask:{kind}:1", one, two))[0].label_weights
    np.testing.assert_array_equal(weights.forces, [[1, 1, 1], [0, 0, 0]])


def test_six_stress_weights(tmp_path):
    path = frame(tmp_path, info='config_stress_weight="1 1 1 0 0 0"')
    np.testing.assert_array_equal(read_structures(path)[0].label_weights.stress, [1, 1, 1, 0, 0, 0])


def test_weights_of_one_are_none(tmp_path):
    path = frame(tmp_path, info="config_energy_weight=1.0 config_forces_weight=1.0 config_stress_weight=1.0")
    assert read_structures(path)[0].label_weights is None


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ("config_energy_weight=-1", "negative"),
        ('config_stress_weight="1 2"', "2 numbers instead of 1 or 6"),
        ("config_forces_weight=nan", "NaN"),
    ],
)
def test_impossible_weights_are_named(tmp_path, info, message):
    with pytest.raises(DataError, match=message):
        read_structures(frame(tmp_path, info=info))


def test_a_column_of_words_is_no_weight(tmp_path):
    with pytest.raises(DataError, match="forces_weight does not hold"):
        read_structures(frame(tmp_path, ":forces_weight:S:1", "much", "little"))


def test_a_masked_nan_is_no_label_and_no_error(tmp_path):
    path = frame(tmp_path, ":forces_mask:L:3", "F T T", "T T T", "config_energy_weight=0", "nan", "nan")
    found = read_labelled(path).structures[0]
    assert found.labels.is_finite()
    assert found.label_weights.energy == 0.0
    off = Labels(found.labels.energy + 1.0, found.labels.forces + np.eye(2, 3) * [9.0, 0.0, 0.0])
    errors = Accuracy.on([found], [off])
    assert errors.forces_rmse_mev_per_angstrom == 0.0
    assert "energy_rmse_mev_per_atom" not in errors.as_dict()
    assert LabelCounts.of([found]) == LabelCounts(1, 2, 0, 5, 0)


def test_a_nan_that_counts_makes_the_labels_unusable(tmp_path):
    path = frame(tmp_path, ":forces_mask:L:1", "T", "F", first="nan")
    with pytest.raises(DataError, match="hold NaN"):
        read_labelled(path)


positive = st.floats(0.0, 1e3, allow_subnormal=False)


@settings(max_examples=40, deadline=None)
@given(
    energy=positive,
    forces=st.one_of(
        positive.map(lambda value: np.full((2, 3), value)),
        st.lists(positive, min_size=2, max_size=2).map(lambda values: np.repeat(values, 3).reshape(2, 3)),
        st.lists(positive, min_size=6, max_size=6).map(lambda values: np.reshape(values, (2, 3))),
    ),
    stress=st.one_of(
        positive.map(lambda value: np.full(6, value)), st.lists(positive, min_size=6, max_size=6)
    ),
)
def test_files_keep_every_weight(tmp_path_factory, energy, forces, stress):
    path = tmp_path_factory.mktemp("weights") / "out.xyz"
    weights = LabelWeights(energy, forces, np.array(stress))
    original = dimer(weights, weights.masked(Labels(-1.0, np.ones((2, 3)))))
    write_structures(path, [original])
    again = read_structures(path)[0]
    assert again.id == original.id
    if weights.is_trivial:
        assert again.label_weights is None
    else:
        assert again.label_weights.energy == weights.energy
        np.testing.assert_array_equal(again.label_weights.forces, weights.forces)
        np.testing.assert_array_equal(again.label_weights.stress, weights.stress)
    assert len(ase.io.read(path)) == 2


def test_weights_travel_and_are_no_part_of_the_id():
    weights = LabelWeights.uniform(2, forces=0.5)
    structure = dimer(weights)
    assert structure.id == dimer().id
    assert structure.replace(tag="moved").label_weights is weights
    labelled = Dataset([structure]).with_labels([Labels(1.0, np.zeros((2, 3)))], "somebody")
    assert labelled[0].label_weights is weights
    with pytest.raises(ValueError, match="read-only"):
        weights.forces[0, 0] = 3.0


def test_weights_of_another_number_of_atoms_are_refused():
    with pytest.raises(ValueError, match="weights of 3 atoms' labels for 2 atoms"):
        dimer(LabelWeights.uniform(3))
    with pytest.raises(ValueError, match="forces have the shape"):
        LabelWeights(1.0, np.ones(3), np.ones(6))


def test_masked_stress_is_left_out_of_the_errors():
    weights = LabelWeights(1.0, np.ones((1, 3)), np.array([1.0, 0, 0, 0, 0, 0]))
    reference = Labels(0.0, np.zeros((1, 3)), np.zeros(6))
    predicted = Labels(0.0, np.zeros((1, 3)), np.array([0.01, 5.0, 5, 5, 5, 5]))
    errors = Accuracy.between([predicted], [reference], [weights])
    assert errors.stress_mae_gpa == pytest.approx(1.602, rel=1e-3)
