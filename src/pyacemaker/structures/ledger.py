"""The ledger: the readable account of what every calculation cost, who asked for it, and what came of it."""

import csv
import io
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pyacemaker.errors import DataError
from pyacemaker.files import write_atomic
from pyacemaker.structures.label_record import OK, LabelRecord

if TYPE_CHECKING:
    from pyacemaker.structures.store import LabelStore

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LedgerRow:
    """One calculation in the ledger.

    key, structure, tag: what. engine, settings (a hash): how. reason, round: who asked, and in which round.
    outcome: `ok` or the name of the error. permanent: false when it may be tried again. core_seconds: CPU
    time. started: ISO 8601, UTC. reused: the label came from a store that this run shares: another run paid.
    """

    key: str
    structure: str
    tag: str
    engine: str
    settings: str
    reason: str
    round: int
    outcome: str
    permanent: bool
    core_seconds: float
    started: str
    reused: bool = False

    @property
    def is_final(self) -> bool:
        """Whether the calculation will not be repeated."""
        return self.outcome == OK or self.permanent

    @property
    def identity(self) -> tuple[str, str]:
        """What tells one calculation from another: its key, and when it started."""
        return self.key, self.started

    def to_csv(self) -> str:
        """The row as one line of CSV."""
        line = io.StringIO()
        values = [str(value).replace("\n", " ").replace("\r", " ") for value in asdict(self).values()]
        csv.writer(line, lineterminator="\n").writerow(values)
        return line.getvalue()

    @classmethod
    def from_csv(cls, row: Mapping[str, str]) -> Self:
        """The row that `csv.DictReader` read; `ValueError` or `KeyError` when it is none."""
        content: dict[str, Any] = {field.name: row[field.name] for field in fields(cls)}
        for name in ("permanent", "reused"):
            content[name] = content[name] == "True"
        content["round"] = int(content["round"])
        content["core_seconds"] = float(content["core_seconds"])
        return cls(**content)

    @classmethod
    def of(cls, record: LabelRecord, **changes: Any) -> Self:
        """The row of a stored record."""
        row = cls(
            key=record.key,
            structure=record.structure_id,
            tag=record.tag,
            engine=record.engine,
            settings=record.method,
            reason=record.reason,
            round=record.round,
            outcome=record.outcome,
            permanent=record.permanent,
            core_seconds=round(record.core_seconds, 3),
            started=record.started,
            reused=record.reused,
        )
        return replace(row, **changes)


HEADER = ",".join(field.name for field in fields(LedgerRow)) + "\n"


@dataclass(frozen=True)
class LedgerTotals:
    """Sums over the ledger.

    calls: calculations that this run made; failed: those of them that gave no label; reused: labels (and
    permanent failures) that came from a shared store instead; core_seconds: CPU time of the calls.
    """

    calls: int
    failed: int
    reused: int
    core_seconds: float


