"""Non-linear refinement of a linear fit: Finnis–Sinclair densities, then radial coefficients.

The linear potential is the start and the yardstick: the refined one is kept only where its loss on
validation data, which no step sees, is lower. The parameters of a stage (two densities' coefficients; then
the radial coefficients as well) descend together by `pyacemaker.ace.levenberg`, with the linear fit's ridge
as the prior.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from pyacemaker.ace.basis import Basis
from pyacemaker.ace.densities import embeddings, normalised, pair_density
from pyacemaker.ace.levenberg import Descent, Limits, Normal, Prior, minimise
from pyacemaker.ace.nonlinear import DensityModel
from pyacemaker.ace.pairs import pair_statistics
from pyacemaker.ace.residuals import Huber, LabelledRows, RowLoss
from pyacemaker.processes import OrderedMap, worker_map
from pyacemaker.structures import FloatArray, IntArray

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called with the stage, its iterations done and their limit."""

LEAST_STRUCTURES = 30
"""Fewer than this are not split into training and validation: nothing is refined."""
LEAST_HELD_OUT = 5
"""Structures that are held out at least."""
LARGEST_SHARE = 0.05
"""Of all rows: a structure with more of them is held out last, since the rest cannot speak for it."""
DECAY = 6.0
"""β of the first ρ₂."""
SAMPLE = 100
"""Structures from which ρ₂ is scaled."""
WORTH_PROCESSES = 2e6
"""Entries of all Jacobians below which starting processes costs more than they save."""
NO_ROWS = LabelledRows((), (), ())


@dataclass(frozen=True, eq=False)
class LinearStart:
    """A ridge fit: coefficients (K,) on a basis, e0 (N,) eV, the ridge's strength λ, its prior p (K,) and
    mean (K,) (zero where None); see `pyacemaker.ace.ridge`.
    """

    basis: Basis
    coefficients: FloatArray
    e0: FloatArray
    strength: float
    prior: FloatArray
    mean: FloatArray | None = None

    def model(self) -> DensityModel:
        """The same potential as a model of one density."""
        count = len(self.basis.elements)
        return DensityModel(self.basis, self.coefficients[None, :], embeddings(count, 1), self.e0)


@dataclass(frozen=True)
class Plan:
    """What is refined and for how long.

    densities: of each element. radial: whether the radial coefficients move, too. limits: of each stage.
    huber: threshold of the robust loss in standard deviations of the linear fit's residuals; None: squares.
    relaxation: factor on the linear fit's ridge strength where the model is not linear.
    validation_fraction, seed: of the structures held out where no validation data is given.
    """

    densities: Literal[1, 2] = 2
    radial: bool = True
    limits: Limits = field(default_factory=Limits)
    huber: float | None = None
    relaxation: float = 0.01
    validation_fraction: float = 0.1
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Refined:
    """The better potential on validation data, and how it came about.

    model: the refined one where `kept`, else the linear one as it was given. facts: JSON values: `kept`,
    `why`, `seconds`, losses before and after on training and validation data, and of every stage its
    iterations and why it ended.
    """

    model: DensityModel
    kept: bool
    facts: dict[str, Any]


def refine(
    linear: LinearStart,
    training: LabelledRows,
    validation: LabelledRows | None,
    plan: Plan,
    *,
    restraints: LabelledRows = NO_ROWS,
    progress: Progress | None = None,
    processes: int = 1,
) -> Refined:
    """Refine a linear fit to the rows of `training`.

    validation: data for early stopping and for the choice between the refined and the linear potential.
    Where None, a random part of the training data is held out; after the choice one step on all data follows.
    restraints: rows that are always trained on. processes: results do not depend on it.
    """
    started = time.monotonic()
    given = validation is not None and len(validation) > 0
    if not given and len(training) < LEAST_STRUCTURES:
        return _unrefined(
            linear, f"{len(training)} structures are too few to hold some out; at least {LEAST_STRUCTURES}"
        )
    work = training.rows * len(linear.basis) * plan.limits.iterations
    with worker_map(processes if work > WORTH_PROCESSES else 1) as run_map:
        if validation is not None and given:
            run = _Run(linear, training + restraints, validation, plan, progress, run_map)
            model, facts = run.refined(linear.model())
        else:
            model, facts = _with_held_out(linear, training, restraints, plan, progress, run_map)
    facts["seconds"] = time.monotonic() - started
    logger.info("refinement: %s", facts["why"])
    return Refined(linear.model() if model is None else model, model is not None, facts)


