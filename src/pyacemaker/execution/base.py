"""The executor interface: a function over many items, each answer as it comes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from pyacemaker.base import Spec

T = TypeVar("T")
R = TypeVar("R")


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


class Executor(Spec, ABC):
    """Runs a function over many items. Subclasses add a `kind` literal and their settings."""

    @abstractmethod
    def map_unordered(
        self, function: Callable[[T], R], items: Iterable[tuple[str, T]]
    ) -> Iterator[Outcome[R]]:
        """One `Outcome` per (key, item), in the order in which they finish.

        `function` and the items must be picklable. `items` is consumed lazily, a bounded number ahead. What
        goes wrong with one item stays with that item. Closing the iterator stops what is still running.
        """

    def worker_count(self) -> int:
        """How many processes of this machine it may keep busy; other parallel work of a run takes as many."""
        return 1
