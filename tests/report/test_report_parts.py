"""The parts of the report: numbers, groups of errors, drawings, axes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyacemaker.report.breakdown import by_element, by_force, force_edges, per_structure
from pyacemaker.report.drawing import drawing_of
from pyacemaker.report.numbers import core_hours, duration, fixed, rounded, short
from pyacemaker.report.plots import log_axis, tag_colours, thinned
from pyacemaker.structures import Accuracy, AtomStructure, Dataset, Labels

positive = st.floats(1e-9, 1e9)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0.0, "0"), (1234.0, "1234"), (0.012345, "0.0123"), (-5.678, "−5.68"), (99999.0, "99999")),
        *((1.5e-6, "1.50e−6"), (2.5e7, "2.50e7"), (None, "–"), (float("nan"), "–"), (float("inf"), "–")),
    ],
)
def test_rounded_numbers(value, text):
    assert rounded(value) == text


@given(positive)
def test_rounding_keeps_three_digits(value):
    assert float(rounded(value).replace("−", "-")) == pytest.approx(value, rel=5e-3)


def test_other_words_for_numbers():
    assert fixed(-0.126, 2) == "−0.13"
    assert duration(90) == "90.0 s"
    assert duration(600) == "10.0 min"
    assert duration(9000) == "2.50 h"
    assert core_hours(468.0) == "0.13 core-h"
    assert core_hours(12.0) == "12.0 core-s"
    assert short([1.0, 2.0, 3.0, 4.0, 5.0]) == "1.00, 2.00, …"
    assert short([None, 2.0]) == "–, 2.00"
    assert short({"pool": {"0.5": 1.0}}) == "1 entries"


@given(st.lists(positive, min_size=1, max_size=20))
def test_log_axes_have_round_ticks_within_their_range(values):
    axis = log_axis("x", values)
    low, high = (10.0**end for end in axis["range"])
    assert low <= min(values) * 1.001 or high / low >= 1e5
    assert max(values) <= high * 1.001
    assert all(low * 0.999 <= tick <= high * 1.001 for tick in axis["tickvals"])
    assert len(axis["tickvals"]) <= 20
    assert len(axis["tickvals"]) == len(axis["ticktext"])
    assert axis["tickvals"] == sorted(axis["tickvals"])


def test_thinning_keeps_both_ends():
    assert thinned(5).tolist() == [0, 1, 2, 3, 4]
    found = thinned(10_000, 100)
    assert (len(found), found[0], found[-1]) == (100, 0, 9999)


def test_tags_have_colours_of_their_own():
    colours = tag_colours(["a", "b", "a", "c"])
    assert list(colours) == ["a", "b", "c"]
    assert len(set(colours.values())) == 3


@pytest.fixture
def judged():
    rng = np.random.default_rng(5)
    found, predicted = [], []
    for n in (2, 3, 5):
        labels = Labels(rng.normal(), rng.normal(scale=3.0, size=(n, 3)))
        found.append(AtomStructure(rng.choice([1, 6, 9], n), rng.normal(size=(n, 3)), labels=labels))
        predicted.append(Labels(labels.energy + 0.01 * n, labels.forces + rng.normal(scale=0.1, size=(n, 3))))
    return Dataset(found), predicted


def test_groups_cover_every_atom_once(judged):
    test, predicted = judged
    whole = Accuracy.on(test, predicted).forces_rmse_mev_per_angstrom
    for groups in (by_element(test, predicted), by_force(test, predicted, force_edges(test))):
        assert sum(one.atoms for one in groups) == 10
        assert np.sqrt(sum(one.atoms * one.rmse**2 for one in groups) / 10) == pytest.approx(whole)
        rms = np.sqrt(np.mean(np.concatenate([labels.forces for labels in test.labels]) ** 2))
        assert np.sqrt(sum(one.atoms * one.rms_force**2 for one in groups) / 10) == pytest.approx(rms)


def test_elements_are_told_apart(judged):
    test, predicted = judged
    carbon = next(one for one in by_element(test, predicted) if one.group == "C")
    rows = [(s, p) for s, p in zip(test, predicted, strict=True)]
    errors = [p.forces[s.numbers == 6] - s.labels.forces[s.numbers == 6] for s, p in rows]
    assert carbon.rmse == pytest.approx(1000 * np.sqrt(np.mean(np.concatenate(errors) ** 2)))


def test_errors_of_structures(judged):
    energy, forces = per_structure(*judged)
    assert energy == pytest.approx([10.0, 10.0, 10.0])
    whole = Accuracy.on(*judged).forces_rmse_mev_per_angstrom
    assert np.sqrt(np.average(forces**2, weights=[2, 3, 5])) == pytest.approx(whole)


def test_a_drawing_turns_a_structure_but_does_not_bend_it():
    rng = np.random.default_rng(2)
    water = AtomStructure([8, 1, 1], [[0, 0, 0.12], [0, 0.76, -0.48], [0, -0.76, -0.48]])
    arrows = rng.normal(size=(3, 3))
    drawn = drawing_of(water, arrows)
    assert drawn["bonds"] == [[0, 1], [0, 2]]
    assert drawn["cell"] == []

    def shape(positions, vectors):
        """Distances and, with the arrows' ends, handedness: what a rotation keeps."""
        points = np.concatenate([positions, positions + vectors])
        distances = np.linalg.norm(points[:, None] - points[None], axis=2)
        return distances, np.linalg.det(points[3:6] - points[0])

    longest = np.linalg.norm(arrows, axis=1).max()
    real = shape(np.array(water.positions), arrows / longest)
    found = shape(np.array(drawn["positions"]), np.array(drawn["arrows"]))
    assert found[0] == pytest.approx(real[0], abs=5e-3)
    assert found[1] == pytest.approx(real[1], abs=2e-2)


def test_a_crystal_is_drawn_in_its_cell():
    cell = np.array([[0.0, 2.0, 2.0], [2.0, 0.0, 2.0], [2.0, 2.0, 0.0]])
    drawn = drawing_of(AtomStructure([13], [[0.0, 0.0, 0.0]], cell, np.ones(3, dtype=bool)))
    corners = np.array(drawn["corners"])
    assert len(drawn["cell"]) == 12
    lengths = [np.linalg.norm(corners[a] - corners[b]) for a, b in drawn["cell"]]
    assert lengths == pytest.approx([np.sqrt(8.0)] * 12, abs=3e-3)
    assert corners.mean(axis=0) == pytest.approx([0, 0, 0], abs=2e-3)
