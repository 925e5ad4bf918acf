"""Child processes that use one thread and die with their parent."""

import ctypes
import logging
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import Any, ClassVar, TypeVar

from pyacemaker.errors import PyacemakerError

T = TypeVar("T")
R = TypeVar("R")

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_PR_SET_PDEATHSIG = 1


def single_thread_environment() -> dict[str, str]:
    """The current environment, with every thread count that is not set by the user set to 1."""
    environment = dict(os.environ)
    for name in THREAD_VARIABLES:
        environment.setdefault(name, "1")
    return environment


def use_single_threads() -> None:
    """Set the thread counts of this process's environment to 1 where the user has not set them.

    Works only before numpy and torch are imported: they read the variables once.
    """
    os.environ.update(single_thread_environment())


def release_memory() -> None:
    """Give back to the system what is free in this process (glibc; elsewhere nothing happens).

    Of its own accord glibc keeps what lies below a block in use: some hundred MB after batches of a large
    model, which programs that the run starts may need.
    """
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends (Linux; elsewhere nothing happens).

    Call it first thing in a child (`preexec_fn`, a pool's initializer): a `kill -9` of the run then leaves no
    calculation behind that would compute a label a second time.
    """
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent died in between
        os._exit(1)


def start_worker(driver: int) -> None:
    """First thing in a worker: die with the driver, also when it died while the worker started.

    driver: process id of the process that starts the workers.
    """
    die_with_parent()
    if os.getppid() != driver:
        os._exit(1)


def available_cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def single_threaded_children() -> Iterator[None]:
    """Children that start inside use one thread each; the environment is as before on leaving."""
    before = dict(os.environ)
    use_single_threads()
    try:
        yield
    finally:
        for name in set(os.environ) - set(before):
            del os.environ[name]


def map_ordered(
    function: Callable[[T], R],
    items: Iterable[T],
    processes: int,
    *,
    prepare: Callable[..., None] | None = None,
    prepare_args: tuple[Any, ...] = (),
) -> Iterator[R]:
    """The results of `function` over `items`, in their order, computed by worker processes of one thread.

    With one process everything happens here. `prepare(*prepare_args)` is called once here and, where workers
    don't begin as copies of this process, in every worker: the place for what all items share. At most two
    items per worker are taken ahead, so that memory stays flat. function, prepare and items must be
    picklable. The first error that `function` raises ends the map; `PyacemakerError` where a worker died.
    """
    with worker_map(processes, prepare=prepare, prepare_args=prepare_args) as run:
        yield from run(function, items)


OrderedMap = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]
"""Called with a function and items: the results in the items' order."""


@contextmanager
def worker_map(
    processes: int,
    *,
    prepare: Callable[..., None] | None = None,
    prepare_args: tuple[Any, ...] = (),
) -> Iterator[OrderedMap]:
    """`map_ordered` as a function that may be called many times: the workers stay until the end of the block.

    With one process everything happens here.
    """
    if prepare is not None:
        prepare(*prepare_args)
    if processes <= 1:
        yield map
        return
    with single_threaded_children():
        workers = _Workers(processes, prepare, prepare_args)
        try:
            yield workers.run
        except BrokenProcessPool as error:
            raise PyacemakerError(
                "a worker process died, perhaps for lack of memory; use fewer processes"
            ) from error
        finally:
            workers.close()


class _Workers:
    """A pool that starts with the first item but one.

    On Linux the workers begin as copies of this process (fork): what it has imported and compiled, they have.
    The first item that a function ever gets is therefore computed here. Elsewhere they start afresh.
    """

    _called: ClassVar[set[Callable[[Any], Any]]] = set()

    def __init__(
        self, processes: int, prepare: Callable[..., None] | None, arguments: tuple[Any, ...]
    ) -> None:
        self._processes, self._prepare, self._arguments = processes, prepare, arguments
        self._pool: ProcessPoolExecutor | None = None

    def run(self, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        waiting = iter(items)
        if self._pool is None and function not in self._called:
            for first in islice(waiting, 1):
                with _one_thread():
                    result = function(first)
                self._called.add(function)
                yield result
        yield from _in_order(self._started(), function, waiting, 2 * self._processes)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            import multiprocessing

            forks = sys.platform.startswith("linux")
            begin: Callable[..., None] = _prepare_copy if forks else _prepare_worker
            given: tuple[Any, ...] = () if forks else (self._prepare, self._arguments)
            self._pool = ProcessPoolExecutor(
                self._processes,
                multiprocessing.get_context("fork" if forks else "spawn"),
                initializer=begin,
                initargs=(os.getpid(), *given),
            )
        return self._pool


@contextmanager
def _one_thread() -> Iterator[None]:
    """Linear algebra on one thread, as in the workers: the same bits wherever an item is computed."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


def _in_order(
    pool: ProcessPoolExecutor, function: Callable[[T], R], items: Iterator[T], ahead: int
) -> Iterator[R]:
    waiting: deque[Future[R]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _prepare_worker(driver: int, prepare: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    start_worker(driver)
    if prepare is not None:
        prepare(*arguments)


def _prepare_copy(driver: int) -> None:
    """A worker that is a copy of its parent has its data, but none of its threads.

    A thread of the parent may have held the lock of a display or of a log when the copy was made: the copy
    writes to neither.
    """
    from threadpoolctl import threadpool_limits

    start_worker(driver)
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open as long as the worker
    sys.stderr = sys.stdout
    for name in (None, *logging.root.manager.loggerDict):
        logging.getLogger(name).handlers.clear()
    logging.lastResort = None
    threadpool_limits(1)
