"""Fine-tuning of a MACE foundation model on a few reference labels."""

import logging
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from pyacemaker.base import Spec
from pyacemaker.errors import (
    DataError,
    InsufficientDataError,
    TrainingDivergenceError,
    TrainingError,
)
from pyacemaker.files import replacing
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.potentials.mace_model import Precision
from pyacemaker.structures import Accuracy, AtomStructure, Dataset
from pyacemaker.trainers.base import TrainedPotential, TrainingMetrics
from pyacemaker.trainers.mace_run import MaceRun, Progress, TrainingHistory, write_training_file
from pyacemaker.trainers.reference_energies import is_lone_atom

logger = logging.getLogger(__name__)

MIN_STRUCTURES = 4
"""Fewer labelled structures than this are refused before anything starts."""

_E0_TOLERANCE = 1e-6
"""eV: how well the saved reference energies must equal those asked for (float64 files)."""

_Positive = Annotated[float, Field(gt=0)]
_Count = Annotated[int, Field(ge=1)]


class MaceTrainer(Spec):
    """Naive fine-tuning: all weights of the foundation model, one head, energies and forces (and stress).

    Runs `mace_run_train` in a child process, because it changes torch's default precision, the logging and
    the random state of the process it runs in. A small model learns more at a higher rate that decays faster
    (lr 3e-3, scheduler_gamma 0.95, 60 epochs: the best of those tried on 44 and 50 labels of six atoms).
    """

    kind: Literal["mace"] = "mace"
    epochs: _Count = 100
    """Passes over the training set."""
    lr: _Positive = 1e-3
    """Learning rate of Adam at the start."""
    batch_size: _Count = 5
    """Structures per step, at most; lowered so that few structures are left out of an epoch."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """Decay per step of the moving average of the weights that is evaluated and saved."""
    scheduler_gamma: Annotated[float, Field(gt=0, le=1)] = 0.98
    """Factor on the learning rate after every epoch."""
    energy_weight: _Positive = 40.0
    """Weight of the squared energy error per atom in the loss."""
    forces_weight: _Positive = 100.0
    """Weight of the squared force-component error in the loss."""
    stress_weight: _Positive = 5000.0
    """Weight of the squared stress-component error, of the structures that have a stress.

    1 GPa is 0.006 eV/Å³: at this weight it counts as 44 meV/Å do in the forces. With 100 the teacher of the
    aluminium example was left at 1.2 GPa, with 5000 it came to 0.4."""
    validation_fraction: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Share of the structures kept apart to choose the epoch, where no validation set is given.

    None by default: with a decaying learning rate and averaged weights, choosing the epoch on 59 further
    structures gained nothing over the last epoch, while each label given up for it is missed in training.
    """
    device: str = "cpu"
    """The torch device of the training."""
    dtype: Precision = "float64"
    """Precision of the training and of the saved model."""
    timeout_s: _Positive = 7200.0
    """Wall time in seconds after which the training is stopped and counts as failed."""

    def train(
        self,
        dataset: Dataset,
        *,
        foundation: Path,
        reference_energies: Mapping[str, float],
        out: Path,
        seed: int,
        workdir: Path,
        head: str | None = None,
        validation: Dataset | None = None,
        progress: Progress | None = None,
    ) -> TrainedPotential:
        """Fine-tune `foundation` on the labels of `dataset` and write the model file `out`.

        reference_energies: E0 in eV of every element of the dataset (see `align_reference_energies`); the
        saved model has exactly these. Isolated atoms are left out: their energy is E0. workdir: a directory
        `mace` below it is emptied and used. head: of a multi-head foundation, None as in `MacePotential`.
        validation: labelled structures on which the best epoch is chosen; without them and with
        `validation_fraction` = 0 the training set itself serves, which with the decaying learning rate and
        averaged weights amounts to the last epoch. progress: called after each epoch. The model has one head
        and covers the elements of the dataset only.

        The same input and seed on one CPU thread give the same weights, bit by bit. Nothing is left at `out`
        unless everything held. Raises `InsufficientDataError` for fewer than 4 structures, `DataError` for
        missing labels or reference energies, `TrainingDivergenceError` and `TrainingError`.
        """
        started = time.monotonic()
        training, held_out = self._split(_trainable(dataset, reference_energies), validation, seed)
        out.unlink(missing_ok=True)
        judged = held_out if len(held_out) else training
        directory = _emptied(workdir / "mace")
        energies = {symbol: float(reference_energies[symbol]) for symbol in dataset.elements}
        start = self._aligned_foundation(foundation, head, energies, directory)
        before = _accuracy(start, judged)
        run = self._prepare(directory, training, judged, start, seed)
        model, history = run.execute(progress)
        _check_labels(run, training)
        _check_start(history, before)
        tuned = self._checked_model(model, energies, judged, before)
        facts = _facts(history, before, training, held_out, start)
        metrics = TrainingMetrics(
            train=_accuracy(tuned, training),
            validation=_accuracy(tuned, held_out) if len(held_out) else None,
            seconds=time.monotonic() - started,
        )
        with replacing(out) as aside:
            shutil.copyfile(model, aside)
        return TrainedPotential(out, metrics, facts)

    def _split(self, dataset: Dataset, validation: Dataset | None, seed: int) -> tuple[Dataset, Dataset]:
        """The structures to train on, and those that choose the epoch (possibly none)."""
        if validation is not None:
            return _enough(dataset), validation.labelled().filter(_has_neighbours)
        held_out = round(self.validation_fraction * len(dataset))
        if held_out == 0:
            return _enough(dataset), Dataset()
        order = np.random.default_rng(seed).permutation(len(dataset))
        return _enough(dataset[np.sort(order[held_out:])]), dataset[np.sort(order[:held_out])]

    def _aligned_foundation(
        self, foundation: Path, head: str | None, reference_energies: Mapping[str, float], directory: Path
    ) -> MacePotential:
        """A copy of the foundation with the E0s asked for, in the precision of the training.

        MACE discards E0s given on its command line when the foundation has as many, and cannot convert a
        foundation between precisions; with such a copy and `--E0s=foundation` neither matters.
        """
        original = MacePotential(foundation, device=self.device, dtype=self.dtype, head=head)
        return original.with_reference_energies(directory / "foundation.model", reference_energies)

    def _prepare(
        self, directory: Path, training: Dataset, judged: Dataset, start: MacePotential, seed: int
    ) -> MaceRun:
        write_training_file(directory / "train.xyz", training)
        write_training_file(directory / "valid.xyz", judged)
        arguments = [
            f"--foundation_model={start.path}",
            f"--foundation_head={start.head}",
            "--multiheads_finetuning=False",
            "--E0s=foundation",
            f"--train_file={directory / 'train.xyz'}",
            f"--valid_file={directory / 'valid.xyz'}",
            "--energy_key=REF_energy",
            "--forces_key=REF_forces",
            "--stress_key=REF_stress",
            *self._loss_arguments(training),
            f"--lr={self.lr}",
            f"--batch_size={even_batch_size(len(training), self.batch_size)}",
            f"--valid_batch_size={min(16, len(judged))}",
            "--ema",
            f"--ema_decay={self.ema_decay}",
            "--clip_grad=1.0",
            "--weight_decay=0",
            "--scheduler=ExponentialLR",
            f"--lr_scheduler_gamma={self.scheduler_gamma}",
            f"--patience={self.epochs + 1}",
            f"--default_dtype={self.dtype}",
            f"--device={self.device}",
            "--save_cpu",
            "--plot=False",
        ]
        return MaceRun(directory, arguments, self.epochs, seed, self.timeout_s)

    def _loss_arguments(self, training: Dataset) -> list[str]:
        weights = [f"--energy_weight={self.energy_weight}", f"--forces_weight={self.forces_weight}"]
        if any(label.stress is not None for label in training.labels):
            return ["--loss=stress", *weights, f"--stress_weight={self.stress_weight}"]
        return ["--loss=weighted", *weights]

    def _checked_model(
        self, path: Path, reference_energies: Mapping[str, float], judged: Dataset, before: Accuracy
    ) -> MacePotential:
        """The trained model, after the checks that a silent failure would not pass."""
        tuned = MacePotential(path, device=self.device, dtype=self.dtype)
        tolerance = _E0_TOLERANCE if self.dtype == "float64" else 1e-3
        for symbol, found in tuned.reference_energies.items():
            if abs(found - reference_energies[symbol]) > tolerance:
                raise TrainingError(
                    f"the trained model has the reference energy {found} eV for {symbol} instead of "
                    f"{reference_energies[symbol]} eV: this version of MACE treats E0s differently; install "
                    "the pinned one"
                )
        after = _accuracy(tuned, judged)
        if not _is_no_worse_by_far(after, before):
            raise TrainingDivergenceError(
                f"fine-tuning made the model worse: {_summary(before)} before, {_summary(after)} after; "
                "lower lr, or check the labels"
            )
        return tuned


