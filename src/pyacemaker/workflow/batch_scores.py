"""What a teacher got wrong on labels it was not trained on, what that says about its uncertainty, and when
more labels are not needed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pyacemaker.config import StopTargets
from pyacemaker.selection import calibration
from pyacemaker.selection.calibration import ConformalBound
from pyacemaker.structures import Dataset, FloatArray, Labels
from pyacemaker.units import MEV_PER_EV

ENERGY, FORCES = "energy_mev_per_atom", "forces_mev_per_angstrom"
BOUNDED_SHARE = 0.95
"""Share of the pool whose conformal bounds have to meet the targets."""
LEAST_GAIN = 0.1
"""Relative improvement from one batch to the next below which rounds no longer pay."""


@dataclass(frozen=True, eq=False)
class Judged:
    """Labelled structures as a teacher sees them that was not trained on them.

    tags: (n,). uncertainty: (n,) by that teacher. energy: (n,) teacher − label, meV/atom, with aligned
    references. forces: per structure (n_atoms, 3), meV/Å. sigma: per structure the uncertainty of each force
    component, uncalibrated, where there is one.
    """

    tags: tuple[str, ...]
    uncertainty: FloatArray
    energy: FloatArray
    forces: tuple[FloatArray, ...]
    sigma: tuple[FloatArray, ...] | None = None

    @classmethod
    def of(
        cls,
        labelled: Dataset,
        predicted: Sequence[Labels],
        shift: Mapping[str, float],
        uncertainty: FloatArray,
        sigma: Sequence[FloatArray] | None,
    ) -> "Judged":
        """shift: eV per element, added to the predicted energies."""
        pairs = list(zip(predicted, labelled.labels, strict=True))
        energy = np.array([ours.energy - theirs.energy for ours, theirs in pairs])
        energy = energy + labelled.reference_energies(shift) if len(labelled) else energy
        sizes = np.array([len(structure) for structure in labelled], dtype=np.float64)
        return cls(
            tuple(structure.tag for structure in labelled),
            uncertainty,
            energy / sizes * MEV_PER_EV,
            tuple((ours.forces - theirs.forces) * MEV_PER_EV for ours, theirs in pairs),
            None if sigma is None else tuple(sigma),
        )

    def __len__(self) -> int:
        return len(self.tags)

    def __add__(self, other: "Judged") -> "Judged":
        both = None if self.sigma is None or other.sigma is None else self.sigma + other.sigma
        return Judged(
            self.tags + other.tags,
            np.concatenate([self.uncertainty, other.uncertainty]),
            np.concatenate([self.energy, other.energy]),
            self.forces + other.forces,
            both,
        )

    def errors(self) -> dict[str, FloatArray]:
        """(n,) each: |ΔE| per atom in meV, and the root mean square of each structure's ΔF in meV/Å."""
        rms = [float(np.sqrt(np.mean(difference**2))) for difference in self.forces]
        return {ENERGY: np.abs(self.energy), FORCES: np.array(rms)}

    def rmse(self) -> dict[str, float]:
        """Over all structures (meV/atom) and over all force components (meV/Å)."""
        components = np.concatenate([np.zeros(0), *(difference.ravel() for difference in self.forces)])
        return {
            ENERGY: float(np.sqrt(np.mean(self.energy**2))),
            FORCES: float(np.sqrt(np.mean(components**2))),
        }


@dataclass(frozen=True)
class RoundScore:
    """One batch: its number from 1, the errors before training, and how far the pool is bounded.

    bounded: share of the unlabelled pool whose conformal bounds meet the targets; None without targets or
    calibration.
    """

    number: int
    rmse: Mapping[str, float] = field(default_factory=dict)
    bounded: float | None = None


def calibration_set(rounds: Sequence[Judged]) -> Judged:
    """The last batch, with earlier ones, each judged by its own teacher, while there are too few labels."""
    found = rounds[-1]
    for earlier in reversed(rounds[:-1]):
        if len(found) >= calibration.MIN_LABELS:
            break
        found = earlier + found
    return found


def bounds(known: Judged) -> dict[str, ConformalBound]:
    """The conformal bound of each error."""
    sizes = calibration.floored(known.uncertainty)
    return {name: ConformalBound.fit(sizes, errors, known.tags) for name, errors in known.errors().items()}


