import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from pyacemaker.errors import InsufficientDataError
from pyacemaker.selection.direct import (
    DirectSelector,
    _merged,
    _subclusters,
    distinct_points,
    principal_components,
)


def blobs(n_blobs, size, d, rng, spread=0.05):
    centres = 10.0 * rng.standard_normal((n_blobs, d))
    labels = np.repeat(np.arange(n_blobs), size)
    return centres[labels] + spread * rng.standard_normal((n_blobs * size, d)), labels


def select(features, n, seed=0):
    return DirectSelector().select(features, n, np.random.default_rng(seed))


@pytest.mark.parametrize("size", [3, 120])  # below and above the number of points that need BIRCH
def test_one_structure_of_every_well_separated_group(size):
    features, labels = blobs(12, size, 6, np.random.default_rng(1))
    assert sorted(labels[select(features, 12)]) == list(range(12))


def test_the_structure_nearest_to_the_centroid_stands_for_its_group():
    rng = np.random.default_rng(2)
    features, labels = blobs(5, 101, 4, rng, spread=0.3)
    points = principal_components(features)
    for index in select(features, 5):
        members = np.flatnonzero(labels == labels[index])
        distance = np.linalg.norm(points[members] - points[members].mean(axis=0), axis=1)
        assert index == members[np.argmin(distance)]


@settings(deadline=None, max_examples=25)
@given(rows=st.integers(1, 60), d=st.integers(1, 6), seed=st.integers(0, 1000), data=st.data())
def test_exactly_n_distinct_structures(rows, d, seed, data):
    features = np.random.default_rng(seed).standard_normal((rows, d))
    n = data.draw(st.integers(1, rows))
    chosen = select(features, n)
    assert len(set(chosen)) == n
    assert np.array_equal(chosen, np.sort(chosen))


@pytest.mark.parametrize("rows", [150, 2000])
def test_the_order_of_the_structures_does_not_matter(rows):
    rng = np.random.default_rng(3)
    features = rng.standard_normal((rows, 12)) @ rng.standard_normal((12, 30))
    chosen = set(select(features, 25))
    for _ in range(3):
        order = rng.permutation(rows)
        assert set(order[select(features[order], 25, seed=int(order[0]))]) == chosen


def test_duplicates_are_counted_out_and_never_both_selected():
    features = np.repeat(np.random.default_rng(4).standard_normal((7, 5)), 4, axis=0)
    rotated_copies = features + 1e-13 * np.random.default_rng(5).standard_normal(features.shape)
    assert sorted(select(rotated_copies, 7) // 4) == list(range(7))
    with pytest.raises(InsufficientDataError, match="only 7 of the 28 differ"):
        select(rotated_copies, 8)


def test_features_that_never_vary():
    assert list(select(np.ones((5, 3)), 1)) == [0]
    with pytest.raises(InsufficientDataError, match="only 1 of the 5"):
        select(np.ones((5, 3)), 2)


def test_covers_the_space_better_than_chance():
    rng = np.random.default_rng(6)
    dense, rare = rng.standard_normal((1900, 5)), 6.0 + rng.standard_normal((100, 5))
    features = np.concatenate([dense, rare])
    points = principal_components(features)

    def uncovered(chosen):
        return cdist(points, points[chosen]).min(axis=1).max()

    by_chance = [uncovered(rng.choice(2000, 40, replace=False)) for _ in range(20)]
    assert uncovered(select(features, 40)) < min(by_chance)


def test_components_are_uncorrelated_and_scaled_by_their_share_of_the_variance():
    rng = np.random.default_rng(7)
    features = rng.standard_normal((500, 3)) @ rng.standard_normal((3, 20)) * 7.0 + 3.0
    standard = (features - features.mean(axis=0)) / features.std(axis=0)
    values = np.linalg.eigvalsh(np.cov(standard.T))[::-1]
    points = principal_components(features)
    assert points.shape == (500, np.sum(values > 1.0))
    kept = values[: points.shape[1]]
    assert np.allclose(np.cov(points.T), np.diag(kept * (kept / values.sum()) ** 2))


def test_at_least_two_components_where_there_are_two():
    line = np.outer(np.linspace(-1, 1, 30), np.ones(5)) + 1e-3 * np.random.default_rng(8).random((30, 5))
    assert principal_components(line).shape == (30, 2)
    assert principal_components(line[:, :1]).shape == (30, 1)


@pytest.mark.parametrize("rows", [3000, 10000])
def test_the_threshold_gives_the_number_of_subclusters_asked_for(rows):
    points = np.random.default_rng(9).standard_normal((rows, 3))
    points = points[np.lexsort(points.T[::-1])]
    labels = _subclusters(points, 40, 320)
    assert 40 <= labels.max() + 1 <= 320
    assert len(np.unique(labels)) == labels.max() + 1


@pytest.mark.parametrize("n", [1, 3, 40, 299, 300])
def test_structures_all_equally_far_from_each_other(n):
    chosen = select(np.eye(300), n)  # no BIRCH threshold gives any number between one and all of them
    assert len(set(chosen)) == n


def test_structures_that_differ_only_in_components_that_are_dropped():
    rng = np.random.default_rng(10)
    common = np.repeat(rng.standard_normal((4, 2)), 10, axis=0) @ rng.standard_normal((2, 30))
    features = np.hstack([common, rng.standard_normal((40, 1))])
    assert len(set(select(features, 25))) == 25


def test_scales_from_tiny_to_huge():
    rng = np.random.default_rng(11)
    features = np.stack([10.0 ** rng.uniform(-8, 8, 3000), rng.standard_normal(3000)], axis=1)
    assert len(set(select(features, 200))) == 200


def test_many_structures_choose_in_any_order_and_cover_better_than_chance():
    rng = np.random.default_rng(12)
    features = rng.standard_normal((12_000, 4)) @ rng.standard_normal((4, 12))
    chosen = select(features, 50)
    order = rng.permutation(len(features))
    assert set(order[select(features[order], 50)]) == set(chosen)
    points = principal_components(features)

    def uncovered(rows):
        return cdist(points, points[rows]).min(axis=1).max()

    assert uncovered(chosen) < min(uncovered(rng.choice(12_000, 50, replace=False)) for _ in range(3))


def test_many_subclusters_are_merged_in_parts(monkeypatch):
    monkeypatch.setattr("pyacemaker.selection.direct._MERGED", 60)
    centroids = np.random.default_rng(13).standard_normal((700, 3))
    for n in (100, 333, 699):
        labels = _merged(centroids, n)
        assert set(labels) == set(range(n))
    spread = [np.ptp(centroids[_merged(centroids, 100) == label], axis=0).max() for label in range(100)]
    assert np.median(spread) < 0.25 * np.ptp(centroids, axis=0).max()


def test_few_copies_of_the_features_are_held():
    features = np.random.default_rng(3).normal(size=(4000, 100))
    tracemalloc.start()
    try:
        distinct_points(features, 1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2.8 * features.nbytes
