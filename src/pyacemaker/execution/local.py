"""Worker processes on this machine.

On one machine pebble's pool of processes does all that is needed, without the sockets, the broker process and
the start-up time of a cluster scheduler's client; `pyacemaker.execution.slurm` uses the same workers inside
its jobs, so that a calculation meets the same rules everywhere.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Annotated, Literal

from pydantic import Field

from pyacemaker.execution.base import ITEMS_PER_WORKER, Executor, Outcome, R, T, fan_out
from pyacemaker.processes import available_cores


class LocalExecutor(Executor):
    """Runs items in worker processes of one thread each.

    A worker lives on from item to item, so that heavy imports are paid once. An item that crashes or hangs
    takes only its own worker with it, and the worker is replaced. Workers and the programs that they started
    die with the run: neither Ctrl-C nor `kill -9` leaves one behind (Linux).
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
        from pyacemaker.execution.workers import WorkerPool

        count = self.worker_count()
        with closing(WorkerPool(count, self.timeout_s, self.retries, isolate=self.isolate)) as pool:
            yield from fan_out(
                items, ITEMS_PER_WORKER * count, lambda task: pool.submit(function, task), pool.outcome
            )