class Ledger:
    """`ledger.csv`: append-only, one row per calculation, written by the run's own process only.

    A calculation that crashed, timed out or, with other retries, is tried again has one row per try.
    A line that a kill left unfinished is dropped on opening.

    store: the label store beside it, which keeps every row too. With it a ledger that was deleted, damaged or
    cut short is written anew on opening; without it a damaged one raises `DataError`. look_only: leave both
    as they are, because another process may be writing them.
    """

    def __init__(self, path: Path, store: "LabelStore | None" = None, *, look_only: bool = False) -> None:
        self.path = Path(path)
        self._store = store
        self._look_only = look_only
        self._mended: list[LedgerRow] | None = None
        self._open()
        self._final: dict[str, LedgerRow] = {}
        self._corrected: dict[tuple[str, str], LedgerRow] = {}
        self._count = 0
        for row in self._iterate():
            self._note(row)

    def __contains__(self, key: str) -> bool:
        """Whether `key` has a final row."""
        return key in self._final

    def __len__(self) -> int:
        return self._count

    @property
    def rows(self) -> list[LedgerRow]:
        """All rows, oldest first."""
        return list(self._iterate())

    def add(self, row: LedgerRow) -> None:
        """Append `row`; on return it survives a kill. `ValueError` when its key has a final row already.

        A permanent failure gives way to a later try, with more or other attempts, say.
        """
        known = self._final.get(row.key)
        if known is not None and (known.outcome == OK or known.started == row.started):
            raise ValueError(f"{self.path} already holds the calculation {row.key}")
        line = row.to_csv()
        with self.path.open("a", encoding="utf-8") as handle:
            handle.write(line)
        if self._store is not None:
            self._store.add_call(*row.identity, row.outcome, line)
        self._note(row)

    def enter(self, row: LedgerRow) -> None:
        """`add` the row of a calculation that is not here; where it is, with another outcome, correct that.

        The outcome of a calculation changes when the limits do by which its label is judged. Corrections are
        written by `sync`.
        """
        known = self._final.get(row.key)
        if known is None or (known.outcome != OK and known.started != row.started):
            self.add(row)
        elif known.started == row.started and known.outcome != row.outcome:
            self._final[row.key] = replace(known, outcome=row.outcome)
            self._corrected[row.identity] = self._final[row.key]

    def sync(self) -> None:
        """On return every row and every correction survives a power failure."""
        if self._corrected:
            rows = [self._corrected.get(row.identity, row) for row in self._iterate()]
            write_atomic(self.path, HEADER + "".join(row.to_csv() for row in rows))
            if self._store is not None:
                self._store.correct_calls(
                    (*row.identity, row.outcome, row.to_csv()) for row in self._corrected.values()
                )
            self._corrected = {}
        with self.path.open("rb+") as handle:
            os.fsync(handle.fileno())

    def totals(self, reason: str | None = None) -> LedgerTotals:
        """Sums over all rows, or over those with this `reason`."""
        calls = failed = reused = 0
        seconds = 0.0
        for row in self._iterate():
            if reason not in (None, row.reason):
                continue
            reused += row.reused
            if not row.reused:
                calls += 1
                failed += row.outcome != OK
                seconds += row.core_seconds
        return LedgerTotals(calls, failed, reused, seconds)

    def _note(self, row: LedgerRow) -> None:
        self._count += 1
        if row.is_final:
            self._final[row.key] = row

    def _iterate(self) -> Iterator[LedgerRow]:
        if self._mended is not None:
            yield from self._mended
            return
        for line, row in enumerate(csv.DictReader(io.StringIO(self._whole_text())), start=2):
            yield self._row(row, line)

    def _row(self, row: Mapping[str, str], line: int) -> LedgerRow:
        try:
            return LedgerRow.from_csv(row)
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{self.path}, line {line} is damaged ({error}): delete the file, and the next run writes it "
                "anew from the stored labels"
            ) from error

    def _whole_text(self) -> str:
        """The file up to its last complete line."""
        text = self._text()
        return text[: text.rfind("\n") + 1]

    def _open(self) -> None:
        """Make sure that the file is a ledger, whole, and knows what the store knows."""
        text = self._whole_text()
        is_other = bool(text) and not text.startswith(HEADER)
        if is_other and self._store is None:
            raise DataError(f"{self.path} is not a ledger of this version: move it away")
        if is_other and not self._look_only:
            self.path.replace(self.path.with_name(f"{self.path.name}.damaged"))
        text = "" if is_other else text
        if self._store is not None:
            self._mend(text, self._store)
        elif not self._look_only and (not text or text != self._text()):
            write_atomic(self.path, text or HEADER)

    def _mend(self, text: str, store: "LabelStore") -> None:
        """Rows of the file and of the store together, in both; a label without a row gets its row."""
        found, readable = _parsed(text)
        stored, _ = _parsed(HEADER + "".join(store.calls()))
        rows = stored | found
        for record in store.records_without({key for key, _ in rows}):
            row = LedgerRow.of(record)
            rows[row.identity] = row
        ordered = list(rows.values())
        if rows.keys() != found.keys():
            ordered.sort(key=lambda row: row.started)
        if self._look_only:
            self._mended = ordered
            return
        store.add_calls(
            (*row.identity, row.outcome, row.to_csv()) for row in ordered if row.identity not in stored
        )
        if not text or not readable or len(rows) > len(found) or text != self._text():
            if len(rows) > len(found):
                logger.info(
                    "%s: %d rows were missing and are written anew", self.path, len(rows) - len(found)
                )
            write_atomic(self.path, HEADER + "".join(row.to_csv() for row in ordered))

    def _text(self) -> str:
        return self.path.read_text(encoding="utf-8", errors="replace") if self.path.exists() else ""


def _parsed(text: str) -> tuple[dict[tuple[str, str], LedgerRow], bool]:
    """The readable rows of a ledger's text by identity, and whether all are readable."""
    rows: dict[tuple[str, str], LedgerRow] = {}
    readable = True
    for line in csv.DictReader(io.StringIO(text)):
        try:
            row = LedgerRow.from_csv(line)
            rows.setdefault(row.identity, row)
        except (ValueError, TypeError, KeyError):
            readable = False
    return rows, readable
