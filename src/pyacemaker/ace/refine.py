"""Non-linear refinement of a linear fit: Finnis–Sinclair densities, then radial coefficients.

The linear potential is the start and the yardstick: the refined one is kept only where its loss on
validation data, which no step sees, is lower. The parameters of a stage (two densities' coefficients; then
the radial coefficients as well) descend together by `pyacemaker.ace.levenberg`, with the linear fit's ridge
as the prior.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyacemaker.ace.fit import folds
from pyacemaker.ace.nonlinear import DensityModel
from pyacemaker.ace.residuals import LabelledRows
from pyacemaker.ace.stages import NO_ROWS, STRENGTHS, LinearStart, Plan, Progress, Run
from pyacemaker.processes import OrderedMap, worker_map
from pyacemaker.structures import IntArray

logger = logging.getLogger(__name__)

LEAST_STRUCTURES = 30
"""Fewer than this are not split into training and validation: nothing is refined."""
LEAST_HELD_OUT = 5
"""Structures that are held out at least."""
LARGEST_SHARE = 0.05
"""Of all rows: a structure with more of them is held out last, since the rest cannot speak for it."""
FOLDS = 5
"""Parts that judge a refinement `by_folds`."""
ALIKE = 0.02
"""Share of the best held-out loss within which folds cannot tell two ridges apart: the weaker is taken."""
GAIN = 0.1
"""Share of the linear fit's held-out loss that a refinement judged by folds has to gain: less is within their
noise, and it fits the data so much more closely."""
WORTH_PROCESSES = 2e6
"""Entries of all Jacobians below which starting processes costs more than they save."""


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
    Where None, a random part of the training data is held out, and after the choice one step on all data
    follows; or, `plan.by_folds`, folds choose between the linear fit and a descent that needs no such data.
    restraints: rows that are always trained on. processes: results do not depend on it.
    """
    started = time.monotonic()
    training = training.part(np.array([k for k, w in enumerate(training.weights) if w.any()], dtype=np.int64))
    given = validation is not None and len(validation) > 0
    different = len(set(_alike(training)))
    if not given and different < LEAST_STRUCTURES:
        kind = "structures" if different == len(training) else "different structures"
        why = f"{different} {kind} are too few to hold some out; at least {LEAST_STRUCTURES}"
        return _unrefined(linear, why)
    work = training.rows * len(linear.basis) * plan.limits.iterations
    with worker_map(processes if work > WORTH_PROCESSES else 1) as run_map:
        if validation is not None and given:
            run = Run(linear, training + restraints, validation, plan, progress, run_map)
            model, facts = _judged(run, linear.model())
        elif plan.by_folds:
            model, facts = _by_folds(linear, training, restraints, plan, progress, run_map)
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
    run = Run(linear, data.part(rest) + restraints, data.part(held_out), plan, progress, run_map)
    model, facts = _judged(run, run.linear_start())
    facts["held_out"] = len(held_out)
    if model is not None:
        model = run.last_step(model, data + restraints)
    return model, facts


def _judged(run: Run, start: DensityModel) -> tuple[DensityModel | None, dict[str, Any]]:
    """The refined model, None where it is no better than `start` on the validation data, and facts."""
    before, model = run.losses(start), run.refined(start)
    after = run.losses(model)
    return (model if after[1] < before[1] else None), _facts(before, after, run.stages)


def _by_folds(
    linear: LinearStart,
    data: LabelledRows,
    restraints: LabelledRows,
    plan: Plan,
    progress: Progress | None,
    run_map: OrderedMap,
) -> tuple[DensityModel | None, dict[str, Any]]:
    """Every fold is predicted by the linear fit and by the refinements of the others."""
    parts = _parts(data, plan.seed)
    rows = np.array([data.part(part).rows for part in parts])
    before, after = np.zeros(2), np.zeros((len(STRENGTHS), 2))
    for number, (part, share) in enumerate(zip(parts, rows / rows.sum(), strict=True), start=1):
        tell = None if progress is None else _named(progress, f"fold {number} of {FOLDS}")
        rest = np.setdiff1d(np.arange(len(data)), part)
        run = Run(linear, data.part(rest) + restraints, data.part(part), plan, tell, run_map)
        before += share * np.array(run.losses(run.linear_start()))
        after += share * np.array([run.losses(model) for model in run.relaxed()])
    held_out = np.where(np.isfinite(after[:, 1]), after[:, 1], np.inf)
    stage = int(np.flatnonzero(held_out <= (1.0 + ALIKE) * held_out.min())[-1])
    facts = _facts(tuple(before), tuple(after[stage]), {}, GAIN) | {"folds": FOLDS}
    facts["held_out_losses"] = {f"{x:.0e}": float(y) for x, y in zip(STRENGTHS, after[:, 1], strict=True)}
    if not facts["kept"]:
        return None, facts
    whole = Run(linear, data + restraints, NO_ROWS, plan, progress, run_map)
    model = whole.relaxed(stage + 1)[-1]
    facts |= {"stages": whole.stages, "ridge": STRENGTHS[stage]}
    if whole.losses(model)[0] > whole.losses(whole.linear_start())[0]:
        facts |= {
            "kept": False,
            "why": "the linear potential is kept, the last descent did not reach its loss",
        }
        return None, facts
    return model, facts


def _parts(data: LabelledRows, seed: int) -> list[IntArray]:
    """Random folds; copies of a structure are in one of them, since a copy predicts the other."""
    alike = np.array(_alike(data))
    return [np.flatnonzero(np.isin(alike, part)) for part in folds(int(alike.max()) + 1, FOLDS, seed)]


def _alike(data: LabelledRows) -> list[int]:
    """A number of every structure, the same where the number of atoms and the energy (to 1 µeV) are."""
    numbers: dict[tuple[int, float], int] = {}
    keys = [
        (len(s), round(float(target[0]), 6)) for s, target in zip(data.structures, data.targets, strict=True)
    ]
    return [numbers.setdefault(key, len(numbers)) for key in keys]


def _named(progress: Progress, where: str) -> Progress:
    return lambda stage, done, limit: progress(f"{where}: {stage}", done, limit)


def _facts(
    before: Sequence[float], after: Sequence[float], stages: dict[str, Any], gain: float = 0.0
) -> dict[str, Any]:
    kept = bool(after[1] < (1.0 - gain) * before[1])
    facts = {"kept": kept, "why": _verdict(kept, before[1], after[1], gain), "stages": stages}
    for name, values in (("before", before), ("after", after)):
        facts[name] = {"train_loss": float(values[0]), "validation_loss": float(values[1])}
    return facts


def _verdict(kept: bool, before: float, after: float, gain: float) -> str:
    change = f"validation loss {before:.3g} before, {after:.3g} after"
    if kept:
        return f"refined: {change}"
    enough = f" by {100 * gain:g} %" if gain else ""
    return f"the linear potential is kept, refinement does not lower its loss{enough}: {change}"
