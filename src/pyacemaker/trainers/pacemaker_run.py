"""One run of the `pacemaker` program: its progress, its failures, and how it goes on after a kill."""

import logging
import math
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from pyacemaker.errors import TrainingDivergenceError, TrainingError
from pyacemaker.files import complete_lines, replacing, write_atomic
from pyacemaker.trainers.base import Progress
from pyacemaker.trainers.pacemaker_programs import PacemakerPrograms, end_group, tail

OUTPUT = "output_potential.yaml"
SAFE = "last_interim.yaml"
"""A copy of the last interim potential that is known to be whole: pacemaker rewrites its own in place."""

RUNAWAY = 100.0
"""A loss this many times the first one will not come back."""

_POLL_SECONDS = 0.2
_SAVED = "Final potential is saved"
_VERSION = re.compile(r"pacemaker/pyace version: (\S+)")
_RESULT = re.compile(r"Optimization result\((.*)\)")
logger = logging.getLogger(__name__)

Row = dict[str, float]
"""One line of `metrics.txt` by the names in its first line."""


@dataclass
class PacemakerHistory:
    """The lines of `metrics.txt` in their order, those of earlier attempts included."""

    rows: list[Row] = field(default_factory=list)

    def take(self, row: Row) -> None:
        """Add a line; `TrainingDivergenceError` for a loss that is no number or has run away."""
        loss = row.get("loss", math.nan)
        first = self.rows[0]["loss"] if self.rows else loss
        if not math.isfinite(loss) or loss > RUNAWAY * first:
            raise TrainingDivergenceError(
                f"pacemaker's loss is {loss:g} in iteration {row.get('iter_num', 0):g} (it began at "
                f"{first:g}): look for wrong labels, or use fewer functions, stronger l1 and l2 or a ladder"
            )
        self.rows.append(row)


