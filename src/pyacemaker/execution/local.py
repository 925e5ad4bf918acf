"""Worker processes on this machine."""

import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal

from pydantic import Field

from pyacemaker.errors import OracleCrashError, OracleError, OracleTimeoutError
from pyacemaker.execution.base import Executor, Outcome, R, T
from pyacemaker.processes import available_cores, single_threaded_children, start_worker

if TYPE_CHECKING:
    from pebble import ProcessPool

ITEMS_PER_WORKER = 2
"""How many items are handed to the pool per worker: one running, one waiting."""


class LocalExecutor(Executor):
    """Runs items in worker processes of one thread each, on top of pebble's process pool.

    A worker lives on from item to item, so that heavy imports are paid once. An item that crashes or hangs
    takes only its own worker with it, and the worker is replaced. Workers die with the run: neither Ctrl-C
    nor `kill -9` leaves one behind (Linux).
    """

    kind: Literal["local"] = "local"
    workers: Annotated[int, Field(ge=1, le=1024)] | None = None
    """Number of worker processes; None = the cores that this process may use."""
    timeout_s: Annotated[float, Field(gt=0)] | None = None
    """Seconds after which an item is stopped, with `OracleTimeoutError`; None = never. Not retried."""
    retries: Annotated[int, Field(ge=0)] = 1
    """How often an item is tried again after its worker died. Errors that the function raises are final."""
    isolate: bool = False
    """Whether every item gets a fresh process (costs the imports every time)."""

    def worker_count(self) -> int:
        """How many workers there will be."""
        return self.workers or available_cores()

    def map_unordered(
        self, function: Callable[[T], R], items: Iterable[tuple[str, T]]
    ) -> Iterator[Outcome[R]]:
        """One `Outcome` per item, as they finish; at most two items per worker are taken ahead."""
        waiting = iter(items)
        ahead = ITEMS_PER_WORKER * self.worker_count()
        with self._pool() as pool:
            tasks: dict[Future[Any], _Task[T]] = {}
            while True:
                for key, item in islice(waiting, ahead - len(tasks)):
                    task = _Task(key, item)
                    tasks[self._submit(pool, function, task)] = task
                if not tasks:
                    return
                for future in wait(tasks, return_when=FIRST_COMPLETED).done:
                    task = tasks.pop(future)
                    outcome = self._outcome(future, task)
                    if outcome is None:
                        tasks[self._submit(pool, function, task)] = task
                    else:
                        yield outcome

    @contextmanager
    def _pool(self) -> "Iterator[ProcessPool]":
        """A pool whose workers are stopped, not waited for, on the way out."""
        import multiprocessing

        from pebble import ProcessPool

        with single_threaded_children():
            pool = ProcessPool(
                max_workers=self.worker_count(),
                max_tasks=1 if self.isolate else 0,
                initializer=start_worker,
                initargs=(os.getpid(),),
                context=multiprocessing.get_context("spawn"),
            )
            try:
                yield pool
            finally:
                pool.stop()
                pool.join()

    def _submit(self, pool: "ProcessPool", function: Callable[[T], R], task: "_Task[T]") -> "Future[Any]":
        task.attempts += 1
        future: Future[Any] = pool.schedule(_call, args=(function, task.item), timeout=self.timeout_s)
        return future

    def _outcome(self, future: "Future[Any]", task: "_Task[T]") -> Outcome[Any] | None:
        """What became of a finished task; None when it should be tried again."""
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
            raise OracleCrashError(message) from error
        if task.attempts <= self.retries:
            return None
        message = f"the calculation's process died {task.attempts} times ({_death(error.exitcode)})"
        return Outcome(task.key, error=OracleCrashError(message))


class _Task(Generic[T]):
    """One item on its way, and how often it was handed to a worker."""

    def __init__(self, key: str, item: T) -> None:
        self.key = key
        self.item = item
        self.attempts = 0


def _call(function: Callable[[T], R], item: T) -> tuple[R | None, Exception | None]:
    """In the worker: the function's value or the exception it raised, both safe to send back."""
    try:
        return function(item), None
    except Exception as error:  # noqa: BLE001 - the interface hands every error back with its item
        return None, _sendable(error)


def _sendable(error: Exception) -> Exception:
    """`error`, or an `OracleError` with its text where it does not survive pickling."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # noqa: BLE001 - an exception's own pickling code may raise anything
        return OracleError(f"{type(error).__name__}: {error}")
    return error


def _death(code: int | None) -> str:
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
