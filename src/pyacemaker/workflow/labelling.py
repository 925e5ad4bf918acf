"""Labels from an oracle: each computed once, stored as it finishes, and accounted for.

What a calculation cost is the CPU time of its process and of what that waited for. Where next to nothing of
it can be seen (`srun` starts programs elsewhere; a process died), it is the wall time, for which at least one
core was held.
"""

import logging
import os
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyacemaker.environment import hide
from pyacemaker.errors import (
    DataError,
    EngineError,
    OracleError,
    TooManyFailuresError,
    UserError,
)
from pyacemaker.execution import Executor, Outcome
from pyacemaker.oracles.base import Oracle
from pyacemaker.structures import AtomStructure, Dataset, Labels
from pyacemaker.structures.exports import export_structures
from pyacemaker.structures.formats import read_structures
from pyacemaker.structures.label_record import OK, LabelRecord
from pyacemaker.structures.ledger import Ledger, LedgerRow
from pyacemaker.structures.result_files import ResultFiles
from pyacemaker.structures.store import LabelStore
from pyacemaker.workflow.state import locked

logger = logging.getLogger(__name__)

_UNSEEN = 0.02  # of the wall time: CPU time below which the work was done out of sight

Progress = Callable[[int, int, str], None]
"""Called with (done, total, what was done last)."""


@dataclass(frozen=True)
class LabelFailure:
    """A structure without a label: the structure, the name of the error, and its text."""

    structure: AtomStructure
    outcome: str
    message: str


@dataclass(frozen=True)
class LabelledSet:
    """What labelling gave.

    dataset: the structures that have a label, in the order of the request, `source` = engine and version.
    failures: those that have none, in the same order. reused: how many labels were not computed by this call.
    """

    dataset: Dataset
    failures: list[LabelFailure]
    reused: int


def label_structures(
    structures: Dataset,
    oracle: Oracle,
    executor: Executor,
    store: LabelStore,
    ledger: Ledger,
    *,
    reason: str,
    round_number: int = 0,
    progress: Progress | None = None,
) -> LabelledSet:
    """Label `structures` with `oracle`; what the store already holds is not computed again.

    Permanent failures are kept too; crashes and timeouts are tried again by the next call. The answer does
    not depend on the order in which calculations finish. `reason` and `round_number` go to the ledger.

    Raises `TooManyFailuresError` as soon as more of the distinct structures failed than
    `oracle.limits.allowed_failures`, or when all of them did, and any `UserError` of the
    oracle (an element or setting it does not know) at once.
    """
    requests = _requests(structures, oracle)
    run = _Labelling(oracle, store, ledger, reason, round_number, requests, progress)
    try:
        missing = store.own_order(list(run.take_known()))
        for outcome in executor.map_unordered(compute_label, run.tasks(missing)):
            run.take(outcome)
    finally:
        store.flush()
        ledger.sync()
    return run.result(structures)


def isolated_atom_energies(
    elements: Iterable[str],
    oracle: Oracle,
    executor: Executor,
    store: LabelStore,
    ledger: Ledger,
    *,
    reason: str = "isolated atoms",
    progress: Progress | None = None,
) -> dict[str, float]:
    """The energy (eV) of each isolated atom in its ground-state multiplicity, with the oracle's settings.

    Raises `TooManyFailuresError` when one of them cannot be had: every one is needed.
    """
    symbols = sorted(set(elements))
    atoms = Dataset(oracle.isolated_atom(symbol) for symbol in symbols)
    strict = oracle.model_copy(
        update={"limits": oracle.limits.model_copy(update={"max_failed_fraction": 0.0})}
    )
    found = label_structures(atoms, strict, executor, store, ledger, reason=reason, progress=progress)
    return {symbol: labels.energy for symbol, labels in zip(symbols, found.dataset.labels, strict=True)}


def label_file(
    pool: Path,
    output: Path,
    oracle: Oracle,
    executor: Executor,
    *,
    label_store: Path | None = None,
    progress: Progress | None = None,
) -> LabelledSet:
    """Label the structures of the file `pool` and write those that succeed to `output`.

    The suffix of `output` decides on the format, see `export_structures`. The labels live in the folder
    `OUTPUT.labels` beside it, with their ledger: the same call again computes only what is missing.
    label_store: the directory of a store that runs share. Raises a `UserError` before any work for settings
    that the oracle does not know, and for structures that it does not cover.
    """
    oracle.check_settings()
    structures = read_structures(pool)
    try:
        check_covered(structures, oracle)
    except OracleError as error:
        raise DataError(f"{pool}: {error}") from error
    folder = output.with_name(output.name + ".labels")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{folder}, where the labels are kept, cannot be made: {error.strerror}") from error
    with locked(folder, "choose another --output"):
        store = LabelStore(folder, label_store)
        ledger = Ledger(folder / "ledger.csv", store)
        try:
            labelled = label_structures(
                structures, oracle, executor, store, ledger, reason="label command", progress=progress
            )
        except TooManyFailuresError:
            _export_what_there_is(structures, oracle, store, output)
            raise
        export_structures(output, labelled.dataset)
        return labelled


