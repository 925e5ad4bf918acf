"""The verdict: foundation, teacher, base and final potential against the same frozen DFT test set."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyacemaker.structures import Accuracy, Dataset, FloatArray, Labels
from pyacemaker.units import MEV_PER_EV

SIGNIFICANT = 2.0
"""Standard errors beyond which a difference is no longer chance (95%)."""
RESAMPLES = 2000
"""Bootstrap samples behind the standard error of a difference."""
UNSEEN = 1.5
"""The student's error against the teacher on the test set, over that on its own data, beyond which it lacks
data rather than functions."""


def judge(
    test: Dataset, predictions: Mapping[str, Sequence[Labels]], fitted: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Errors, error split and verdict of a run, as `metrics.json` holds them.

    test: DFT-labelled structures that no model has seen. predictions: labels of the same structures in the
    same order by `foundation`, `teacher`, `base` and `final`. fitted: the base's errors against the teacher
    on the data that it was fitted to, by the names of `Accuracy`. `verdict` says when it passes.
    """
    reference = test.labels
    accuracy = {name: Accuracy.between(found, reference) for name, found in predictions.items()}
    forces = np.concatenate([labels.forces.ravel() for labels in reference])
    measured: dict[str, Any] = {name: value.as_dict() for name, value in accuracy.items()}
    measured["structures"] = len(test)
    measured["forces_rms_ev_per_angstrom"] = float(np.sqrt(np.mean(forces**2)))
    measured["tags"] = dict(test.tag_counts())
    return {
        "test": measured,
        "error_split": split_errors(accuracy, predictions, fitted),
        "verdict": verdict(test, predictions),
    }


