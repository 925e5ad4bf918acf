"""Selection from a structure file."""

from pathlib import Path

import numpy as np

from pyacemaker.errors import UserError
from pyacemaker.selection.base import Selector
from pyacemaker.selection.direct import DirectSelector
from pyacemaker.selection.maxvol import MaxvolSelector
from pyacemaker.selection.random import RandomSelector
from pyacemaker.structures import Dataset, FloatArray, IntArray
from pyacemaker.structures.formats import read_structures, write_structures

SELECTORS: dict[str, type[Selector]] = {
    "direct": DirectSelector,
    "maxvol": MaxvolSelector,
    "random": RandomSelector,
}


def select_from_file(
    pool: Path, n: int, method: str, *, output: Path | None = None, model: Path | None = None, seed: int = 1
) -> IntArray:
    """(n,) indices into the structures of `pool`, picked by `method`; they are written to `output`.

    The features are the descriptors of the MACE model `model`, or the structure-averaged ACE invariants of a
    default basis where none is given. Raises `UserError` for n < 1, and `InsufficientDataError`.
    """
    if n < 1:
        raise UserError(f"-n {n}: expected at least 1")
    structures = read_structures(pool)
    features = structure_features(structures, model)
    chosen = SELECTORS[method]().select(features, n, np.random.default_rng(seed))
    if output is not None:
        write_structures(output, structures[chosen])
    return chosen


def structure_features(structures: Dataset, model: Path | None) -> FloatArray:
    """(structures, d): averaged invariant descriptors, from a MACE model or from a default ACE basis."""
    if model is not None:
        from pyacemaker.potentials.mace import MacePotential

        return MacePotential(model).structure_features(structures)
    from pyacemaker.ace.design import design_features

    return design_features(structures)
