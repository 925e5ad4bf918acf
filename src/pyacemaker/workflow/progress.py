"""How long-running work reports where it stands, to a display and to a file that other processes read."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from pyacemaker.files import write_json

FILE = "progress.json"
"""In the directory of a run, while it runs."""
INTERVAL = 2.0
"""Seconds between two writings of that file."""


class Progress(Protocol):
    """Receives the state of a piece of work; the command line draws a bar from it."""

    def __call__(self, task: str, done: int, total: int) -> None:
        """`task` has finished `done` of `total` items."""


def silent(task: str, done: int, total: int) -> None:
    """A `Progress` that shows nothing."""


@dataclass(frozen=True)
class Standing:
    """Where the task stands that a run works on.

    begun_with: items that were done when it began, at `began`. Times are seconds since the epoch.
    """

    task: str
    done: int
    total: int
    began: float
    begun_with: int
    updated: float

    @classmethod
    def read(cls, run_dir: Path) -> "Standing | None":
        """What the process that runs in `run_dir` wrote last, None where there is nothing to read."""
        try:
            return cls(**json.loads((run_dir / FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def seconds_left(self, now: float) -> float | None:
        """Seconds until the task is done if it goes on as before; None before its first item is done."""
        finished = self.done - self.begun_with
        if finished <= 0 or self.updated <= self.began:
            return None
        left = (self.updated - self.began) / finished * (self.total - self.done)
        return max(0.0, left - (now - self.updated))


class RecordedProgress:
    """A `Progress` that passes everything on, and writes where the task stands to the run's directory."""

    def __init__(self, run_dir: Path, then: Progress) -> None:
        self._path = run_dir / FILE
        self._then = then
        self._standing: Standing | None = None

    def __call__(self, task: str, done: int, total: int) -> None:
        """`task` has finished `done` of `total` items."""
        self._then(task, done, total)
        now, before = time.time(), self._standing
        if before is None or before.task != task or done < before.done:
            self._write(Standing(task, done, total, now, done, now))
        elif now - before.updated >= INTERVAL or done >= total:
            self._write(Standing(task, done, total, before.began, before.begun_with, now))

    def _write(self, standing: Standing) -> None:
        self._standing = standing
        write_json(self._path, asdict(standing))

    def close(self) -> None:
        """The run has ended."""
        self._path.unlink(missing_ok=True)
