"""Delta learning: how a few DFT labels improve a potential that was distilled from a teacher.

`relabel`   δ = a small ACE fitted to DFT − teacher; the pool is relabelled with teacher + δ and fitted again,
            with the DFT labels themselves (Δ-learning: Ramakrishnan et al., J. Chem. Theory Comput. 11, 2087
            (2015); here the corrected teacher teaches again, so that one potential results)
`residual`  δ = a small ACE fitted to DFT − base; the pool is relabelled with base + δ, and fitted likewise
`ridge`     the base continues to the DFT labels alone and is held where it was: coefficients cost by their
            distance from the base's
`joint`     the pool keeps the teacher's labels and is fitted again with the DFT labels
`auto`      what does best in cross-validation on the DFT training set
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal, get_args

import numpy as np
from pydantic import Field

from pyacemaker.base import Spec
from pyacemaker.potentials.ace import ACEPotential, add_baseline
from pyacemaker.structures import Accuracy, Dataset, IntArray, Labels
from pyacemaker.trainers.ace import AceTrainer
from pyacemaker.trainers.base import TrainedPotential, Trainer

log = logging.getLogger(__name__)

Strategy = Literal["relabel", "residual", "ridge", "joint"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

EXTRAPOLATION = 2.0
"""A correction may be so many times as large as the largest one that it was fitted to."""
_NOTHING = 1e-12
"""eV or eV/Å, below every residual."""


class DeltaSettings(Spec):
    """Step 7: what the DFT labels add to the base potential."""

    strategy: Literal[Strategy, "auto"] = "relabel"
    """`relabel`: a small correction to the teacher, and the pool relabelled with it; `residual`: the same
    from the base; `ridge`: DFT labels alone, held near the base; `joint`: pool and DFT labels together;
    `auto`: the best of them in cross-validation."""
    correction: AceTrainer = AceTrainer.small_correction()
    """The small ACE that is fitted to DFT minus teacher (or base)."""
    dft_emphasis: Annotated[float, Field(gt=0)] = 2.0
    """Total weight of the DFT-labelled structures in the final fit, over that of the pseudo-labelled ones.

    A larger value gains more where pool and labels agree, and overfits the labels where they do not: on Al-Cu
    2 gained more than 0.3, on S_N2 the errors of forces on other structures grew with it."""
    folds: Annotated[int, Field(ge=2, le=10)] = 3
    """Parts of the DFT training set in the cross-validation of `auto`."""
    trial_pool: Annotated[int, Field(ge=50)] = 400
    """Structures of the pool, at most, in the fits of the cross-validation."""


@dataclass(frozen=True, eq=False)
class DeltaProblem:
    """What there is to learn from.

    train: DFT labels. teacher: its labels of the same structures. pool: structures labelled by the teacher,
    without those of `train` and without the test set. base: the base potential's `.yace`. trainer: the
    settings that it was fitted with, as they are for a second fit. reference_energies: eV by element.
    processes: cores.
    """

    train: Dataset
    teacher: Sequence[Labels]
    pool: Dataset
    base: Path
    trainer: Trainer
    reference_energies: Mapping[str, float]
    settings: DeltaSettings
    processes: int = 1

    def solve(self, directory: Path, progress: Callable[[int, int], None] | None = None) -> "DeltaResult":
        """Write `final.yace` by the chosen strategy, and `delta.yace` where there is a δ."""
        scores: dict[Strategy, dict[str, float]] = {}
        if self.settings.strategy == "auto":
            tell = progress or (lambda done, total: None)
            with TemporaryDirectory() as name:
                scores = self.cross_validate(Path(name), tell)
            chosen: Strategy = min(scores, key=lambda strategy: scores[strategy]["score"])
            log.info("delta: %s has the smallest cross-validated error", chosen)
        else:
            chosen = self.settings.strategy
        trained, data = self.fit(chosen, directory)
        return DeltaResult(chosen, trained, data, scores)

    def fit(self, strategy: Strategy, directory: Path) -> tuple[TrainedPotential, Dataset]:
        """Write `final.yace` by one strategy; it and the structures that it was fitted to."""
        out, work = directory / "final.yace", directory / "training"
        if strategy == "ridge":
            near = self.trainer.near()
            return self._train(near, self.train, self.base, out, work), self.train
        data = self._pool(strategy, directory) + self._weighted()
        start = self.base if self.trainer.continues() else None
        return self._train(self.trainer, data, start, out, work), data

    def cross_validate(
        self, directory: Path, progress: Callable[[int, int], None]
    ) -> dict[Strategy, dict[str, float]]:
        """Errors of every strategy on DFT labels that it did not see, over those of the base on the same.

        `score` is the geometric mean of the ratios in energy and in forces. The teacher has seen all of them:
        the ratios rank the strategies and are no estimate of the error.
        """
        rng = np.random.default_rng(0)
        parts = np.array_split(rng.permutation(len(self.train)), min(self.settings.folds, len(self.train)))
        few = rng.permutation(len(self.pool))[: self.settings.trial_pool]
        small = replace(self, pool=self.pool[np.sort(few)])
        steps, done = len(parts) * len(STRATEGIES), 0
        found: dict[Strategy, list[tuple[Sequence[Labels], Dataset]]] = {name: [] for name in STRATEGIES}
        for number, part in enumerate(parts):
            trial, held_out = small._without(part), self.train[np.sort(part)]
            for name in STRATEGIES:
                progress(done, steps)
                done += 1
                folder = directory / f"{name}-{number}"
                trained, _ = trial.fit(name, folder)
                found[name].append((ACEPotential.from_yace(trained.path).evaluate(held_out), held_out))
        base = ACEPotential.from_yace(self.base)
        before = _errors([(base.evaluate(held), held) for _, held in found[STRATEGIES[0]]])
        return {name: _ratios(_errors(pairs), before) for name, pairs in found.items()}

    def _without(self, part: IntArray) -> "DeltaProblem":
        kept = np.setdiff1d(np.arange(len(self.train)), part)
        return replace(self, train=self.train[kept], teacher=[self.teacher[k] for k in kept])

    def _pool(self, strategy: Strategy, directory: Path) -> Dataset:
        """The pool with the labels that the final fit learns."""
        if strategy == "joint":
            return self.pool
        base = ACEPotential.from_yace(self.base)
        known = self.teacher if strategy == "relabel" else base.evaluate(self.train)
        pairs = zip(self.train.labels, known, strict=True)
        residual = self.train.with_labels([dft - label for dft, label in pairs], "residual")
        correction = self._correction(residual, directory)
        before = self.pool.labels if strategy == "relabel" else base.evaluate(self.pool)
        corrections = bounded(correction.evaluate(self.pool), residual.labels)
        source = "teacher+delta" if strategy == "relabel" else "ace+delta"
        return self.pool.with_labels(
            [label + delta for label, delta in zip(before, corrections, strict=True)], source
        )

    def _correction(self, residual: Dataset, directory: Path) -> ACEPotential:
        """δ: a small ACE fitted to DFT − what is known already."""
        out = directory / "delta.yace"
        none = dict.fromkeys(self.train.elements, 0.0)
        self.settings.correction.train(residual, out=out, reference_energies=none)
        return ACEPotential.from_yace(out)

    def _weighted(self) -> Dataset:
        weight = self.settings.dft_emphasis * len(self.pool) / len(self.train)
        return Dataset(structure.replace(weight=weight * structure.weight) for structure in self.train)

    def _train(
        self, trainer: Trainer, data: Dataset, start: Path | None, out: Path, work: Path
    ) -> TrainedPotential:
        trained = trainer.train(
            data,
            start,
            out=out,
            reference_energies=self.reference_energies,
            processes=self.processes,
            workdir=work if trainer.resumes() else None,
        )
        add_baseline(trained.path, getattr(trainer, "additive_baseline", None))
        return trained


@dataclass(frozen=True, eq=False)
class DeltaResult:
    """The final potential, the strategy that made it, what it was fitted to, and the scores of `auto`."""

    strategy: Strategy
    trained: TrainedPotential
    data: Dataset
    scores: Mapping[Strategy, Mapping[str, float]]

    def report(self) -> dict[str, Any]:
        """What a run keeps of it, as JSON values."""
        return {
            **self.trained.report(),
            "strategy": self.strategy,
            "cross_validation": {name: dict(score) for name, score in self.scores.items()},
        }


def bounded(corrections: Sequence[Labels], residuals: Sequence[Labels]) -> list[Labels]:
    """Corrections, scaled down where they exceed by far all that they were fitted to.

    A δ of few structures extrapolates: on fragments farther apart than any labelled one it was off by 250
    meV/atom where no label differed from the teacher by more than 40. What is larger than `EXTRAPOLATION`
    times the largest residual is no knowledge and is scaled down to that size, force and energy alike: in the
    force on an atom, and in the energy per atom from the residuals' mean, which stays.
    """
    mean = float(np.mean([_per_atom(label) for label in residuals]))
    energy = EXTRAPOLATION * max(_NOTHING, *(abs(_per_atom(label) - mean) for label in residuals))
    force = EXTRAPOLATION * max(_NOTHING, *map(_largest_force, residuals))
    return [_scaled(label, mean, energy, force) for label in corrections]


def _scaled(label: Labels, mean: float, energy: float, force: float) -> Labels:
    apart = _per_atom(label) - mean
    excess = max(abs(apart) / energy, _largest_force(label) / force, 1.0)
    stress = None if label.stress is None else label.stress / excess
    return Labels(len(label.forces) * (mean + apart / excess), label.forces / excess, stress)


def _per_atom(label: Labels) -> float:
    return label.energy / len(label.forces)


def _largest_force(label: Labels) -> float:
    return float(np.linalg.norm(label.forces, axis=1).max())


def _errors(pairs: Sequence[tuple[Sequence[Labels], Dataset]]) -> Accuracy:
    predicted = [labels for found, _ in pairs for labels in found]
    return Accuracy.on(Dataset(s for _, held_out in pairs for s in held_out), predicted)


def _ratios(after: Accuracy, before: Accuracy) -> dict[str, float]:
    energy = after.energy_rmse_mev_per_atom / before.energy_rmse_mev_per_atom
    forces = after.forces_rmse_mev_per_angstrom / before.forces_rmse_mev_per_angstrom
    return {"energy": energy, "forces": forces, "score": float(np.sqrt(energy * forces))}
