"""Step 2, select and label: a frozen test set, the active set, and the only expensive calls of a run."""

import csv
import io
import logging
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from pyacemaker.config import PyAceConfig
from pyacemaker.errors import InsufficientDataError
from pyacemaker.files import write_atomic, write_json
from pyacemaker.generators.anchors import ANCHOR_TAGS
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.selection.active_set import ActiveSet, spread_over_tags
from pyacemaker.structures import Dataset, FloatArray, IntArray
from pyacemaker.structures.formats import read_structures, write_structures
from pyacemaker.trainers.reference_energies import align_reference_energies
from pyacemaker.workflow.labelling import isolated_atom_energies, label_structures
from pyacemaker.workflow.step import Step, StepContext

log = logging.getLogger(__name__)


def select_and_label(context: StepContext) -> None:
    """Write `test.extxyz`, `train.extxyz` (DFT labels), `reference.json` (aligned E0s), `selection.csv`."""
    settings = context.config.label
    pool = read_structures(context.inputs["01_sample"] / "pool.extxyz")
    _check_pool(pool, context.config)
    foundation = context.config.foundation.load()
    uncertainty = _uncertainty(context, foundation, pool)
    features = foundation.structure_features(pool)
    anchors = np.flatnonzero([structure.tag in ANCHOR_TAGS for structure in pool])
    order = _test_order(pool, anchors, context)
    atoms = isolated_atom_energies(
        pool.elements,
        context.config.dft,
        context.executor("dft"),
        context.store,
        context.ledger,
        progress=_labelling_progress(context, "isolated atoms"),
    )
    test, used = _label_test(pool, order, context)
    active = settings.active_set.select(
        pool, features, uncertainty, anchors=anchors, n=settings.n_train, rng=context.rng, exclude=used
    )
    train = _label(pool[active.indices], "active set", context)
    if len(train) < settings.min_train:
        raise InsufficientDataError(
            f"only {len(train)} of {len(active.indices)} DFT labels succeeded, fewer than label.min_train = "
            f"{settings.min_train}: see {context.ledger.path}, mend the DFT settings or ask for more labels"
        )
    write_structures(context.directory / "test.extxyz", test)
    write_structures(context.directory / "train.extxyz", train)
    _write_reference(context, foundation, train, atoms)
    _write_selection(context, pool, uncertainty, active, used)


def _check_pool(pool: Dataset, config: PyAceConfig) -> None:
    wanted = config.planned_labels()
    if len(pool) < wanted:
        raise InsufficientDataError(
            f"the pool holds {len(pool)} structures but label.n_train + label.n_test = {wanted} are to be "
            "labelled: ask for fewer labels, or let the generators make more candidates (sample.n_pool)"
        )


def _uncertainty(context: StepContext, foundation: MacePotential, pool: Dataset) -> FloatArray:
    known = context.config.foundation.training_data
    reference = read_structures(known or context.inputs["01_sample"] / "candidates.extxyz")
    return context.config.label.uncertainty.score(
        [s.symbols for s in reference],
        foundation.descriptors(reference),
        [s.symbols for s in pool],
        foundation.descriptors(pool),
    )


def _test_order(pool: Dataset, anchors: IntArray, context: StepContext) -> IntArray:
    """Pool indices for the test set: the wanted number spread over the tags, then the spare ones."""
    n = context.config.label.n_test
    rng = np.random.default_rng([context.seed, 1])
    first = spread_over_tags(pool, n, rng, exclude=anchors)
    spare = np.setdiff1d(np.arange(len(pool)), np.union1d(first, anchors))
    return np.concatenate([first, rng.permutation(spare)[:n]])


def _label_test(pool: Dataset, order: IntArray, context: StepContext) -> tuple[Dataset, IntArray]:
    """The labelled test set of exactly n_test structures; failed ones are replaced by spare ones."""
    wanted = context.config.label.n_test
    labelled, asked = Dataset(), 0
    while len(labelled) < wanted and asked < len(order):
        batch = order[asked : asked + wanted - len(labelled)]
        labelled = labelled + _label(pool[batch], "test set", context)
        asked += len(batch)
    if len(labelled) < wanted:
        raise InsufficientDataError(
            f"only {len(labelled)} of {asked} DFT labels for the test set succeeded; expected label.n_test = "
            f"{wanted}: see {context.ledger.path} and mend the DFT settings"
        )
    return labelled, order[:asked]


def _label(structures: Dataset, reason: str, context: StepContext) -> Dataset:
    labelled = label_structures(
        structures,
        context.config.dft,
        context.executor("dft"),
        context.store,
        context.ledger,
        reason=reason,
        progress=_labelling_progress(context, reason),
    )
    return labelled.dataset


def _labelling_progress(context: StepContext, reason: str) -> Callable[[int, int, str], None]:
    return lambda done, total, _: context.progress(f"DFT labels, {reason}", done, total)


def _write_reference(
    context: StepContext, foundation: MacePotential, train: Dataset, atoms: dict[str, float]
) -> None:
    predicted = foundation.evaluate(train)
    aligned = align_reference_energies(train, predicted, foundation.reference_energies, atoms)
    log.info("levels of theory aligned, %.1f meV/atom remain", aligned.residual_mev_per_atom)
    content = {"isolated_atoms_ev": atoms, **asdict(aligned)}
    write_json(context.directory / "reference.json", content)


def _write_selection(
    context: StepContext, pool: Dataset, uncertainty: FloatArray, active: ActiveSet, test: IntArray
) -> None:
    roles = dict.fromkeys((int(i) for i in test), "test")
    roles.update(zip((int(i) for i in active.indices), active.reasons, strict=True))
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["structure", "tag", "uncertainty", "role"])
    for index, structure in enumerate(pool):
        writer.writerow([structure.id, structure.tag, f"{uncertainty[index]:.6g}", roles.get(index, "")])
    write_atomic(context.directory / "selection.csv", table.getvalue())


def _settings(config: PyAceConfig) -> list[Any]:
    return [config.label, config.dft, config.dft.version(), config.foundation]


LABEL = Step(
    name="02_label",
    title="pick the active set and label it with DFT",
    needs=("01_sample",),
    settings=_settings,
    outputs=("test.extxyz", "train.extxyz", "reference.json", "selection.csv"),
    run=select_and_label,
    versions=("pyacemaker", "mace-torch", "torch", "scikit-learn"),
)
