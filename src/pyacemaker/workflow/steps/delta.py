"""Step 7, delta: what the DFT labels know beyond the teacher goes into the final potential, and is judged."""

import json
import logging
from typing import Any

from pyacemaker.config import PyAceConfig
from pyacemaker.errors import InsufficientDataError
from pyacemaker.files import write_json
from pyacemaker.potentials.ace import ACEPotential
from pyacemaker.potentials.base import Potential
from pyacemaker.potentials.extrapolation import build_active_set
from pyacemaker.structures import Dataset
from pyacemaker.structures.formats import read_structures, write_structures
from pyacemaker.trainers.delta import DeltaProblem
from pyacemaker.trainers.preparation import Preparation
from pyacemaker.validation.judgement import judge
from pyacemaker.workflow.step import Step, StepContext
from pyacemaker.workflow.steps.base_fit import read_reference_energies

log = logging.getLogger(__name__)


def learn_delta(context: StepContext) -> None:
    """Write `final.yace`, `metrics.json`, `test_predictions.extxyz` and, where there is one, `delta.yace` and
    `final.asi`; `active_set.json` says what is in that or why it is missing."""
    teacher = context.config.foundation.tuned(context.inputs["03_finetune"] / "teacher.model")
    (context.directory / "delta.yace").unlink(missing_ok=True)
    context.progress("delta learning", 0, 2)
    result = _problem(context, teacher).solve(
        context.directory, lambda done, total: context.progress("trying delta strategies", done, total)
    )
    context.progress("delta learning", 1, 2)
    _write_active_set(context, result.data)
    _judge(context, teacher, result.report())


def _problem(context: StepContext, teacher: Potential) -> DeltaProblem:
    config = context.config
    text = (context.inputs["06_base"] / "training.json").read_text(encoding="utf-8")
    train = read_structures(context.inputs["02_label"] / "train.extxyz")
    pool = read_structures(context.inputs["05_pseudo_label"] / "surrogate.extxyz")
    pool = pool + read_structures(context.inputs["06_base"] / "student_pool.extxyz", allow_empty=True)
    labelled = set(train.ids)
    known = dict(zip(train.ids, teacher.evaluate(train), strict=True))
    every = Preparation(energy_window=config.preparation.energy_window, weights=config.preparation.weights)
    train = every.prepare([train], context.rng).train
    return DeltaProblem(
        train=train,
        teacher=[known[structure.id] for structure in train],
        pool=every.prepare([pool.filter(lambda s: s.id not in labelled)], context.rng).train,
        base=context.inputs["06_base"] / "base.yace",
        trainer=config.potential_trainer().again(json.loads(text)),
        reference_energies=read_reference_energies(context),
        settings=config.delta,
        processes=config.execution.worker_count(),
    )


def _write_active_set(context: StepContext, data: Dataset) -> None:
    """The active set of the final potential, from the structures that it was fitted to."""
    potential = ACEPotential.from_yace(context.directory / "final.yace")
    facts: dict[str, Any]
    try:
        active_set, parts = build_active_set(potential, data)
    except InsufficientDataError as error:
        log.warning("no active set for the final potential: %s", error)
        (context.directory / "final.asi").unlink(missing_ok=True)
        facts = {"missing_because": str(error)}
    else:
        active_set.save(context.directory / "final.asi")
        facts = {part.element: part.facts() for part in parts}
    write_json(context.directory / "active_set.json", facts)


def _judge(context: StepContext, teacher: Potential, facts: dict[str, Any]) -> None:
    test = read_structures(context.inputs["02_label"] / "test.extxyz")
    models: dict[str, Potential] = {
        "foundation": _aligned_foundation(context),
        "teacher": teacher,
        "base": ACEPotential.from_yace(context.inputs["06_base"] / "base.yace"),
        "final": ACEPotential.from_yace(context.directory / "final.yace"),
    }
    predictions = {name: model.evaluate(test) for name, model in models.items()}
    base = json.loads((context.inputs["06_base"] / "training.json").read_text(encoding="utf-8"))
    metrics = judge(test, predictions, base["train"])
    context.progress("delta learning", 2, 2)
    log.info("%s", metrics["verdict"]["reason"])
    write_structures(
        context.directory / "test_predictions.extxyz", test.with_labels(predictions["final"], "final")
    )
    for name, found in predictions.items():
        write_structures(context.directory / "predictions" / f"{name}.extxyz", test.with_labels(found, name))
    write_json(context.directory / "metrics.json", metrics)
    write_json(context.directory / "training.json", facts)


def _aligned_foundation(context: StepContext) -> Potential:
    """The untuned model with the energy references of the others, so that its errors are comparable."""
    path = context.directory / "foundation_aligned.model"
    return context.config.foundation.load().with_reference_energies(path, read_reference_energies(context))


def _settings(config: PyAceConfig) -> list[Any]:
    return [config.delta, config.potential_trainer(), config.preparation, config.foundation]


DELTA = Step(
    name="07_delta",
    title="learn the difference to DFT and judge on the frozen test set",
    needs=("02_label", "03_finetune", "05_pseudo_label", "06_base"),
    settings=_settings,
    outputs=(
        "final.yace",
        "active_set.json",
        "metrics.json",
        "training.json",
        "test_predictions.extxyz",
    ),
    run=learn_delta,
    versions=("pyacemaker", "numpy", "scipy", "numba", "mace-torch", "torch"),
)