def bounded_share(
    known: Judged, uncertainty: FloatArray, tags: Sequence[str], targets: StopTargets
) -> float | None:
    """The share of structures with this `uncertainty` (n,) and `tags` whose bounds meet all targets given."""
    wanted = _wanted(targets)
    if not wanted or not len(uncertainty) or len(known) < calibration.MIN_LABELS:
        return None
    fitted, within = bounds(known), np.ones(len(uncertainty), dtype=bool)
    for name, target in wanted.items():
        within &= fitted[name](calibration.floored(uncertainty), tags) <= target
    return float(np.mean(within))


def reason_to_stop(scores: Sequence[RoundScore], targets: StopTargets) -> str | None:
    """Why no further round is needed, None where one is."""
    wanted = _wanted(targets)
    if not wanted:
        return None
    last = scores[-1]
    if last.bounded is not None and last.bounded >= BOUNDED_SHARE:
        return f"the conformal bounds meet the targets for {last.bounded:.0%} of the pool"
    scored = [score for score in scores if score.rmse]  # of dimers and failures alone, a batch has no error
    pairs = list(zip(scored[-3:-1], scored[-2:], strict=True)) if len(scored) >= 3 else []
    if pairs and all(_met(new, wanted) and _gain(old, new, wanted) < LEAST_GAIN for old, new in pairs):
        return "two batches met the targets before training and improved by less than 10 %"
    return None


def report(known: Judged, held_out: Judged, kind: str) -> dict[str, Any]:
    """Everything about the calibration, for JSON: fitted on `known`, checked on `held_out`."""
    trusted = len(known) >= calibration.MIN_LABELS
    content: dict[str, Any] = {
        "uncertainty": kind,
        "level": calibration.LEVEL,
        "labels": len(known),
        "held_out_labels": len(held_out),
        "calibrated": trusted,
        "errors": {},
    }
    if not trusted:
        content["why_not"] = f"{len(known)} labels; at least {calibration.MIN_LABELS} are needed"
    fitted = bounds(known)
    for name, bound in fitted.items():
        content["errors"][name] = _quantity(known, held_out, name, bound)
    if known.sigma is not None and held_out.sigma is not None:
        content["force_components"] = _components(known, held_out)
    return content


def own_report(judged: Judged, kind: str) -> dict[str, Any]:
    """The calibration of a model on labels it was not trained on, for JSON: fitted and checked on the same.

    Each structure is checked with the factor that the others give, which by construction holds for about the
    promised share of all; how the share differs between tags, and the standard deviations of the force
    components, say more. `summary` is the part for `metrics.json`.
    """
    trusted = len(judged) >= calibration.MIN_LABELS
    content: dict[str, Any] = {
        "uncertainty": kind,
        "level": calibration.LEVEL,
        "labels": len(judged),
        "calibrated": trusted,
        "errors": {name: _left_out(judged, errors) for name, errors in judged.errors().items()},
    }
    if not trusted:
        content["why_not"] = f"{len(judged)} labels; at least {calibration.MIN_LABELS} are needed"
    if judged.sigma is not None:
        content["force_components"] = _components_left_out(judged)
    forces = content["errors"][FORCES]
    content["summary"] = {
        "kind": kind,
        "calibrated": trusted,
        "labels": len(judged),
        "level": calibration.LEVEL,
        "coverage": forces["leave_one_out_coverage"],
        "coverage_of_one_sigma": content.get("force_components", {}).get("coverage_of_one_sigma"),
        "ence": content.get("force_components", forces)["ence"],
        "spearman": forces["spearman"],
    }
    return content