def even_batch_size(structures: int, limit: int) -> int:
    """The batch size of at most `limit`, at least half of it, that leaves the fewest structures over.

    MACE fails when there are fewer structures than a batch holds, and drops the incomplete batch of each
    epoch. Ties go to the larger size.
    """
    largest = min(limit, structures)
    return min(range(largest, (largest + 1) // 2 - 1, -1), key=lambda size: structures % size)


def _trainable(dataset: Dataset, reference_energies: Mapping[str, float]) -> Dataset:
    """All but the isolated atoms; `DataError` for labels or E0s that are not usable."""
    unlabelled = len(dataset) - len(dataset.labelled())
    if unlabelled:
        raise DataError(
            f"{unlabelled} of {len(dataset)} training structures have no labels; label them first"
        )
    for structure, label in zip(dataset, dataset.labels, strict=True):
        if not label.is_finite():
            raise DataError(f"the label of structure {structure.id} holds NaN or Inf; remove the structure")
    missing = [symbol for symbol in dataset.elements if symbol not in reference_energies]
    if missing:
        raise DataError(f"no reference energy was given for {', '.join(missing)}; give one per element")
    return dataset.filter(_has_neighbours)


def _has_neighbours(structure: AtomStructure) -> bool:
    return not is_lone_atom(structure)


def _enough(training: Dataset) -> Dataset:
    if len(training) < MIN_STRUCTURES:
        raise InsufficientDataError(
            f"{len(training)} labelled structures (isolated atoms aside) are there for fine-tuning, at least "
            f"{MIN_STRUCTURES} are needed: label more"
        )
    return training


def _emptied(directory: Path) -> Path:
    if directory.exists():
        shutil.rmtree(directory)
    directory.mkdir(parents=True)
    return directory.resolve()


def _accuracy(potential: MacePotential, dataset: Dataset) -> Accuracy:
    return Accuracy.between(potential.evaluate(dataset), dataset.labels)


def _check_labels(run: MaceRun, training: Dataset) -> None:
    """MACE must have read as many labels as it was given."""
    read = run.labels_read()
    given = {"energy": len(training), "forces": len(training)}
    given["stress"] = sum(label.stress is not None for label in training.labels)
    if any(read.get(name) != count for name, count in given.items()):
        raise TrainingError(
            f"MACE read {read or 'an unknown number of'} labels, expected {given}: this version of MACE "
            "reads or reports them differently; install the pinned one"
        )


def _check_start(history: TrainingHistory, before: Accuracy) -> None:
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


def _is_no_worse_by_far(after: Accuracy, before: Accuracy) -> bool:
    """Within twice the errors before training, plus 5 meV/atom and 20 meV/Å; false for NaN."""
    return (
        after.energy_rmse_mev_per_atom <= 2 * before.energy_rmse_mev_per_atom + 5
        and after.forces_rmse_mev_per_angstrom <= 2 * before.forces_rmse_mev_per_angstrom + 20
    )


def _summary(errors: Accuracy) -> str:
    return (
        f"{errors.energy_rmse_mev_per_atom:.1f} meV/atom and {errors.forces_rmse_mev_per_angstrom:.1f} meV/Å"
    )


def _facts(
    history: TrainingHistory,
    before: Accuracy,
    training: Dataset,
    held_out: Dataset,
    start: MacePotential,
) -> dict[str, Any]:
    from importlib.metadata import version

    return {
        "engine": f"mace-torch {version('mace-torch')}",
        "structures": len(training),
        "validation_structures": len(held_out),
        "errors_before": before.as_dict(),
        "best_epoch": int(history.best["epoch"]),
        "reference_energies": {s: start.reference_energies[s] for s in training.elements},
    }
