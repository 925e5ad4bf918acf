"""Runs `faulty_labels.py` in a process of its own, whose descendants are known by a mark."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path

import faulty_labels

HERE = Path(__file__).parent
PATIENCE = 240.0
"""Seconds until a moment must have come."""


class Driver:
    """`faulty_labels.py`, and what can be seen of it from outside."""

    def __init__(self, directory: Path, execution: dict, seconds: float = 0.05) -> None:
        self.directory = directory
        self.mark = uuid.uuid4().hex
        path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.process = subprocess.Popen(
            [sys.executable, "faulty_labels.py", str(directory), json.dumps(execution), str(seconds)],
            env=os.environ | {"PYTHONPATH": path, "PYACEMAKER_TEST_MARK": self.mark},
            cwd=HERE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def started(self) -> list[str]:
        """Structures of the calculations that were started, as often as they were."""
        diary = self.directory / "diary"
        return diary.read_text().split() if diary.is_file() else []

    def wait_for(self, n: int) -> None:
        """Wait until `n` calculations were started."""
        deadline = time.monotonic() + PATIENCE
        while len(self.started()) < n:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, f"{len(self.started())} of {n} started"
            time.sleep(0.02)

    def finish(self) -> dict:
        """Its answer; nothing of it may live on."""
        output, errors = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0, errors
        self.assert_gone(20.0)
        return json.loads(output.splitlines()[-1])

    def kill(self, patience: float) -> None:
        """SIGKILL to the driver's own process only; nothing of it may live on."""
        self.process.kill()
        self.process.communicate()
        assert self.process.returncode == -signal.SIGKILL
        self.assert_gone(patience)

    def assert_gone(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        while left := self.alive():
            assert time.monotonic() < deadline, f"orphans: {left}"
            time.sleep(0.1)

    def alive(self) -> list[str]:
        """Processes that carry the mark."""
        needle = f"PYACEMAKER_TEST_MARK={self.mark}".encode()
        return [
            _command(entry) for entry in Path("/proc").glob("[0-9]*") if needle in _read(entry, "environ")
        ]


def assert_fifty_labels_and_three_errors(answer: dict) -> None:
    assert answer["labels"] == faulty_labels.GOOD
    outcomes = {tag: outcome for tag, (outcome, _) in answer["failures"].items()}
    assert outcomes == {
        "unconverged": "ConvergenceError",
        "segfault": "OracleCrashError",
        "hang": "OracleTimeoutError",
    }
    messages = {tag: message for tag, (_, message) in answer["failures"].items()}
    assert "60 cycles were not enough" in messages["unconverged"]
    assert "process died 2 times (signal 11)" in messages["segfault"]
    assert "was stopped after 5 s" in messages["hang"]


def computed(driver: Driver) -> Counter:
    """How often each good structure was started."""
    good = {structure.id for structure in faulty_labels.structures() if structure.tag == "good"}
    return Counter(identifier for identifier in driver.started() if identifier in good)


def _read(entry: Path, name: str) -> bytes:
    try:
        return (entry / name).read_bytes()
    except OSError:  # it ended, or is somebody else's
        return b""


def _command(entry: Path) -> str:
    return f"{entry.name} {_read(entry, 'cmdline').replace(bytes(1), b' ').decode()[:120]}"
