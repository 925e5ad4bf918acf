"""Progress bars and logs of the command line."""

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
    """Progress and log messages on standard error; with `run_dir`, the log also goes to `run_dir/run.log`."""
    console = Console(file=sys.stderr, quiet=quiet)
    logger = logging.getLogger("pyacemaker")
    handlers: list[logging.Handler] = [
        RichHandler(console=console, show_path=False, markup=False, log_time_format="%H:%M:%S")
    ]
    if run_dir is not None:
        run_dir.mkdir(parents=True, exist_ok=True)
        to_file = logging.FileHandler(run_dir / "run.log", encoding="utf-8")
        to_file.setFormatter(logging.Formatter(LOG_FORMAT))
        handlers.append(to_file)
    level = logger.level
    logger.setLevel(logging.INFO)
    for handler in handlers:
        logger.addHandler(handler)
    try:
        with Display(console) as display:
            yield display
    except Exception as error:
        logger.debug("ended by an error", exc_info=True)
        if run_dir is not None:
            logging.getLogger("pyacemaker").handlers[-1].emit(_record(error))
        raise
    finally:
        logger.setLevel(level)
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()


def _record(error: Exception) -> logging.LogRecord:
    information = (type(error), error, error.__traceback__)
    return logging.LogRecord("pyacemaker", logging.ERROR, "", 0, "%s", (error,), information)
