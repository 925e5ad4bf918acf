import numpy as np
import pytest
from scipy.spatial.distance import cdist

from pyacemaker.errors import InsufficientDataError
from pyacemaker.selection import FarthestPointSelector
from pyacemaker.selection.farthest_point import farthest_points


def test_by_hand_on_a_line():
    points = np.array([[0.0], [1.0], [4.9], [8.0], [10.0]])
    # mean 4.78; then 10 (5.1 away), 0 (4.9), 8 (2.0), 1
    assert list(farthest_points(points, 5)) == [2, 4, 0, 3, 1]


def test_each_choice_is_the_point_least_covered_so_far():
    points = np.random.default_rng(1).standard_normal((200, 3))
    chosen = farthest_points(points, 30)
    for step in range(1, 30):
        covered = cdist(points, points[chosen[:step]]).min(axis=1)
        assert covered[chosen[step]] == pytest.approx(covered.max())


def test_the_order_of_the_structures_does_not_matter():
    rng = np.random.default_rng(2)
    features = rng.standard_normal((500, 6)) @ rng.standard_normal((6, 20))
    chosen = FarthestPointSelector().select(features, 25, rng)
    order = rng.permutation(500)
    assert set(order[FarthestPointSelector().select(features[order], 25, rng)]) == set(chosen)


def test_copies_are_never_both_selected():
    features = np.repeat(np.random.default_rng(4).standard_normal((7, 5)), 4, axis=0)
    chosen = FarthestPointSelector().select(features, 7, np.random.default_rng(0))
    assert sorted(chosen // 4) == list(range(7))
    with pytest.raises(InsufficientDataError, match="only 7 of the 28 differ"):
        FarthestPointSelector().select(features, 8, np.random.default_rng(0))
