"""Fitting ACE potentials with the project's own engine: a regularised linear least-squares problem."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from pyacemaker.base import Spec
from pyacemaker.errors import (
    ConfigError,
    InsufficientDataError,
    TrainingDivergenceError,
    UnsupportedElementError,
)
from pyacemaker.files import replacing
from pyacemaker.structures import Accuracy, Dataset, FloatArray
from pyacemaker.trainers.base import TrainedPotential, TrainingMetrics

if TYPE_CHECKING:
    from pyacemaker.ace.basis import Basis
    from pyacemaker.ace.model import ACEModel
    from pyacemaker.ace.pairs import PairStatistics
    from pyacemaker.ace.ridge import RidgeSolution
    from pyacemaker.potentials.ace import ACEPotential

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with the number of structures done and the total."""

MAX_CUTOFF = 20.0
"""Å: beyond this a cutoff is a mistake; 4 to 8 is usual."""

MAX_CV_STRUCTURES = 4000
"""Above this many structures `ridge: auto` maximises the evidence instead of cross-validating."""

RESOLUTION_LIMIT = 0.3
"""Typical shortest distance over cutoff below which `radial_basis: auto` takes ChebExpCos, finer at short
range."""

_Positive = Annotated[float, Field(gt=0)]
_Count = Annotated[int, Field(ge=1)]


@dataclass(frozen=True)
class FitResult:
    """A fitted potential, its errors on the training (and test) data, and facts (JSON values)."""

    potential: "ACEPotential"
    metrics: TrainingMetrics
    facts: Mapping[str, Any] = field(default_factory=dict)


