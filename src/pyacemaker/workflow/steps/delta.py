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
from pyacemaker.trainers.ace import AceTrainer
from pyacemaker.validation.judgement import judge
from pyacemaker.workflow.step import Step, StepContext
from pyacemaker.workflow.steps.base_fit import read_reference_energies

log = logging.getLogger(__name__)


def learn_delta(context: StepContext) -> None:
    """Write `delta.yace`, `final.yace`, `metrics.json`, `test_predictions.extxyz` and, where possible,
    `final.asi`; `active_set.json` says what is in that or why it is missing."""
    teacher = context.config.foundation.tuned(context.inputs["03_finetune"] / "teacher.model")
    train = read_structures(context.inputs["02_label"] / "train.extxyz")
    correction = _fit_correction(context, teacher, train)
    facts = _fit_final(context, correction, train)
    _judge(context, teacher, facts)


def _fit_correction(context: StepContext, teacher: Potential, train: Dataset) -> ACEPotential:
    """δ: a small ACE fitted to DFT − teacher on the active set."""
    context.progress("delta learning", 0, 3)
    pairs = zip(train.labels, teacher.evaluate(train), strict=True)
    residual = train.with_labels([dft - predicted for dft, predicted in pairs], "dft-teacher")
    out = context.directory / "delta.yace"
    context.config.delta.correction.train(residual, dict.fromkeys(train.elements, 0.0), out)
    return ACEPotential.from_yace(out)


def _fit_final(context: StepContext, correction: ACEPotential, train: Dataset) -> dict[str, Any]:
    """The base fit again, on teacher + δ and, with their weight, the DFT labels themselves."""
    context.progress("delta learning", 1, 3)
    pool = read_structures(context.inputs["05_pseudo_label"] / "surrogate.extxyz")
    labelled_ids = set(train.ids)
    pool = pool.filter(lambda structure: structure.id not in labelled_ids)
    pairs = zip(pool.labels, correction.evaluate(pool), strict=True)
    corrected = pool.with_labels([label + delta for label, delta in pairs], "teacher+delta")
    weight = context.config.delta.dft_emphasis * len(corrected) / len(train)
    weighted = Dataset(structure.replace(weight=weight) for structure in train)
    data = corrected + weighted
    trained = _base_settings(context).train(
        data,
        read_reference_energies(context),
        context.directory / "final.yace",
        processes=context.config.execution.worker_count(),
    )
    _write_active_set(context, data)
    context.progress("delta learning", 2, 3)
    return trained.report()


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


def _base_settings(context: StepContext) -> AceTrainer:
    """The base fit's settings with the ridge strength and the cutoff it chose: few heavy labels cannot choose
    them well."""
    text = (context.inputs["06_base"] / "training.json").read_text(encoding="utf-8")
    facts = json.loads(text)
    chosen = {"ridge": facts["ridge"], "cutoff": facts["cutoff"]}
    return context.config.base.in_a_run().model_copy(update=chosen)


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
    context.progress("delta learning", 3, 3)
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
    return [config.delta, config.base.in_a_run(), config.foundation]


DELTA = Step(
    name="07_delta",
    title="learn the difference to DFT and judge on the frozen test set",
    needs=("02_label", "03_finetune", "05_pseudo_label", "06_base"),
    settings=_settings,
    outputs=(
        "delta.yace",
        "final.yace",
        "active_set.json",
        "metrics.json",
        "training.json",
        "test_predictions.extxyz",
    ),
    run=learn_delta,
    versions=("pyacemaker", "numpy", "scipy", "numba", "mace-torch", "torch"),
)
