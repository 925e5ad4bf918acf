"""The selector interface: features in, indices out."""

from abc import ABC, abstractmethod

import numpy as np

from pyacemaker.base import Spec
from pyacemaker.errors import InsufficientDataError
from pyacemaker.structures import Dataset, FloatArray, IntArray


class Selector(Spec, ABC):
    """Picks structures by their features. Subclasses add a `kind` literal, their settings, and `pick`."""

    @abstractmethod
    def pick(self, features: FloatArray, n: int, rng: np.random.Generator) -> IntArray:
        """Exactly `n` distinct row indices of `features` (structures, d), 1 <= n <= rows, all finite."""

    def features_of(self, structures: Dataset, features: FloatArray) -> FloatArray:
        """(structures, d): what `select` shall be given; `features` (structures, d), the model's own, unless
        the selector has others."""
        return features

    def select(self, features: FloatArray, n: int, rng: np.random.Generator) -> IntArray:
        """(n,) distinct indices into the rows of `features` (structures, d), in increasing order.

        Raises `InsufficientDataError` when there are fewer rows than `n`, `ValueError` for `n` < 1 or
        features that are not finite.
        """
        features = np.asarray(features, dtype=np.float64)
        if n < 1:
            raise ValueError(f"the number to select must be at least 1, not {n}")
        if features.ndim != 2 or not np.isfinite(features).all():
            raise ValueError("features must be a finite array of shape (structures, d)")
        if n > len(features):
            raise InsufficientDataError(
                f"{n} structures were asked for but only {len(features)} are there: ask for fewer, or make a "
                "larger pool"
            )
        return np.sort(self.pick(features, n, rng))
