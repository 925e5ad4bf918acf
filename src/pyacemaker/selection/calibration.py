"""Calibration: what an uncertainty says about errors, measured on labels the model was not trained on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pyacemaker.structures import BoolArray, FloatArray

LEVEL = 0.9
"""Share of structures whose error a conformal bound is to hold for."""
MIN_LABELS = 20
"""Labels below which a factor is not trusted."""

Rated = tuple[FloatArray, FloatArray, Sequence[str]]
"""Uncertainties, errors and tags of structures."""
_LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.68, 0.7, 0.8, 0.9, 0.95)
_FLOOR = 1e-2  # of the median: an uncertainty that symmetry makes zero bounds nothing


def floored(uncertainty: FloatArray) -> FloatArray:
    """`uncertainty` with nothing below 1/100 of its median: symmetry makes some of them zero."""
    positive = uncertainty[uncertainty > 0.0]
    least = _FLOOR * float(np.median(positive)) if len(positive) else 1.0
    return np.maximum(uncertainty, least)


def conformal_factor(ratios: FloatArray, level: float = LEVEL) -> float:
    """The ⌈(n + 1) · level⌉-th smallest of `ratios` |error| / u; infinite where n is too small for the level.

    For a new structure drawn like those n, |error| ≤ factor · u with a probability of at least `level`
    (split conformal prediction: Angelopoulos, Bates, Found. Trends Mach. Learn. 16, 494 (2023)). Under a
    shift of the distribution nothing is promised.
    """
    rank = math.ceil((len(ratios) + 1) * level)
    return float(np.sort(ratios)[rank - 1]) if rank <= len(ratios) else math.inf


def within_left_out(ratios: FloatArray, level: float = LEVEL) -> BoolArray:
    """(n,) whether each of `ratios` is within the conformal factor of all the others."""
    others = (np.delete(ratios, k) for k in range(len(ratios)))
    return np.array([ratios[k] <= conformal_factor(rest, level) for k, rest in enumerate(others)], dtype=bool)


@dataclass(frozen=True)
class ConformalBound:
    """Factors q with |error| ≤ q · u for a share `level` of structures.

    labels: how many were calibrated on. by_tag: q of each tag with at least `MIN_LABELS`. pooled: q of all
    labels together, for the other tags; None with fewer than `MIN_LABELS`: not calibrated.
    """

    level: float
    labels: int
    pooled: float | None
    by_tag: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def fit(
        cls, uncertainty: FloatArray, errors: FloatArray, tags: Sequence[str], level: float = LEVEL
    ) -> "ConformalBound":
        """uncertainty (n,) > 0, errors (n,) ≥ 0 in any unit, which the bound then has, tags (n,)."""
        ratios, groups = errors / uncertainty, np.asarray(tags, dtype=str)
        by_tag = {
            str(tag): conformal_factor(ratios[groups == tag], level)
            for tag in np.unique(groups)
            if np.sum(groups == tag) >= MIN_LABELS
        }
        pooled = conformal_factor(ratios, level) if len(ratios) >= MIN_LABELS else None
        return cls(level, len(ratios), pooled, by_tag)

    def __call__(self, uncertainty: FloatArray, tags: Sequence[str]) -> FloatArray:
        """(n,) the bound on each error; infinite where nothing is calibrated."""
        other = math.inf if self.pooled is None else self.pooled
        return np.asarray(uncertainty * np.array([self.by_tag.get(tag, other) for tag in tags]))


def coverage_curve(
    known: Rated, held_out: Rated, levels: Sequence[float] = _LEVELS
) -> list[tuple[float, float]]:
    """(level, share of the held-out errors within the bounds that `known` gives for it).

    known, held_out: uncertainty (n,) > 0, errors (n,) ≥ 0 and tags (n,), as `ConformalBound.fit` takes them.
    """
    uncertainty, errors, tags = held_out
    bounds = (ConformalBound.fit(*known, level)(uncertainty, tags) for level in levels)
    return [(level, float(np.mean(errors <= bound))) for level, bound in zip(levels, bounds, strict=True)]


def scale_of(uncertainty: FloatArray, errors: FloatArray) -> float:
    """α with σ = α u: the maximum of the normal likelihood, √⟨(error / u)²⟩."""
    return float(np.sqrt(np.mean((errors / uncertainty) ** 2)))


def within_one_sigma(sigma: FloatArray, errors: FloatArray) -> float:
    """The share of errors with |error| ≤ σ; 0.683 for normal errors."""
    return float(np.mean(np.abs(errors) <= sigma))


def ence(sigma: FloatArray, errors: FloatArray, bins: int | None = None) -> float:
    """Expected normalised calibration error, 0 for perfect calibration.

    The structures are ordered by σ and divided into equal bins; ENCE is the mean over the bins of
    |√⟨σ²⟩ − √⟨error²⟩| / √⟨σ²⟩ (Levi, Gispan, Giladi, Fetaya, Sensors 22, 5540 (2022)). bins: default one per
    ten values, between 1 and 10.
    """
    count = bins or min(max(len(sigma) // 10, 1), 10)
    parts = np.array_split(np.argsort(sigma, kind="stable"), count)
    expected = np.array([np.sqrt(np.mean(sigma[part] ** 2)) for part in parts if len(part)])
    found = np.array([np.sqrt(np.mean(errors[part] ** 2)) for part in parts if len(part)])
    return float(np.mean(np.abs(expected - found) / expected))


def rank_correlation(uncertainty: FloatArray, errors: FloatArray) -> float | None:
    """Spearman's ρ; None for fewer than three values, or constant ones."""
    from scipy.stats import spearmanr

    if len(errors) < 3 or np.ptp(uncertainty) == 0.0 or np.ptp(errors) == 0.0:
        return None
    return float(spearmanr(uncertainty, errors)[0])


def worst_tenth_auroc(uncertainty: FloatArray, errors: FloatArray) -> float | None:
    """Probability that a structure of the worst 10 % by error is less certain than another; None below 10."""
    if len(errors) < 10:
        return None
    worst = np.zeros(len(errors), dtype=bool)
    worst[np.argsort(-errors, kind="stable")[: len(errors) // 10]] = True
    bad, good = uncertainty[worst][:, None], uncertainty[~worst][None, :]
    return float(np.mean((bad > good) + 0.5 * (bad == good)))
