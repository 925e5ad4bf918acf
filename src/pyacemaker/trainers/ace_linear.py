"""A solved linear fit: everything that later steps need of it."""

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pyacemaker.structures import Dataset, FloatArray
from pyacemaker.structures.accuracy import LabelCounts

if TYPE_CHECKING:
    from pyacemaker.ace.basis import Basis
    from pyacemaker.ace.fit import RowWeights
    from pyacemaker.ace.model import ACEModel
    from pyacemaker.ace.pairs import PairStatistics
    from pyacemaker.ace.refine import Refined
    from pyacemaker.ace.restraints import RestraintRows
    from pyacemaker.ace.ridge import RidgeSolution
    from pyacemaker.ace.shards import LinearProblem


UNREFINED = {"kept": False, "why": "not asked for, or too large a basis for `auto`"}
"""The facts of a refinement that was not tried."""


@dataclass(frozen=True, eq=False)
class LinearFit:
    """The solved problem: `solution.coefficients` are those of the basis, then shifts of E0 that were fitted.

    e0: (N,), eV, the shifts included. prior: (K + M,) p of each unknown. mean: (K + M,) the prior's mean,
    None: zero. labelled: the usable structures as they were given. training, importance: the same without
    the baseline, which was fitted to, and the factors on its errors. restraints: the invented rows. refined:
    what a non-linear refinement made of it.
    """

    problem: "LinearProblem"
    solution: "RidgeSolution"
    e0: FloatArray
    prior: FloatArray
    mean: FloatArray | None
    labelled: Dataset
    training: Dataset
    importance: FloatArray
    statistics: "PairStatistics"
    restraints: "RestraintRows | None" = None
    refined: "Refined | None" = None

    @property
    def coefficients(self) -> FloatArray:
        """(K,), eV."""
        return self.solution.coefficients[: len(self.problem.basis)]

    def model(self) -> "ACEModel":
        """The potential: the refined one where there is one."""
        if self.refined is not None and self.refined.kept:
            return self.refined.model.to_model()
        return self.problem.basis.to_model(self.coefficients, self.e0)

    def balanced(self) -> "tuple[RowWeights, float]":
        """Weights under which energies and forces weigh alike, and the mean squared residual of a row then.

        w_E/w_F becomes the ratio of the fit's errors in forces and in energies per atom, as far as that lies
        between 1 and the fit's own.
        """
        from pyacemaker.ace.residuals import LabelledRows

        weights, model = self.problem.weights, self.problem.basis.to_model(self.coefficients, self.e0)
        elements = self.problem.basis.elements

        def residuals(trial: "RowWeights") -> "tuple[FloatArray, FloatArray, FloatArray]":
            rows = LabelledRows.of(self.training, elements, self.e0, trial, self.importance)
            ends = [1 + 3 * len(structure) for structure in self.training]
            parts = [(r[:1], r[1:end], r[end:]) for r, end in zip(rows.residuals(model), ends, strict=True)]
            energies, forces, stresses = (np.concatenate(kind) for kind in zip(*parts, strict=True))
            return energies, forces, stresses

        def rms(values: FloatArray) -> float:
            return float(np.sqrt(np.mean(values[values != 0.0] ** 2))) if values.any() else 0.0

        energies, forces, _ = residuals(weights)
        largest = weights.energy / weights.forces
        per_energy = rms(energies) / (weights.energy * np.sqrt(weights.size))
        per_force = rms(forces) / weights.forces
        ratio = per_force / per_energy if per_energy > 0.0 else largest
        ratio = float(np.clip(ratio, min(1.0, largest), largest))
        balanced = replace(weights, energy=ratio * weights.forces)
        return balanced, rms(np.concatenate(residuals(balanced))) ** 2

    def facts(self) -> dict[str, Any]:
        """What is worth knowing about it, as JSON values."""
        basis, solution = self.problem.basis, self.solution
        symbols = basis.elements
        ranks = {int(rank): int(np.sum(basis.ranks == rank)) for rank in np.unique(basis.ranks)}
        criterion = {f"{s:.2e}": value for s, value in solution.criterion.items() if np.isfinite(value)}
        return {
            "functions": dict(zip(symbols, basis.counts, strict=True)),
            "total_functions": len(basis),
            "functions_by_rank": ranks,
            "structures": len(self.training),
            "counts": {"train": asdict(LabelCounts.of(self.training))},
            "reference_energies": dict(zip(symbols, map(float, self.e0), strict=True)),
            "ridge": solution.strength,
            "ridge_method": solution.method,
            "ridge_criterion": criterion,
            "condition": solution.condition,
            "windows": _windows(basis),
            "closest": _closest(symbols, self.statistics),
            "restraints": self._restraint_facts(),
            "cutoff": basis.cutoff,
            "refinement": UNREFINED if self.refined is None else self.refined.facts,
        }

    def _restraint_facts(self) -> dict[str, Any]:
        from pyacemaker.ace.restraints import acting

        if self.restraints is None:
            return {"invented_rows": 0}
        return {
            "invented_rows": len(self.restraints.offset),
            "acting": acting(self.solution.coefficients, self.restraints),
            "note": "invented, not data: bounds that keep the short-range wall repulsive",
        }


def _windows(basis: "Basis") -> dict[str, list[float]]:
    return {
        f"{basis.elements[a]}-{basis.elements[b]}": [bond.rcut_in, bond.dcut_in]
        for (a, b), bond in basis.bonds.items()
        if a <= b and bond.inner_cutoff == "zbl"
    }


def _closest(symbols: tuple[str, ...], statistics: "PairStatistics") -> dict[str, float]:
    return {
        f"{symbols[a]}-{symbols[b]}": float(statistics.closest[a, b])
        for a in range(len(symbols))
        for b in range(a, len(symbols))
        if np.isfinite(statistics.closest[a, b])
    }
