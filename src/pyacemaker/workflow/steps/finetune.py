"""Step 3, fine-tune: the foundation model learns the active set, and how unsure it is afterwards."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pyacemaker.config import PyAceConfig
from pyacemaker.files import write_json
from pyacemaker.selection.committee import CommitteeUncertainty, member_file
from pyacemaker.structures import Dataset
from pyacemaker.structures.formats import read_structures
from pyacemaker.trainers.base import TrainedPotential
from pyacemaker.workflow.batch_scores import Judged, own_report
from pyacemaker.workflow.known import known_structures
from pyacemaker.workflow.step import Step, StepContext

log = logging.getLogger(__name__)

_KNOWN = 500
"""About as many structures of what the foundation knows are enough for the reference of an uncertainty."""


def finetune(context: StepContext) -> None:
    """Write `teacher.model`, `training.json`, `learning_curve.json` (errors after each epoch) and
    `calibration.json` (what the teacher's uncertainty says of its errors)."""
    labelled = context.inputs["02_label"]
    train = read_structures(labelled / "train.extxyz")
    reference = json.loads((labelled / "reference.json").read_text(encoding="utf-8"))
    trained = _train(context, train, reference["energies"], context.directory / "teacher.model")
    _train_committee(context, train, reference["energies"])
    write_json(context.directory / "training.json", trained.report())
    write_json(context.directory / "learning_curve.json", dict(trained.curves))
    write_json(context.directory / "calibration.json", _calibration(context, train))


def _train(
    context: StepContext, train: Dataset, energies: Mapping[str, float], out: Path, member: int = 0
) -> TrainedPotential:
    """The teacher, or a member of its committee."""
    config = context.config
    what = f"member {member + 1} of the committee" if member else "MACE"
    return config.finetune.train(
        train,
        foundation=config.foundation.resolve(),
        head=config.foundation.head,
        reference_energies=energies,
        out=out,
        seed=(context.seed + member) % 2**31,
        workdir=context.directory / "training" / (f"member-{member}" if member else ""),
        known=known_structures(context) if config.finetune.needs_known else (),
        progress=lambda done, total, _: context.progress(f"fine-tuning {what}, epochs", done, total),
    )


def _train_committee(context: StepContext, train: Dataset, energies: Mapping[str, float]) -> None:
    """The other members, each on its share of the labels, where the uncertainty is that of a committee."""
    settings = context.config.finetune.uncertainty
    if not isinstance(settings, CommitteeUncertainty):
        return
    for number in range(1, settings.members):
        out = member_file(context.directory / "teacher.model", number)
        rng = np.random.default_rng([context.seed, number])
        _train(context, share_of(train, settings.share, rng), energies, out, number)


def share_of(train: Dataset, share: float, rng: np.random.Generator) -> Dataset:
    """A random share of the structures, in their order, and more where an element would be missing."""
    kept: set[int] = set()
    elements: set[str] = set()
    for index in rng.permutation(len(train)):
        new = set(train[int(index)].symbols) - elements
        if len(kept) < share * len(train) or new:
            kept.add(int(index))
            elements |= new
    return train[sorted(kept)]


def _calibration(context: StepContext, train: Dataset) -> dict[str, Any]:
    """The teacher's uncertainty on the frozen test set, which nothing was trained on."""
    config = context.config
    teacher = config.foundation.tuned(context.directory / "teacher.model")
    test = read_structures(context.inputs["02_label"] / "test.extxyz")
    covered = set(teacher.elements)
    known = known_structures(context).filter(lambda structure: set(structure.symbols) <= covered)
    some = known[:: max(1, len(known) // _KNOWN)]
    rated = config.finetune.uncertainty.rate(teacher, train + some, test)
    unmoved = dict.fromkeys(teacher.elements, 0.0)
    judged = Judged.of(test, teacher.evaluate(test), unmoved, rated.structures, rated.forces)
    content = own_report(judged, str(getattr(config.finetune.uncertainty, "kind", "plug-in")))
    log.info("uncertainty of the teacher: %s", content["summary"])
    return content


def _settings(config: PyAceConfig) -> list[Any]:
    return [config.finetune, config.foundation]


FINETUNE = Step(
    name="03_finetune",
    title="fine-tune MACE on the active set",
    needs=("01_sample", "02_label"),
    settings=_settings,
    outputs=("teacher.model", "training.json", "learning_curve.json", "calibration.json"),
    run=finetune,
    versions=("pyacemaker", "mace-torch", "torch"),
)
