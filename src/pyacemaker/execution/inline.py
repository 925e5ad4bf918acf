"""Everything in this process, one after the other."""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal

from pyacemaker.execution.base import Executor, Outcome, R, T


class InlineExecutor(Executor):
    """Runs items in this process, in order: for tests, debugging, and cheap oracles. Has no time limit."""

    kind: Literal["inline"] = "inline"

    def map_unordered(
        self, function: Callable[[T], R], items: Iterable[tuple[str, T]]
    ) -> Iterator[Outcome[R]]:
        """One `Outcome` per item, in the items' order."""
        for key, item in items:
            yield self._call(function, key, item)

    @staticmethod
    def _call(function: Callable[[T], R], key: str, item: T) -> Outcome[R]:
        try:
            return Outcome(key, value=function(item))
        except Exception as error:  # noqa: BLE001 - the interface hands every error back with its item
            return Outcome(key, error=error)
