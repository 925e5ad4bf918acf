"""What becomes of labelled structures before a fit: counts, weights, parts."""

import numpy as np
import pytest

from pyacemaker.structures import AtomStructure, Dataset, Labels, LabelWeights
from pyacemaker.structures.exports import export_structures
from pyacemaker.structures.formats import read_structures
from pyacemaker.trainers.preparation import (
    Preparation,
    energies_above_hull,
    merged,
    provenance,
    split_by_tag,
)


def structure(symbols="Al", *, energy=0.0, shift=0.0, tag="bulk", source="pbe", forces=0.0):
    """A periodic row of atoms with this energy per atom; `shift` makes it another structure."""
    numbers = [{"Al": 13, "Cu": 29}[s] for s in symbols.split("-")]
    n = len(numbers)
    positions = np.arange(n)[:, None] * [2.5, 0.0, 0.0] + shift
    return AtomStructure(
        np.array(numbers), positions, 2.5 * np.diag([n, 2, 2]), np.ones(3, bool), tag=tag, source=source
    ).replace(labels=Labels(energy * n, np.full((n, 3), forces)))


def prepared(*datasets, **settings):
    return Preparation(**settings).prepare([Dataset(d) for d in datasets], np.random.default_rng(1))


def test_nothing_changes_by_default():
    data = Dataset(structure(shift=0.1 * k) for k in range(5))
    found = Preparation().prepare([data], np.random.default_rng(1))
    assert found.train.ids == data.ids
    assert [s.weight for s in found.train] == [1.0] * 5
    assert len(found.validation) == 0
    assert found.counts.as_dict() == {
        "given": 5,
        "unlabelled": 0,
        "not_finite": 0,
        "repeated": 0,
        "train": 5,
        "validation": 0,
    }


def test_nan_and_inf_are_left_out_and_counted_but_not_where_a_mask_covers_them(caplog):
    wrong = structure(shift=0.1, forces=np.nan)
    infinite = structure(shift=0.2, energy=np.inf)
    masked = structure(shift=0.3, forces=np.nan).replace(
        label_weights=LabelWeights(1.0, np.zeros((1, 3)), np.ones(6))
    )
    bare = structure(shift=0.4).replace(labels=None)
    found = prepared([structure(), wrong, infinite, masked, bare])
    assert found.train.ids == [structure().id, masked.id]
    assert (found.counts.not_finite, found.counts.unlabelled, found.counts.train) == (2, 1, 2)
    assert "2 of 4 labelled structures hold NaN or Inf" in caplog.text


def test_of_structures_that_come_twice_dft_stays():
    pseudo, dft = structure(energy=1.0, source="teacher+delta"), structure(energy=2.0, source="GPAW 25.7")
    other = structure(shift=0.5, source="mace")
    assert provenance(pseudo) == provenance(other) == "pseudo"
    assert provenance(dft) == "dft"
    for order in ([pseudo, other, dft], [dft, other, pseudo]):
        kept = merged(order)
        assert kept.ids == [dft.id, other.id]
        assert kept[0].labels.energy == 2.0
    assert prepared([pseudo, other], [dft]).counts.repeated == 1


def test_weights_by_provenance_multiply_those_of_the_structures():
    data = [structure(source="mace").replace(weight=2.0), structure(shift=0.1, source="pbe")]
    found = prepared(data, weights={"dft": 3.0, "pseudo": 0.5})
    assert [s.weight for s in found.train] == [1.0, 3.0]


def test_energies_above_the_hull_of_one_composition_are_above_the_lowest():
    data = Dataset(structure(shift=0.1 * k, energy=e) for k, e in enumerate([-3.0, -2.5, -2.9]))
    assert energies_above_hull(data) == pytest.approx([0.0, 0.5, 0.1])


def test_energies_above_the_hull_of_a_binary_system():
    """Al at −3, Cu at −4, Al-Cu at −3.7 are on the hull; what lies between is above its tie lines."""
    data = Dataset(
        [
            structure("Al", energy=-3.0),
            structure("Cu", energy=-4.0),
            structure("Al-Cu", energy=-3.7),
            structure("Al-Al-Al-Cu", energy=-3.2),
            structure("Al-Cu-Cu-Cu", energy=-3.5),
        ]
    )
    # tie lines: (-3.0 - 3.7)/2 = -3.35 at a quarter of Cu, (-3.7 - 4.0)/2 = -3.85 at three quarters
    assert energies_above_hull(data) == pytest.approx([0.0, 0.0, 0.0, 0.15, 0.35], abs=1e-9)


def test_the_energy_window_halves_twice_at_its_width():
    data = [structure(shift=0.1 * k, energy=e) for k, e in enumerate([-3.0, -2.0, 0.0])]
    found = prepared(data, energy_window=1.0)
    assert [s.weight for s in found.train] == pytest.approx([1.0, 0.25, 0.0625])


def test_parts_are_drawn_within_each_tag():
    data = Dataset(
        structure(shift=0.01 * k, tag=tag)
        for k, tag in enumerate(["a"] * 40 + ["b"] * 20 + ["c"] * 4 + ["d"])
    )
    train, held = split_by_tag(data, 0.25, np.random.default_rng(3))
    assert dict(held.tag_counts()) == {"a": 10, "b": 5, "c": 1}
    assert sorted(train.ids + held.ids) == sorted(data.ids)
    assert not set(train.ids) & set(held.ids)
    again = split_by_tag(data, 0.25, np.random.default_rng(3))[1]
    assert held.ids == again.ids
    assert held.ids != split_by_tag(data, 0.25, np.random.default_rng(4))[1].ids


def test_small_tags_give_something_in_turn():
    data = Dataset(structure(shift=0.01 * k, tag=f"t{k // 3}") for k in range(30))
    _, held = split_by_tag(data, 0.2, np.random.default_rng(3))
    assert len(held) == 6
    assert max(held.tag_counts().values()) == 1


def test_a_share_is_validated_on():
    found = prepared([structure(shift=0.01 * k) for k in range(20)], validation_share=0.1)
    assert (len(found.train), len(found.validation)) == (18, 2)
    assert found.counts.validation == 2


@pytest.mark.parametrize("name", ["data.pckl.gzip", "data.extxyz"])
def test_prepared_data_go_through_both_formats_with_their_weights_and_masks(tmp_path, name):
    mask = np.ones((2, 3))
    mask[0] = 0.0
    masked = structure("Al-Cu", energy=-3.0).replace(label_weights=LabelWeights(0.5, mask, np.ones(6)))
    data = prepared([masked, structure(energy=-2.0)], weights={"dft": 2.0}).train
    export_structures(tmp_path / name, data)
    back = read_structures(tmp_path / name)
    assert back.ids == data.ids
    for before, after in zip(data, back, strict=True):
        assert after.weight == before.weight == 2.0
        assert after.labels.energy == before.labels.energy
    np.testing.assert_array_equal(back[0].label_weights.forces, mask)
    assert back[0].label_weights.energy == 0.5
