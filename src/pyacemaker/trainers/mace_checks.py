"""What a silent failure of a fine-tuning would not pass: before it starts, in its log, and in its model."""

from collections.abc import Mapping
from pathlib import Path

from pyacemaker.errors import DataError, TrainingDivergenceError, TrainingError
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.potentials.mace_model import load_model, model_heads, quiet_mace, save_model
from pyacemaker.structures import Accuracy, Dataset
from pyacemaker.trainers.mace_child import HEAD, REPLAY_HEAD
from pyacemaker.trainers.mace_run import MaceRun, TrainingHistory

_E0_TOLERANCE = {"float64": 1e-6, "float32": 1e-3}
"""eV: how well the saved reference energies must equal those asked for."""
_PINNED = "install the pinned one"


def accuracy(potential: MacePotential, dataset: Dataset) -> Accuracy:
    """The errors of a potential on labelled structures."""
    return Accuracy.between(potential.evaluate(dataset), dataset.labels)


def check_labelled(dataset: Dataset, reference_energies: Mapping[str, float] | None) -> None:
    """Raise `DataError` for labels that are missing or not finite, and for missing reference energies."""
    unlabelled = len(dataset) - len(dataset.labelled())
    if unlabelled:
        raise DataError(
            f"{unlabelled} of {len(dataset)} training structures have no labels; label them first"
        )
    for structure, label in zip(dataset, dataset.labels, strict=True):
        if not label.is_finite():
            raise DataError(f"the label of structure {structure.id} holds NaN or Inf; remove the structure")
    if reference_energies is None:
        return
    missing = [symbol for symbol in dataset.elements if symbol not in reference_energies]
    if missing:
        raise DataError(f"no reference energy was given for {', '.join(missing)}; give one per element")


def check_learning_rate(run: MaceRun, asked: float) -> None:
    """The learning rate must be the one asked for: MACE sets its own where it trains several heads."""
    used = run.learning_rate()
    if used is None or abs(used - asked) > 1e-9 * asked:
        raise TrainingError(
            f"MACE trained with the learning rate {used} instead of {asked:g}: this version of MACE changes "
            f"or reports it differently; {_PINNED}"
        )


def check_labels(run: MaceRun, training: Dataset, head: str = HEAD) -> None:
    """MACE must have read as many labels as it was given."""
    read = run.labels_read(head)
    given = {"energy": len(training), "forces": len(training)}
    given["stress"] = sum(label.stress is not None for label in training.labels)
    if any(read.get(name) != count for name, count in given.items()):
        raise TrainingError(
            f"MACE read {read or 'an unknown number of'} labels, expected {given}: this version of MACE "
            f"reads or reports them differently; {_PINNED}"
        )


def check_start(history: TrainingHistory, before: Accuracy) -> None:
    """The errors MACE reports before its first step must be those of the foundation that was given to it."""
    pairs = (
        (history.initial["energy_rmse_mev_per_atom"], before.energy_rmse_mev_per_atom),
        (history.initial["forces_rmse_mev_per_angstrom"], before.forces_rmse_mev_per_angstrom),
    )
    if any(abs(reported - expected) > 0.5 + 0.01 * expected for reported, expected in pairs):
        raise TrainingError(
            "MACE started from other errors than the foundation has on the same labels (reported, expected: "
            f"{pairs[0][0]:.3f}, {pairs[0][1]:.3f} meV/atom; {pairs[1][0]:.3f}, {pairs[1][1]:.3f} meV/Å): "
            "labels, reference energies or weights were not read as written"
        )


def single_headed(path: Path, *, replayed: bool) -> Path:
    """The file of the model with the head of the labels alone: another one where it was trained with replay.

    Some programs that run a model pass no head, and would take the first one. Raises `TrainingError` where
    MACE trained with other heads than it was told to: it drops replay silently in some cases.
    """
    heads = model_heads(model := load_model(path))
    wanted = [REPLAY_HEAD, HEAD] if replayed else [HEAD]
    if heads != wanted:
        raise TrainingError(
            f"MACE trained the heads {', '.join(heads)} instead of {', '.join(wanted)}: this version of MACE "
            f"treats several heads differently; {_PINNED}"
        )
    if not replayed:
        return path
    import torch

    with quiet_mace():
        from mace.tools.scripts_utils import remove_pt_head

        torch.set_default_dtype(next(model.parameters()).dtype)
        single = remove_pt_head(model, HEAD)
    out = path.with_name("single.model")
    save_model(single, out)
    return out


def check_outcome(
    tuned: MacePotential,
    start: MacePotential,
    reference_energies: Mapping[str, float],
    after: Accuracy,
    before: Accuracy,
) -> None:
    """The trained model must have the reference energies asked for, and be no worse by far than before.

    Raises `TrainingError` and `TrainingDivergenceError`.
    """
    wanted = {**start.reference_energies, **reference_energies}
    for symbol, found in tuned.reference_energies.items():
        if abs(found - wanted[symbol]) > _E0_TOLERANCE[tuned.dtype]:
            raise TrainingError(
                f"the trained model has the reference energy {found} eV for {symbol} instead of "
                f"{wanted[symbol]} eV: this version of MACE treats E0s differently; {_PINNED}"
            )
    if not is_no_worse_by_far(after, before):
        raise TrainingDivergenceError(
            f"fine-tuning made the model worse: {_summary(before)} before, {_summary(after)} after; "
            "lower lr, or check the labels"
        )


def is_no_worse_by_far(after: Accuracy, before: Accuracy) -> bool:
    """Within twice the errors before training, plus 5 meV/atom and 20 meV/Å; false for NaN."""
    return (
        after.energy_rmse_mev_per_atom <= 2 * before.energy_rmse_mev_per_atom + 5
        and after.forces_rmse_mev_per_angstrom <= 2 * before.forces_rmse_mev_per_angstrom + 20
    )


def _summary(errors: Accuracy) -> str:
    return (
        f"{errors.energy_rmse_mev_per_atom:.1f} meV/atom and {errors.forces_rmse_mev_per_angstrom:.1f} meV/Å"
    )
