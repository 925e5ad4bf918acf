"""Weighted residuals of labelled structures, and the (robust) loss of a non-linear model on them.

Residuals come from the evaluator, which needs no Jacobian and takes a small part of its time; JᵀJ and Jᵀr are
accumulated over a fixed partition of the structures, in any number of processes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from math import inf
from typing import Generic, TypeVar

import numpy as np

from pyacemaker.ace.design import species_of
from pyacemaker.ace.evaluator import CompiledModel
from pyacemaker.ace.fit import RowWeights, batches, row_targets
from pyacemaker.ace.gram import NormalEquations
from pyacemaker.ace.model import ACEModel
from pyacemaker.ace.nonlinear import DensityModel, NonlinearDesign
from pyacemaker.processes import OrderedMap
from pyacemaker.structures import AtomStructure, FloatArray, IntArray

SHARDS, SHARD_ROWS = 8, 500
"""Parts of the structures whose normal equations are made one by one, by any process; and rows that are worth
a part, since a model is compiled for each."""

Model = TypeVar("Model")

_VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])


@dataclass(frozen=True, eq=False)
class LabelledRows:
    """Structures with the targets and square roots of the weights of their rows.

    Rows of a structure of n atoms: energy without E0 (eV), 3n forces (eV/Å), and 6 stresses (eV/Å³) where it
    has a volume. targets, weights: one (rows,) array per structure.
    """

    structures: tuple[AtomStructure, ...]
    targets: tuple[FloatArray, ...]
    weights: tuple[FloatArray, ...]

    @classmethod
    def of(
        cls,
        structures: Sequence[AtomStructure],
        elements: Sequence[str],
        e0: FloatArray,
        weights: RowWeights,
        importance: FloatArray,
    ) -> "LabelledRows":
        """The rows of the linear fit (`pyacemaker.ace.fit`). e0: (N,), eV. importance: (S,), multiplies each
        structure's squared errors."""
        targets, factors = [], []
        for structure, factor in zip(structures, importance, strict=True):
            shift = float(e0[species_of(elements, structure)].sum())
            target, weight = row_targets(structure, shift, weights)
            weight = weight * np.sqrt(factor)
            targets.append(target)
            factors.append(weight)
        return cls(tuple(structures), tuple(targets), tuple(factors))

    @classmethod
    def of_wall(cls, structures: Sequence[AtomStructure], model: ACEModel, strength: float) -> "LabelledRows":
        """Rows that hold forces or stresses of compressed structures to what `model` says of them.

        structures: labelled with guesses (`pyacemaker.ace.restraints`). A row whose guess is zero does
        not count, the others add (strength × error / size of the guess)² to the loss.
        """
        compiled, targets, weights = CompiledModel(model), [], []
        for structure in structures:
            labels = structure.labels
            if labels is None:
                raise ValueError(f"structure {structure.id} has no labels")
            stress = np.zeros(6) if labels.stress is None else labels.stress
            parts = [np.zeros(1), labels.forces.ravel(), stress]
            guess = np.concatenate(parts[: 2 if structure.volume is None else 3])
            size = max(float(np.linalg.norm(guess)), 1e-6)
            targets.append(_predicted(compiled, structure))
            weights.append(np.where(guess != 0.0, strength / size, 0.0))
        return cls(tuple(structures), tuple(targets), tuple(weights))

    def part(self, numbers: IntArray) -> "LabelledRows":
        """The rows of some of the structures."""
        return LabelledRows(
            tuple(self.structures[k] for k in numbers),
            tuple(self.targets[k] for k in numbers),
            tuple(self.weights[k] for k in numbers),
        )

    def __add__(self, other: "LabelledRows") -> "LabelledRows":
        return LabelledRows(
            (*self.structures, *other.structures),
            self.targets + other.targets,
            self.weights + other.weights,
        )

    def __len__(self) -> int:
        return len(self.structures)

    @property
    def rows(self) -> int:
        """Number of rows with a weight."""
        return sum(int(np.count_nonzero(weight)) for weight in self.weights)

    def residuals(self, model: ACEModel) -> list[FloatArray]:
        """Weighted target − prediction of every structure. model: whatever its E0, none is counted."""
        compiled = CompiledModel(model)
        return [
            weight * (target - _predicted(compiled, structure))
            for structure, target, weight in zip(self.structures, self.targets, self.weights, strict=True)
        ]


