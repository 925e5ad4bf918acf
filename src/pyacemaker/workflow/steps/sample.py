"""Step 1, sample: generate candidates, keep the sane ones, pick a diverse pool."""

import logging
from typing import Any

import numpy as np

from pyacemaker.config import PyAceConfig
from pyacemaker.errors import InsufficientDataError
from pyacemaker.files import write_json
from pyacemaker.generators.anchors import ANCHOR_TAGS
from pyacemaker.potentials.base import Potential
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.structures import Dataset
from pyacemaker.structures.formats import write_structures
from pyacemaker.workflow.step import Step, StepContext

log = logging.getLogger(__name__)


def sample(context: StepContext) -> None:
    """Write `candidates.extxyz` (all that pass the filters), `pool.extxyz` (the diverse), `report.json`."""
    teacher = context.config.foundation.load()
    generated = _generate(context, teacher)
    candidates, rejected = _filter(context, generated, teacher)
    pool = _pick(candidates, teacher, context)
    log.info("%d candidates of %d, pool of %d", len(candidates), len(generated), len(pool))
    write_structures(context.directory / "candidates.extxyz", candidates)
    write_structures(context.directory / "pool.extxyz", pool)
    report = {"rejected": rejected, "candidates": candidates.tag_counts(), "pool": pool.tag_counts()}
    write_json(context.directory / "report.json", report)


def _generate(context: StepContext, teacher: Potential) -> Dataset:
    generators = context.config.sample.generators
    found = Dataset()
    for index, generator in enumerate(generators):
        context.progress("generating candidates", index, len(generators))
        found = found + generator.generate(teacher, np.random.default_rng([context.seed, index]))
    context.progress("generating candidates", len(generators), len(generators))
    return found.unique()


def _filter(context: StepContext, generated: Dataset, teacher: Potential) -> tuple[Dataset, dict[str, int]]:
    """What is left after the checks of the geometry and of the teacher's forces and energies."""
    filters = context.config.label.filters
    sane, rejected = filters.apply(generated)
    kept, by_teacher = filters.apply(sane, teacher.evaluate(sane))
    rejected |= by_teacher
    if not kept:
        raise InsufficientDataError(
            f"no candidate is left of the {len(generated)} that the generators made ({_listed(rejected)}): "
            "check the input structures, or relax label.filters"
        )
    return kept, rejected


def _pick(candidates: Dataset, teacher: MacePotential, context: StepContext) -> Dataset:
    """The anchors, and a diverse choice of the other candidates, in the order of the candidates."""
    settings = context.config.sample
    is_anchor = np.array([structure.tag in ANCHOR_TAGS for structure in candidates])
    others = np.flatnonzero(~is_anchor)
    n = min(settings.n_pool - int(is_anchor.sum()), len(others))
    if n < 1:
        return candidates
    features = teacher.structure_features(candidates)[others]
    chosen = others[settings.selector.select(features, n, context.rng)]
    return candidates[np.sort(np.concatenate([np.flatnonzero(is_anchor), chosen]))]


def _listed(rejected: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in rejected.items()) or "none were made"


def _settings(config: PyAceConfig) -> list[Any]:
    return [config.sample, config.foundation, config.label.filters]


SAMPLE = Step(
    name="01_sample",
    title="generate candidates and pick a diverse pool",
    needs=(),
    settings=_settings,
    outputs=("candidates.extxyz", "pool.extxyz", "report.json"),
    run=sample,
    versions=("pyacemaker", "mace-torch", "torch", "scikit-learn", "ase"),
)
