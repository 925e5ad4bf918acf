"""One refinement of a linear fit on fixed training data: the stages of its descent.

The parameters of a stage (two densities' coefficients; then the radial coefficients as well) descend together
by `pyacemaker.ace.levenberg`, with a ridge about the linear fit as the prior.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from pyacemaker.ace.basis import Basis
from pyacemaker.ace.densities import embeddings, normalised, pair_density
from pyacemaker.ace.levenberg import Limits, Normal, Prior, minimise
from pyacemaker.ace.nonlinear import DensityModel
from pyacemaker.ace.pairs import pair_statistics
from pyacemaker.ace.residuals import Huber, LabelledRows, RowLoss
from pyacemaker.processes import OrderedMap
from pyacemaker.structures import FloatArray

Progress = Callable[[str, int, int], None]
"""Called with the stage, its iterations done and their limit."""

DECAY = 6.0
"""β of the first ρ₂."""
SAMPLE = 100
"""Structures from which ρ₂ is scaled."""
NO_ROWS = LabelledRows((), (), ())
STRENGTHS = (1e-17, 1e-18, 1e-19, 1e-20)
"""λ of `Run.relaxed`, one after the other."""
REWEIGHTINGS = 8
"""Least-squares solutions in a row that find the minimum of a robust loss."""
STILL = 1e-5
"""Share of the loss below which steps of `Run.relaxed` count as none."""


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
    validation_fraction, seed: of the structures held out where no validation data is given. by_folds:
    none are held out then; the ridge is relaxed step by step on all structures, and folds decide how far.
    """

    densities: Literal[1, 2] = 2
    radial: bool = True
    limits: Limits = field(default_factory=Limits)
    huber: float | None = None
    relaxation: float = 0.01
    validation_fraction: float = 0.1
    seed: int = 0
    by_folds: bool = False


