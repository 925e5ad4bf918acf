"""Scores of batches, and the rules that end the rounds."""

import json

import numpy as np
import pytest

from pyacemaker.config import StopTargets
from pyacemaker.structures import AtomStructure, Dataset, Labels
from pyacemaker.workflow.batch_scores import (
    ENERGY,
    FORCES,
    Judged,
    RoundScore,
    bounded_share,
    calibration_set,
    own_report,
    reason_to_stop,
    report,
    summary,
)

TARGETS = StopTargets(energy_mev_per_atom=5.0, forces_mev_per_angstrom=50.0)


def judged(n: int, scale: float = 1.0, seed: int = 0, tag: str = "md") -> Judged:
    rng = np.random.default_rng(seed)
    uncertainty = rng.uniform(0.5, 2.0, n)
    forces = tuple(scale * u * rng.standard_normal((4, 3)) for u in uncertainty)
    sigma = tuple(np.full((4, 3), u) for u in uncertainty)
    return Judged((tag,) * n, uncertainty, scale * uncertainty * rng.standard_normal(n), forces, sigma)


def scores(*energies: float, bounded: float | None = None) -> list[RoundScore]:
    return [RoundScore(k, {ENERGY: e, FORCES: 10 * e}, bounded) for k, e in enumerate(energies, start=1)]


def test_errors_are_per_atom_and_with_aligned_references() -> None:
    labels = Labels(-10.0, np.zeros((2, 3)))
    structure = AtomStructure(np.array([1, 1]), np.eye(3)[:2], labels=labels, tag="md")
    predicted = Labels(-13.0, np.full((2, 3), 0.1))
    found = Judged.of(Dataset([structure]), [predicted], {"H": 1.4}, np.ones(1), None)
    assert found.rmse()[ENERGY] == pytest.approx(100.0)  # (-13 + 2.8 + 10) / 2 eV
    assert found.errors()[FORCES] == pytest.approx([100.0])


@pytest.mark.parametrize(
    ("energies", "stops"),
    [
        ((4.0,), False),
        ((4.0, 3.9), False),
        ((4.0, 3.9, 3.8), True),
        ((4.0, 3.9, 3.0), False),  # still improves
        ((8.0, 4.0, 3.9), False),  # improved much in the round before
        ((9.0, 8.9, 8.8), False),  # target not met
        ((9.0, 4.5, 4.6, 4.5), True),
    ],
)
def test_two_batches_that_meet_the_target_and_hardly_improve_end_the_rounds(energies, stops) -> None:
    assert (reason_to_stop(scores(*energies), TARGETS) is not None) is stops


def test_a_batch_without_anything_to_score_neither_ends_the_rounds_nor_counts() -> None:
    rounds = scores(9.0, 4.5, 4.6)
    assert reason_to_stop([*rounds, RoundScore(4)], TARGETS) is None
    ended = [*rounds, RoundScore(4), *scores(4.5)]
    assert "improved by less" in (reason_to_stop(ended, TARGETS) or "")


def test_a_bounded_pool_ends_the_rounds() -> None:
    assert "95%" in (reason_to_stop(scores(9.0, bounded=0.95), TARGETS) or "")
    assert reason_to_stop(scores(9.0, bounded=0.94), TARGETS) is None


def test_without_targets_only_the_budget_ends_the_rounds() -> None:
    assert reason_to_stop(scores(1.0, 1.0, 1.0, bounded=1.0), StopTargets()) is None


def test_the_bounded_share_counts_structures_below_all_targets() -> None:
    known = judged(200)
    uncertainty = np.array([0.01, 1.0, 1e3])
    tight = StopTargets(energy_mev_per_atom=4.0, forces_mev_per_angstrom=4.0)
    assert bounded_share(known, uncertainty, ["md"] * 3, tight) == pytest.approx(2 / 3)
    assert bounded_share(known, uncertainty, ["md"] * 3, StopTargets()) is None
    assert bounded_share(judged(19), uncertainty, ["md"] * 3, tight) is None


def test_earlier_batches_help_out_until_there_are_enough_labels() -> None:
    batches = [judged(30), judged(12, seed=1), judged(9, seed=2)]
    assert len(calibration_set(batches)) == 21
    assert len(calibration_set(batches[:1])) == 30


def test_the_report_says_what_holds_on_labels_it_has_not_seen() -> None:
    content = report(judged(300), judged(200, seed=5), "llpr")
    json.dumps(content, allow_nan=False)
    assert content["calibrated"] is True
    for quantity in content["errors"].values():
        assert quantity["held_out_coverage"] == pytest.approx(0.9, abs=0.06)
    assert content["force_components"]["coverage_of_one_sigma"] == pytest.approx(0.683, abs=0.03)
    assert content["force_components"]["ence"] < 0.1
    assert summary(content)["ence"] == content["force_components"]["ence"]


def test_a_report_on_few_labels_says_that_it_is_not_calibrated() -> None:
    content = report(judged(12), judged(20, seed=5), "llpr")
    json.dumps(content, allow_nan=False)
    assert content["calibrated"] is False
    assert "12 labels" in content["why_not"]
    assert content["errors"][FORCES]["held_out_coverage"] is None


def test_standard_deviations_that_hold_are_found_to_hold() -> None:
    """Normal errors of known σ, whatever its unit: 68 % within one σ, and a small ENCE."""
    for scale in (0.01, 1.0, 50.0):
        content = own_report(judged(300, scale=scale), "llpr")
        components = content["force_components"]
        assert components["scale"] == pytest.approx(scale, rel=0.05)
        assert components["coverage_of_one_sigma"] == pytest.approx(0.683, abs=0.03)
        assert components["ence"] < 0.1
        assert content["errors"][FORCES]["leave_one_out_coverage"] == pytest.approx(0.9, abs=0.01)
    assert content["calibrated"] is True
    assert content["summary"]["coverage_of_one_sigma"] == components["coverage_of_one_sigma"]
    assert json.loads(json.dumps(content)) == content


def test_a_tag_that_is_worse_than_its_uncertainty_says_is_named() -> None:
    content = own_report(judged(200) + judged(30, scale=5.0, seed=3, tag="far"), "llpr")
    coverage = content["errors"][FORCES]["coverage_by_tag"]
    assert coverage["far"] < 0.5 < 0.9 < coverage["md"]


def test_a_single_structure_and_no_sigma_are_reported_too() -> None:
    assert own_report(judged(1), "llpr")["calibrated"] is False
    one = judged(25)
    content = own_report(Judged(one.tags, one.uncertainty, one.energy, one.forces), "mahalanobis")
    assert "force_components" not in content
    assert content["summary"]["coverage_of_one_sigma"] is None
