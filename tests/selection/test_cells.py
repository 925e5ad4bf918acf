import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyacemaker.selection.cells import divide_by_number, divide_evenly


@settings(deadline=None, max_examples=40)
@given(rows=st.integers(1, 80), d=st.integers(1, 5), count=st.integers(1, 100), seed=st.integers(0, 99))
def test_so_many_boxes_and_none_empty(rows, d, count, seed):
    points = np.random.default_rng(seed).standard_normal((rows, d)).round(seed % 3)  # some coincide
    labels = divide_evenly(points, count)
    assert set(labels) == set(range(min(count, rows)))


def test_boxes_follow_extent_not_density():
    rng = np.random.default_rng(1)
    points = np.concatenate([rng.random((5000, 2)), rng.random((200, 2)) + np.array([2.0, 0.0])])
    labels = divide_evenly(points, 100)
    sparse = len(set(labels[5000:]))
    assert 25 <= sparse <= 75
    for label in range(100):
        assert np.linalg.norm(np.ptp(points[labels == label], axis=0)) < 0.35


def test_an_outlier_has_a_box_of_its_own():
    points = np.random.default_rng(2).random((300, 3))
    points[17] += 50.0
    labels = divide_evenly(points, 5)
    assert np.sum(labels == labels[17]) == 1


def test_scales_that_span_the_range_of_floats():
    points = np.array([[0.0], [5e-324], [1e-300], [1.0], [np.nextafter(1.0, 2.0)], [1e150]])
    assert set(divide_evenly(points, 6)) == set(range(6))


@pytest.mark.parametrize("most", [1, 7, 500])
def test_groups_by_number_hold_every_point_once(most):
    points = np.random.default_rng(3).standard_normal((311, 4))
    groups = divide_by_number(points, most)
    assert max(map(len, groups)) <= most
    assert np.array_equal(np.sort(np.concatenate(groups)), np.arange(311))
