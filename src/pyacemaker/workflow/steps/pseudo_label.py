"""Step 5, pseudo-label: the tuned teacher labels the surrogate pool."""

import logging
from typing import Any

import numpy as np

from pyacemaker.config import PyAceConfig
from pyacemaker.errors import InsufficientDataError
from pyacemaker.files import write_json
from pyacemaker.structures import Dataset
from pyacemaker.structures.formats import read_structures, write_structures
from pyacemaker.workflow.step import Step, StepContext
from pyacemaker.workflow.steps.sample import fit_to_learn_from

log = logging.getLogger(__name__)

CHUNK = 500
"""Structures labelled between two reports of progress."""


def pseudo_label(context: StepContext) -> None:
    """Write `surrogate.extxyz`: candidates and frames, labelled by the teacher, without the test set."""
    teacher = context.config.foundation.tuned(context.inputs["03_finetune"] / "teacher.model")
    structures = _surrogate_pool(context)
    labelled = Dataset()
    for start in range(0, len(structures), CHUNK):
        context.progress("pseudo-labelling, structures", start, len(structures))
        labelled = labelled + teacher.label(structures[start : start + CHUNK])
    context.progress("pseudo-labelling, structures", len(structures), len(structures))
    limit = context.config.pseudo_label.max_force
    kept = labelled.filter(
        lambda s: s.labels is not None and s.labels.is_finite() and _largest(s.labels.forces) <= limit
    )
    dropped = len(labelled) - len(kept)
    if not kept:
        raise InsufficientDataError(
            f"none of {len(labelled)} pseudo-labels has finite forces below pseudo_label.max_force = {limit} "
            "eV/Å: the fine-tuned model is not usable"
        )
    log.info("%d pseudo-labels, %d left out above %g eV/Å", len(kept), dropped, limit)
    write_structures(context.directory / "surrogate.extxyz", kept)
    report = {"structures": len(kept), "left_out": dropped, "tags": kept.tag_counts()}
    write_json(context.directory / "report.json", report)


def _surrogate_pool(context: StepContext) -> Dataset:
    candidates = fit_to_learn_from(read_structures(context.inputs["01_sample"] / "candidates.extxyz"))
    frames = read_structures(context.inputs["04_explore"] / "frames.extxyz")
    test = set(read_structures(context.inputs["02_label"] / "test.extxyz").ids)
    return (candidates + frames).unique().filter(lambda structure: structure.id not in test)


def _largest(forces: Any) -> float:
    return float(np.abs(forces).max())


def _settings(config: PyAceConfig) -> list[Any]:
    return [config.pseudo_label, config.foundation.device, config.foundation.dtype]


PSEUDO_LABEL = Step(
    name="05_pseudo_label",
    title="label the surrogate pool with MACE",
    needs=("01_sample", "02_label", "03_finetune", "04_explore"),
    settings=_settings,
    outputs=("surrogate.extxyz", "report.json"),
    run=pseudo_label,
    versions=("pyacemaker", "mace-torch", "torch"),
)