class AceTrainer(Spec):
    """A linear ACE potential, fitted to energies, forces and stresses by ridge regression."""

    kind: Literal["ace"] = "ace"
    cutoff: Annotated[float, Field(gt=0, le=MAX_CUTOFF)] = 5.5
    """Å: how far an atom sees."""
    radial_basis: Literal["auto", "ChebExpCos", "SBessel"] = "auto"
    """Family of the radial functions; `auto`: ChebExpCos where the shortest bonds are short against the
    cutoff (molecules with hydrogen), SBessel otherwise."""
    exponent: _Positive = 2.5
    """λ of ChebExpCos; larger: more detail at short range. SBessel has none."""
    functions: Annotated[int, Field(ge=1, le=20000)] | None = None
    """About how many functions per element; chosen from the amount of data where it is not set."""
    max_rank: Annotated[int, Field(ge=1, le=5)] = 4
    """Largest number of neighbours in one term: body order minus one."""
    nradbase: Annotated[int, Field(ge=1, le=40)] = 12
    """Number of radial functions of the pair terms."""
    nradmax: tuple[_Count, ...] | None = None
    """Largest n for each rank, instead of `functions`; needs `lmax`."""
    lmax: tuple[Annotated[int, Field(ge=0)], ...] | None = None
    """Largest l for each rank, instead of `functions`; needs `nradmax`."""
    max_total_functions: Annotated[int, Field(ge=1)] = 5000
    """Cap on the functions of all elements together: the fit holds several matrices of its square."""
    baseline: Literal["zbl", "none"] = "zbl"
    """What acts when two atoms come closer than in any data: the screened nuclear repulsion, or nothing."""
    windows: Mapping[str, _Positive] = Field(default_factory=dict)
    """Å, for pairs like `C-H`: the distance where ZBL's share ends; chosen from the data for the others."""
    window_width: _Positive | None = None
    """Å below that end over which ZBL takes over, one for all pairs; None: chosen from the ends."""
    energy_weight: _Positive = 15.0
    """w_E: a structure of n atoms adds (w_E ΔE/√n)² to the loss."""
    forces_weight: _Positive = 1.0
    """w_F: each force component adds (w_F ΔF)² to the loss."""
    stress_weight: Annotated[float, Field(ge=0)] = 1.0
    """w_S: each stress component adds (w_S V Δσ/√n)² to the loss."""
    soft_force: _Positive | None = 10.0
    """eV/Å: a structure with a largest force F counts 1/(1 + (F/soft_force)²); None: all count alike."""
    ridge: _Positive | Literal["auto", "cross-validation", "evidence"] = "auto"
    """Strength of the regularisation, or how it is chosen from the data."""
    smoothness: Annotated[float, Field(ge=0, le=4)] = 1.0
    """Power of (1 + degree) in the prior: rough functions cost more."""
    folds: Annotated[int, Field(ge=2, le=20)] = 5
    """Parts of the data in cross-validation."""
    caution: Annotated[float, Field(ge=0)] = 0.01
    """Cross-validation takes the strongest regularisation whose squared held-out residual is within this
    share of the best one's."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the partition into folds."""

    @model_validator(mode="after")
    def _check_ranks(self) -> Self:
        if (self.nradmax is None) != (self.lmax is None):
            raise ValueError("nradmax and lmax belong together: set both or neither")
        if self.nradmax is not None and self.lmax is not None and len(self.nradmax) != len(self.lmax):
            raise ValueError(
                f"nradmax has {len(self.nradmax)} ranks, lmax {len(self.lmax)}; give as many of each"
            )
        if self.nradmax is not None and self.functions is not None:
            raise ValueError("functions and nradmax/lmax are two ways to say the same; set one")
        return self

    @classmethod
    def small_correction(cls) -> "AceTrainer":
        """Settings for a small δ on residual labels of few structures: smooth, cautious, without a core.

        Where cross-validation gains no more than 10% by it, δ stays close to zero.
        """
        return cls(
            functions=60, max_rank=2, nradbase=8, baseline="none", ridge="cross-validation", caution=0.1
        )

    def train(
        self,
        dataset: Dataset,
        reference_energies: Mapping[str, float] | None,
        out: Path,
        *,
        test: Dataset | None = None,
        progress: Progress | None = None,
    ) -> TrainedPotential:
        """Fit to the labels of `dataset` and write the `.yace` file `out`.

        reference_energies: E0 in eV of every element; where None they come from the isolated atoms in the
        data, else from least squares on the compositions. test: labelled structures for `metrics.validation`.
        progress: called with structures done and in all. All errors are measured by evaluating the written
        file. Same input, same bytes (one thread).

        Raises `InsufficientDataError` for too few structures, `UnsupportedElementError` for an element
        without reference energy, `ConfigError` for a basis above the cap, `TrainingDivergenceError` when the
        solution is not finite or worse than the mean; then nothing is written.
        """
        started = time.monotonic()
        from pyacemaker.ace.yace import write_yace
        from pyacemaker.potentials.ace import ACEPotential

        training = _usable(dataset)
        model, facts = self._model(training, reference_energies, progress)
        with replacing(out) as aside:
            write_yace(model, aside)
            potential = ACEPotential.from_yace(aside)
            train = _accuracy(potential, training)
            _check_accuracy(train, training)
        held_out = (
            _accuracy(potential, test.labelled()) if test is not None and len(test.labelled()) else None
        )
        metrics = TrainingMetrics(train, held_out, time.monotonic() - started)
        logger.info("ACE fit: %s functions, ridge %.1e, %s", facts["functions"], facts["ridge"], train)
        return TrainedPotential(out, metrics, facts)

    def _model(
        self,
        training: Dataset,
        given: Mapping[str, float] | None,
        progress: Progress | None,
    ) -> tuple["ACEModel", dict[str, Any]]:
        from pyacemaker.ace.pairs import pair_statistics

        elements = training.elements
        e0 = _reference(training, elements, given)
        statistics = pair_statistics(training, elements, self.cutoff)
        basis = self._basis(elements, statistics, training)
        solution, importance = self._solve(basis, training, e0, progress)
        if not np.isfinite(solution.coefficients).all():
            raise TrainingDivergenceError(
                f"the fit of {len(basis)} functions to {len(training)} structures has no finite solution; "
                "use fewer functions or set a larger ridge"
            )
        facts = _facts(basis, solution, statistics, e0, importance)
        return basis.to_model(solution.coefficients, e0), facts

    def _basis(self, elements: tuple[str, ...], statistics: "PairStatistics", training: Dataset) -> "Basis":
        from pyacemaker.ace.basis import Basis, graded_blocks, rectangular_blocks

        blocks = []
        wanted = self.functions or _affordable(training, len(elements))
        for mu in range(len(elements)):
            limits = statistics.neighbours[mu]
            if self.nradmax is not None and self.lmax is not None:
                blocks.append(rectangular_blocks(mu, limits, self.nradmax, self.lmax))
            else:
                blocks.append(graded_blocks(mu, limits, wanted, self.max_rank, self.nradbase))
        total = sum(len(block) for of_element in blocks for block in of_element)
        if total > self.max_total_functions:
            raise ConfigError(
                f"the basis has {total} functions for {len(elements)} elements, above max_total_functions = "
                f"{self.max_total_functions}; ask for fewer functions per element or raise the cap"
            )
        bonds = self._bonds(elements, statistics, blocks)
        return Basis(elements, bonds, tuple(blocks))

    def _bonds(self, elements: tuple[str, ...], statistics: "PairStatistics", blocks: Sequence[Any]) -> Any:
        from dataclasses import replace

        from pyacemaker.ace.basis import orthonormal_bond
        from pyacemaker.ace.pairs import core_windows

        columns = [
            (block.rank, n, angular)
            for of_element in blocks
            for block in of_element
            for _, n, angular in block.columns
        ]
        nradbase = max((n for _, n, _ in columns), default=1)
        nradmax = max((n for rank, n, _ in columns if rank > 1), default=1)
        lmax = max((angular for _, _, angular in columns), default=0)
        shortest = min(float(statistics.typical.min()), self.cutoff)
        family = self.radial_basis
        if family == "auto":
            family = "ChebExpCos" if shortest < RESOLUTION_LIMIT * self.cutoff else "SBessel"
        bond = orthonormal_bond(
            self.cutoff,
            family,
            self.exponent,
            (nradmax, lmax, nradbase),
            0.7 * min(shortest, 0.5 * self.cutoff),
        )
        pairs = [(a, b) for a in range(len(elements)) for b in range(len(elements))]
        if self.baseline == "none":
            return dict.fromkeys(pairs, bond)
        windows = core_windows(
            statistics, elements, _window_indices(self.windows, elements), self.window_width
        )
        return {
            pair: replace(
                bond, prehc=1.0, rcut_in=windows[pair][0], dcut_in=windows[pair][1], inner_cutoff="zbl"
            )
            for pair in pairs
        }

    def _solve(
        self, basis: "Basis", training: Dataset, e0: FloatArray, progress: Progress | None
    ) -> tuple["RidgeSolution", FloatArray]:
        from pyacemaker.ace import fit, ridge
        from pyacemaker.ace.design import Design

        design = Design(basis)
        weights = fit.RowWeights(self.energy_weight, self.forces_weight, self.stress_weight)
        importance = self._importance(training)
        prior = ridge.smoothness(basis.degrees, self.smoothness)
        method = self._method(len(training))
        count = min(self.folds, len(training)) if method == "cross-validation" else 1
        done = 0

        def tell(more: int) -> None:
            nonlocal done
            done += more
            if progress is not None:
                progress(done, len(training))

        states = [
            fit.normal_equations(design, training[part], e0, weights, importance[part], tell)
            for part in fit.folds(len(training), count, self.seed)
        ]
        if method == "cross-validation":
            return ridge.cross_validate(states, prior, slack=self.caution), importance
        if method == "evidence":
            return ridge.maximise_evidence(states[0], prior), importance
        return ridge.solve(states[0], float(method), prior), importance

    def _method(self, structures: int) -> str | float:
        if self.ridge != "auto":
            return self.ridge
        return "cross-validation" if 2 <= structures <= MAX_CV_STRUCTURES else "evidence"

    def _importance(self, training: Dataset) -> FloatArray:
        weights = np.array([structure.weight for structure in training], dtype=float)
        if self.soft_force is None:
            return weights
        largest = np.array([float(np.linalg.norm(labels.forces, axis=1).max()) for labels in training.labels])
        return weights / (1.0 + (largest / self.soft_force) ** 2)


