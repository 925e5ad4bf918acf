"""What runs inside a job: each item in a child process with a time limit."""

import pickle
import sys
from typing import Any

from pyacemaker.execution.base import Outcome, Task
from pyacemaker.execution.workers import WorkerPool

_pools: list[WorkerPool] = []
"""The child process of this worker, which lives on from item to item."""


def run_item(
    payload: bytes, path: list[str], timeout_s: float | None, retries: int, isolate: bool
) -> Outcome[Any]:
    """What became of the pickled (function, key, item); the module search path is the driver's."""
    sys.path.extend(entry for entry in path if entry not in sys.path)
    function, key, item = pickle.loads(payload)
    if not _pools:
        _pools.append(WorkerPool(1, timeout_s, retries, isolate=isolate))
    pool, task = _pools[0], Task(key, item)
    outcome = None
    while outcome is None:
        future = pool.submit(function, task)
        outcome = pool.outcome(future, task)
    return outcome