def split_errors(
    accuracy: Mapping[str, Accuracy],
    predictions: Mapping[str, Sequence[Labels]],
    fitted: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """MAE(teacher, DFT), MAE(student, teacher) and MAE(student, DFT), and what follows from them.

    The student is the base potential, which learned from the teacher alone; to good approximation
    MAE(student, DFT)² ≈ MAE(teacher, DFT)² + MAE(student, teacher)². The larger term decides, in forces:

    - `buy-dft`: the teacher's error is the larger one;
    - `grow-pool`: the student's is, and it is `UNSEEN` times that on its own data: it lacks data;
    - `grow-basis`: the student's is, and its own data are not met much better: it lacks functions.

    fitted: the student's errors on its own data (`Accuracy` by name); without, basis or pool is left open.
    """
    student = Accuracy.between(predictions["base"], predictions["teacher"])
    terms = {"teacher_dft": accuracy["teacher"], "student_teacher": student, "student_dft": accuracy["base"]}
    split: dict[str, Any] = {
        name: {
            "energy_mae_mev_per_atom": term.energy_mae_mev_per_atom,
            "forces_mae_mev_per_angstrom": term.forces_mae_mev_per_angstrom,
        }
        for name, term in terms.items()
    }
    split["student_fit"] = None if fitted is None else {name: fitted[name] for name in split["teacher_dft"]}
    own = None if fitted is None else fitted["forces_mae_mev_per_angstrom"]
    split["action"], split["advice"] = _advice(accuracy["teacher"], student, own)
    return split


def _advice(teacher: Accuracy, student: Accuracy, own: float | None) -> tuple[str, str]:
    """What to do, as a word and as a sentence; own: the student's force MAE on its own data, meV/Å."""
    error = student.forces_mae_mev_per_angstrom
    if teacher.forces_mae_mev_per_angstrom >= error:
        return "buy-dft", "the teacher's error is the larger: more DFT labels help most (label.n_train)"
    larger = "the student's error is the larger"
    if own is None:
        return "grow-basis-or-pool", f"{larger}: a larger basis or pool helps most"
    if error > UNSEEN * own:
        return (
            "grow-pool",
            f"{larger}, and {error / own:.1f} times that on the structures it was fitted to: a larger pool "
            "helps most (explore.n_structures)",
        )
    return (
        "grow-basis",
        f"{larger}, and the structures it was fitted to are met hardly better: a larger basis helps most "
        "(base.functions)",
    )


def verdict(test: Dataset, predictions: Mapping[str, Sequence[Labels]]) -> dict[str, Any]:
    """Whether the final potential beats the base on the test set, with figures and their uncertainty.

    In energy and in forces the final potential is `better` (smaller RMSE), `worse` (larger by more than two
    standard errors of the difference) or `equal` (larger, but within it). It passes when it is better in
    one and not worse in the other. The standard error is that of a paired bootstrap over the structures
    (Efron, Tibshirani, An Introduction to the Bootstrap, 1993): both are judged on the same resampled sets.
    """
    base, final = (_squared_errors(predictions[name], test.labels) for name in ("base", "final"))
    components = np.array([labels.forces.size for labels in test.labels])
    compared = {
        "energy": _compare(base[0], final[0], np.ones(len(test))),
        "forces": _compare(base[1], final[1], components),
    }
    outcomes = {name: found["outcome"] for name, found in compared.items()}
    passed = "better" in outcomes.values() and "worse" not in outcomes.values()
    return {
        "passed": passed,
        "reason": _reason(passed, outcomes, compared),
        "energy_improved": outcomes["energy"] == "better",
        "forces_improved": outcomes["forces"] == "better",
        **compared,
    }


def _squared_errors(
    predicted: Sequence[Labels], reference: Sequence[Labels]
) -> tuple[FloatArray, FloatArray]:
    """Of each structure: squared energy error, (meV/atom)², and summed squared force errors, (meV/Å)²."""
    pairs = list(zip(predicted, reference, strict=True))
    energy = [(MEV_PER_EV * (p.energy - r.energy) / len(r.forces)) ** 2 for p, r in pairs]
    forces = [np.sum((MEV_PER_EV * (p.forces - r.forces)) ** 2) for p, r in pairs]
    return np.array(energy), np.array(forces)


def _compare(base: FloatArray, final: FloatArray, numbers: FloatArray) -> dict[str, Any]:
    """RMSE of both, their difference and its standard error, and what that means.

    base, final: (structures,) sums of squared errors. numbers: (structures,) of how many.
    """
    rng = np.random.default_rng(0)
    resampled = rng.integers(len(base), size=(RESAMPLES, len(base)))
    among = numbers[resampled].sum(axis=1)
    after_all, before_all = (np.sqrt(sums[resampled].sum(axis=1) / among) for sums in (final, base))
    differences = after_all - before_all
    before, after = (float(np.sqrt(sums.sum() / numbers.sum())) for sums in (base, final))
    error = float(differences.std())
    loss = "equal" if 0.0 < after - before <= SIGNIFICANT * error else "worse"
    outcome = "better" if after < before else loss
    return {"base": before, "final": after, "standard_error": error, "outcome": outcome}


def _reason(passed: bool, outcomes: Mapping[str, str], compared: Mapping[str, Mapping[str, Any]]) -> str:
    energy, forces = compared["energy"], compared["forces"]
    figures = (
        f"energy RMSE {energy['final']:.2f} (base {energy['base']:.2f}) meV/atom, "
        f"force RMSE {forces['final']:.1f} (base {forces['base']:.1f}) meV/Å"
    )
    if not passed:
        failed = " and ".join(name for name, outcome in outcomes.items() if outcome != "better")
        return (
            f"the final potential does not beat the base on the held-out DFT test set in {failed}: "
            f"{figures}; label more structures (label.n_train) or change delta.dft_emphasis"
        )
    equal = [name for name, outcome in outcomes.items() if outcome == "equal"]
    noise = "".join(
        f", where {name} differ by less than two standard errors (of {compared[name]['standard_error']:.2g})"
        for name in equal
    )
    return f"the final potential beats the base on the held-out DFT test set: {figures}{noise}"
