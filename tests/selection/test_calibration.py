"""Calibration figures on errors whose distribution is known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyacemaker.selection.calibration import (
    ConformalBound,
    conformal_factor,
    coverage_curve,
    ence,
    floored,
    rank_correlation,
    scale_of,
    within_left_out,
    within_one_sigma,
    worst_tenth_auroc,
)


def drawn(n: int, scale: float = 2.5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """n uncertainties and errors that are normal with scale · u."""
    rng = np.random.default_rng(seed)
    uncertainty = rng.uniform(0.5, 3.0, n)
    return uncertainty, scale * uncertainty * rng.standard_normal(n)


def test_the_factor_is_the_textbook_order_statistic() -> None:
    ratios = np.arange(1.0, 21.0)
    assert conformal_factor(ratios[::-1], 0.9) == 19.0  # ⌈21 · 0.9⌉ = 19
    assert conformal_factor(ratios[:9], 0.9) == 9.0
    assert conformal_factor(ratios[:8], 0.9) == math.inf


def test_the_bound_holds_as_often_as_promised() -> None:
    """Split conformal: coverage between 0.9 and 0.9 + 1/(n + 1), in the mean over calibration sets."""
    covered = []
    for seed in range(400):
        uncertainty, errors = drawn(70, seed=seed)
        known, new = slice(0, 30), slice(30, 70)
        bound = ConformalBound.fit(uncertainty[known], np.abs(errors[known]), ["md"] * 30)
        covered.append(np.mean(np.abs(errors[new]) <= bound(uncertainty[new], ["md"] * 40)))
    assert 0.89 < np.mean(covered) < 0.9 + 1 / 31 + 0.01


def test_tags_with_enough_labels_have_their_own_factor() -> None:
    uncertainty, errors = np.ones(65), np.concatenate([np.full(25, 1.0), np.full(35, 4.0), np.full(5, 9.0)])
    tags = ["wide"] * 25 + ["narrow"] * 35 + ["rare"] * 5
    bound = ConformalBound.fit(uncertainty, errors, tags)
    assert bound.by_tag == {"wide": 1.0, "narrow": 4.0}
    assert bound.pooled == 4.0
    np.testing.assert_array_equal(bound(np.full(3, 2.0), ["wide", "narrow", "rare"]), [2.0, 8.0, 8.0])


def test_too_few_labels_promise_nothing() -> None:
    bound = ConformalBound.fit(np.ones(19), np.ones(19), ["md"] * 19)
    assert bound.pooled is None
    assert not bound.by_tag
    assert bound(np.ones(2), ["md", "grid"]).tolist() == [math.inf, math.inf]


def test_normal_errors_are_calibrated_by_their_scale() -> None:
    uncertainty, errors = drawn(20_000)
    scale = scale_of(uncertainty, errors)
    assert scale == pytest.approx(2.5, rel=0.02)
    assert within_one_sigma(scale * uncertainty, errors) == pytest.approx(0.683, abs=0.01)
    assert ence(scale * uncertainty, errors) < 0.03
    assert ence(2.0 * scale * uncertainty, errors) == pytest.approx(0.5, abs=0.02)


def test_the_coverage_curve_is_the_diagonal_where_both_sets_are_alike() -> None:
    uncertainty, errors = drawn(40_000)
    sets = [
        (uncertainty[part], np.abs(errors[part]), ["md"] * 20_000) for part in np.split(np.arange(40_000), 2)
    ]
    for level, covered in coverage_curve(*sets):
        assert covered == pytest.approx(level, abs=0.02)


def test_the_coverage_curve_is_that_of_the_bounds_of_each_tag() -> None:
    """Two tags with errors of another size: pooled factors would cover all of one and half of the other."""
    uncertainty, errors = drawn(40_000)
    tags = np.where(np.arange(40_000) % 2, "hot", "cold")
    errors = np.abs(errors) * np.where(tags == "hot", 10.0, 1.0)
    known = (uncertainty[:20_000], errors[:20_000], tags[:20_000].tolist())
    hot = np.arange(20_000, 40_000)[tags[20_000:] == "hot"]
    for level, covered in coverage_curve(known, (uncertainty[hot], errors[hot], tags[hot].tolist())):
        assert covered == pytest.approx(level, abs=0.02)


@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=30))
def test_nothing_is_divided_by_zero(values: list[float]) -> None:
    found = floored(np.array(values))
    assert (found > 0.0).all()
    assert (found >= np.array(values)).all()


def test_ranking_figures() -> None:
    uncertainty = np.arange(40.0)
    assert rank_correlation(uncertainty, uncertainty**2) == pytest.approx(1.0)
    assert rank_correlation(uncertainty, np.ones(40)) is None
    assert worst_tenth_auroc(uncertainty, uncertainty) == 1.0
    assert worst_tenth_auroc(-uncertainty, uncertainty) == 0.0
    assert worst_tenth_auroc(np.ones(40), uncertainty) == 0.5
    assert worst_tenth_auroc(uncertainty[:9], uncertainty[:9]) is None


def test_each_ratio_is_judged_by_the_others() -> None:
    """Of n equal draws ⌈n · level⌉ are within what the other n − 1 give, whatever the order."""
    ratios = np.random.default_rng(1).permutation(np.arange(1.0, 41.0))
    within = within_left_out(ratios, 0.9)
    assert int(within.sum()) == 36
    assert set(ratios[~within]) == {37.0, 38.0, 39.0, 40.0}
    assert within_left_out(np.ones(3), 0.9).all()
