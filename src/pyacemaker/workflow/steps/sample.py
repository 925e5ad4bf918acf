"""Step 1, sample: generate candidates, keep the sane ones, pick a diverse pool."""

import json
import logging
from typing import Any

import numpy as np

from pyacemaker.config import PyAceConfig
from pyacemaker.errors import InsufficientDataError
from pyacemaker.files import write_atomic
from pyacemaker.potentials.base import Potential
from pyacemaker.structures import Dataset
from pyacemaker.structures.formats import write_structures
from pyacemaker.workflow.step import Step, StepContext

log = logging.getLogger(__name__)


def sample(context: StepContext) -> None:
    """Write `candidates.extxyz` (all that pass the filters), `pool.extxyz` (the diverse), `report.json`."""
    settings = context.config.sample
    teacher = context.config.foundation.load()
    generated = _generate(context, teacher)
    candidates, rejected = _filter(context, generated, teacher)
    features = teacher.structure_features(candidates)
    n = min(settings.n_pool, len(candidates))
    chosen = settings.selector.select(features, n, context.rng)
    pool = candidates[chosen]
    log.info("%d candidates, %d rejected, pool of %d", len(candidates), len(generated) - len(candidates), n)
    write_structures(context.directory / "candidates.extxyz", candidates)
    write_structures(context.directory / "pool.extxyz", pool)
    report = {"rejected": rejected, "candidates": candidates.tag_counts(), "pool": pool.tag_counts()}
    write_atomic(context.directory / "report.json", json.dumps(report, indent=2) + "\n")


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
    geometries = filters.apply(generated)
    sane = generated[geometries.kept]
    opinions = filters.apply(sane, teacher.evaluate(sane))
    kept = sane[opinions.kept]
    rejected = dict(geometries.reasons + opinions.reasons)
    if not kept:
        raise InsufficientDataError(
            f"no candidate is left of the {len(generated)} that the generators made ({_listed(rejected)}): "
            "check the input structures, or relax label.filters"
        )
    return kept, rejected


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
