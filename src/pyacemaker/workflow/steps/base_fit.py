"""Step 6, base fit: an ACE potential learns the pseudo-labels, and explores where that is asked for."""

import json
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from pyacemaker.config import PyAceConfig
from pyacemaker.files import write_json
from pyacemaker.potentials.ace import add_baseline
from pyacemaker.structures import Dataset
from pyacemaker.structures.formats import read_structures, write_structures
from pyacemaker.workflow.step import Step, StepContext
from pyacemaker.workflow.student_loop import StudentLoop, loop_key


def read_reference_energies(context: StepContext) -> dict[str, float]:
    """eV per element: the references that teacher, base and final potential share."""
    content = json.loads((context.inputs["02_label"] / "reference.json").read_text(encoding="utf-8"))
    energies: dict[str, float] = content["energies"]
    return energies


def fit_base(context: StepContext) -> None:
    """Write `base.yace`, `training.json`, and what the rounds of the student gave: `student.json` and the
    labelled frames `student_pool.extxyz`, without any where there are no rounds."""
    pool = read_structures(context.inputs["05_pseudo_label"] / "surrogate.extxyz")
    out = context.directory / "base.yace"
    settings = context.config.student
    if not settings.rounds:
        _fit(context, pool, out)
        write_structures(context.directory / "student_pool.extxyz", [])
        write_json(context.directory / "student.json", {"rounds": []})
        return
    folder = context.directory / "rounds" / loop_key(context)
    first = folder / "first.yace"
    if not first.is_file():
        _fit(context, pool, first)
    loop = StudentLoop(context, pool, partial(_fit, context), folder)
    loop.run(first)
    _fit(context, pool + loop.extra, out)
    write_structures(context.directory / "student_pool.extxyz", loop.extra)
    rounds = [asdict(found) for found in loop.rounds]
    write_json(context.directory / "student.json", {"rounds": rounds, "ended": loop.ended})


def _fit(context: StepContext, data: Dataset, out: Path) -> None:
    """Fit the base potential; its `training.json` is that of the last fit of the step.

    A trainer that needs more for a second fit leaves it beside.
    """
    config, trainer = context.config, context.config.potential_trainer()
    prepared = config.preparation.prepare([data], context.rng)
    trained = trainer.train(
        prepared.train,
        out=out,
        reference_energies=read_reference_energies(context),
        test=prepared.validation if len(prepared.validation) else None,
        progress=lambda done, total: context.progress("fitting the base potential", done, total),
        processes=config.execution.worker_count(),
        workdir=out.parent / "training" if trainer.resumes() else None,
    )
    add_baseline(trained.path, getattr(trainer, "additive_baseline", None))
    report = {**trained.report(), "preparation": prepared.counts.as_dict()}
    write_json(context.directory / "training.json", report)


def _settings(config: PyAceConfig) -> list[Any]:
    own = [config.potential_trainer(), config.preparation]
    if not config.student.rounds:
        return own
    foundation = config.foundation
    teacher = [foundation.device, foundation.dtype, foundation.max_atoms_per_batch]
    return [*own, config.student, config.explore, config.pseudo_label, *teacher]


BASE_FIT = Step(
    name="06_base",
    title="fit the base ACE potential to the pseudo-labels",
    needs=("02_label", "03_finetune", "05_pseudo_label"),
    settings=_settings,
    outputs=("base.yace", "training.json", "student_pool.extxyz", "student.json"),
    run=fit_base,
    versions=("pyacemaker", "numpy", "scipy", "numba"),
)
