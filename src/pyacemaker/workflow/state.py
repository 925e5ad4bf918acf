"""`state.json`: the readable index of a run. The manifests of the steps are the truth."""

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pyacemaker.errors import DataError, UserError
from pyacemaker.files import write_json

LOCK = ".lock"
"""The file whose lock a running process holds."""

Status = Literal["pending", "running", "done", "failed"]


@dataclass
class StepState:
    """Where one step stands. Times are seconds since the epoch (UTC)."""

    status: Status = "pending"
    key: str = ""
    started: float | None = None
    seconds: float | None = None
    message: str = ""


@dataclass
class WorkflowState:
    """Where a run stands: its steps in order, and the versions that ran it."""

    name: str
    seed: int
    rehearsal: bool
    versions: dict[str, str] = field(default_factory=dict)
    steps: dict[str, StepState] = field(default_factory=dict)
    dft: dict[str, float] = field(default_factory=dict)

    @classmethod
    def read(cls, run_dir: Path) -> "WorkflowState":
        """The state of the run in `run_dir`; `DataError` where there is none."""
        path = run_dir / "state.json"
        if not path.is_file():
            raise DataError(f"{path} does not exist: {run_dir} is not the directory of a pyacemaker run")
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            steps = {name: StepState(**state) for name, state in content.pop("steps").items()}
            return cls(**content, steps=steps)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(
                f"{path} is damaged ({error}): the next run rewrites it, nothing is lost"
            ) from error

    def write(self, run_dir: Path) -> None:
        """Write `state.json` atomically."""
        write_json(run_dir / "state.json", asdict(self))

    def begin(self, step: str, key: str) -> None:
        """Note that `step` starts now."""
        self.steps[step] = StepState("running", key, started=time.time())

    def end(self, step: str, status: Status, message: str = "") -> None:
        """Note that `step` ended."""
        state = self.steps[step]
        state.status = status
        state.message = message
        if state.started is not None:
            state.seconds = round(time.time() - state.started, 3)


@contextmanager
def locked(run_dir: Path, otherwise: str = "choose another --run-dir") -> Iterator[None]:
    """Hold the lock of a run's directory; `UserError` when another process holds it: wait, or `otherwise`."""
    with (run_dir / LOCK).open("w") as handle:
        for patience in reversed(range(5)):  # `is_running` of another process holds it for an instant
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if not patience:
                    raise UserError(
                        f"another process is running in {run_dir}: wait for it, or {otherwise}"
                    ) from error
                time.sleep(0.05)
        yield


def is_running(run_dir: Path) -> bool:
    """Whether a process holds the lock of a run directory."""
    if not (run_dir / LOCK).is_file():
        return False
    with (run_dir / LOCK).open() as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        return False