@dataclass(frozen=True)
class Huber:
    """h(r) = r² up to a threshold δ, 2δ|r| − δ² beyond (Huber, Ann. Math. Stat. 35, 73 (1964)).

    thresholds: δ of weighted energy, force and stress residuals; infinite: plain squares.
    """

    thresholds: tuple[float, float, float] = (inf, inf, inf)

    @classmethod
    def from_residuals(cls, residuals: Sequence[FloatArray], atoms: Sequence[int], factor: float) -> "Huber":
        """δ = factor × 1.4826 median |r| for each kind of row: for normal errors, factor standard
        deviations.
        """
        together = np.abs(np.concatenate(residuals))
        kinds = np.concatenate([row_kinds(len(r), n) for r, n in zip(residuals, atoms, strict=True)])
        found = []
        for kind in range(3):
            mine = together[(kinds == kind) & (together > 0.0)]
            found.append(factor * 1.4826 * float(np.median(mine)) if len(mine) else inf)
        return cls((found[0], found[1], found[2]))

    @property
    def plain(self) -> bool:
        """Whether nothing is cut."""
        return min(self.thresholds) == inf

    def loss(self, residual: FloatArray, atoms: int) -> float:
        """Σ h(r) over the rows of one structure."""
        if self.plain:
            return float(residual @ residual)
        threshold, size = self._of_rows(residual, atoms)
        beyond = size > threshold
        return float(np.where(beyond, 2.0 * threshold * size - threshold**2, size**2).sum())

    def row_weights(self, residual: FloatArray, atoms: int) -> FloatArray:
        """(rows,) min(1, √(δ/|r|)): rows times these have the gradient of Σ h as their least squares'."""
        if self.plain:
            return np.ones(len(residual))
        threshold, size = self._of_rows(residual, atoms)
        return np.asarray(np.sqrt(threshold / np.maximum(size, threshold)))

    def _of_rows(self, residual: FloatArray, atoms: int) -> tuple[FloatArray, FloatArray]:
        # a finite bound in place of infinity keeps the arithmetic free of inf · 0
        limits = np.minimum(np.array(self.thresholds), 1e150)
        return limits[row_kinds(len(residual), atoms)], np.abs(residual)


def row_kinds(rows: int, atoms: int) -> IntArray:
    """(rows,) 0 for the energy, 1 for forces, 2 for stresses of one structure."""
    kinds = np.full(rows, 1, dtype=np.int64)
    kinds[0], kinds[1 + 3 * atoms :] = 0, 2
    return kinds