class Run:
    """One refinement on fixed training data; `validation` decides when a stage ends, unless it is empty."""

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
        if plan.huber is not None:
            atoms = [len(structure) for structure in training.structures]
            residuals = training.residuals(linear.model().to_model())
            self._huber = Huber.from_residuals(residuals, atoms, plan.huber)
        self._last: tuple[RowLoss, Prior, float] | None = None
        self.stages: dict[str, Any] = {}

    def linear_start(self) -> DensityModel:
        """The linear fit to this training data alone, so that the validation data judges it fairly."""
        return self._linear_fit(self._linear.strength)

    def refined(self, start: DensityModel) -> DensityModel:
        """The densities first; the radial functions then start from them, or from `start` where two densities
        have not beaten its validation loss.
        """
        model, radial = start, self._plan.radial
        if self._plan.densities == 2:
            model = self._two_densities(start, self._linear.strength * self._plan.relaxation)
            model = self._descend("densities", model)
            if radial and not self.stages["densities"]["validation_loss"] < self.held_out(start):
                model = start
        elif not radial:
            model = self._descend("robust", start)
        return self._descend("radial", model) if radial else model

    def relaxed(self, stages: int = len(STRENGTHS)) -> list[DensityModel]:
        """Nothing of the linear fit but its basis: a weak ridge, relaxed tenfold at a time; a model of each.

        The ridge is λ p² h̄ with h̄ the mean of the diagonal h of JᵀJ over the first density: functions that
        hardly act in the data stay small, as they do where a descent starts from zero and is ended early.
        With λ p² h, as in the linear fit, they do not, and the forces of few structures are overfitted. From
        a stronger ridge the descent ends in worse minima.
        """
        first, densities = STRENGTHS[0], self._plan.densities
        model = self._linear_fit(first, 0.0)
        if densities == 2:
            model = self._two_densities(model, first, 0.0)
        name = "radial" if self._plan.radial else "densities" if densities == 2 else "robust"
        if densities == 2 and self._plan.radial:
            model = self._relax("densities", model, first)
        found: list[DensityModel] = []
        for strength in STRENGTHS[:stages]:
            model = self._relax(name, model, strength)
            found.append(model)
        return found

    def losses(self, model: DensityModel) -> tuple[float, float]:
        """Per row, of training and validation data."""
        problem = RowLoss(model, self._training, huber=self._huber, run=self._map)
        return problem.loss(problem.parameters(model)) / self._training.rows, self.held_out(model)

    def held_out(self, model: DensityModel) -> float:
        """Loss per row of the validation data, nan where there is none."""
        if not self._validation.rows:
            return float("nan")
        problem = RowLoss(model, self._training, huber=self._huber, run=self._map)
        return problem.loss_on(self._validation, problem.parameters(model)) / self._validation.rows

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
                whole, x, prior, Limits(iterations=1), groups=groups_of(model, len(x)), damping=damping
            ).parameters
        )

    def _linear_fit(self, strength: float, power: float = 1.0) -> DensityModel:
        """One density at the minimum of its loss on the training data.

        Of a robust loss by reweighting, from the residuals of the linear fit to all data.
        """
        if self._huber.plain:
            return self._solved(self._blank(), strength, power)
        model = self._linear.model()
        for _ in range(REWEIGHTINGS):
            model = self._solved(model, strength, power)
        return model

    def _blank(self) -> DensityModel:
        """One density, at the mean of the linear fit's prior."""
        model = self._linear.model()
        mean = np.zeros(len(model.basis)) if self._linear.mean is None else self._linear.mean
        return replace(model, coefficients=mean[None, :])

    def _two_densities(self, start: DensityModel, strength: float, power: float = 1.0) -> DensityModel:
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
        return self._solved(model, strength, power)

    def _solved(self, model: DensityModel, strength: float, power: float = 1.0) -> DensityModel:
        """The same model with the first density at its minimum: an exact linear problem."""
        problem = RowLoss(model, self._training, huber=self._huber, run=self._map)
        x = problem.parameters(model)
        state = problem.linearise(x)
        count = len(model.basis)
        prior = self._prior(np.diag(state.gram), x, model, strength, power)
        first = np.arange(count)
        alone = replace(state, gram=state.gram[:count, :count], projection=state.projection[:count])
        step = Normal(alone, Prior(prior.centre[first], prior.weights[first]), x[first]).step(0.0)
        if step is None:
            return model
        return problem.at(np.concatenate([x[first] + step, x[count:]]))

    def _prior(
        self, diagonal: FloatArray, x: FloatArray, model: DensityModel, strength: float, power: float
    ) -> Prior:
        """The ridge λ p² hᵏ h̄¹⁻ᵏ, k = `power`, about the linear fit's mean for ρ₁, x for the others."""
        count = len(model.basis)
        rough = np.ones(len(x))
        for p in range(len(model.coefficients)):
            rough[p * count : (p + 1) * count] = self._linear.prior
        centre = x.copy()
        centre[:count] = 0.0 if self._linear.mean is None else self._linear.mean
        mean = float(np.mean(diagonal[:count]))
        return Prior(centre, strength * rough**2 * diagonal**power * mean ** (1.0 - power))

    def _descend(self, name: str, model: DensityModel) -> DensityModel:
        """One stage that validation data ends."""
        problem = self._problem(name, model)
        linear = len(model.coefficients) == 1 and name != "radial"
        strength = self._linear.strength * (1.0 if linear else self._plan.relaxation)

        def validate(point: FloatArray) -> float:
            return problem.loss_on(self._validation, point)

        return self._stage(name, problem, model, strength, 1.0, self._plan.limits, validate)

    def _relax(self, name: str, model: DensityModel, strength: float) -> DensityModel:
        """One stage, ended by its limits alone."""
        limits = replace(self._plan.limits, patience=self._plan.limits.iterations, tolerance=STILL)
        return self._stage(name, self._problem(name, model), model, strength, 0.0, limits, None)

    def _problem(self, name: str, model: DensityModel) -> RowLoss:
        return RowLoss(model, self._training, radial=name == "radial", huber=self._huber, run=self._map)

    def _stage(
        self,
        name: str,
        problem: RowLoss,
        model: DensityModel,
        strength: float,
        power: float,
        limits: Limits,
        validate: Callable[[FloatArray], float] | None,
    ) -> DensityModel:
        x = problem.parameters(model)
        prior = self._prior(np.diag(problem.linearise(x).gram), x, model, strength, power)
        progress = self._progress

        def tell(done: int) -> None:
            if progress is not None:
                progress(name, done, limits.iterations)

        groups = groups_of(model, len(x))
        found = minimise(problem, x, prior, limits, validate, groups=groups, progress=tell)
        self._last = problem, prior, found.damping
        self.stages[name] = {
            "iterations": found.iterations + self.stages.get(name, {}).get("iterations", 0),
            "ended": found.reason,
            "train_loss": found.loss / self._training.rows,
        }
        if validate is not None:
            self.stages[name]["validation_loss"] = found.validation / self._validation.rows
        return problem.at(found.parameters)


def groups_of(model: DensityModel, parameters: int) -> list[slice]:
    """What is damped together: all densities but the linear first one, or, with radial coefficients, each
    density and the radial coefficients of all bonds.
    """
    densities, count = model.coefficients.shape
    groups = [slice(p * count, (p + 1) * count) for p in range(densities)]
    if parameters > densities * count:
        return [*groups, slice(densities * count, parameters)]
    return groups[1:]