def summary(content: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a `report` that `metrics.json` shows."""
    forces = content["errors"][FORCES]
    return {
        "kind": content["uncertainty"],
        "calibrated": content["calibrated"],
        "labels": content["labels"],
        "level": content["level"],
        "held_out_coverage": forces["held_out_coverage"],
        "ence": content.get("force_components", forces)["ence"],
        "spearman": forces["spearman"],
    }


def _quantity(known: Judged, held_out: Judged, name: str, bound: ConformalBound) -> dict[str, Any]:
    here, there = calibration.floored(known.uncertainty), calibration.floored(held_out.uncertainty)
    ours, theirs = known.errors()[name], held_out.errors()[name]
    scale = calibration.scale_of(here, ours)
    limits = bound(there, held_out.tags)
    return {
        "factor": bound.pooled,
        "factor_by_tag": dict(bound.by_tag),
        "held_out_coverage": float(np.mean(theirs <= limits)) if np.isfinite(limits).any() else None,
        "held_out_coverage_by_tag": {
            tag: float(np.mean((theirs <= limits)[np.asarray(held_out.tags) == tag]))
            for tag in sorted(set(held_out.tags))
        },
        "coverage_curve": calibration.coverage_curve(
            (here, ours, known.tags), (there, theirs, held_out.tags)
        ),
        "scale": scale,
        "ence": calibration.ence(scale * there, theirs) if scale > 0.0 else None,
        "spearman": calibration.rank_correlation(there, theirs),
        "auroc_of_the_worst_tenth": calibration.worst_tenth_auroc(there, theirs),
    }


def _components(known: Judged, held_out: Judged) -> dict[str, Any]:
    """How well the standard deviations of single force components hold."""
    here, ours = _flat(known.sigma or ()), _flat(known.forces)
    there, theirs = _flat(held_out.sigma or ()), _flat(held_out.forces)
    here, there = calibration.floored(here), calibration.floored(there)
    scale = calibration.scale_of(here, ours)
    return {
        "scale": scale,
        "coverage_of_one_sigma": calibration.within_one_sigma(scale * there, theirs),
        "ence": calibration.ence(scale * there, theirs) if scale > 0.0 else None,
    }


def _left_out(judged: Judged, errors: FloatArray) -> dict[str, Any]:
    """One kind of error, each structure checked with what the others give."""
    sizes = calibration.floored(judged.uncertainty)
    ratios, scale = errors / sizes, calibration.scale_of(sizes, errors)
    within = calibration.within_left_out(ratios)
    tags = np.asarray(judged.tags, dtype=str)
    bound = ConformalBound.fit(sizes, errors, judged.tags)
    return {
        "factor": bound.pooled,
        "factor_by_tag": dict(bound.by_tag),
        "leave_one_out_coverage": float(np.mean(within)),
        "coverage_by_tag": {str(tag): float(np.mean(within[tags == tag])) for tag in np.unique(tags)},
        "scale": scale,
        "ence": calibration.ence(scale * sizes, errors) if scale > 0.0 else None,
        "spearman": calibration.rank_correlation(sizes, errors),
        "auroc_of_the_worst_tenth": calibration.worst_tenth_auroc(sizes, errors),
    }


def _components_left_out(judged: Judged) -> dict[str, Any]:
    """The standard deviations of force components, those of each structure scaled by what the others give."""
    sigma = judged.sigma or ()
    sizes, errors = calibration.floored(_flat(sigma)), _flat(judged.forces)
    owner = np.repeat(np.arange(len(sigma)), [array.size for array in sigma])
    scales = (
        [calibration.scale_of(sizes[owner != k], errors[owner != k]) for k in range(len(sigma))]
        if len(sigma) > 1
        else [1.0] * len(sigma)
    )
    scaled = sizes * np.array(scales)[owner]
    return {
        "scale": calibration.scale_of(sizes, errors),
        "coverage_of_one_sigma": calibration.within_one_sigma(scaled, errors),
        "ence": calibration.ence(scaled, errors) if scaled.all() else None,
    }


def _flat(arrays: Sequence[FloatArray]) -> FloatArray:
    return np.concatenate([np.zeros(0), *(array.ravel() for array in arrays)])


def _wanted(targets: StopTargets) -> dict[str, float]:
    given = {ENERGY: targets.energy_mev_per_atom, FORCES: targets.forces_mev_per_angstrom}
    return {name: target for name, target in given.items() if target is not None}


def _met(score: RoundScore, wanted: Mapping[str, float]) -> bool:
    return all(score.rmse[name] <= target for name, target in wanted.items())


def _gain(old: RoundScore, new: RoundScore, wanted: Mapping[str, float]) -> float:
    """The largest relative improvement of the errors that have a target."""
    return max(1.0 - new.rmse[name] / max(old.rmse[name], 1e-300) for name in wanted)