@dataclass(frozen=True)
class PacemakerRun:
    """A fit in a directory that holds `input.yaml` and the tables it names.

    initial: a B-basis `.yaml` to continue from, with its own functions; it may have fewer than wanted where
    `extends` is set. maxiter: planned. timeout_s: wall time after which the process group is killed; None:
    never. restarts: how often a crashed process is started again from its last interim potential.
    """

    programs: PacemakerPrograms
    directory: Path
    maxiter: int
    initial: Path | None = None
    extends: bool = False
    timeout_s: float | None = None
    restarts: int = 1

    def execute(self, progress: Progress | None = None) -> PacemakerHistory:
        """Fit; `output_potential.yaml` is in the directory afterwards.

        What an earlier process that was killed here had reached is taken up. Raises `TrainingDivergenceError`
        for a loss that ran away, `TrainingError` for a timeout or a process that failed more than `restarts`
        times.
        """
        history = PacemakerHistory()
        if self.is_finished():
            history.rows.extend(read_metrics(self.directory / "metrics.txt"))
            return history
        deadline = None if self.timeout_s is None else time.monotonic() + self.timeout_s
        for attempt in range(self.restarts + 1):
            reached = len(history.rows)
            code = self._attempt(history, progress, deadline)
            if code == 0 and self.is_finished():
                return history
            if attempt == self.restarts or len(history.rows) <= reached + 1:
                break
            logger.warning("pacemaker ended with exit code %s; it is started again from %s", code, SAFE)
        raise TrainingError(
            f"pacemaker ended with exit code {code} and without a final potential; the end of its output in "
            f"{self._said}:\n{tail(self._said)}"
        )

    def is_finished(self) -> bool:
        """Whether the directory holds a final potential, and the log says that it is whole."""
        log = self.directory / "log.txt"
        said = log.is_file() and _SAVED in log.read_text(encoding="utf-8", errors="replace")
        return said and (self.directory / OUTPUT).is_file()

    @property
    def _said(self) -> Path:
        return self.directory / "pacemaker.log"

    def _attempt(self, history: PacemakerHistory, progress: Progress | None, deadline: float | None) -> int:
        arguments = self.arguments()
        done = self._resume()
        for name in ("metrics.txt", "test_metrics.txt", OUTPUT):
            (self.directory / name).unlink(missing_ok=True)
        process = self.programs.start((*self.programs.command, *arguments), self.directory, self._said)
        try:
            self._follow(process, history, progress, deadline, done)
        finally:
            end_group(process)
        return int(process.returncode)

    def _resume(self) -> int:
        """Iterations that earlier attempts made; `input.yaml` then asks for those that remain.

        A ladder has its iterations at every step, and begins the present one again.
        """
        counted = self.directory / "iterations.txt"
        rows = read_metrics(self.directory / "metrics.txt")
        if self._keep_interim() is None or self.extends or not rows:
            return 0
        before = int(counted.read_text(encoding="utf-8")) if counted.is_file() else 0
        done = before + int(rows[-1]["iter_num"])
        write_atomic(counted, f"{done}\n")
        content = yaml.safe_load((self.directory / "input.yaml").read_text(encoding="utf-8"))
        content["fit"]["maxiter"] = max(1, self.maxiter - done)
        write_atomic(self.directory / "input.yaml", yaml.safe_dump(content, sort_keys=False))
        return done

    def arguments(self) -> list[str]:
        """What `pacemaker` is called with: the input, and what it continues from."""
        common = ["input.yaml", "--no-predict"]
        safe = self.directory / SAFE
        interim = safe if safe.is_file() else None
        start = interim or self.initial
        if start is None:
            return common
        if interim is not None:
            logger.info("the fit goes on from %s", interim)
        return [*common, "-ip" if self.extends else "-p", str(start.absolute())]

    def _follow(
        self,
        process: "subprocess.Popen[bytes]",
        history: PacemakerHistory,
        progress: Progress | None,
        deadline: float | None,
        done: int,
    ) -> None:
        rows = new_rows(self.directory / "metrics.txt")
        running = True
        while running:
            running = process.poll() is None
            fresh = next(rows)
            for row in fresh:
                history.take(row)
                if progress is not None:
                    progress(min(done + int(row["iter_num"]), self.maxiter), self.maxiter)
            if fresh:
                self._keep_interim()
            if running and deadline is not None and time.monotonic() > deadline:
                raise TrainingError(
                    f"pacemaker ran past its limit of {self.timeout_s:g} s; what it reached is in "
                    f"{self.directory}, and the next attempt goes on from there: run again, raise timeout_s, "
                    "or lower maxiter"
                )
            if running:
                time.sleep(_POLL_SECONDS)

    def _keep_interim(self) -> Path | None:
        """Copy the newest interim potential that is whole; the copy, None where there is none yet."""
        safe = self.directory / SAFE
        rows = read_metrics(self.directory / "metrics.txt")
        functions = int(rows[-1]["nfuncs"]) if rows else None
        found = sorted(self.directory.glob("interim_potential_*.yaml"), key=lambda path: path.stat().st_mtime)
        for path in reversed(found):
            if functions is not None and count_functions(path) == functions:
                with replacing(safe) as aside:
                    shutil.copyfile(path, aside)
                break
        return safe if safe.is_file() else None

    def facts(self) -> dict[str, str]:
        """What the log says of the program and of the end of the optimisation."""
        text = (self.directory / "log.txt").read_text(encoding="utf-8", errors="replace")
        versions, results = _VERSION.findall(text), _RESULT.findall(text)
        return {
            "pacemaker": versions[-1] if versions else "unknown",
            "optimisation": results[-1] if results else "unknown",
        }


def count_functions(path: Path) -> int:
    """Functions in a B-basis file; 0 where it is no complete YAML.

    pacemaker rewrites its interim file in place, so that a kill can cut it, also between two functions:
    compare with `nfuncs` of `metrics.txt`.
    """
    try:
        content = yaml.load(
            path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        )
        return sum(len(block.get("nbody") or ()) for block in content["species"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError):
        return 0


def read_metrics(path: Path) -> list[Row]:
    """The lines of a `metrics.txt`; empty where there is none."""
    return next(new_rows(path))


def new_rows(path: Path) -> Iterator[list[Row]]:
    """At each step, the lines of `metrics.txt` that have become complete since the last one."""
    names: Sequence[str] = ()
    for new in complete_lines(path):
        lines = [line.decode(errors="replace").split() for line in new if line.strip()]
        if lines and not names:
            names, lines = lines[0], lines[1:]
        yield [dict(zip(names, map(float, line), strict=True)) for line in lines]


def begin(directory: Path, key: str) -> None:
    """Make a directory ready for the fit with this key: what an other fit left there is removed."""
    mark = directory / "key.txt"
    if mark.is_file() and mark.read_text(encoding="utf-8").strip() == key:
        return
    if directory.is_dir():
        shutil.rmtree(directory)
    directory.mkdir(parents=True)
    write_atomic(mark, key + "\n")
