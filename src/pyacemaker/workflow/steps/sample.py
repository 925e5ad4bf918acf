"""Step 1, sample: generate candidates, keep the sane ones, pick a diverse pool."""

import logging
from functools import partial
from typing import Any

from pyacemaker.config import PyAceConfig
from pyacemaker.files import write_json
from pyacemaker.generators.anchors import always
from pyacemaker.generators.dimers import DIMER, ISOLATED_ATOM
from pyacemaker.generators.direct import DirectGenerator
from pyacemaker.potentials.base import Potential
from pyacemaker.processes import release_memory
from pyacemaker.structures import Dataset
from pyacemaker.structures.formats import write_structures
from pyacemaker.workflow.step import Step, StepContext

log = logging.getLogger(__name__)


def sample(context: StepContext) -> None:
    """Write `candidates.extxyz` (all that pass the filters), `pool.extxyz` (the diverse), `report.json`."""
    teacher = context.config.foundation.load()
    picking = _picking(context.config)
    generated = _generate(context, picking, teacher)
    candidates, rejected = picking.filtered(generated, teacher)
    release_memory()
    pool = picking.diverse(_fit_to_label(candidates, context.config), teacher, context.rng)
    log.info("%d candidates of %d, pool of %d", len(candidates), len(generated), len(pool))
    write_structures(context.directory / "candidates.extxyz", candidates)
    write_structures(context.directory / "pool.extxyz", pool)
    report = {"rejected": rejected, "candidates": candidates.tag_counts(), "pool": pool.tag_counts()}
    write_json(context.directory / "report.json", report)


def _picking(config: PyAceConfig) -> DirectGenerator:
    settings = config.sample
    return DirectGenerator(
        generators=settings.generators,
        n=settings.n_pool,
        selector=settings.selector,
        filters=config.label.filters,
    )


def _generate(context: StepContext, picking: DirectGenerator, teacher: Potential) -> Dataset:
    """What the generators make, then the isolated atoms and the dimer curves of all elements."""
    found = picking.made(teacher, context.seed, partial(context.progress, "generating candidates"))
    return (found + always(found.elements, picking.inputs())).unique()


def fit_to_learn_from(candidates: Dataset) -> Dataset:
    """All but the isolated atoms, whose energies are the references, and the dimers: a teacher gives lone
    atoms another energy than its references, so that its dimers come apart at a wrong energy."""
    return candidates.filter(lambda structure: structure.tag not in (ISOLATED_ATOM, DIMER))


def _fit_to_label(candidates: Dataset, config: PyAceConfig) -> Dataset:
    """The same, and the dimers where labels may be spent on them, unless the system is charged: they are
    neutral, and potentials cannot tell charges apart."""
    others = fit_to_learn_from(candidates)
    if not config.label.max_dimers() or any(structure.charge for structure in others):
        return others
    return candidates.filter(lambda structure: structure.tag != ISOLATED_ATOM)


def _settings(config: PyAceConfig) -> list[Any]:
    return [config.sample, config.foundation, config.label.filters, config.label.max_dimers() > 0]


SAMPLE = Step(
    name="01_sample",
    title="generate candidates and pick a diverse pool",
    needs=(),
    settings=_settings,
    outputs=("candidates.extxyz", "pool.extxyz", "report.json"),
    run=sample,
    versions=("pyacemaker", "mace-torch", "torch", "scikit-learn", "ase"),
)
