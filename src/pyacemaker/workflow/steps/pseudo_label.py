"""Step 5, pseudo-label: the tuned teacher labels the surrogate pool."""

import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any

from pyacemaker.config import PyAceConfig
from pyacemaker.errors import InsufficientDataError
from pyacemaker.files import write_json
from pyacemaker.structures import AtomStructure, Dataset
from pyacemaker.structures.formats import read_structures, write_structures
from pyacemaker.workflow.step import Step, StepContext
from pyacemaker.workflow.steps.sample import fit_to_learn_from
from pyacemaker.workflow.teacher_labels import is_credible, teacher_labels

log = logging.getLogger(__name__)


def pseudo_label(context: StepContext) -> None:
    """Write `surrogate.extxyz`: candidates and frames, labelled by the teacher, without the test set.

    Labels are kept in `parts/` as they are made; no more than one part is in memory.
    """
    structures = _surrogate_pool(context)
    tags: Counter[str] = Counter()
    limit = context.config.pseudo_label.max_force

    def kept() -> Iterator[AtomStructure]:
        for part in teacher_labels(
            context,
            structures,
            context.directory / "parts",
            lambda done: context.progress("pseudo-labelling, structures", done, len(structures)),
        ):
            for structure in part:
                if is_credible(structure, limit):
                    tags[structure.tag] += 1
                    yield structure

    write_structures(context.directory / "surrogate.extxyz", kept())
    n_kept = sum(tags.values())
    if not n_kept:
        raise InsufficientDataError(
            f"none of {len(structures)} pseudo-labels has finite forces below pseudo_label.max_force = "
            f"{limit} eV/Å: the fine-tuned model is not usable"
        )
    dropped = len(structures) - n_kept
    log.info("%d pseudo-labels, %d left out above %g eV/Å", n_kept, dropped, limit)
    report = {"structures": n_kept, "left_out": dropped, "tags": tags}
    write_json(context.directory / "report.json", report)


def _surrogate_pool(context: StepContext) -> Dataset:
    candidates = fit_to_learn_from(read_structures(context.inputs["01_sample"] / "candidates.extxyz"))
    frames = read_structures(context.inputs["04_explore"] / "frames.extxyz")
    test = set(read_structures(context.inputs["02_label"] / "test.extxyz").ids)
    return (candidates + frames).unique().filter(lambda structure: structure.id not in test)


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