def _export_what_there_is(structures: Dataset, oracle: Oracle, store: LabelStore, output: Path) -> None:
    """Write the structures that have a label in `store` to `output`; no file where there is none."""
    labels: dict[str, Labels] = {}
    for key, structure in _requests(structures, oracle).items():
        record = store.get(key)
        if record is not None and record.is_ok:
            try:
                oracle.check_labels(structure, record.labels())
            except OracleError:
                continue
            labels[structure.id] = record.labels()
    kept = structures.filter(lambda structure: structure.id in labels)
    if len(kept) > 0:
        export_structures(output, kept.with_labels([labels[s.id] for s in kept], oracle.version()))
        logger.warning("%d labels were made before the failures: they are in %s", len(labels), output)


def check_covered(structures: Dataset, oracle: Oracle) -> None:
    """The error of `Oracle.check_structure` for the first structure that the oracle does not cover.

    Each kind of molecule or crystal is looked at once: the geometry plays no part.
    """
    seen = set()
    for structure in structures:
        kind = (*sorted(structure.symbols), structure.charge, structure.multiplicity, structure.is_periodic)
        if kind not in seen:
            seen.add(kind)
            oracle.check_structure(structure)


@dataclass(frozen=True)
class LabelTask:
    """What a worker gets: the label's key, the structure, the oracle, and where the result goes.

    directory: of the store. method: the oracle's `method_key`. reason, round: who asks.
    """

    key: str
    structure: AtomStructure
    oracle: Oracle
    directory: Path
    method: str = ""
    reason: str = ""
    round: int = 0

    def record(self, **fields: Any) -> LabelRecord:
        """The record of this task with the outcome's `fields`."""
        return LabelRecord(
            key=self.key,
            structure_id=self.structure.id,
            engine=self.oracle.version(),
            settings=self.oracle.settings(),
            method=self.method,
            geometry=LabelRecord.geometry_of(self.structure),
            reason=self.reason,
            round=self.round,
            effort=self.oracle.effort_key(),
            **fields,
        )


def compute_label(task: LabelTask) -> str:
    """In a worker: compute one label or its failure, store the record, and return the key.

    A `UserError` is raised instead; errors that are not of this package are stored and raised.
    """
    files, started = ResultFiles(task.directory), _now()
    files.begin(task.key, started)
    before, clock = _cpu_seconds(), time.monotonic()
    unforeseen: Exception | None = None
    outcome: dict[str, Any]
    try:
        outcome = {"outcome": OK, **LabelRecord.label_fields(task.oracle.calculate(task.structure))}
    except OracleError as error:
        outcome = _failure(type(error).__name__, str(error), error.permanent)
    except UserError:
        files.end(task.key)
        raise
    except SystemExit as error:
        outcome = _failure(EngineError.__name__, f"the engine ended its process with exit code {error.code}")
    except Exception as error:  # noqa: BLE001 - raised again below, when what it cost is on record
        unforeseen = error
        outcome = _failure(OracleError.__name__, f"{type(error).__name__}: {error}")
    cpu, wall = _cpu_seconds() - before, time.monotonic() - clock
    seconds = wall if cpu < _UNSEEN * wall else cpu
    files.put(task.record(core_seconds=seconds, started=started, **outcome))
    files.end(task.key)
    if unforeseen is not None:
        raise unforeseen
    return task.key


def _failure(outcome: str, message: str, permanent: bool = False) -> dict[str, Any]:
    return {"outcome": outcome, "message": hide(message), "permanent": permanent}


