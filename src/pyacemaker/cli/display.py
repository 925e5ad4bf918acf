"""Progress bars and logs of the command line."""

import copy
import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pyacemaker.environment import hide
from pyacemaker.errors import PyacemakerError

LOG_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
LINE_INTERVAL = 10.0
"""Seconds between two progress lines of one task where there is no terminal."""


class Display:
    """Draws one bar with elapsed and remaining time per task on a terminal, prints lines elsewhere.

    An instance is a `pyacemaker.workflow.progress.Progress`.
    """

    def __init__(self, console: Console) -> None:
        self._live = console.is_terminal
        self._console = console
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            console=console,
            disable=not self._live,
        )
        self._tasks: dict[str, TaskID] = {}
        self._started: dict[str, float] = {}
        self._printed: dict[str, float] = {}

    def __enter__(self) -> "Display":
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def __call__(self, task: str, done: int, total: int) -> None:
        """Show that `task` has finished `done` of `total` items."""
        if self._live:
            if task not in self._tasks:
                self._tasks[task] = self._bars.add_task(task, total=total)
            self._bars.update(self._tasks[task], completed=done, total=total)
        else:
            self._print_line(task, done, total)

    def _print_line(self, task: str, done: int, total: int) -> None:
        now = time.monotonic()
        started = self._started.setdefault(task, now)
        if done < total and now - self._printed.get(task, -LINE_INTERVAL) < LINE_INTERVAL:
            return
        self._printed[task] = now
        remaining = (now - started) / done * (total - done) if done else 0.0
        eta = f", ETA {remaining:.0f} s" if done and done < total else ""
        self._console.print(f"{task}: {done}/{total}{eta}", highlight=False, markup=False)


@contextmanager
def shown(run_dir: Path | None = None, *, quiet: bool = False) -> Iterator[Display]:
    """Progress and log messages on standard error; with `run_dir`, the log also goes to `run_dir/run.log`.

    What ends the block stands in that file too: in one line, and with its traceback where nobody foresaw it.
    """
    console = Console(file=sys.stderr, quiet=quiet)
    handlers = [_to_terminal(console)]
    if run_dir is not None:
        handlers.append(_to_file(run_dir / "run.log"))
    with _logging_to(handlers):
        try:
            with Display(console) as display:
                yield display
        except BaseException as error:
            if run_dir is not None:
                _write_end(handlers[-1], error, run_dir / "run.log")
            raise


@contextmanager
def _logging_to(handlers: list[logging.Handler]) -> Iterator[None]:
    logger = logging.getLogger("pyacemaker")
    level = logger.level
    logger.setLevel(logging.INFO)
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        logger.setLevel(level)
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()


def _to_terminal(console: Console) -> logging.Handler:
    """Coloured on a terminal, plain lines (which nobody wraps) in a file or a pipe, nothing when quiet."""
    if console.quiet:
        return logging.NullHandler()
    if console.is_terminal:
        handler: logging.Handler = RichHandler(
            console=console, show_path=False, markup=False, log_time_format="%H:%M:%S"
        )
        handler.setFormatter(_NoTraceback("%(message)s"))
    else:
        handler = logging.StreamHandler(console.file)
        handler.setFormatter(_NoTraceback("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S"))
    return handler


class _NoValues(logging.Formatter):
    """Leaves out the values of environment variables that settings name."""

    def format(self, record: logging.LogRecord) -> str:
        return hide(super().format(record))


class _NoTraceback(_NoValues):
    """Leaves out tracebacks: they stand in the log file."""

    def format(self, record: logging.LogRecord) -> str:
        short = copy.copy(record)
        short.exc_info = short.exc_text = None
        return super().format(short)


def _to_file(path: Path) -> logging.Handler:
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(_NoValues(LOG_FORMAT))
    return handler


def _write_end(handler: logging.Handler, error: BaseException, path: Path) -> None:
    """Say in the log file what ended the command."""
    message, traceback = str(error), None
    if isinstance(error, KeyboardInterrupt):
        message = "interrupted"
    elif not isinstance(error, PyacemakerError):
        message, traceback = "unexpected error", (type(error), error, error.__traceback__)
        error.add_note(f"the traceback is in {path}")
    handler.emit(logging.LogRecord("pyacemaker", logging.ERROR, "", 0, "%s", (message,), traceback))
