"""Fine-tuning of a MACE foundation model on a few reference labels."""

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from ase.data import atomic_numbers
from pydantic import Field

from pyacemaker.base import Spec
from pyacemaker.errors import InsufficientDataError
from pyacemaker.files import replacing
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.potentials.mace_model import Precision
from pyacemaker.selection import TunedUncertainty
from pyacemaker.selection.llpr import LlprUncertainty
from pyacemaker.structures import Accuracy, AtomStructure, Dataset
from pyacemaker.trainers.base import TrainedPotential, TrainingMetrics
from pyacemaker.trainers.mace_checks import (
    accuracy,
    check_labelled,
    check_labels,
    check_learning_rate,
    check_outcome,
    check_start,
    single_headed,
)
from pyacemaker.trainers.mace_child import REPLAY_HEAD
from pyacemaker.trainers.mace_run import MaceRun, Progress, TrainingHistory, write_training_file
from pyacemaker.trainers.mace_strategies import AnyTuning, NaiveTuning, ReplayTuning
from pyacemaker.trainers.reference_energies import estimate_reference_energies, is_lone_atom

MIN_STRUCTURES = 4
"""Fewer labelled structures than this are refused before anything starts."""

_LAST_RATE = 0.01
"""Learning rate of the last epoch over that of the first."""
_REPLAY_JUDGED = 32
"""Replayed structures on which forgetting is measured after every epoch."""

_Positive = Annotated[float, Field(gt=0)]
_Count = Annotated[int, Field(ge=1)]


