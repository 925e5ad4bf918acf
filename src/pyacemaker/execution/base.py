"""The executor interface: a function over many items, each answer as it comes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from pyacemaker.base import Spec

T = TypeVar("T")
R = TypeVar("R")

PoolName = Literal["cpu", "dft", "gpu"]
"""The kinds of work of a run: everything without a better place, reference labels, models on a GPU."""

ITEMS_PER_WORKER = 2
"""How many items are handed out per worker: one running, one waiting."""


@dataclass(frozen=True)
class Outcome(Generic[R]):
    """What became of one item: its key and either a value or an error.

    error: the exception that the function raised, `OracleTimeoutError` past the time limit, or
    `OracleCrashError` when its process died. lost_seconds: how long a calculation ran that had to be stopped.
    """

    key: str
    value: R | None = None
    error: Exception | None = None
    lost_seconds: float = 0.0


@dataclass
class Task(Generic[T]):
    """One item on its way, and how often it was handed to a worker."""

    key: str
    item: T
    attempts: int = 0


class Executor(Spec, ABC):
    """Runs a function over many items. Subclasses add a `kind` literal and their settings."""

    @abstractmethod
    def map_unordered(
        self, function: Callable[[T], R], items: Iterable[tuple[str, T]]
    ) -> Iterator[Outcome[R]]:
        """One `Outcome` per (key, item), in the order in which they finish.

        `function` and the items must be picklable. `items` is consumed lazily, a bounded number ahead. What
        goes wrong with one item stays with that item. Closing the iterator stops what is still running.
        Raises `ExecutionError` when the executor itself breaks down.
        """

    def worker_count(self) -> int:
        """How many processes of this machine it may keep busy; other parallel work of a run takes as many."""
        return 1

    def for_pool(self, pool: PoolName, directory: Path) -> "Executor":
        """The executor for one kind of work of the run in `directory`: this one for all of them."""
        return self

    def check(self) -> None:
        """Raise a `UserError` when something that it needs is not there."""


def fan_out(
    items: Iterable[tuple[str, T]],
    ahead: int,
    submit: Callable[[Task[T]], "Future[Any]"],
    outcome: Callable[["Future[Any]", Task[T]], Outcome[R] | None],
) -> Iterator[Outcome[R]]:
    """The outcomes of `items` as they finish, at most `ahead` of them handed to `submit` at a time.

    outcome: what became of a finished item; None hands it to `submit` once more.
    """
    waiting = iter(items)
    tasks: dict[Future[Any], Task[T]] = {}
    while True:
        for key, item in islice(waiting, ahead - len(tasks)):
            task = Task(key, item)
            tasks[submit(task)] = task
        if not tasks:
            return
        for future in wait(tasks, return_when=FIRST_COMPLETED).done:
            task = tasks.pop(future)
            found = outcome(future, task)
            if found is None:
                tasks[submit(task)] = task
            else:
                yield found
