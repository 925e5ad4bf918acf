"""Two dimensions for people to look at: structures in the plane of their first principal components."""

import numpy as np

from pyacemaker.structures import FloatArray

_CONSTANT = 1e-12
"""Of the largest spread: a feature that varies less tells nothing."""


def principal_plane(features: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(n, 2) the first two principal components of the standardised features, (2,) their shares of variance.

    features: (n, d). Each axis points to where the structure farthest from its zero lies, so that the same
    features give the same picture. Where there are fewer components, the others are zero.
    """
    points, shares = np.zeros((len(features), 2)), np.zeros(2)
    if not features.size:
        return points, shares
    spread = features.std(axis=0)
    kept = spread > _CONSTANT * max(float(spread.max()), 1e-300)
    standard = (features[:, kept] - features[:, kept].mean(axis=0)) / spread[kept]
    variances, axes = np.linalg.eigh(standard.T @ standard)
    for column in range(min(2, len(variances))):
        along = standard @ axes[:, -1 - column]
        points[:, column] = along * np.sign(along[np.argmax(np.abs(along))])
        shares[column] = variances[-1 - column] / variances.sum()
    return points, shares