class RowLoss:
    """The loss of a density model on labelled rows as a function of its parameters.

    The parameters are the coefficients (P·K), density after density, then, with `radial`, the M radial
    coefficients. Meets `pyacemaker.ace.levenberg.LeastSquares`. run: a map over worker processes
    (`pyacemaker.processes.worker_map`); the partition is fixed, so that results do not depend on it.
    """

    def __init__(
        self,
        model: DensityModel,
        data: LabelledRows,
        *,
        radial: bool = False,
        huber: Huber | None = None,
        run: OrderedMap = map,
    ) -> None:
        self.model, self.data, self.radial = model, data, radial
        self.huber = huber or Huber()
        self._run = run
        self._known: tuple[FloatArray, NormalEquations] | None = None

    def parameters(self, model: DensityModel) -> FloatArray:
        """(P·K [+ M],) those of a model of the same shape."""
        parts = [model.coefficients.ravel(), *([model.radial] if self.radial else [])]
        return np.concatenate(parts)

    def at(self, x: FloatArray) -> DensityModel:
        """The model with the parameters x."""
        count = self.model.coefficients.size
        coefficients = x[:count].reshape(self.model.coefficients.shape)
        return self.model.moved(coefficients, x[count:] if self.radial else None)

    def loss(self, x: FloatArray) -> float:
        """Σ h(weighted residual)."""
        return self.loss_on(self.data, x)

    def loss_on(self, data: LabelledRows, x: FloatArray) -> float:
        """The same loss on other data: validation."""
        losses = self._run(_loss, self._shards(data, self.at(x).to_model()))
        return float(sum(losses))

    def linearise(self, x: FloatArray) -> NormalEquations:
        """JᵀJ and Jᵀr of the (reweighted) rows. The last answer is remembered."""
        if self._known is None or not np.array_equal(self._known[0], x):
            states: Iterator[NormalEquations] = self._run(_linearised, self._shards(self.data, self.at(x)))
            self._known = x.copy(), reduce(NormalEquations.absorb, states)
        return self._known[1]

    def _shards(self, data: LabelledRows, model: Model) -> Iterator["_Shard[Model]"]:
        """The parts of `data`, the same for any number of processes."""
        for numbers in _partition(data):
            yield _Shard(data.part(numbers), model, self.radial, self.huber)


@dataclass(frozen=True, eq=False)
class _Shard(Generic[Model]):
    """What a worker needs for a part of the data."""

    data: LabelledRows
    model: Model
    radial: bool
    huber: Huber


def _predicted(compiled: CompiledModel, structure: AtomStructure) -> FloatArray:
    """(rows,) what the model says, without E0."""
    found = compiled.evaluate(structure.numbers, structure.positions, structure.cell, structure.pbc)
    species = compiled.species(structure.numbers)
    energy = found.energy - float(compiled.model.e0[species].sum())
    parts = [np.array([energy]), found.forces.ravel()]
    if structure.volume is not None:
        parts.append(found.virial[_VOIGT] / structure.volume)
    return np.concatenate(parts)


def _partition(data: LabelledRows) -> list[IntArray]:
    """Two to `SHARDS` runs of consecutive structures with about equally many rows."""
    if not len(data):
        return []
    ends = np.cumsum([len(target) for target in data.targets])
    shards = int(np.clip(ends[-1] // SHARD_ROWS, 2, SHARDS))
    limits = ends[-1] * np.arange(1, shards) / shards
    cuts = np.searchsorted(ends, limits, side="left") + 1
    parts = np.split(np.arange(len(data)), np.minimum(cuts, len(data)))
    return [part for part in parts if len(part)]


def _loss(shard: _Shard[ACEModel]) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        return sum(
            shard.huber.loss(residual, len(structure))
            for residual, structure in zip(
                shard.data.residuals(shard.model), shard.data.structures, strict=True
            )
        )


def _linearised(shard: _Shard[DensityModel]) -> NormalEquations:
    design = NonlinearDesign(shard.model, radial=shard.radial)
    count = shard.model.coefficients.size + (len(shard.model.radial) if shard.radial else 0)
    state = NormalEquations.empty(count)
    for numbers in batches(shard.data.structures):
        part = shard.data.part(numbers)
        rows = design.rows(part.structures)
        weight = np.concatenate(part.weights)
        residual = weight * (np.concatenate(part.targets) - rows.values)
        used = int(np.count_nonzero(weight))
        for structure, first, last in zip(part.structures, rows.starts, rows.starts[1:], strict=False):
            robust = shard.huber.row_weights(residual[first:last], len(structure))
            weight[first:last] *= robust
            residual[first:last] *= robust
        rows.jacobian[...] *= weight
        state = state.add_rows(rows.jacobian, residual, len(part), used)
    return state
