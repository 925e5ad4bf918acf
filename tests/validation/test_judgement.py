"""The verdict and the error split, on labels whose errors are known by construction."""

import numpy as np
import pytest

from pyacemaker.structures import AtomStructure, Dataset, Labels
from pyacemaker.validation.judgement import judge

N = 3
"""Atoms per structure."""


def shifted(labels: Labels, energy: float, forces: float) -> Labels:
    """Every energy off by `energy` (meV/atom), every force component by `forces` (meV/Å)."""
    return Labels(labels.energy + 1e-3 * energy * N, labels.forces + 1e-3 * forces)


@pytest.fixture
def test_set():
    rng = np.random.default_rng(3)
    return Dataset(
        AtomStructure(np.array([9, 6, 17]), rng.normal(size=(N, 3)), tag=f"tag{k % 2}").replace(
            labels=Labels(float(rng.normal()), rng.normal(size=(N, 3)))
        )
        for k in range(6)
    )


def judged(test_set, **errors):
    """`judge` for models that are off by (energy, forces), in meV/atom and meV/Å."""
    given = {"foundation": (60, 300), "teacher": (10, 80), "base": (20, 100), "final": (5, 60)} | errors
    return judge(
        test_set,
        {name: [shifted(labels, *off) for labels in test_set.labels] for name, off in given.items()},
    )


def test_constant_errors_are_measured_exactly(test_set):
    found = judged(test_set)["test"]
    assert found["foundation"] == pytest.approx(
        {
            "energy_rmse_mev_per_atom": 60,
            "energy_mae_mev_per_atom": 60,
            "forces_rmse_mev_per_angstrom": 300,
            "forces_mae_mev_per_angstrom": 300,
        }
    )
    assert found["structures"] == 6
    assert found["tags"] == {"tag0": 3, "tag1": 3}


def test_the_rms_force_is_over_all_components(test_set):
    forces = np.concatenate([labels.forces for labels in test_set.labels])
    assert judged(test_set)["test"]["forces_rms_ev_per_angstrom"] == pytest.approx(
        np.linalg.norm(forces) / np.sqrt(forces.size)
    )


@pytest.mark.parametrize(
    ("final", "passed", "energy", "forces"),
    [
        ((5, 60), True, True, True),
        ((25, 60), False, False, True),
        ((5, 120), False, True, False),
        ((25, 120), False, False, False),
        ((20, 100), False, False, False),  # no better is not better
    ],
)
def test_the_final_potential_must_beat_the_base_in_both(test_set, final, passed, energy, forces):
    found = judged(test_set, final=final)["verdict"]
    assert found["passed"] is passed
    if final != (20, 100):  # equal up to rounding
        assert (found["energy_improved"], found["forces_improved"]) == (energy, forces)


def test_a_difference_within_its_noise_is_no_defeat(test_set):
    constant = judged(test_set, final=(5, 100.5))["verdict"]
    assert (constant["forces"]["outcome"], constant["passed"]) == ("worse", False)  # always worse: no noise
    given = {"foundation": (60, 300), "teacher": (10, 80), "base": (20, 100)}
    predictions = {name: [shifted(labels, *off) for labels in test_set.labels] for name, off in given.items()}
    forces = [60, 60, 60, 60, 60, 215]  # better but for one structure: RMSE 103.5
    final = [shifted(labels, 5, off) for labels, off in zip(test_set.labels, forces, strict=True)]
    found = judge(test_set, predictions | {"final": final})["verdict"]
    assert found["forces"]["outcome"] == "equal"
    assert found["forces"]["final"] == pytest.approx(103.5, abs=0.1)
    assert (found["passed"], found["energy_improved"], found["forces_improved"]) == (True, True, False)
    assert "where forces differ by less than two standard errors" in found["reason"]
    no_better = [shifted(labels, 20.5, off) for labels, off in zip(test_set.labels, forces, strict=True)]
    assert judge(test_set, predictions | {"final": no_better})["verdict"]["passed"] is False


def test_the_same_predictions_do_not_beat_themselves(test_set):
    same = [shifted(labels, 20, 100) for labels in test_set.labels]
    predictions = dict.fromkeys(("foundation", "teacher", "base", "final"), same)
    assert judge(test_set, predictions)["verdict"]["passed"] is False


def test_the_reason_names_what_failed_with_figures_and_a_cure(test_set):
    reason = judged(test_set, final=(25, 60))["verdict"]["reason"]
    assert "does not beat the base on the held-out DFT test set in energy:" in reason
    assert "energy RMSE 25.00 (base 20.00) meV/atom" in reason
    assert "force RMSE 60.0 (base 100.0) meV/Å" in reason
    assert "label.n_train" in reason
    assert "in energy and forces:" in judged(test_set, final=(25, 120))["verdict"]["reason"]
    assert "beats the base" in judged(test_set)["verdict"]["reason"]


def test_the_error_split_has_the_three_distances(test_set):
    split = judged(test_set)["error_split"]
    terms = ("teacher_dft", "student_teacher", "student_dft")
    found = {name: split[name]["forces_mae_mev_per_angstrom"] for name in terms}
    assert found == pytest.approx({"teacher_dft": 80, "student_teacher": 20, "student_dft": 100})
    assert split["student_teacher"]["energy_mae_mev_per_atom"] == pytest.approx(10)
    assert split["student_fit"] is None


@pytest.mark.parametrize(
    ("teacher", "own", "action", "words"),
    [
        ((10, 80), 5, "buy-dft", "more DFT labels"),
        ((1, 5), None, "grow-basis-or-pool", "a larger basis or pool"),
        ((1, 5), 90, "grow-basis", "a larger basis helps"),
        ((1, 5), 25, "grow-pool", "3.8 times that on the structures it was fitted to: a larger pool"),
    ],
)
def test_the_larger_error_is_advised_against(test_set, teacher, own, action, words):
    """The base is 20, 100 off; the student's error is what the teacher leaves of that."""
    given = {"foundation": (60, 300), "teacher": teacher, "base": (20, 100), "final": (5, 60)}
    predictions = {name: [shifted(labels, *off) for labels in test_set.labels] for name, off in given.items()}
    fitted = own and {"forces_mae_mev_per_angstrom": own, "energy_mae_mev_per_atom": 1.0}
    split = judge(test_set, predictions, fitted)["error_split"]
    assert split["action"] == action
    assert words in split["advice"]
    assert split["student_fit"] == fitted


def test_the_verdict_speaks_of_the_errors_in_the_table(test_set):
    """Structures of different sizes: an RMSE is over all components, not the mean over the structures."""
    rng = np.random.default_rng(5)
    large = AtomStructure(np.full(20, 6), rng.normal(size=(20, 3))).replace(
        labels=Labels(1.0, rng.normal(size=(20, 3)))
    )
    mixed = test_set + Dataset([large])
    noisy = [
        Labels(
            labels.energy,
            labels.forces + rng.normal(scale=0.1 / len(labels.forces), size=labels.forces.shape),
        )
        for labels in mixed.labels
    ]
    names = ("foundation", "teacher", "base", "final")
    found = judge(mixed, dict.fromkeys(names, noisy) | {"base": mixed.labels})
    compared, table = found["verdict"]["forces"], found["test"]
    assert compared["final"] == pytest.approx(table["final"]["forces_rmse_mev_per_angstrom"])
    assert compared["base"] == table["base"]["forces_rmse_mev_per_angstrom"] == 0.0
