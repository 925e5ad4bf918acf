"""The label store: every label is paid for once.

The design documents call this module the *DatasetManager*. The process that computed a label writes it to a
file of its own before it answers (`ResultFiles`); the run's main process, the only one that writes to the
database, absorbs these files (`LabelDatabase`). A killed run therefore loses at most the calculations in
flight, and what one run computed, another that names the same `label_store` does not compute again.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pyacemaker.errors import DataError
from pyacemaker.structures.label_database import Call, DamagedDatabaseError, LabelDatabase
from pyacemaker.structures.label_record import OK, LabelRecord
from pyacemaker.structures.ledger import Ledger, LedgerRow, LedgerTotals
from pyacemaker.structures.result_files import ResultFiles
from pyacemaker.structures.structure import AtomStructure

__all__ = ["DATABASE", "OK", "LabelRecord", "LabelStore", "Ledger", "LedgerRow", "LedgerTotals"]

logger = logging.getLogger(__name__)

DATABASE = "labels.sqlite"
"""The database's name in the directory of a store."""
BATCH = 64
"""Records that wait for one transaction."""
DELAY_S = 0.5
"""Seconds after which they wait no longer."""
PACK = 1000
"""Result files that are gathered in one pack."""


class LabelStore:
    """The labels of one run, in a directory of its own, and those that it shares with other runs.

    directory: holds `labels.sqlite` and `results/` (see `ResultFiles`). The database can be lost: it is built
    again from the result files. shared: the directory of another store, consulted for what this one does not
    hold and told what it computed; any number of runs may share it, also at once. look_only: change nothing,
    because another process may be writing.

    Opened on first use. Raises `DataError` for a database of another version, one that stays locked, and a
    damaged one of which no result files are left.
    """

    def __init__(self, directory: Path, shared: Path | None = None, *, look_only: bool = False) -> None:
        self.directory = Path(directory)
        self.files = ResultFiles(self.directory)
        self._shared_directory = Path(shared) if shared is not None else None
        self._look_only = look_only
        self._database: LabelDatabase | None = None
        self._shared: LabelDatabase | None = None
        self._is_open = False
        self._pending: dict[str, LabelRecord] = {}
        self._pending_calls: list[Call] = []
        self._flushed = 0.0
        self._unpacked: set[str] = set()

    def __len__(self) -> int:
        database = self._opened()
        if database is None or self._look_only:
            return sum(1 for _ in self._all_keys())
        self.flush()
        return len(database)

    def get(self, key: str) -> LabelRecord | None:
        """This store's record of `key`, or None when there is no readable one.

        A result file that a worker has written since is absorbed.
        """
        record = self._pending.get(key) or self._stored(key)
        if record is not None and record.is_ok:
            return record
        written = self.files.get(key)
        if written is None or written == record:
            return record
        if not self._look_only:
            self.add(written)
        return written

    def borrow(
        self, key: str, *, reason: str, round_number: int, tag: str, effort: str = ""
    ) -> LabelRecord | None:
        """The record of `key` in the shared store, marked as reused and kept here; None without one.

        Failures that another machine, or this `effort`, might not repeat are not shared.
        """
        self._opened()
        record = None if self._shared is None else self._shared.get(key)
        if record is None or not record.is_shared or not record.is_settled(effort):
            return None
        geometry = None if record.geometry is None else {**record.geometry, "tag": tag}
        record = replace(record, reused=True, reason=reason, round=round_number, geometry=geometry)
        self.add(record)
        return record

    def own_order(self, keys: Sequence[str]) -> list[str]:
        """`keys` in an order of this store's own where it shares labels with others, else as they are.

        Runs that start together on the same structures then seldom compute the same one at the same time.
        """
        if self._shared_directory is None:
            return list(keys)
        place = str(self.directory.resolve())
        return sorted(keys, key=lambda key: hashlib.sha256(f"{place}\n{key}".encode()).digest())

    def path(self, key: str) -> Path:
        """Where the result file of `key` is or would be; packed ones are gone."""
        return self.files.path(key)

    def put(self, record: LabelRecord) -> None:
        """Write `record` to a result file and absorb it; on return it survives a crash."""
        self.files.put(record)
        self.add(record)

    def add(self, record: LabelRecord) -> None:
        """Absorb a record that survives a crash already; it may wait a moment for others.

        A label is never replaced.
        """
        database = self._opened()
        known = self._pending.get(record.key)
        if (known is not None and known.is_ok) or (database is not None and record.key in database):
            return
        self._pending[record.key] = record
        if record.is_final and not record.reused:
            self._unpacked.add(record.key)
        self._flush_when_due()

    def add_call(self, key: str, started: str, outcome: str, row: str) -> None:
        """Keep a row of the ledger."""
        self._opened()
        self._pending_calls.append((key, started, outcome, row))
        self._flush_when_due()

    def correct_calls(self, calls: Iterable[Call]) -> None:
        """Put rows of the ledger in the place of those of the same calculations."""
        self.flush()
        database = self._opened()
        if database is not None:
            database.correct(calls)

    def add_calls(self, calls: Iterable[Call]) -> None:
        """Keep rows of the ledger: key, time, outcome and the line itself."""
        for call in calls:
            self.add_call(*call)
        self.flush()

    def calls(self) -> list[str]:
        """The rows of the ledger that are kept here."""
        database = self._opened()
        return [] if database is None else [*database.calls(), *(call[3] for call in self._pending_calls)]

    def flush(self) -> None:
        """Bring what waits into the database, and gather the result files where they are many."""
        database = self._opened()
        if database is None or self._look_only:
            return
        if self._pending or self._pending_calls:
            records = list(self._pending.values())
            database.put(records, self._pending_calls)
            if self._shared is not None:
                self._shared.put(r for r in records if r.is_shared and not r.reused)
            self._pending, self._pending_calls = {}, []
        self._flushed = time.monotonic()
        if len(self._unpacked) >= PACK:
            self.files.pack(self._unpacked)
            self._unpacked = set()

    def labelled(self, method: str) -> set[str]:
        """The keys of the labels that were made by the oracle with this `method_key`."""
        database = self._opened()
        self.flush()
        stored = set() if database is None else set(database.keys())
        found = set() if database is None else set(database.labelled(method=method))
        others = (self.get(key) for key in self._all_keys() - stored)
        return found | {r.key for r in others if r is not None and r.is_ok and r.method == method}

    def records(self) -> Iterator[LabelRecord]:
        """All readable records, in the order of their keys, one at a time."""
        for key in sorted(self._all_keys()):
            record = self.get(key)
            if record is not None:
                yield record

    def records_without(self, keys: set[str]) -> Iterator[LabelRecord]:
        """The records whose key is not among `keys`."""
        for key in sorted(self._all_keys() - keys):
            record = self.get(key)
            if record is not None:
                yield record

    def structures(self) -> Iterator[AtomStructure]:
        """The labelled structures, oldest first; labels that the run's limits refused are left out.

        `source` is the engine; the reason and the round for which it was computed are in `info`.
        """
        database = self._opened()
        self.flush()
        keys = database.labelled() if database is not None else []
        known = set(database.keys()) if database is not None else set()
        for key in [*keys, *sorted(self._all_keys() - known)]:
            record = self.get(key)
            structure = record.structure() if record is not None and record.is_ok else None
            if record is not None and structure is not None:
                asked = {"reason": record.reason, "round": record.round} if record.reason else {}
                yield structure.replace(info={**structure.info, **asked})

    def _all_keys(self) -> set[str]:
        database = self._opened()
        known = set(self._pending) if database is None else {*database.keys(), *self._pending}
        if self._look_only:
            known.update(
                key for key in self.files.unpacked() if key in known or self.files.get(key) is not None
            )
        return known

    def _stored(self, key: str) -> LabelRecord | None:
        database = self._opened()
        if database is None:
            return None
        record = database.get(key)
        if record is None and key in database and not self._look_only:
            database.discard(key)  # damaged: what is computed anew takes its place
        return record

    def _flush_when_due(self) -> None:
        waiting = max(len(self._pending), len(self._pending_calls))
        if waiting >= BATCH or time.monotonic() - self._flushed > DELAY_S:
            self.flush()

    def _opened(self) -> LabelDatabase | None:
        """The database; None where there is none to look at."""
        if not self._is_open:
            path = self.directory / DATABASE
            if self._look_only:
                self._database = _looked_at(path)
            else:
                self._database = self._open_or_rebuild(path)
                self._absorb(self._database)
                self._shared = self._open_shared(self._database)
            self._is_open = True
        return self._database

    def _open_or_rebuild(self, path: Path) -> LabelDatabase:
        is_new = not path.exists()
        try:
            database = LabelDatabase(path)
        except DamagedDatabaseError as error:
            if not any(self.files.unpacked()) and not any(self.files.packed()):
                raise DataError(
                    f"{error}, and {self.directory / 'results'} holds nothing to build it again from: "
                    "restore it from a backup, or delete it and its labels are computed anew"
                ) from error
            logger.warning("%s; it is built again from the result files", error)
            path.replace(path.with_name(f"{path.name}.damaged"))
            path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
            database, is_new = LabelDatabase(path), True
        if is_new:
            _in_batches(self.files.packed(), database.put)
        return database

    def _absorb(self, database: LabelDatabase) -> None:
        """Take in what workers wrote before a kill."""

        def written() -> Iterator[LabelRecord]:
            for key in self.files.unpacked():
                if key in database:
                    self._unpacked.add(key)
                    continue
                record = self.files.get(key)
                if record is not None:
                    self._unpacked.update([key] if record.is_final else ())
                    yield record

        _in_batches(written(), database.put)

    def _open_shared(self, database: LabelDatabase) -> LabelDatabase | None:
        """The shared database, told what it does not know yet."""
        if self._shared_directory is None:
            return None
        try:
            shared = LabelDatabase(self._shared_directory / DATABASE)
        except DamagedDatabaseError as error:
            raise DataError(
                f"{error}: move it away; the runs that used it fill a new one with their labels when they "
                "are started again"
            ) from error
        known = set(shared.keys())
        own = (record for record in database.records() if record.key not in known)
        _in_batches((r for r in own if r.is_shared and not r.reused), shared.put)
        return shared


def _looked_at(path: Path) -> LabelDatabase | None:
    try:
        return LabelDatabase(path, look_only=True) if path.exists() else None
    except DataError as error:
        logger.debug("not looked at: %s", error)
        return None


def _in_batches(
    records: Iterable[LabelRecord], take: Callable[[list[LabelRecord]], None], size: int = BATCH
) -> None:
    batch: list[LabelRecord] = []
    for record in records:
        batch.append(record)
        if len(batch) == size:
            take(batch)
            batch = []
    if batch:
        take(batch)
