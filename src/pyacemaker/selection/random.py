"""Random selection: the baseline that every saving is measured against."""

from typing import Literal

import numpy as np

from pyacemaker.selection.base import Selector
from pyacemaker.structures import FloatArray, IntArray


class RandomSelector(Selector):
    """Every subset of `n` structures is equally likely; the features do not matter."""

    kind: Literal["random"] = "random"

    def pick(self, features: FloatArray, n: int, rng: np.random.Generator) -> IntArray:
        """`n` distinct indices drawn without replacement."""
        return rng.choice(len(features), size=n, replace=False).astype(np.int64)
