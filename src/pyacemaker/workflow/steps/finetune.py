"""Step 3, fine-tune: the foundation model learns the active set."""

import json
from typing import Any

from pyacemaker.config import PyAceConfig
from pyacemaker.files import write_json
from pyacemaker.structures.formats import read_structures
from pyacemaker.workflow.step import Step, StepContext


def finetune(context: StepContext) -> None:
    """Write `teacher.model` and `training.json`."""
    labelled = context.inputs["02_label"]
    reference = json.loads((labelled / "reference.json").read_text(encoding="utf-8"))
    trained = context.config.finetune.train(
        read_structures(labelled / "train.extxyz"),
        foundation=context.config.foundation.resolve(),
        head=context.config.foundation.head,
        reference_energies=reference["energies"],
        out=context.directory / "teacher.model",
        seed=context.seed % 2**31,
        workdir=context.directory / "training",
        progress=lambda done, total, _: context.progress("fine-tuning MACE, epochs", done, total),
    )
    write_json(context.directory / "training.json", trained.report())


def _settings(config: PyAceConfig) -> list[Any]:
    return [config.finetune, config.foundation]


FINETUNE = Step(
    name="03_finetune",
    title="fine-tune MACE on the active set",
    needs=("02_label",),
    settings=_settings,
    outputs=("teacher.model", "training.json"),
    run=finetune,
    versions=("pyacemaker", "mace-torch", "torch"),
)
