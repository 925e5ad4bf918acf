"""The plane of the first two principal components."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from pyacemaker.selection.plane import principal_plane


@pytest.fixture
def features():
    rng = np.random.default_rng(3)
    return rng.normal(size=(40, 3)) @ rng.normal(size=(3, 12)) + 0.1 * rng.normal(size=(40, 12))


def test_it_is_the_plane_of_scikit_learn(features):
    points, explained = principal_plane(features)
    expected = PCA(2).fit(StandardScaler().fit_transform(features))
    assert explained == pytest.approx(expected.explained_variance_ratio_)
    theirs = expected.transform(StandardScaler().fit_transform(features))
    for ours, other in zip(points.T, theirs.T, strict=True):
        assert min(np.abs(ours - other).max(), np.abs(ours + other).max()) < 1e-9


def test_units_and_shifts_of_features_change_nothing(features):
    points, explained = principal_plane(features)
    other, shares = principal_plane(features * np.logspace(-3, 3, 12) + 7.0)
    assert other == pytest.approx(points, abs=1e-9)
    assert shares == pytest.approx(explained)


def test_the_order_of_structures_changes_nothing(features):
    order = np.random.default_rng(0).permutation(len(features))
    assert principal_plane(features[order])[0] == pytest.approx(principal_plane(features)[0][order], abs=1e-9)


def test_constant_features_and_single_dimensions(features):
    with_constant = np.column_stack([features, np.full(len(features), 5.0)])
    assert principal_plane(with_constant)[0] == pytest.approx(principal_plane(features)[0])
    points, explained = principal_plane(features[:, :1])
    assert explained.tolist() == [pytest.approx(1.0), 0.0]
    assert not points[:, 1].any()
    assert not principal_plane(np.ones((5, 3)))[0].any()
    assert principal_plane(np.zeros((4, 0)))[0].shape == (4, 2)
