"""What the files of a run tell, of a finished one as of one that another process is writing."""

import re
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pyacemaker.structures.store import LabelStore, Ledger
from pyacemaker.workflow.progress import Standing
from pyacemaker.workflow.state import WorkflowState, is_running

TAIL = 200_000
"""Bytes at the end of run.log that are searched for warnings."""
_COMPLAINT = re.compile(r"^\S+ \S+ (?:WARNING|ERROR) .*$", re.M)
_FRAME = b"Properties="


def read_state(run_dir: Path) -> tuple[WorkflowState, bool]:
    """The state of a run with its DFT totals, and whether a process runs it now.

    A step that was under way when its process died counts as failed. Raises `DataError` where there is none.
    """
    state = WorkflowState.read(run_dir)
    store = LabelStore(run_dir / "labels", look_only=True)
    state.dft = asdict(Ledger(run_dir / "ledger.csv", store, look_only=True).totals())
    running = is_running(run_dir)
    for step in state.steps.values():
        if step.status == "running" and not running:
            step.status, step.message = "failed", "cut short; the same run command resumes it"
    return state, running


def progress_of(run_dir: Path) -> dict[str, Any] | None:
    """The task that the run works on: name, items done and in all, seconds left (None: unknown)."""
    standing = Standing.read(run_dir)
    if standing is None:
        return None
    left = standing.seconds_left(time.time())
    content = {"task": standing.task, "done": standing.done, "total": standing.total}
    return {**content, "seconds_left": None if left is None else round(left, 1)}


def count_structures(run_dir: Path) -> dict[str, int]:
    """How many structures each of the files of the steps holds: {`01_sample/pool.extxyz`: 400, …}."""
    counts = {}
    for path in sorted(run_dir.glob("[0-9][0-9]_*/*.extxyz")):
        try:
            counts[path.relative_to(run_dir).as_posix()] = path.read_bytes().count(_FRAME)
        except OSError:
            continue  # replaced or removed by the process that runs
    return counts


def last_complaints(run_dir: Path, most: int = 5) -> list[str]:
    """The last warnings and errors in the run's log, the latest last."""
    try:
        with (run_dir / "run.log").open("rb") as log:
            log.seek(max(0, log.seek(0, 2) - TAIL))
            text = log.read().decode(errors="replace")
    except OSError:
        return []
    return _COMPLAINT.findall(text)[-most:]


def flat(content: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings and lists as one mapping of dotted keys: {`label.n_train`: 48, …}."""
    if isinstance(content, Mapping) and content:
        items = [(str(key), value) for key, value in content.items()]
    elif isinstance(content, list) and any(isinstance(item, Mapping | list) for item in content):
        items = [(str(index), value) for index, value in enumerate(content)]
    else:
        return {prefix: content}
    found: dict[str, Any] = {}
    for key, value in items:
        found.update(flat(value, f"{prefix}.{key}" if prefix else key))
    return found