def fit_ace(
    dataset: Dataset,
    settings: AceTrainer | None = None,
    *,
    reference_energies: Mapping[str, float] | None = None,
    test: Dataset | None = None,
) -> FitResult:
    """Fit an ACE potential to the labels of `dataset` in memory.

    Errors and arguments as in `AceTrainer.train`; `FitResult.potential.to_yace(path)` writes the file.
    """
    from tempfile import TemporaryDirectory

    from pyacemaker.potentials.ace import ACEPotential

    with TemporaryDirectory() as directory:
        path = Path(directory) / "potential.yace"
        trained = (settings or AceTrainer()).train(dataset, reference_energies, path, test=test)
        return FitResult(ACEPotential.from_yace(path), trained.metrics, trained.facts)


def _usable(dataset: Dataset) -> Dataset:
    labelled = dataset.labelled().filter(
        lambda s: s.labels is not None and s.labels.is_finite() and s.weight > 0
    )
    many = labelled.filter(lambda structure: len(structure) > 1 or structure.is_periodic)
    if len(many) < 2:
        raise InsufficientDataError(
            f"{len(many)} of {len(dataset)} structures have finite labels and more than one atom; "
            "an ACE fit needs at least 2"
        )
    return labelled


def _reference(training: Dataset, elements: tuple[str, ...], given: Mapping[str, float] | None) -> FloatArray:
    from pyacemaker.ace.fit import reference_energies

    if given is None:
        return reference_energies(training, elements)
    missing = [symbol for symbol in elements if symbol not in given]
    if missing:
        raise UnsupportedElementError(
            f"the data holds {', '.join(missing)}, but reference energies are given for "
            f"{', '.join(sorted(given))} only; add the missing ones"
        )
    return np.array([float(given[symbol]) for symbol in elements])