class MaceTrainer(Spec):
    """Fine-tuning: a foundation model learns energies, forces (and stresses) of a few structures.

    Runs `mace_run_train` in a child process, because it changes torch's default precision, the logging and
    the random state of the process it runs in.
    """

    kind: Literal["mace"] = "mace"
    strategy: AnyTuning = NaiveTuning()
    """Which weights move: `naive` (all), `replay` (all, and a second head remembers), `lora`, `frozen`."""
    epochs: _Count = 60
    """Passes over the training set, at most."""
    lr: _Positive | None = None
    """Learning rate of Adam at the start; default: what suits the strategy (naive: 0.005)."""
    batch_size: _Count = 5
    """Structures per step, at most; lowered so that few structures are left out of an epoch."""
    ema_decay: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """Decay per step of the moving average of the weights that is evaluated and saved."""
    scheduler_gamma: Annotated[float, Field(gt=0, le=1)] | None = None
    """Factor on the learning rate after every epoch; default: it falls to 1 % by the last epoch."""
    patience: _Count | None = 30
    """Epochs without a lower loss on the validation set after which the training ends; null = never."""
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
    uncertainty: TunedUncertainty = LlprUncertainty()
    """How unsure the tuned model is: `llpr`, `mahalanobis`, or `committee` (which trains more models)."""
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
        out: Path,
        seed: int,
        workdir: Path,
        reference_energies: Mapping[str, float] | None = None,
        head: str | None = None,
        validation: Dataset | None = None,
        known: Sequence[AtomStructure] = (),
        progress: Progress | None = None,
    ) -> TrainedPotential:
        """Fine-tune `foundation` on the labels of `dataset` and write the model file `out`.

        reference_energies: E0 in eV of every element of the dataset (see `align_reference_energies`); where
        they are not given, `estimate_reference_energies` makes them of the isolated atoms in the dataset and
        of what the foundation model says. The saved model has exactly these. Isolated atoms are left out of
        the training: their energy is E0. workdir: a directory `mace` below it is emptied and used. head: of a
        multi-head foundation, None as in `MacePotential`. validation: labelled structures on which the best
        epoch is chosen; without them and with `validation_fraction` = 0 the training set itself serves, which
        with the decaying learning rate and averaged weights amounts to the last epoch. known: structures that
        `replay` may replay, where its settings name no file. progress: called after each epoch. The model has
        one head and covers the elements that have a reference energy: MACE alone would keep those it saw.

        The same input and seed on one CPU thread give the same weights, bit by bit. Nothing is left at `out`
        unless everything held. Raises `InsufficientDataError` for fewer than 4 structures, `DataError` for
        missing labels or reference energies, `TrainingDivergenceError` and `TrainingError`.
        """
        started = time.monotonic()
        check_labelled(dataset, reference_energies)
        training, held_out = self._split(dataset.filter(_has_neighbours), validation, seed)
        original = MacePotential(foundation, device=self.device, dtype=self.dtype, head=head)
        energies = _reference_energies(dataset, original, reference_energies)
        out.unlink(missing_ok=True)
        directory = _emptied(workdir / "mace")
        # MACE discards E0s given on its command line when the foundation has as many, and cannot convert a
        # foundation between precisions; with such a copy and --E0s=foundation neither matters
        start = original.with_reference_energies(directory / "foundation.model", energies)
        replay = Dataset()
        if isinstance(self.strategy, ReplayTuning):
            replay = self.strategy.replayed(original, start, known, seed)
        task = _Task(training, held_out, replay, start, tuple(energies))
        run = self._prepare(directory, task, seed)
        model, history = run.execute(progress)
        self._check_run(run, task, history)
        tuned = self._checked_model(model, task, energies)
        metrics = TrainingMetrics(
            train=accuracy(tuned, training),
            validation=accuracy(tuned, held_out) if len(held_out) else None,
            seconds=time.monotonic() - started,
        )
        facts = self._facts(history, task, tuned)
        with replacing(out) as aside:
            shutil.copyfile(tuned.path, aside)
        return TrainedPotential(out, metrics, facts, history.curves())

    @property
    def learning_rate(self) -> float:
        """The learning rate at the start."""
        return self.lr or self.strategy.suited_lr

    @property
    def needs_known(self) -> bool:
        """Whether `train` wants `known`, structures that the foundation model is at home with."""
        return isinstance(self.strategy, ReplayTuning) and self.strategy.structures is None

    def _split(self, dataset: Dataset, validation: Dataset | None, seed: int) -> tuple[Dataset, Dataset]:
        """The structures to train on, and those that choose the epoch (possibly none)."""
        if validation is not None:
            return _enough(dataset), validation.labelled().filter(_has_neighbours)
        held_out = round(self.validation_fraction * len(dataset))
        if held_out == 0:
            return _enough(dataset), Dataset()
        order = np.random.default_rng(seed).permutation(len(dataset))
        return _enough(dataset[np.sort(order[held_out:])]), dataset[np.sort(order[:held_out])]

    def _prepare(self, directory: Path, task: "_Task", seed: int) -> MaceRun:
        write_training_file(directory / "train.xyz", task.training)
        write_training_file(directory / "valid.xyz", task.judged)
        size = even_batch_size(len(task.training) + len(task.replay), self.batch_size)
        gamma = self.scheduler_gamma or _LAST_RATE ** (1.0 / self.epochs)
        arguments = [
            f"--foundation_model={task.start.path}",
            f"--foundation_head={task.start.head}",
            "--E0s=foundation",
            f"--atomic_numbers={sorted(atomic_numbers[symbol] for symbol in task.elements)}",
            f"--train_file={directory / 'train.xyz'}",
            f"--valid_file={directory / 'valid.xyz'}",
            "--energy_key=REF_energy",
            "--forces_key=REF_forces",
            "--stress_key=REF_stress",
            *self._loss_arguments(task.training),
            *self._strategy_arguments(directory, task.replay),
            f"--lr={self.learning_rate}",
            f"--batch_size={size}",
            f"--valid_batch_size={min(16, len(task.judged))}",
            "--ema",
            f"--ema_decay={self.ema_decay}",
            "--clip_grad=1.0",
            "--weight_decay=0",
            "--scheduler=ExponentialLR",
            f"--lr_scheduler_gamma={gamma}",
            f"--patience={self.epochs + 1}",
            f"--default_dtype={self.dtype}",
            f"--device={self.device}",
            "--save_cpu",
            "--plot=False",
        ]
        return MaceRun(directory, arguments, self.epochs, seed, self.timeout_s, self.patience)

    def _loss_arguments(self, training: Dataset) -> list[str]:
        weights = [f"--energy_weight={self.energy_weight}", f"--forces_weight={self.forces_weight}"]
        if any(label.stress is not None for label in training.labels):
            return ["--loss=stress", *weights, f"--stress_weight={self.stress_weight}"]
        return ["--loss=weighted", *weights]

    def _strategy_arguments(self, directory: Path, replay: Dataset) -> list[str]:
        if not isinstance(self.strategy, ReplayTuning):
            return ["--multiheads_finetuning=False", *self.strategy.arguments()]
        write_training_file(directory / "replay.xyz", replay, self.strategy.weight)
        few = np.linspace(0, len(replay) - 1, min(_REPLAY_JUDGED, len(replay))).round().astype(np.int64)
        write_training_file(directory / "replay_valid.xyz", replay[few])
        files = [
            f"--pt_train_file={directory / 'replay.xyz'}",
            f"--pt_valid_file={directory / 'replay_valid.xyz'}",
        ]
        return [*files, *self.strategy.arguments()]

    def _check_run(self, run: MaceRun, task: "_Task", history: TrainingHistory) -> None:
        check_learning_rate(run, self.learning_rate)
        check_labels(run, task.training)
        if len(task.replay):
            check_labels(run, task.replay, REPLAY_HEAD)
        check_start(history, task.before)

    def _checked_model(
        self, path: Path, task: "_Task", reference_energies: Mapping[str, float]
    ) -> MacePotential:
        """The trained model with one head, after the checks that a silent failure would not pass."""
        file = single_headed(path, replayed=len(task.replay) > 0)
        tuned = MacePotential(file, device=self.device, dtype=self.dtype)
        check_outcome(tuned, task.start, reference_energies, accuracy(tuned, task.judged), task.before)
        return tuned

    def _facts(self, history: TrainingHistory, task: "_Task", tuned: MacePotential) -> dict[str, Any]:
        from importlib.metadata import version

        facts: dict[str, Any] = {
            "engine": f"mace-torch {version('mace-torch')}",
            "strategy": self.strategy.kind,
            "learning_rate": self.learning_rate,
            "structures": len(task.training),
            "validation_structures": len(task.held_out),
            "errors_before": task.before.as_dict(),
            "best_epoch": int(history.best["epoch"]),
            "epochs": len(history.entries) - 1,
            "reference_energies": {s: task.start.reference_energies[s] for s in task.training.elements},
        }
        if len(task.replay):
            facts["replayed_structures"] = len(task.replay)
            facts["errors_on_what_was_known"] = accuracy(tuned, task.replay).as_dict()
        return facts


