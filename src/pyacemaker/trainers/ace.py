"""Fitting ACE potentials with the project's own engine: regularised linear least squares, then refinement."""

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field

from pyacemaker.base import InputFile
from pyacemaker.errors import InsufficientDataError, TrainingDivergenceError
from pyacemaker.files import replacing
from pyacemaker.structures import Dataset, FloatArray
from pyacemaker.structures.accuracy import LabelCounts
from pyacemaker.trainers.ace_basis import Positive, check_carried
from pyacemaker.trainers.ace_labels import (
    NamedReference,
    ReferenceEnergies,
    accuracy,
    baseline_facts,
    check_accuracy,
    choose_reference,
    softened,
    usable,
    without_baseline,
)
from pyacemaker.trainers.ace_linear import LinearFit
from pyacemaker.trainers.ace_short_range import ShortRange
from pyacemaker.trainers.base import Progress, TrainedPotential, Trainer, TrainingMetrics, mean_loss
from pyacemaker.trainers.refinement import Refinement, automatic

if TYPE_CHECKING:
    from pyacemaker.ace.basis import Basis
    from pyacemaker.ace.gram import NormalEquations
    from pyacemaker.ace.model import ACEModel
    from pyacemaker.ace.pairs import PairStatistics
    from pyacemaker.ace.posterior import Posterior
    from pyacemaker.ace.restraints import RestraintRows
    from pyacemaker.ace.ridge import RidgeSolution
    from pyacemaker.ace.shards import LinearProblem
    from pyacemaker.potentials.ace import ACEPotential

logger = logging.getLogger(__name__)

MAX_CV_STRUCTURES = 4000
"""Above this many structures `ridge: auto` maximises the evidence instead of cross-validating."""

WALL_SHARE = 0.05
"""Weight of the wall in a refinement, which is held to the linear fit's wall, as a share of the bounds' own:
the wall is a guess, and twice or half of it is as good."""

NEAR_CAUTION = 0.02
"""`caution` of a fit that stays near its prior: few labels choose too weak a ridge more often than too
strong a one."""

E0_PRIOR = 1e-4
"""p of a fitted reference energy: next to no ridge."""


@dataclass(frozen=True)
class FitResult:
    """A fitted potential, its errors on the training (and test) data, and facts (JSON values).

    posterior: the distribution of the linear fit's coefficients of `basis`;
    `posterior.variance(Design(basis).rows(s).matrix)` is the variance of the predicted energy (eV²), forces
    and stress of structures s.
    """

    potential: "ACEPotential"
    metrics: TrainingMetrics
    facts: Mapping[str, Any] = field(default_factory=dict)
    posterior: "Posterior | None" = None
    basis: "Basis | None" = None


