"""What the models of a run say about its test set, and where its pool lies in their features.

Files that the steps wrote are taken where they are; otherwise the models on disk are evaluated.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pyacemaker.errors import ConfigError, PyacemakerError
from pyacemaker.potentials.base import Potential
from pyacemaker.report.run_files import MODELS, RunFiles
from pyacemaker.selection.plane import principal_plane
from pyacemaker.structures import Dataset, FloatArray, IntArray, Labels

log = logging.getLogger(__name__)

FILES = {
    "foundation": "07_delta/foundation_aligned.model",
    "teacher": "03_finetune/teacher.model",
    "base": "06_base/base.yace",
    "final": "07_delta/final.yace",
}
MAP_ATOMS = 20_000
"""Atoms of the pool, at most, whose features are computed for the map where step 2 left none."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """The labels of the test set by each model that can be evaluated, and why the others cannot.

    test: n structures with DFT labels. labels: by model, n each, in the same order.
    """

    test: Dataset
    labels: dict[str, list[Labels]]
    missing: dict[str, str]

    @property
    def best(self) -> str | None:
        """The last model of the run that was evaluated: the final potential of a finished run."""
        return next((name for name in reversed(MODELS) if name in self.labels), None)


def predict_test_set(run: RunFiles) -> Predictions:
    """The predictions of all models of `run` on its frozen test set."""
    labels: dict[str, list[Labels]] = {}
    missing: dict[str, str] = {}
    for name in MODELS:
        if not len(run.test):
            missing[name] = "there is no test set yet"
            continue
        try:
            found = _stored(run, name) or _evaluated(run, name)
        except (PyacemakerError, OSError, ValueError, RuntimeError) as error:
            log.warning("the %s model is left out of the report: %s", name, error)
            missing[name] = str(error)
            continue
        if found is None:
            missing[name] = f"{FILES[name]} does not exist yet"
        else:
            labels[name] = found
    return Predictions(run.test, labels, missing)


def _stored(run: RunFiles, name: str) -> list[Labels] | None:
    """From a file of step 7, where it is of this test set."""
    names = [f"07_delta/predictions/{name}.extxyz"]
    names += ["07_delta/test_predictions.extxyz"] if name == "final" else []
    for file in names:
        found = run.structures(file)
        if found.ids == run.test.ids and len(found.labelled()) == len(found):
            return found.labels
    return None


def _evaluated(run: RunFiles, name: str) -> list[Labels] | None:
    path = run.directory / FILES[name]
    if not path.is_file():
        return None
    kind = run.config.get("base", {}).get("kind")
    if name in ("base", "final") and run.settings is None and kind != "ace":
        raise ConfigError(f"config.yaml cannot be read, so that it is not known what is added to {path.name}")
    potential = _load(path, run)
    found = potential.evaluate(run.test)
    baseline = getattr(run.settings and run.settings.base, "additive_baseline", None)
    if baseline is None or getattr(potential, "baseline", None) is not None or name not in ("base", "final"):
        return found
    return [a + b for a, b in zip(found, baseline.evaluate(run.test), strict=True)]


def _load(path: Path, run: RunFiles) -> Potential:
    """A model of the run on the CPU; the aligned foundation keeps its head."""
    if path.suffix == ".yace":
        from pyacemaker.potentials.ace import ACEPotential

        return ACEPotential.from_yace(path)
    from pyacemaker.potentials.mace import MacePotential

    foundation = run.config.get("foundation", {})
    head = foundation.get("head") if path.name == "foundation_aligned.model" else None
    return MacePotential(path, dtype=foundation.get("dtype", "float64"), head=head)


@dataclass(frozen=True, eq=False)
class PoolMap:
    """The pool in two dimensions.

    rows: (m,) indices into the pool. points: (m, 2) the first two principal components of the standardised
    features. explained: (2,) their shares of the variance. features: what they were computed from, in words.
    """

    rows: IntArray
    points: FloatArray
    explained: FloatArray
    features: str


def pool_map(run: RunFiles, always: Sequence[int]) -> PoolMap | None:
    """The map of the pool of `run`; None before there is a model to compute features with.

    always: indices into the pool that must be on it, however large the pool is.
    """
    pool = run.structures("01_sample/pool.extxyz")
    if len(pool) < 3:
        return None
    stored = run.json("02_label/map.json")
    if stored and len(stored["points"]) == len(pool):
        points, explained = np.array(stored["points"]), np.array(stored["explained"])
        return PoolMap(np.arange(len(pool)), points, explained, "the features they were chosen by")
    from pyacemaker.potentials.mace import MacePotential

    for model in ("foundation", "teacher"):
        path = run.directory / FILES[model]
        if path.is_file():
            potential = _load(path, run)
            assert isinstance(potential, MacePotential)
            rows = _within(pool, always, MAP_ATOMS)
            features = potential.structure_features(pool[rows])
            words = f"invariant MACE descriptors of the {model} model"
            return PoolMap(rows, *principal_plane(features), words)
    return None


def _within(pool: Dataset, always: Sequence[int], atoms: int) -> IntArray:
    """Indices of structures of at most about `atoms` atoms: those wanted, then others evenly spaced."""
    if pool.n_atoms <= atoms:
        return np.arange(len(pool))
    wanted = sorted(set(always))
    left = max(0, atoms - pool[wanted].n_atoms)
    n = int(left * len(pool) / pool.n_atoms)
    spaced = np.linspace(0, len(pool) - 1, n).round().astype(np.int64)
    return np.union1d(np.array(wanted, dtype=np.int64), spaced)


def in_order(found: Predictions) -> Iterator[tuple[str, list[Labels]]]:
    """The models that were evaluated, from the foundation to the final potential."""
    for name in MODELS:
        if name in found.labels:
            yield name, found.labels[name]