@dataclass
class _Labelling:
    """One call of `label_structures` under way: takes answers in any order, files them, watches the limit."""

    oracle: Oracle
    store: LabelStore
    ledger: Ledger
    reason: str
    round_number: int
    requests: dict[str, AtomStructure]
    progress: Progress | None
    labels: dict[str, Labels] = field(default_factory=dict)
    failures: dict[str, LabelFailure] = field(default_factory=dict)
    reused: int = 0

    def __post_init__(self) -> None:
        self.engine = self.oracle.version()
        self.method = self.oracle.method_key()
        self.effort = self.oracle.effort_key()
        self.begun = _now()

    def take_known(self) -> Iterator[str]:
        """File what needs no calculation (bad geometries, stored records); yield the keys of the rest."""
        for key, structure in self.requests.items():
            try:
                self.oracle.check_geometry(structure)
            except OracleError as error:
                self._fail(key, type(error).__name__, str(error))
                continue
            record = self.store.get(key)
            if record is not None and record.is_settled(self.effort):
                self.reused += 1
                self._file(record, "filed earlier; ")
            elif not self._borrow(key):
                yield key

    def tasks(self, keys: Iterable[str]) -> Iterator[tuple[str, "LabelTask"]]:
        """The tasks of `keys`, but of those that another run has finished in the meantime."""
        for key in keys:
            if not self._borrow(key):
                yield key, self._task(key)

    def take(self, outcome: Outcome[str]) -> None:
        """File one answer of the executor."""
        if isinstance(outcome.error, UserError):
            raise outcome.error
        record = self.store.get(outcome.key)
        if outcome.error is not None and (record is None or record.started < self.begun):
            record = self._lost(outcome)
        elif outcome.error is not None:
            logger.warning("the oracle raised an unforeseen error", exc_info=outcome.error)
        if record is None:
            raise OracleError(f"the record of {outcome.key} vanished from {self.store.directory}")
        self._file(record)

    def result(self, structures: Dataset) -> LabelledSet:
        """Labels and failures in the order of the request."""
        by_id = {self.requests[key].id: labels for key, labels in self.labels.items()}
        kept = structures.filter(lambda structure: structure.id in by_id)
        labelled = kept.with_labels([by_id[structure.id] for structure in kept], self.engine)
        failures = [self.failures[key] for key in self.requests if key in self.failures]
        if failures and not self.labels and self.oracle.limits.max_failed_fraction < 1:
            raise TooManyFailuresError(self._too_many(failures))
        return LabelledSet(labelled, failures, self.reused)

    def _lost(self, outcome: Outcome[str]) -> LabelRecord:
        """The record, written here, of a calculation whose worker could not write one."""
        error = outcome.error
        kind, message = type(error).__name__, str(error)
        if not isinstance(error, OracleError):
            logger.warning("the oracle raised an unforeseen error", exc_info=error)
            kind, message = OracleError.__name__, f"{kind}: {message}"
        now, files = _now(), self.store.files
        started = min((time for time in files.begun(outcome.key) if time >= self.begun), default=now)
        held = (datetime.fromisoformat(now) - datetime.fromisoformat(started)).total_seconds()
        record = self._task(outcome.key).record(
            core_seconds=outcome.lost_seconds or held, started=started, **_failure(kind, message)
        )
        self.store.put(record)
        files.end(outcome.key)
        return record

    def _task(self, key: str) -> "LabelTask":
        structure, directory = self.requests[key], self.store.directory
        return LabelTask(key, structure, self.oracle, directory, self.method, self.reason, self.round_number)

    def _borrow(self, key: str) -> bool:
        """File the record of `key` of another run that shares the store; whether there is one."""
        tag = self.requests[key].tag
        record = self.store.borrow(
            key, reason=self.reason, round_number=self.round_number, tag=tag, effort=self.effort
        )
        if record is None:
            return False
        self.reused += 1
        self._file(record, "filed earlier; ")
        return True

    def _file(self, record: LabelRecord, before: str = "") -> None:
        """Judge a record by the limits, enter it in the ledger where it is missing, and keep its label.

        before: put before the message of a failure.
        """
        structure = self.requests[record.key]
        kind, message = record.outcome, before + record.message
        if record.is_ok:
            try:
                self.oracle.check_labels(structure, record.labels())
            except OracleError as error:
                kind, message = type(error).__name__, str(error)
        known = {"tag": structure.tag, "settings": self.method}
        asked = {} if record.reason else {"reason": self.reason, "round": self.round_number}
        self.ledger.enter(LedgerRow.of(record, outcome=kind, **known, **asked))
        if kind == OK:
            self.labels[record.key] = record.labels()
            self._report(f"{structure.tag} {structure.id}")
        else:
            self._fail(record.key, kind, message)

    def _fail(self, key: str, kind: str, message: str) -> None:
        structure = self.requests[key]
        logger.warning("no label for %s (%s): %s: %s", structure.id, structure.tag, kind, message)
        self.failures[key] = LabelFailure(structure, kind, message)
        self._report(f"{structure.tag} {structure.id}: {kind}")
        if len(self.failures) > self.oracle.limits.allowed_failures(len(self.requests)):
            raise TooManyFailuresError(self._too_many(list(self.failures.values())))

    def _too_many(self, failures: Sequence[LabelFailure]) -> str:
        commonest, count = Counter(failure.outcome for failure in failures).most_common(1)[0]
        example = next(failure for failure in failures if failure.outcome == commonest)
        place = self.store.directory
        kept = f"`pyacemaker export {shlex.quote(str(place))}` writes the labels that there are"
        return (
            f"{len(failures)} of {len(self.requests)} labels failed, more than limits.max_failed_fraction = "
            f"{self.oracle.limits.max_failed_fraction} allows; most often ({count}) {commonest}, such as: "
            f"{example.message}; {kept if self.labels else f'the records are in {place}'}"
        )

    def _report(self, what: str) -> None:
        if self.progress is not None:
            self.progress(len(self.labels) + len(self.failures), len(self.requests), what)


def _requests(structures: Dataset, oracle: Oracle) -> dict[str, AtomStructure]:
    """The distinct structures by label key, in order of first appearance."""
    requests: dict[str, AtomStructure] = {}
    for key, structure in zip(oracle.keys(structures), structures, strict=True):
        requests.setdefault(key, structure)
    return requests


def _cpu_seconds() -> float:
    """CPU time of this process, its threads, and its finished children."""
    times = os.times()
    return time.process_time() + times.children_user + times.children_system


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