def _affordable(training: Dataset, elements: int) -> int:
    """Functions per element that the labels can carry: a third of the rows, between 30 and 1000."""
    rows = sum(1 + 3 * len(structure) for structure in training)
    return int(np.clip(rows / (3 * elements), 30, 1000 if elements < 3 else 600))


def _window_indices(windows: Mapping[str, float], elements: tuple[str, ...]) -> dict[tuple[int, int], float]:
    found = {}
    for pair, end in windows.items():
        symbols = pair.split("-")
        if len(symbols) != 2:
            raise ConfigError(f"windows: {pair!r} is not a pair of elements like C-H")
        if all(symbol in elements for symbol in symbols):
            found[elements.index(symbols[0]), elements.index(symbols[1])] = end
    return found


def _accuracy(potential: "ACEPotential", dataset: Dataset) -> Accuracy:
    return Accuracy.between(potential.evaluate(dataset), dataset.labels)


def _check_accuracy(found: Accuracy, training: Dataset) -> None:
    """Refuse a potential that is far worse than predicting no forces at all."""
    rms = 1000.0 * float(
        np.sqrt(np.mean(np.concatenate([labels.forces.ravel() for labels in training.labels]) ** 2))
    )
    values = list(found.as_dict().values())
    if not np.isfinite(values).all() or found.forces_rmse_mev_per_angstrom > 3.0 * rms + 100.0:
        raise TrainingDivergenceError(
            f"the fitted potential's force error on its own training data is "
            f"{found.forces_rmse_mev_per_angstrom:.0f} meV/Å, and the forces themselves are {rms:.0f} meV/Å; "
            "use fewer functions or a larger ridge, and look for wrong labels"
        )


def _facts(
    basis: "Basis",
    solution: "RidgeSolution",
    statistics: "PairStatistics",
    e0: FloatArray,
    importance: FloatArray,
) -> dict[str, Any]:
    symbols = basis.elements
    windows = {
        f"{symbols[a]}-{symbols[b]}": [bond.rcut_in, bond.dcut_in]
        for (a, b), bond in basis.bonds.items()
        if a <= b and bond.inner_cutoff == "zbl"
    }
    return {
        "functions": dict(zip(symbols, basis.counts, strict=True)),
        "total_functions": len(basis),
        "functions_by_rank": {int(rank): int(np.sum(basis.ranks == rank)) for rank in np.unique(basis.ranks)},
        "structures": len(importance),
        "reference_energies": dict(zip(symbols, map(float, e0), strict=True)),
        "ridge": solution.strength,
        "ridge_method": solution.method,
        "ridge_criterion": {
            f"{s:.2e}": value for s, value in solution.criterion.items() if np.isfinite(value)
        },
        "condition": solution.condition,
        "windows": windows,
        "closest": {
            f"{symbols[a]}-{symbols[b]}": float(statistics.closest[a, b])
            for a in range(len(symbols))
            for b in range(a, len(symbols))
            if np.isfinite(statistics.closest[a, b])
        },
    }
