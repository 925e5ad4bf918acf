"""The labels in one SQLite file, each under its content hash, and the account of the calculations."""

import hashlib
import os
import sqlite3
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyacemaker.errors import DataError
from pyacemaker.structures.label_record import OK, LabelRecord

Call = tuple[str, str, str, str]
"""A calculation in the ledger: its key, when it started, its outcome, and the line."""
VERSION = 1
PATIENCE_S = 60.0
"""Seconds to wait for another process that writes to the same file."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS labels (
    key TEXT PRIMARY KEY, structure TEXT, engine TEXT, method TEXT, outcome TEXT, final INTEGER,
    started TEXT, record TEXT, checksum BLOB
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS calls (
    key TEXT, started TEXT, outcome TEXT, row TEXT, PRIMARY KEY (key, started)
);
"""


class DamagedDatabaseError(DataError):
    """An SQLite file of labels cannot be read as one."""


class LabelDatabase:
    """Records by key, in an SQLite file with a rollback journal, which network file systems can bear.

    Only drivers write, in short transactions; two may do so at once, each waits for the other. A label is
    never replaced, so that all runs that share a file get the same one to the last bit. Each record
    carries a checksum; one that does not match counts as absent.

    look_only: open an existing file for reading. Raises `DamagedDatabaseError` for a file that is none,
    `DataError` for one of another version, one that cannot be opened, and one that stays locked.
    """

    def __init__(self, path: Path, *, look_only: bool = False) -> None:
        self.path = Path(path)
        with self._explained():
            if not look_only:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            address = f"{self.path.absolute().as_uri()}?mode={'ro' if look_only else 'rwc'}"
            self._connection = sqlite3.connect(
                address, uri=True, timeout=PATIENCE_S, isolation_level=None, check_same_thread=False
            )
            self.close = weakref.finalize(self, _close, self._connection, os.getpid())
            self._prepare(look_only)

    def __len__(self) -> int:
        with self._explained():
            return int(self._connection.execute("SELECT count(*) FROM labels").fetchone()[0])

    def __contains__(self, key: str) -> bool:
        """Whether there is a label of `key`."""
        with self._explained():
            found = self._connection.execute("SELECT 1 FROM labels WHERE key = ? AND outcome = ?", (key, OK))
            return found.fetchone() is not None

    def get(self, key: str) -> LabelRecord | None:
        """The record of `key`, None when there is no undamaged one."""
        with self._explained():
            query = self._connection.execute("SELECT record, checksum FROM labels WHERE key = ?", (key,))
            found = query.fetchone()
        return None if found is None else _checked(*found)

    def put(self, records: Iterable[LabelRecord], calls: Iterable[Call] = ()) -> None:
        """Store `records` and enter `calls` in one transaction; on return they survive a crash.

        A call is a key, a time, an outcome and a line of the ledger; those that are known stay as they are.
        """
        rows, entries = [_row(record) for record in records], list(calls)
        if not rows and not entries:
            return
        with self._transaction() as connection:
            connection.executemany("INSERT OR IGNORE INTO calls VALUES (?, ?, ?, ?)", entries)
            # a label stays; a failure gives way to what came of another try
            connection.executemany(
                "INSERT INTO labels VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
                "structure = excluded.structure, engine = excluded.engine, method = excluded.method, "
                "outcome = excluded.outcome, final = excluded.final, started = excluded.started, "
                "record = excluded.record, checksum = excluded.checksum "
                "WHERE outcome != 'ok'",
                rows,
            )

    def correct(self, calls: Iterable[Call]) -> None:
        """Put `calls` in the place of those with the same key and time."""
        with self._transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?)", list(calls))

    def discard(self, key: str) -> None:
        """Forget the record of `key`."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM labels WHERE key = ?", (key,))

    def keys(self) -> list[str]:
        """All keys, sorted."""
        with self._explained():
            return [key for (key,) in self._connection.execute("SELECT key FROM labels ORDER BY key")]

    def records(self) -> Iterator[LabelRecord]:
        """All undamaged records, in the order of their keys, one at a time."""
        for key in self.keys():
            record = self.get(key)
            if record is not None:
                yield record

    def labelled(self, *, method: str | None = None) -> list[str]:
        """The keys of the labels that nobody judged unphysical, in the order in which they were computed."""
        sql = (
            "SELECT labels.key FROM labels LEFT JOIN calls ON calls.key = labels.key "
            "AND calls.started = labels.started WHERE labels.outcome = :ok "
            "AND coalesce(calls.outcome, :ok) = :ok AND (:method IS NULL OR method = :method) "
            "ORDER BY labels.started, labels.key"
        )
        with self._explained():
            return [key for (key,) in self._connection.execute(sql, {"ok": OK, "method": method})]

    def calls(self) -> list[str]:
        """The lines of the ledger, in the order in which they were entered."""
        with self._explained():
            return [row for (row,) in self._connection.execute("SELECT row FROM calls ORDER BY rowid")]

    def _prepare(self, look_only: bool) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version not in ((VERSION,) if look_only else (0, VERSION)):
            raise DataError(f"{self.path} is not a label store of this version: move it away")
        if look_only:
            return
        self._connection.execute("PRAGMA synchronous = FULL")
        (verdict,) = self._connection.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise DamagedDatabaseError(f"{self.path} is damaged ({verdict})")
        with self._transaction() as connection:
            for statement in filter(str.strip, _SCHEMA.split(";")):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._explained():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
            except BaseException:
                self._connection.rollback()
                raise
            self._connection.commit()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """SQLite's errors as ours."""
        try:
            yield
        except (sqlite3.OperationalError, OSError) as error:
            raise DataError(self._reason(error)) from error
        except sqlite3.DatabaseError as error:
            raise DamagedDatabaseError(f"{self.path} is damaged ({error})") from error

    def _reason(self, error: Exception) -> str:
        if "locked" in str(error):
            return (
                f"{self.path} stayed locked by another process for {PATIENCE_S:g} s: wait until that one is "
                "done, or use another store"
            )
        return f"{self.path} cannot be used ({error}): check its path, permissions and the space on its disk"


def _close(connection: sqlite3.Connection, owner: int) -> None:
    """Close the connection, unless this is a copy of the process that opened it."""
    if os.getpid() == owner:
        connection.close()


def _row(record: LabelRecord) -> tuple[Any, ...]:
    text = record.to_json()
    facts: Mapping[str, Any] = record.__dict__
    known = (facts[name] for name in ("key", "structure_id", "engine", "method", "outcome"))
    return (*known, record.is_final, record.started, text, _checksum(text))


def _checksum(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _checked(text: Any, checksum: Any) -> LabelRecord | None:
    if not isinstance(text, str) or _checksum(text) != checksum:
        return None
    return LabelRecord.from_json(text)
