"""Step 6, base fit: an ACE potential learns the pseudo-labels."""

import json
from typing import Any

from pyacemaker.config import PyAceConfig
from pyacemaker.files import write_json
from pyacemaker.structures.formats import read_structures
from pyacemaker.workflow.step import Step, StepContext


def read_reference_energies(context: StepContext) -> dict[str, float]:
    """eV per element: the references that teacher, base and final potential share."""
    content = json.loads((context.inputs["02_label"] / "reference.json").read_text(encoding="utf-8"))
    energies: dict[str, float] = content["energies"]
    return energies


def fit_base(context: StepContext) -> None:
    """Write `base.yace` and `training.json`; a trainer that needs more for a second fit leaves it beside."""
    config, trainer = context.config, context.config.potential_trainer()
    pool = read_structures(context.inputs["05_pseudo_label"] / "surrogate.extxyz")
    data = config.preparation.prepare([pool], context.rng)
    trained = trainer.train(
        data.train,
        out=context.directory / "base.yace",
        reference_energies=read_reference_energies(context),
        test=data.validation if len(data.validation) else None,
        progress=lambda done, total: context.progress("fitting the base potential", done, total),
        processes=config.execution.worker_count(),
        workdir=context.directory / "training" if trainer.resumes() else None,
    )
    write_json(
        context.directory / "training.json", {**trained.report(), "preparation": data.counts.as_dict()}
    )


def _settings(config: PyAceConfig) -> list[Any]:
    return [config.potential_trainer(), config.preparation]


BASE_FIT = Step(
    name="06_base",
    title="fit the base ACE potential to the pseudo-labels",
    needs=("02_label", "05_pseudo_label"),
    settings=_settings,
    outputs=("base.yace", "training.json"),
    run=fit_base,
    versions=("pyacemaker", "numpy", "scipy", "numba"),
)
