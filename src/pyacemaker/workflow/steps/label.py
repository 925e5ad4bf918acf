"""Step 2, select and label: a frozen test set, the active set, and the only expensive calls of a run."""

import csv
import io
import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from pyacemaker.config import PyAceConfig
from pyacemaker.errors import InsufficientDataError
from pyacemaker.files import write_atomic, write_json
from pyacemaker.generators.anchors import ANCHOR_TAGS
from pyacemaker.generators.dimers import DIMER
from pyacemaker.selection.active_set import spread_over_tags
from pyacemaker.selection.plane import principal_plane
from pyacemaker.structures import Dataset, FloatArray, IntArray
from pyacemaker.structures.formats import read_structures, write_structures
from pyacemaker.trainers.reference_energies import ReferenceAlignment
from pyacemaker.workflow.acquisition import Acquired, Acquisition
from pyacemaker.workflow.batch_scores import calibration_set, report, summary
from pyacemaker.workflow.known import known_structures
from pyacemaker.workflow.labelling import isolated_atom_energies, label_structures
from pyacemaker.workflow.step import Step, StepContext

log = logging.getLogger(__name__)


def select_and_label(context: StepContext) -> None:
    """Write `test.extxyz`, `train.extxyz` (DFT labels), `reference.json` (aligned E0s), `selection.csv`,
    `rounds.json` (each batch and its errors before training), `calibration.json` (of the uncertainty)."""
    pool = read_structures(context.inputs["01_sample"] / "pool.extxyz")
    _check_pool(pool, context.config)
    foundation = context.config.foundation.load()
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
    acquisition = Acquisition(
        context=context,
        pool=pool,
        features=foundation.structure_features(pool),
        anchors=anchors,
        test=used,
        labelled_test=test,
        reference=lambda: known_structures(context),
        atoms=atoms,
        foundation=foundation,
        label=lambda structures, number: _label(structures, "active set", context, number),
    )
    acquired = acquisition.run()
    _check_enough(acquired, context)
    write_structures(context.directory / "test.extxyz", test)
    write_structures(context.directory / "train.extxyz", acquired.train)
    _write_reference(context, acquisition.alignment(), atoms)
    _write_selection(context, pool, acquired, used)
    write_json(context.directory / "rounds.json", list(acquired.rounds))
    _write_calibration(context, acquired)
    _write_map(context, acquisition.features)


def _check_enough(acquired: Acquired, context: StepContext) -> None:
    asked, least = len(acquired.chosen), context.config.label.min_train
    if len(acquired.train) < least:
        raise InsufficientDataError(
            f"only {len(acquired.train)} of {asked} DFT labels succeeded, fewer than label.min_train = "
            f"{least}: see {context.ledger.path}, mend the DFT settings or ask for more labels"
        )


def _check_pool(pool: Dataset, config: PyAceConfig) -> None:
    wanted = config.planned_labels()
    if len(pool) < wanted:
        raise InsufficientDataError(
            f"the pool holds {len(pool)} structures but label.n_train + label.n_test = {wanted} are to be "
            "labelled: ask for fewer labels, or let the generators make more candidates (sample.n_pool)"
        )


def _test_order(pool: Dataset, anchors: IntArray, context: StepContext) -> IntArray:
    """Pool indices for the test set: the wanted number spread over the tags, then the spare ones."""
    n = context.config.label.n_test
    rng = np.random.default_rng([context.seed, 1])
    dimers = np.flatnonzero([structure.tag == DIMER for structure in pool])
    never = np.union1d(anchors, dimers)  # a dimer's wall would decide over the errors of the whole set
    first = spread_over_tags(pool, n, rng, exclude=never)
    spare = np.setdiff1d(np.arange(len(pool)), np.union1d(first, never))
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


def _label(structures: Dataset, reason: str, context: StepContext, round_number: int = 0) -> Dataset:
    labelled = label_structures(
        structures,
        context.config.dft,
        context.executor("dft"),
        context.store,
        context.ledger,
        reason=reason,
        round_number=round_number,
        progress=_labelling_progress(context, reason),
    )
    return labelled.dataset


def _labelling_progress(context: StepContext, reason: str) -> Callable[[int, int, str], None]:
    return lambda done, total, _: context.progress(f"DFT labels, {reason}", done, total)


def _write_reference(context: StepContext, aligned: ReferenceAlignment, atoms: dict[str, float]) -> None:
    log.info("levels of theory aligned, %.1f meV/atom remain", aligned.residual_mev_per_atom)
    write_json(context.directory / "reference.json", {"isolated_atoms_ev": atoms, **asdict(aligned)})


def _write_selection(context: StepContext, pool: Dataset, acquired: Acquired, test: IntArray) -> None:
    roles: dict[int, tuple[str, int]] = dict.fromkeys((int(i) for i in test), ("test", 0))
    roles |= acquired.chosen
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["structure", "tag", "uncertainty", "role", "round"])
    for index, structure in enumerate(pool):
        role, number = roles.get(index, ("", ""))
        uncertainty = f"{acquired.uncertainty[index]:.6g}"
        writer.writerow([structure.id, structure.tag, uncertainty, role, number])
    write_atomic(context.directory / "selection.csv", table.getvalue())


def _write_calibration(context: StepContext, acquired: Acquired) -> None:
    known = calibration_set(acquired.judged)
    kind = str(getattr(context.config.label.uncertainty, "kind", "plug-in"))
    content = report(known, acquired.held_out, kind)
    write_json(context.directory / "calibration.json", {"summary": summary(content), **content})


def _write_map(context: StepContext, features: FloatArray) -> None:
    """The pool in two dimensions, for the report."""
    points, explained = principal_plane(features)
    content = {"explained": explained.tolist(), "points": np.round(points, 4).tolist()}
    write_atomic(context.directory / "map.json", json.dumps(content) + "\n")


def _settings(config: PyAceConfig) -> list[Any]:
    settings = [config.label, config.dft, config.dft.version(), config.foundation]
    return [*settings, config.finetune] if config.label.rounds > 1 else settings


LABEL = Step(
    name="02_label",
    title="pick the active set and label it with DFT",
    needs=("01_sample",),
    settings=_settings,
    outputs=(
        "test.extxyz",
        "train.extxyz",
        "reference.json",
        "selection.csv",
        "rounds.json",
        "calibration.json",
    ),
    run=select_and_label,
    versions=("pyacemaker", "mace-torch", "torch", "scikit-learn"),
)