def _unrefined(linear: LinearStart, why: str) -> Refined:
    logger.info("refinement: none: %s", why)
    return Refined(linear.model(), False, {"kept": False, "why": why, "seconds": 0.0})


def drawn(data: LabelledRows, plan: Plan) -> IntArray:
    """The structures (numbers) to hold out: at random, those with a large share of all rows last."""
    count = max(LEAST_HELD_OUT, round(plan.validation_fraction * len(data)))
    order = np.random.default_rng(plan.seed).permutation(len(data))
    rows = np.array([len(target) for target in data.targets])
    order = order[np.argsort(rows[order] > LARGEST_SHARE * rows.sum(), kind="stable")]
    return np.sort(order[:count])


def _with_held_out(
    linear: LinearStart,
    data: LabelledRows,
    restraints: LabelledRows,
    plan: Plan,
    progress: Progress | None,
    run_map: OrderedMap,
) -> tuple[DensityModel | None, dict[str, Any]]:
    """Refine on a random part, judge on the rest, then take one step on all the data."""
    held_out = drawn(data, plan)
    rest = np.setdiff1d(np.arange(len(data)), held_out)
    run = _Run(linear, data.part(rest) + restraints, data.part(held_out), plan, progress, run_map)
    model, facts = run.refined(run.linear_start())
    facts["held_out"] = len(held_out)
    if model is not None:
        model = run.last_step(model, data + restraints)
    return model, facts