@dataclass(frozen=True, eq=False)
class _Task:
    """What one training learns, is judged by and starts from."""

    training: Dataset
    held_out: Dataset
    replay: Dataset
    start: MacePotential
    elements: tuple[str, ...]

    @property
    def judged(self) -> Dataset:
        """The structures that choose the epoch."""
        return self.held_out if len(self.held_out) else self.training

    @cached_property
    def before(self) -> Accuracy:
        """The errors before training."""
        return accuracy(self.start, self.judged)


def even_batch_size(structures: int, limit: int) -> int:
    """The batch size of at most `limit`, at least half of it, that leaves the fewest structures over.

    MACE fails when there are fewer structures than a batch holds, and drops the incomplete batch of each
    epoch. Ties go to the larger size.
    """
    largest = min(limit, structures)
    return min(range(largest, (largest + 1) // 2 - 1, -1), key=lambda size: structures % size)


def _reference_energies(
    dataset: Dataset, original: MacePotential, given: Mapping[str, float] | None
) -> dict[str, float]:
    if given is None:
        teacher = original.evaluate(dataset)
        return dict(estimate_reference_energies(dataset, teacher, original.reference_energies).energies)
    wanted = {*dataset.elements, *original.elements}
    return {symbol: float(energy) for symbol, energy in given.items() if symbol in wanted}


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
