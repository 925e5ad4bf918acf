"""Selection from a structure file."""

import logging
from pathlib import Path

import numpy as np

from pyacemaker.errors import InsufficientDataError, UserError
from pyacemaker.selection.base import Selector
from pyacemaker.selection.direct import DirectSelector
from pyacemaker.selection.farthest_point import FarthestPointSelector
from pyacemaker.selection.maxvol import MaxvolSelector
from pyacemaker.selection.random import RandomSelector
from pyacemaker.structures import Dataset, FloatArray, IntArray
from pyacemaker.structures.dataset import within
from pyacemaker.structures.exports import export_structures
from pyacemaker.structures.formats import read_structures

logger = logging.getLogger(__name__)

SELECTORS: dict[str, type[Selector]] = {
    "direct": DirectSelector,
    "farthest-point": FarthestPointSelector,
    "maxvol": MaxvolSelector,
    "random": RandomSelector,
}


def select_from_file(
    pool: Path, n: int, method: str, *, output: Path | None = None, model: Path | None = None, seed: int = 1
) -> IntArray:
    """(n,) indices into the structures of `pool`, picked by `method`; they are written to `output`.

    The features are the descriptors of the MACE model `model`, or the structure-averaged ACE invariants of a
    default basis where none is given; the suffix of `output` is its format. Of structures with the same id
    only the first can be picked. Raises `UserError` for n < 1, and `InsufficientDataError`.
    """
    if n < 1:
        raise UserError(f"-n {n}: expected at least 1")
    structures = read_structures(pool)
    with within(pool):
        features = structure_features(structures, model)
    distinct = _first_of_each(structures)
    dropped = len(structures) - len(distinct)
    if dropped and n > len(distinct):
        raise InsufficientDataError(
            f"{pool}: {n} were asked for but of {len(structures)} structures only {len(distinct)} differ, "
            f"since {dropped} repeat an earlier one: ask for fewer, or make a larger pool"
        )
    if dropped:
        logger.warning(
            "%s: %d of %d structures repeat an earlier one and are left out", pool, dropped, len(structures)
        )
    chosen = distinct[SELECTORS[method]().select(features[distinct], n, np.random.default_rng(seed))]
    if output is not None:
        export_structures(output, structures[chosen])
    return chosen


def _first_of_each(structures: Dataset) -> IntArray:
    """Index of the first structure of every id, in order."""
    return np.sort(np.unique(np.array(structures.ids), return_index=True)[1]).astype(np.int64)


def structure_features(structures: Dataset, model: Path | None) -> FloatArray:
    """(structures, d): averaged invariant descriptors, from a MACE model or from a default ACE basis."""
    if model is not None:
        from pyacemaker.potentials.mace import MacePotential

        return MacePotential(model).structure_features(structures)
    from pyacemaker.ace.design import design_features

    return design_features(structures)
