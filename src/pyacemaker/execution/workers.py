"""Worker processes on this machine that may crash, hang or start programs of their own."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from pyacemaker.errors import ExecutionError, OracleCrashError, OracleError, OracleTimeoutError
from pyacemaker.execution.base import Outcome, R, T, Task
from pyacemaker.processes import single_threaded_children, start_worker

_guards: list[Any] = []
"""In a worker: its guard, kept so that the pipe between them stays open as long as the worker lives."""


class WorkerPool:
    """Processes of one thread each, on top of pebble's process pool.

    A worker is the first process of a session of its own. It dies with the thread that made the pool, and
    whatever it started (mpirun, a DFT code) dies with it, whether it ended, crashed, hung or was killed.

    workers: how many. timeout_s: seconds after which an item is stopped; None = never. retries: how often an
    item is tried again after its worker died. isolate: whether every item gets a fresh process.
    """

    def __init__(self, workers: int, timeout_s: float | None, retries: int, *, isolate: bool) -> None:
        import multiprocessing

        from pebble import ProcessPool

        self.timeout_s = timeout_s
        self.retries = retries
        self._threads = single_threaded_children()
        self._threads.__enter__()
        self._pool = ProcessPool(
            max_workers=workers,
            max_tasks=1 if isolate else 0,
            initializer=_begin,
            initargs=(os.getpid(),),
            context=multiprocessing.get_context("spawn"),
        )

    def submit(self, function: Callable[[T], R], task: Task[T]) -> "Future[Any]":
        """Hand an item to the workers; `outcome` understands the answer."""
        task.attempts += 1
        future: Future[Any] = self._pool.schedule(_call, args=(function, task.item), timeout=self.timeout_s)
        return future

    def outcome(self, future: "Future[Any]", task: Task[T]) -> Outcome[Any] | None:
        """What became of a finished item; None when it should be submitted again."""
        from pebble import ProcessExpired

        error = future.exception()
        if error is None:
            value, raised = future.result()
            return Outcome(task.key, value=value, error=raised)
        if isinstance(error, TimeoutError):
            lost = self.timeout_s or 0.0
            message = f"the calculation was stopped after {lost:g} s: raise timeout_s, or drop the structure"
            return Outcome(task.key, error=OracleTimeoutError(message), lost_seconds=lost)
        if not isinstance(error, ProcessExpired):
            message = (
                f"the pool of workers broke down ({error}): start the run again, it goes on where it was"
            )
            raise ExecutionError(message) from error
        if task.attempts <= self.retries:
            return None
        times = "once" if task.attempts == 1 else f"{task.attempts} times"
        message = f"the calculation's process died {times} ({_death(error.exitcode)})"
        return Outcome(task.key, error=OracleCrashError(message))

    def close(self) -> None:
        """Stop the workers; what they were doing is lost."""
        self._pool.stop()
        self._pool.join()
        self._threads.__exit__(None, None, None)


def _begin(driver: int) -> None:
    """First thing in a worker: a session of its own, and a guard that ends it when the worker is gone."""
    start_worker(driver)
    os.setsid()
    guard = Path(__file__).with_name("guard.py")
    command = [sys.executable, "-I", "-S", str(guard), str(os.getpid())]
    _guards.append(
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/"
        )
    )


def _call(function: Callable[[T], R], item: T) -> tuple[R | None, Exception | None]:
    """In the worker: the function's value or the exception it raised, both safe to send back."""
    try:
        return function(item), None
    except BaseException as error:  # noqa: BLE001 - every error goes back with its item, SystemExit too
        return None, _sendable(error)


def _sendable(error: BaseException) -> Exception:
    """`error`, or an `OracleError` with its text where it does not survive pickling, or ends processes."""
    if not isinstance(error, Exception):
        return OracleError(f"{type(error).__name__}: {error}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - an exception's own pickling code may raise anything
        return OracleError(f"{type(error).__name__}: {error}")
    return error


def _death(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