class AceTrainer(ShortRange, Trainer):
    """An ACE potential, fitted to energies, forces and stresses by ridge regression and then refined."""

    kind: Literal["ace"] = "ace"
    prior: InputFile | None = None
    """A linear `.yace` to start from: its basis and core are taken over, and its coefficients are the prior's
    mean. With `functions` or `nradmax` the basis also gets those terms that its radial functions allow."""
    reference_energies: dict[str, float] | NamedReference = "auto"
    """eV, energies of the isolated atoms, like `{Si: -0.8}`. `auto`: those in the data, else of the prior
    potential, else least squares on the compositions plus the elements' cohesive energies; `composition`: the
    same without these; `fitted`: unknowns of the fit, but for elements whose isolated atoms are in the data.
    """
    energy_weight: Positive = 25.0
    """w_E: a structure of n atoms adds (w_E √N ΔE/n)² to the loss, N the mean number of atoms. Unless
    it is set, a refinement judged by folds takes the ratio of the linear fit's errors in forces and energies
    per atom, 1 to 25."""
    forces_weight: Positive = 1.0
    """w_F: each force component adds (w_F ΔF)² to the loss."""
    stress_weight: Annotated[float, Field(ge=0)] = 1.0
    """w_S: each stress component adds (w_S V Δσ/√n)² to the loss."""
    soft_force: Positive | None = 10.0
    """eV/Å: a structure with a largest force F counts 1/(1 + (F/soft_force)²); None: all count alike."""
    ridge: Positive | Literal["auto", "cross-validation", "evidence"] = "auto"
    """Strength of the regularisation, or how it is chosen from the data."""
    smoothness: Annotated[float, Field(ge=0, le=4)] = 1.0
    """Power of (1 + degree) in the prior: rough functions cost more."""
    folds: Annotated[int, Field(ge=2, le=20)] = 5
    """Parts of the data in cross-validation."""
    caution: Annotated[float, Field(ge=0)] = 0.002
    """Cross-validation takes the strongest regularisation whose squared held-out residual is within this
    share of the best one's."""
    refinement: Refinement | Literal["auto", "none"] = "auto"
    """Non-linear refinement of the linear fit: two Finnis–Sinclair densities and the radial functions.
    `auto`: where it takes no more than minutes; in the steps of a run, and with a prior, only if it is set.
    """
    underdetermined: bool = False
    """Whether `functions` may exceed the number of labels; the ridge alone decides then."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the partition into folds."""

    @classmethod
    def small_correction(cls) -> "AceTrainer":
        """Settings for a small δ on residual labels of few structures: smooth, cautious, without a core.

        Where cross-validation gains no more than 10% by it, δ stays close to zero.
        """
        return cls(
            functions=60,
            max_rank=2,
            nradbase=8,
            baseline="none",
            restraints=False,
            underdetermined=True,
            ridge="cross-validation",
            caution=0.1,
            refinement="none",
        )

    def in_a_run(self) -> Self:
        """These settings with `refinement: auto` read as `none`: the steps of a run build on linear fits."""
        return self if self.refinement != "auto" else self.model_copy(update={"refinement": "none"})

    def again(self, facts: Mapping[str, Any]) -> Self:
        """These settings with the ridge strength and the cutoff that a fit chose: few heavy labels among many
        cannot choose them well."""
        return self.model_copy(update={"ridge": facts["ridge"], "cutoff": facts["cutoff"]})

    def near(self) -> Self:
        """These weights for a linear fit with a prior: its basis as it is, its ridge cross-validated."""
        free = ("functions", "functions_of", "nradmax", "lmax", "blocks", "prior")
        kept = {name: type(self).model_fields[name].get_default(call_default_factory=True) for name in free}
        chosen = {"ridge": "cross-validation", "caution": NEAR_CAUTION, "refinement": "none"}
        return self.model_copy(update={**kept, **chosen})

    def train(
        self,
        dataset: Dataset,
        initial_potential: "ACEPotential | Path | None" = None,
        *,
        out: Path,
        reference_energies: ReferenceEnergies | None = None,
        test: Dataset | None = None,
        progress: Progress | None = None,
        processes: int = 1,
        workdir: Path | None = None,
    ) -> TrainedPotential:
        """Fit to the labels of `dataset` and write the `.yace` file `out`.

        reference_energies, initial_potential: instead of the settings `reference_energies` and `prior`, where
        they are given. test: labelled structures for `metrics.validation`. progress: called with structures
        done and in all. processes: worker processes; the result does not depend on it. workdir: a directory
        where finished parts of the normal equations are kept, so that a fit that was killed goes on; it may
        be deleted afterwards. All errors are measured by evaluating the written file, plus the additive
        baseline where there is one. Same input, same bytes (one thread).

        Raises `InsufficientDataError` for too few structures or more functions than labels, `DataError` for
        labels that are all NaN, `UnsupportedElementError` for an element without reference energy or outside
        the prior, `ConfigError` for a basis above the cap, `TrainingDivergenceError` when the solution is not
        finite or worse than the mean; then nothing is written.
        """
        from pyacemaker.potentials.ace import ACEPotential

        started = time.monotonic()
        start = initial_potential
        fitted = self.solve(
            dataset,
            reference_energies,
            progress=progress,
            processes=processes,
            shards=workdir,
            prior=ACEPotential.from_yace(start) if isinstance(start, Path) else start,
        )
        fitted = self.refine(fitted, progress=progress, processes=processes)
        return self._finish(fitted, out, test, started)

    def refine(self, fitted: LinearFit, *, progress: Progress | None = None, processes: int = 1) -> LinearFit:
        """The fit with its refined potential, if refinement is asked for.

        Kept only where the loss on structures held out is lower than the linear fit's.
        """
        settings = self._refinement(fitted)
        if settings is None:
            return fitted
        from pyacemaker.ace.restraints import STRENGTH
        from pyacemaker.ace.stages import LinearStart

        functions, solution = len(fitted.problem.basis), fitted.solution
        start = LinearStart(
            fitted.problem.basis,
            fitted.coefficients,
            fitted.e0,
            solution.strength,
            fitted.prior[:functions],
            None if fitted.mean is None else fitted.mean[:functions],
        )
        invented = () if fitted.restraints is None else self.invented(fitted.problem.basis, fitted.statistics)

        weights = fitted.problem.weights
        noise = 0.0 if solution.posterior is None else solution.posterior.noise
        if settings.judge == "folds" and "energy_weight" not in self.model_fields_set:
            weights, noise = fitted.balanced()
        wall_strength = WALL_SHARE * STRENGTH * float(np.sqrt(noise))

        def tell(_stage: str, done: int, limit: int) -> None:
            if progress is not None:
                progress(done, limit)

        found = settings.refine(
            start,
            fitted.training,
            weights,
            fitted.importance,
            restraints=invented,
            wall_strength=wall_strength,
            progress=tell,
            processes=processes,
        )
        return replace(fitted, refined=found)

    def _refinement(self, fitted: LinearFit) -> Refinement | None:
        if self.refinement == "auto":
            if fitted.mean is not None:
                return None
            atoms = sum(len(structure) for structure in fitted.training)
            return automatic(len(fitted.problem.basis), len(fitted.training), atoms)
        return None if self.refinement == "none" else self.refinement

    def solve(
        self,
        dataset: Dataset,
        reference_energies: ReferenceEnergies | None = None,
        *,
        progress: Progress | None = None,
        processes: int = 1,
        shards: Path | None = None,
        prior: "ACEPotential | None" = None,
    ) -> LinearFit:
        """The solution of the linear problem, nothing written; arguments and errors as in `train`."""
        from pyacemaker.ace import ridge

        start = self._prior_model(prior)
        labelled = usable(dataset)
        training = without_baseline(labelled, self.additive_baseline)
        basis, coefficients, statistics = self._basis(training, start)
        wanted = self.reference_energies if reference_energies is None else reference_energies
        e0, shifts = choose_reference(training, basis.elements, wanted, start)
        mean = None if coefficients is None else np.append(coefficients, np.zeros(shifts.shape[1]))
        strengths = np.append(
            ridge.smoothness(basis.degrees, self.smoothness), np.full(shifts.shape[1], E0_PRIOR)
        )
        problem = self._problem(basis, e0, shifts, float(np.mean([len(s) for s in training])))
        importance = softened(training, self.soft_force)
        states = self._states(problem, training, importance, progress, processes, shards)
        walls = self.walls(basis, statistics) if self.restraints and start is None else None
        solution = self._chosen(states, strengths, mean, len(training), walls)
        if not np.isfinite(solution.coefficients).all():
            raise TrainingDivergenceError(
                f"the fit of {len(basis)} functions to {len(training)} structures has no finite solution; "
                "use fewer functions or set a larger ridge"
            )
        e0 = e0 + shifts @ solution.coefficients[len(basis) :]
        return LinearFit(
            problem, solution, e0, strengths, mean, labelled, training, importance, statistics, walls
        )

    def _finish(self, fitted: LinearFit, out: Path, test: Dataset | None, started: float) -> TrainedPotential:
        """Write the potential, and measure its errors."""
        from pyacemaker.ace.yace import write_yace
        from pyacemaker.potentials.ace import ACEPotential

        training, baseline = fitted.labelled, self.additive_baseline
        with replacing(out) as aside:
            write_yace(fitted.model(), aside, None if baseline is None else baseline.model_dump(mode="json"))
            potential = ACEPotential.from_yace(aside)
            train = accuracy(potential, training)
            check_accuracy(train, training)
        held_out = test.labelled() if test is not None else Dataset()
        validation = accuracy(potential, held_out) if len(held_out) else None
        loss = None if validation is None else mean_loss(validation, self.energy_weight, self.forces_weight)
        metrics = TrainingMetrics(train, validation, time.monotonic() - started, loss)
        facts = fitted.facts() | baseline_facts(baseline)
        if test is not None:
            facts["counts"]["test"] = asdict(LabelCounts.of(held_out))
        logger.info("ACE fit: %s functions, ridge %.1e, %s", facts["functions"], facts["ridge"], train)
        if baseline is not None:
            logger.info("%s: %s", out, facts["use"])
        return TrainedPotential(out, metrics, facts)

    def tested(self, path: Path, test: Dataset, report: Mapping[str, Any]) -> dict[str, Any]:
        """`test` and `counts` of a report: the errors of the potential in `path`, with the additive baseline.

        test: labelled structures. report: what `TrainedPotential.report` gave.
        """
        from pyacemaker.potentials.ace import ACEPotential

        potential = ACEPotential.from_yace(path).with_baseline(self.additive_baseline)
        found = accuracy(potential, test)
        counts = {**report["counts"], "test": asdict(LabelCounts.of(test))}
        return {"test": found.as_dict(), "counts": counts}

    def _prior_model(self, given: "ACEPotential | None") -> "ACEModel | None":
        from pyacemaker.potentials.ace import ACEPotential

        if given is None and self.prior is not None:
            given = ACEPotential.from_yace(self.prior)
        return None if given is None else given.model

    def _basis(
        self, training: Dataset, prior: "ACEModel | None"
    ) -> "tuple[Basis, FloatArray | None, PairStatistics]":
        """The basis, the prior's coefficients, and the statistics of the data."""
        from pyacemaker.ace.pairs import pair_statistics
        from pyacemaker.ace.transfer import transfer

        if prior is None:
            statistics = pair_statistics(training, training.elements, self.cutoff_for(training))
            basis = self.choose(training.elements, statistics, training)
            if not len(basis):
                raise InsufficientDataError(
                    f"no two atoms of the data are within the cutoff of {statistics.cutoff:g} Å; choose a "
                    "larger cutoff, or add structures in which atoms meet"
                )
            if self.is_explicit and not self.underdetermined:
                check_carried(len(basis), training)
            return self.with_cores(basis, statistics), None, statistics
        transfer(prior, training.elements)  # what cannot be transferred is said first
        statistics = pair_statistics(training, prior.elements, prior.cutoff)
        more = self.product_blocks(prior.elements, statistics, training) if self.is_explicit else ()
        return *transfer(prior, training.elements, more), statistics

    def _problem(self, basis: "Basis", e0: FloatArray, shifts: FloatArray, size: float) -> "LinearProblem":
        from pyacemaker.ace.fit import RowWeights
        from pyacemaker.ace.shards import LinearProblem

        weights = RowWeights(self.energy_weight, self.forces_weight, self.stress_weight, size)
        return LinearProblem(basis, e0, weights, shifts)

    def _states(
        self,
        problem: "LinearProblem",
        training: Dataset,
        importance: FloatArray,
        progress: Progress | None,
        processes: int,
        shards: Path | None,
    ) -> "list[NormalEquations]":
        """The normal equations of every fold."""
        from pyacemaker.ace.fit import folds
        from pyacemaker.ace.shards import WeightedStructures, accumulate

        method = self._method(len(training))
        count = min(self.folds, len(training)) if method == "cross-validation" else 1
        groups = [
            WeightedStructures(training[part], importance[part])
            for part in folds(len(training), count, self.seed)
        ]
        done = 0

        def tell(more: int) -> None:
            nonlocal done
            done += more
            if progress is not None:
                progress(done, len(training))

        return accumulate(problem, groups, processes, shards, tell)

    def _chosen(
        self,
        states: "list[NormalEquations]",
        prior: FloatArray,
        mean: FloatArray | None,
        structures: int,
        walls: "RestraintRows | None",
    ) -> "RidgeSolution":
        from pyacemaker.ace import ridge
        from pyacemaker.ace.restraints import restrain

        adjust = None if walls is None else partial(restrain, restraints=walls)
        method = self._method(structures)
        if method == "cross-validation":
            return ridge.cross_validate(states, prior, mean, slack=self.caution, adjust=adjust)
        if method == "evidence":
            return ridge.maximise_evidence(states[0], prior, mean, adjust=adjust)
        return ridge.solve(states[0], float(method), prior, mean, adjust)

    def _method(self, structures: int) -> str | float:
        if self.ridge != "auto":
            return self.ridge
        return "cross-validation" if 2 <= structures <= MAX_CV_STRUCTURES else "evidence"


def fit_ace(
    dataset: Dataset,
    settings: AceTrainer | None = None,
    *,
    reference_energies: ReferenceEnergies | None = None,
    test: Dataset | None = None,
    processes: int = 1,
    shards: Path | None = None,
    prior: "ACEPotential | None" = None,
) -> FitResult:
    """Fit an ACE potential to the labels of `dataset` in memory.

    Errors and arguments as in `AceTrainer.train`; `FitResult.potential.to_yace(path)` writes the file.
    """
    from tempfile import TemporaryDirectory

    from pyacemaker.potentials.ace import ACEPotential

    started, trainer = time.monotonic(), settings or AceTrainer()
    fitted = trainer.solve(dataset, reference_energies, processes=processes, shards=shards, prior=prior)
    fitted = trainer.refine(fitted, processes=processes)
    with TemporaryDirectory() as directory:
        path = Path(directory) / "potential.yace"
        trained = trainer._finish(fitted, path, test, started)
        potential = ACEPotential.from_yace(path)
    return FitResult(
        potential, trained.metrics, trained.facts, fitted.solution.posterior, fitted.problem.basis
    )
