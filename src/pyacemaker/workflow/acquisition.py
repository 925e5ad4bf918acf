"""Which structures are labelled, in rounds: rate, pick, label, score, and fine-tune before the next."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pyacemaker.base import fingerprint
from pyacemaker.errors import TrainingError
from pyacemaker.files import sha256_file, write_json
from pyacemaker.generators.dimers import DIMER
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.processes import release_memory
from pyacemaker.selection.active_set import ActiveSet
from pyacemaker.selection.uncertainty_base import Uncertainties
from pyacemaker.structures import Dataset, FloatArray, IntArray, Labels
from pyacemaker.trainers.mace import MIN_STRUCTURES
from pyacemaker.trainers.reference_energies import (
    ReferenceAlignment,
    align_reference_energies,
    check_alignment,
)
from pyacemaker.workflow.batch_scores import (
    Judged,
    RoundScore,
    bounded_share,
    calibration_set,
    reason_to_stop,
)
from pyacemaker.workflow.step import StepContext

log = logging.getLogger(__name__)

Label = Callable[[Dataset, int], Dataset]
"""Labels structures in the round of that number; those that fail are left out."""


@dataclass(frozen=True, eq=False)
class Acquired:
    """What the rounds gave.

    train: all labels, in order. chosen: reason and round of each pool index asked for. uncertainty: (pool,)
    by the last teacher. judged: each batch as its teacher saw it before training. held_out: the test set as
    the last teacher saw it. rounds: one entry per round, for JSON.
    """

    train: Dataset
    chosen: Mapping[int, tuple[str, int]]
    uncertainty: FloatArray
    judged: tuple[Judged, ...]
    held_out: Judged
    rounds: tuple[dict[str, Any], ...]


@dataclass
class Acquisition:
    """One acquisition under way.

    pool: the candidates; features: (pool, d). anchors, test: indices into it. labelled_test: the test set
    with its labels. reference: reads what the foundation model knows, which is held while the pool is
    rated. atoms: isolated-atom energies by DFT, eV.
    """

    context: StepContext
    pool: Dataset
    features: FloatArray
    anchors: IntArray
    test: IntArray
    labelled_test: Dataset
    reference: Callable[[], Dataset]
    atoms: Mapping[str, float]
    foundation: MacePotential
    label: Label
    _train: Dataset = field(default_factory=Dataset)
    _chosen: dict[int, tuple[str, int]] = field(default_factory=dict)
    _judged: list[Judged] = field(default_factory=list)
    _scores: list[RoundScore] = field(default_factory=list)
    _facts: list[dict[str, Any]] = field(default_factory=list)
    _aligned: tuple[int, ReferenceAlignment] | None = None

    def run(self) -> Acquired:
        """All rounds, until the labels are spent or a reason to stop is found.

        A killed run starts anew here and comes to the same choices: labels come from the store, the
        fine-tuned teachers from their files.
        """
        sizes = self.context.config.label.batch_sizes()
        teacher = self.foundation
        for number, size in enumerate(sizes, start=1):
            self.context.progress("labelling rounds", number - 1, len(sizes))
            rated = self._rate(teacher)
            release_memory()
            active = self._pick(rated.structures, number, size)
            batch = self.label(self.pool[active.indices], number)
            self._train = self._train + batch
            shift = self._shift(teacher)
            self._score(number, active, batch, teacher, shift, rated)
            if self._ends(number, len(sizes)):
                break
            teacher = self._tuned(number)
        held_out = self._judge(self.labelled_test, teacher, shift, rated)
        return Acquired(
            self._train, self._chosen, rated.structures, tuple(self._judged), held_out, tuple(self._facts)
        )

    def alignment(self) -> ReferenceAlignment:
        """The foundation's energy references brought to those of all labels so far.

        Raises `LevelOfTheoryError` where too much remains. Computed once for as many labels as there are.
        """
        if self._aligned is not None and self._aligned[0] == len(self._train):
            return self._aligned[1]
        predicted = _predicted(self.foundation, self._train)
        aligned = align_reference_energies(
            self._train, predicted, self.foundation.reference_energies, self.atoms
        )
        limit = self.context.config.label.max_reference_residual_mev_per_atom
        check_alignment(aligned, self._train, predicted, limit)
        self._aligned = len(self._train), aligned
        return aligned

    def _rate(self, teacher: MacePotential) -> Uncertainties:
        """The pool's uncertainties; the reference is what the teacher knows, labels of earlier rounds too."""
        known = self.reference() + self._train
        covered = known.filter(lambda structure: set(structure.symbols) <= set(teacher.elements))
        return self.context.config.label.uncertainty.rate(teacher, covered, self.pool)

    def _pick(self, uncertainty: FloatArray, number: int, size: int) -> ActiveSet:
        rng = self.context.rng if number == 1 else np.random.default_rng([self.context.seed, 2, number])
        active = self.context.config.label.active_set.select(
            self.pool,
            self.features,
            uncertainty,
            anchors=self.anchors if number == 1 else (),
            n=size,
            rng=rng,
            exclude=[*self.test, *self._spare_dimers()],
            labelled=list(self._chosen),
        )
        for index, reason in zip(active.indices, active.reasons, strict=True):
            self._chosen[int(index)] = reason, number
        return active

    def _spare_dimers(self) -> list[int]:
        """Pool indices of the dimers that no label is spent on: all but a few, evenly along the curves."""
        dimers = np.flatnonzero([structure.tag == DIMER for structure in self.pool])
        wanted = min(len(dimers), self.context.config.label.max_dimers())
        kept = np.unique(np.linspace(0, max(len(dimers) - 1, 0), wanted).round().astype(np.int64))
        return [int(index) for index in np.delete(dimers, kept)]

    def _shift(self, teacher: MacePotential) -> dict[str, float]:
        """eV by element that bring the teacher's energies to the level of the labels."""
        if teacher is not self.foundation:
            return dict.fromkeys(teacher.elements, 0.0)
        own = self.foundation.reference_energies
        return {symbol: energy - own[symbol] for symbol, energy in self.alignment().energies.items()}

    def _judge(
        self, labelled: Dataset, teacher: MacePotential, shift: Mapping[str, float], rated: Uncertainties
    ) -> Judged:
        """`labelled` structures of the pool, dimers apart, as `teacher` sees them."""
        place = {structure_id: index for index, structure_id in enumerate(self.pool.ids)}
        kept = labelled.filter(lambda structure: structure.tag != DIMER)
        indices = [place[structure_id] for structure_id in kept.ids]
        sigma = None if rated.forces is None else [rated.forces[index] for index in indices]
        return Judged.of(kept, _predicted(teacher, kept), shift, rated.structures[indices], sigma)

    def _score(
        self,
        number: int,
        active: ActiveSet,
        batch: Dataset,
        teacher: MacePotential,
        shift: Mapping[str, float],
        rated: Uncertainties,
    ) -> None:
        judged = self._judge(batch, teacher, shift, rated)
        self._judged.append(judged)
        taken = {*self._chosen, *(int(index) for index in self.test)}
        left = [i for i, s in enumerate(self.pool) if i not in taken and s.tag != DIMER]
        bounded = bounded_share(
            calibration_set(self._judged),
            rated.structures[left],
            [self.pool[index].tag for index in left],
            self.context.config.label.stop,
        )
        rmse = judged.rmse() if len(judged) else {}
        self._scores.append(RoundScore(number, rmse, bounded))
        log.info("round %d, %d labels, before training: %s", number, len(batch), _figures(rmse))
        self._facts.append(
            {
                "round": number,
                "teacher": "foundation" if teacher is self.foundation else f"round {number - 1}",
                "asked": len(active),
                "labelled": len(batch),
                "labels_so_far": len(self._train),
                "rmse_before_training": rmse,
                "share_of_the_pool_within_the_targets": bounded,
                "stopped_because": None,
            }
        )

    def _ends(self, number: int, rounds: int) -> bool:
        settings = self.context.config.label
        reason = reason_to_stop(self._scores, settings.stop)
        if reason is not None and len(self._train) < settings.min_train:
            reason = None
        if reason is None and number == rounds:
            reason = "the labels are spent"
        if reason is None:
            return False
        self._facts[-1]["stopped_because"] = reason
        if rounds > 1:
            log.info("no further round after %d of %d: %s", number, rounds, reason)
        return True

    def _tuned(self, number: int) -> MacePotential:
        """The foundation fine-tuned on all labels so far; the foundation itself where that cannot be."""
        missing = set(self.pool.elements) - set(self._train.elements)
        if missing or len(self._train) < MIN_STRUCTURES:
            lacking = (
                f"no label holds {', '.join(sorted(missing))}" if missing else "too few labels succeeded"
            )
            log.warning("the next round asks the untuned foundation model: %s", lacking)
            return self.foundation
        try:
            path = self._teacher_file(number, self.alignment().energies)
        except TrainingError as error:
            log.warning("the next round asks the untuned foundation model: %s", error)
            return self.foundation
        return self.context.config.foundation.tuned(path)

    def _teacher_file(self, number: int, energies: Mapping[str, float]) -> Path:
        """The model file of a round, trained unless it is there, from the same labels and settings."""
        config = self.context.config
        epochs = min(config.label.round_epochs, config.finetune.epochs)
        trainer = config.finetune.model_copy(update={"epochs": epochs})
        folder = self.context.directory / "rounds" / f"{number:02d}"
        model, facts = folder / "teacher.model", folder / "teacher.json"
        key = fingerprint(
            [
                trainer.fingerprint(),
                self.foundation.sha256,
                self.foundation.head,
                dict(energies),
                [[s.id, s.labels.energy, s.labels.forces.tolist()] for s in self._train if s.labels],
            ]
        )
        if _is_made(model, facts, key):
            return model
        trained = trainer.train(
            self._train,
            foundation=config.foundation.resolve(),
            head=config.foundation.head,
            reference_energies=energies,
            out=model,
            seed=self.context.seed % 2**31,
            workdir=folder,
            known=self.reference() if trainer.needs_known else (),
            progress=lambda done, total, _: self.context.progress(
                f"fine-tuning after round {number}, epochs", done, total
            ),
        )
        write_json(facts, {"key": key, "sha256": sha256_file(model), **trained.report()})
        return model


def _predicted(teacher: MacePotential, structures: Dataset) -> list[Labels]:
    """The teacher's labels; what its batches took is given back."""
    labels = teacher.evaluate(structures)
    release_memory()
    return labels


def _is_made(model: Path, facts: Path, key: str) -> bool:
    try:
        found = json.loads(facts.read_text(encoding="utf-8"))
        return bool(found["key"] == key and found["sha256"] == sha256_file(model))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _figures(rmse: Mapping[str, float]) -> str:
    if not rmse:
        return "no label to score"
    energy, forces = rmse.values()
    return f"{energy:.1f} meV/atom, {forces:.0f} meV/Å"
