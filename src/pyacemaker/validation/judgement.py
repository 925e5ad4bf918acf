"""The verdict: foundation, teacher, base and final potential against the same frozen DFT test set."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyacemaker.structures import Accuracy, Dataset, Labels


def judge(test: Dataset, predictions: Mapping[str, Sequence[Labels]]) -> dict[str, Any]:
    """Errors, error split and verdict of a run, as `metrics.json` holds them.

    test: DFT-labelled structures that no model has seen. predictions: labels of the same structures in the
    same order by `foundation`, `teacher`, `base` and `final`. The verdict passes when the final potential has
    a smaller RMSE than the base in energy and in forces.
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
        "error_split": split_errors(accuracy, predictions),
        "verdict": verdict(accuracy["base"], accuracy["final"]),
    }


def split_errors(
    accuracy: Mapping[str, Accuracy], predictions: Mapping[str, Sequence[Labels]]
) -> dict[str, Any]:
    """MAE(teacher, DFT), MAE(student, teacher) and MAE(student, DFT), and what the larger term advises.

    The student is the base potential, which learned from the teacher alone; to good approximation
    MAE(student, DFT)² ≈ MAE(teacher, DFT)² + MAE(student, teacher)².
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
    teacher_limits = terms["teacher_dft"].forces_mae_mev_per_angstrom >= student.forces_mae_mev_per_angstrom
    split["advice"] = (
        "the teacher's error is the larger: more DFT labels help most"
        if teacher_limits
        else "the student's error is the larger: a larger basis or pool helps most"
    )
    return split


def verdict(base: Accuracy, final: Accuracy) -> dict[str, Any]:
    """Whether the final potential beats the base on the test set, in energy and in forces, with figures."""
    energy = final.energy_rmse_mev_per_atom < base.energy_rmse_mev_per_atom
    forces = final.forces_rmse_mev_per_angstrom < base.forces_rmse_mev_per_angstrom
    passed = energy and forces
    figures = (
        f"energy RMSE {final.energy_rmse_mev_per_atom:.2f} (base {base.energy_rmse_mev_per_atom:.2f}) "
        f"meV/atom, force RMSE {final.forces_rmse_mev_per_angstrom:.1f} "
        f"(base {base.forces_rmse_mev_per_angstrom:.1f}) meV/Å"
    )
    if passed:
        reason = f"the final potential beats the base on the held-out DFT test set: {figures}"
    else:
        worse = " and ".join(name for name, better in (("energy", energy), ("forces", forces)) if not better)
        reason = (
            f"the final potential does not beat the base on the held-out DFT test set in {worse}: {figures}; "
            "label more structures (label.n_train) or change delta.dft_emphasis"
        )
    return {
        "passed": passed,
        "reason": reason,
        "energy_improved": energy,
        "forces_improved": forces,
    }
