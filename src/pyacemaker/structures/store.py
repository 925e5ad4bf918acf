"""Labels on disk, one file each, and the ledger of what they cost.

The design documents call this module the *DatasetManager*. A label is paid for once: the process that
computed it writes it to the `LabelStore` before it answers, so a killed run loses at most the labels in
flight. The `Ledger` is the readable account: one row per calculation.
"""

import csv
import io
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np

from pyacemaker.errors import DataError
from pyacemaker.files import write_atomic
from pyacemaker.structures.structure import Labels

OK = "ok"
"""The outcome of a calculation that gave a label."""


@dataclass(frozen=True)
class LabelRecord:
    """One calculation: what was asked, what came out, what it cost.

    key: of structure, settings and engine version. structure_id: content hash of the structure. engine: name
    and version. settings: the oracle's settings. outcome: `ok`, or the name of the error. message: the
    error's text. permanent: whether asking again would give the same answer (false after a crash or a
    timeout). core_seconds: CPU time. started: ISO 8601, UTC. energy: eV. forces: (n, 3) nested tuples, eV/Å.
    stress: (6,), eV/Å³, ASE's order and sign; None without one.
    """

    key: str
    structure_id: str
    engine: str
    settings: Mapping[str, Any]
    outcome: str
    message: str = ""
    permanent: bool = True
    core_seconds: float = 0.0
    started: str = ""
    energy: float | None = None
    forces: tuple[tuple[float, ...], ...] | None = None
    stress: tuple[float, ...] | None = None

    @property
    def is_ok(self) -> bool:
        """Whether the record holds a label."""
        return self.outcome == OK

    @property
    def is_final(self) -> bool:
        """Whether there is no point in computing it again: a label, or a permanent failure."""
        return self.is_ok or self.permanent

    def labels(self) -> Labels:
        """Energy (eV), forces (eV/Å) and stress (eV/Å³) to the last bit; `ValueError` for a failure."""
        if self.energy is None or self.forces is None:
            raise ValueError(f"record {self.key} holds no label: {self.outcome}")
        forces = np.array(self.forces, dtype=np.float64).reshape(-1, 3)
        return Labels(self.energy, forces, None if self.stress is None else np.array(self.stress))

    @staticmethod
    def label_fields(labels: Labels) -> dict[str, Any]:
        """`labels` as the fields energy, forces and stress of a record."""
        stress = None if labels.stress is None else tuple(map(float, labels.stress))
        forces = tuple(tuple(map(float, row)) for row in labels.forces)
        return {"energy": float(labels.energy), "forces": forces, "stress": stress}

    def to_json(self) -> str:
        """The record as JSON; every float survives the round trip bit by bit."""
        return json.dumps(asdict(self), allow_nan=False, sort_keys=True, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The record in `text`; `ValueError`, `TypeError` or `KeyError` when it is none."""
        content = json.loads(text)
        if content["forces"] is not None:
            content["forces"] = tuple(tuple(row) for row in content["forces"])
        if content["stress"] is not None:
            content["stress"] = tuple(content["stress"])
        record = cls(**content)
        if record.is_ok:
            record.labels()
        return record


class LabelStore:
    """A directory with one file per label key: `results/<first two digits>/<key>.json`.

    Files are whole or absent (written aside, fsynced, renamed); any process may write. A file that cannot be
    read as a record counts as absent and is overwritten by the next `put`.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory)

    def __len__(self) -> int:
        return sum(1 for _ in self.directory.glob("results/*/[0-9a-f]*.json"))

    def path(self, key: str) -> Path:
        """Where the record of `key` is or would be."""
        return self.directory / "results" / key[:2] / f"{key}.json"

    def get(self, key: str) -> LabelRecord | None:
        """The record of `key`, or None when there is no readable one."""
        try:
            record = LabelRecord.from_json(self.path(key).read_text(encoding="utf-8"))
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return record if record.key == key else None

    def records(self) -> Iterator[LabelRecord]:
        """All readable records, in the order of their keys."""
        for path in sorted(self.directory.glob("results/*/[0-9a-f]*.json")):
            record = self.get(path.stem)
            if record is not None:
                yield record

    def put(self, record: LabelRecord) -> None:
        """Write `record`; on return it survives a crash."""
        write_atomic(self.path(record.key), record.to_json())


@dataclass(frozen=True)
class LedgerRow:
    """One calculation in the ledger.

    key, structure, tag: what. engine, settings (a hash): how. reason, round: who asked, and in which round.
    outcome: `ok` or the name of the error. permanent: false when it may be tried again. core_seconds: CPU
    time. started: ISO 8601, UTC. reused: the label was found in the store: this run computed it before it
    was killed, or another run that shares the store did.
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


@dataclass(frozen=True)
class LedgerTotals:
    """Sums over the ledger: calculations, those that failed, those found in the store, CPU seconds."""

    calls: int
    failed: int
    reused: int
    core_seconds: float


class Ledger:
    """`ledger.csv`: append-only, one fsynced row per calculation, written by the run's own process only.

    No key has two final rows; a calculation that crashed or timed out and is tried again has one row per try.
    A line that a kill left unfinished is dropped on opening, which raises `DataError` for a damaged file.
    look_only: leave the file as it is, because another process may be writing it.
    """

    def __init__(self, path: Path, *, look_only: bool = False) -> None:
        self.path = Path(path)
        self._rows = self._open(look_only)
        self._final = {row.key for row in self._rows if row.is_final}

    def __contains__(self, key: str) -> bool:
        """Whether `key` has a final row."""
        return key in self._final

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def rows(self) -> list[LedgerRow]:
        """All rows, oldest first."""
        return list(self._rows)

    def add(self, row: LedgerRow) -> None:
        """Append `row`; on return it survives a crash. `ValueError` when its key has a final row already."""
        if row.key in self:
            raise ValueError(f"{self.path} already holds the calculation {row.key}")
        with self.path.open("a", encoding="utf-8") as handle:
            handle.write(row.to_csv())
            handle.flush()
            os.fsync(handle.fileno())
        self._rows.append(row)
        if row.is_final:
            self._final.add(row.key)

    def totals(self, reason: str | None = None) -> LedgerTotals:
        """Sums over all rows, or over those with this `reason`."""
        rows = [row for row in self._rows if reason in (None, row.reason)]
        return LedgerTotals(
            calls=len(rows),
            failed=sum(row.outcome != OK for row in rows),
            reused=sum(row.reused for row in rows),
            core_seconds=float(sum(row.core_seconds for row in rows)),
        )

    def _open(self, look_only: bool) -> list[LedgerRow]:
        header = ",".join(field.name for field in fields(LedgerRow)) + "\n"
        text = self.path.read_text(encoding="utf-8", errors="replace") if self.path.exists() else ""
        whole = text[: text.rfind("\n") + 1]
        if not whole.startswith(header):
            if whole:
                raise DataError(f"{self.path} is not a ledger of this version: move it away")
            if not look_only:
                write_atomic(self.path, header)
            return []
        if whole != text and not look_only:
            write_atomic(self.path, whole)
        return [self._row(row, line) for line, row in enumerate(csv.DictReader(io.StringIO(whole)), start=2)]

    def _row(self, row: Mapping[str, str], line: int) -> LedgerRow:
        try:
            return LedgerRow.from_csv(row)
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{self.path}, line {line} is damaged ({error}): delete the file and run with --from label: "
                "it is written anew from the stored labels"
            ) from error