class _Run:
    """One refinement on fixed training and validation data."""

    def __init__(
        self,
        linear: LinearStart,
        training: LabelledRows,
        validation: LabelledRows,
        plan: Plan,
        progress: Progress | None,
        run: OrderedMap,
    ) -> None:
        self._linear, self._training, self._validation = linear, training, validation
        self._plan, self._progress, self._map = plan, progress, run
        self._huber = Huber()
        self._last: tuple[RowLoss, Prior, float] | None = None

    def linear_start(self) -> DensityModel:
        """The linear fit to this training data alone, so that the validation data judges it fairly."""
        model = self._linear.model()
        mean = np.zeros(len(model.basis)) if self._linear.mean is None else self._linear.mean
        return self._solved(replace(model, coefficients=mean[None, :]), self._linear.strength)

    def refined(self, start: DensityModel) -> tuple[DensityModel | None, dict[str, Any]]:
        """The refined model, None where it is no better than `start` on the validation data, and facts."""
        atoms = [len(structure) for structure in self._training.structures]
        if self._plan.huber is not None:
            residuals = self._training.residuals(start.to_model())
            self._huber = Huber.from_residuals(residuals, atoms, self._plan.huber)
        before = self._losses(start)
        stages: dict[str, Any] = {}
        model = self._stages(start, before[1], stages)
        after = self._losses(model)
        kept = after[1] < before[1]
        facts = {"kept": kept, "why": _verdict(kept, before[1], after[1]), "stages": stages}
        for name, values in (("before", before), ("after", after)):
            facts[name] = {"train_loss": values[0], "validation_loss": values[1]}
        return (model if kept else None), facts

    def _stages(self, start: DensityModel, to_beat: float, stages: dict[str, Any]) -> DensityModel:
        """The densities first; the radial functions then start from them, or from `start` where two
        densities have not beaten its validation loss.
        """
        model = start
        if self._plan.densities == 2:
            model = self._descend("densities", self._two_densities(start), False, stages)
            if self._plan.radial and not stages["densities"]["validation_loss"] < to_beat:
                model = start
        elif not self._plan.radial:
            model = self._descend("robust", start, False, stages)
        return self._descend("radial", model, True, stages) if self._plan.radial else model

    def last_step(self, model: DensityModel, data: LabelledRows) -> DensityModel:
        """One more step with the last damping, now on all the data."""
        assert self._last is not None
        problem, prior, damping = self._last
        whole = RowLoss(model, data, radial=problem.radial, huber=self._huber, run=self._map)
        x = whole.parameters(model)
        share = data.rows / self._training.rows
        prior = Prior(prior.centre, prior.weights * share)
        return whole.at(
            minimise(
                whole, x, prior, Limits(iterations=1), groups=_groups(model, len(x)), damping=damping
            ).parameters
        )

    def _losses(self, model: DensityModel) -> tuple[float, float]:
        """Per row, of training and validation data."""
        problem = RowLoss(model, self._training, huber=self._huber, run=self._map)
        x = problem.parameters(model)
        return (
            problem.loss(x) / self._training.rows,
            problem.loss_on(self._validation, x) / self._validation.rows,
        )

    def _two_densities(self, start: DensityModel) -> DensityModel:
        """ρ₂ as in the embedded-atom method, ρ₁ the linear fit to what F(ρ₂) leaves."""
        basis, structures = start.basis, self._training.structures
        pick = np.linspace(0, len(structures) - 1, min(SAMPLE, len(structures))).astype(int)
        some = [structures[k] for k in pick]
        statistics = pair_statistics(some, basis.elements, basis.cutoff)
        density = pair_density(basis, DECAY, statistics.closest, statistics.typical)
        second = -normalised(basis, density, some)
        coefficients = np.stack([start.coefficients[0], second])
        count = len(basis.elements)
        model = DensityModel(basis, coefficients, embeddings(count, 2), start.e0)
        return self._solved(model, self._linear.strength * self._plan.relaxation)

    def _solved(self, model: DensityModel, strength: float) -> DensityModel:
        """The same model with the first density at its minimum: an exact linear problem."""
        problem = RowLoss(model, self._training, huber=self._huber, run=self._map)
        x = problem.parameters(model)
        state = problem.linearise(x)
        count = len(model.basis)
        prior = self._prior(np.diag(state.gram), x, model, strength)
        first = np.arange(count)
        alone = replace(state, gram=state.gram[:count, :count], projection=state.projection[:count])
        step = Normal(alone, Prior(prior.centre[first], prior.weights[first]), x[first]).step(0.0)
        if step is None:
            return model
        return problem.at(np.concatenate([x[first] + step, x[count:]]))

    def _prior(self, diagonal: FloatArray, x: FloatArray, model: DensityModel, strength: float) -> Prior:
        """The ridge λ p² diag(JᵀJ), about the linear fit's mean for ρ₁ and about x for the others."""
        count = len(model.basis)
        power = np.ones(len(x))
        for p in range(len(model.coefficients)):
            power[p * count : (p + 1) * count] = self._linear.prior
        centre = x.copy()
        centre[:count] = 0.0 if self._linear.mean is None else self._linear.mean
        return Prior(centre, strength * power**2 * diagonal)

    def _descend(self, name: str, model: DensityModel, radial: bool, stages: dict[str, Any]) -> DensityModel:
        problem = RowLoss(model, self._training, radial=radial, huber=self._huber, run=self._map)
        x = problem.parameters(model)
        linear = len(model.coefficients) == 1 and not radial
        strength = self._linear.strength * (1.0 if linear else self._plan.relaxation)
        prior = self._prior(np.diag(problem.linearise(x).gram), x, model, strength)
        limits, progress = self._plan.limits, self._progress

        def tell(done: int) -> None:
            if progress is not None:
                progress(name, done, limits.iterations)

        def validate(point: FloatArray) -> float:
            return problem.loss_on(self._validation, point)

        groups = _groups(model, len(x))
        found = minimise(problem, x, prior, limits, validate, groups=groups, progress=tell)
        self._last = problem, prior, found.damping
        stages[name] = _stage(found, self._training.rows, self._validation.rows)
        return problem.at(found.parameters)


def _groups(model: DensityModel, parameters: int) -> list[slice]:
    """What is damped together: all densities but the linear first one, or, with radial coefficients, each
    density and the radial coefficients of all bonds.
    """
    densities, count = model.coefficients.shape
    groups = [slice(p * count, (p + 1) * count) for p in range(densities)]
    if parameters > densities * count:
        return [*groups, slice(densities * count, parameters)]
    return groups[1:]


def _stage(found: Descent, rows: int, held_out: int) -> dict[str, Any]:
    return {
        "iterations": found.iterations,
        "ended": found.reason,
        "train_loss": found.loss / rows,
        "validation_loss": found.validation / held_out,
    }


def _verdict(kept: bool, before: float, after: float) -> str:
    change = f"validation loss {before:.3g} before, {after:.3g} after"
    if kept:
        return f"refined: {change}"
    return f"the linear potential is kept, refinement does not lower its loss: {change}"
