"""Runs that are really killed: the same command goes on, pays for no label twice, ends in the same bytes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from conftest import write_tiny
from pyacemaker.structures.store import Ledger
from pyacemaker.workflow.state import WorkflowState

HERE = Path(__file__).parent
PATIENCE = 300.0
"""Seconds until a moment must have come."""
PACED = (
    ("kind: tblite", "kind: paced_oracle:PacedTblite\n  pause_s: 0.05"),
    ("kind: inline", "kind: local\n  workers: 2"),
)
"""Two worker processes, and time to kill them."""


class Run:
    """`pyacemaker run` in a process of its own; a mark in the environment tells its descendants."""

    def __init__(self, config: Path, directory: Path) -> None:
        self.directory = directory
        self.mark = uuid.uuid4().hex
        path = os.pathsep.join([str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
        command = "import sys; from pyacemaker.cli.main import main; sys.argv[0] = 'pyacemaker'; main()"
        self.process = subprocess.Popen(
            [sys.executable, "-c", command, "run", str(config), "--run-dir", str(directory)],
            env=os.environ | {"PYTHONPATH": path, "PYACEMAKER_TEST_MARK": self.mark},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def wait_for(self, moment) -> None:
        deadline = time.monotonic() + PATIENCE
        while not moment(self.directory):
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < deadline, "the moment never came"
            time.sleep(0.005)

    def kill(self) -> None:
        """SIGKILL to the run's own process only; nothing of it may live on."""
        self.process.kill()
        self.process.communicate()
        assert self.process.returncode == -signal.SIGKILL
        deadline = time.monotonic() + 20.0
        while left := self.alive():
            assert time.monotonic() < deadline, f"orphans: {left}"
            time.sleep(0.05)

    def finish(self) -> str:
        output, _ = self.process.communicate(timeout=PATIENCE)
        assert self.process.returncode == 0, output
        return output

    def alive(self) -> list[int]:
        """Processes that carry the mark."""
        needle = f"PYACEMAKER_TEST_MARK={self.mark}".encode()
        return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if needle in environment(entry)]


def environment(entry: Path) -> bytes:
    try:
        return (entry / "environ").read_bytes()
    except OSError:  # it ended, or is somebody else's
        return b""


def running(step: str):
    """The moment at which `step` has begun and is not done."""

    def moment(directory: Path) -> bool:
        if not (directory / "state.json").is_file():
            return False
        return WorkflowState.read(directory).steps[step].status == "running"

    return moment


def labelled(n: int):
    return lambda directory: (
        (directory / "ledger.csv").is_file() and len(Ledger(directory / "ledger.csv")) >= n
    )


def present(pattern: str, size: int = 1):
    """The moment at which a file that matches `pattern` holds something."""
    return lambda directory: any(path.stat().st_size >= size for path in directory.glob(pattern))


def asked_by_step_2(directory: Path) -> int:
    """Labels of a finished run but for those that the gates asked for."""
    return sum(row.reason != "gates" for row in Ledger(directory / "ledger.csv").rows)


def unfinished(directory: Path, step: str) -> bool:
    return not (directory / step / "manifest.json").is_file()


def same_as_uninterrupted(directory: Path, finished) -> None:
    keys = [row.key for row in Ledger(directory / "ledger.csv").rows if row.is_final]
    assert len(keys) == len(set(keys)) == len(Ledger(finished.directory / "ledger.csv"))
    for name in (
        "02_label/test.extxyz",
        "04_explore/frames.extxyz",
        "06_base/base.yace",
        "07_delta/final.yace",
    ):
        assert (directory / name).read_bytes() == (finished.directory / name).read_bytes(), name
    assert (directory / "output/potential.yace").read_bytes() == (
        finished.directory / "output/potential.yace"
    ).read_bytes()
    assert not list(directory.rglob(".*.tmp*"))


def test_a_run_killed_in_five_of_its_steps_ends_as_if_nothing_had_happened(finished, tmp_path):
    config = write_tiny(tmp_path, *PACED)
    directory = tmp_path / "run"
    for step, moment in (
        ("01_sample", running("01_sample")),
        ("02_label", labelled(10)),
        ("03_finetune", present("03_finetune/training/mace/train.log", 0)),
        ("07_delta", present("07_delta/delta.yace")),
        ("08_gates", present("08_gates/measured/nve_drift*")),
    ):
        run = Run(config, directory)
        run.wait_for(moment)
        run.kill()
        assert unfinished(directory, step), step
        before = len(Ledger(directory / "ledger.csv"))
        assert (step == "01_sample") == (before == 0)
        assert (step in ("01_sample", "02_label")) == (before < asked_by_step_2(finished.directory))
    output = Run(config, directory).finish()
    assert output.count("up to date") == 7
    same_as_uninterrupted(directory, finished)
    state = json.loads((directory / "state.json").read_text())
    assert {step["status"] for step in state["steps"].values()} == {"done"}


MOMENTS = {
    "isolated atoms": ("02_label", labelled(2)),
    "test set": ("02_label", labelled(8)),
    "active set": ("02_label", labelled(30)),
    "training starts": ("03_finetune", present("03_finetune/training/mace/train.xyz")),
    "training runs": ("03_finetune", present("03_finetune/training/mace/results/*.txt")),
    "model is saved": ("03_finetune", present("03_finetune/training/mace/*.model", 400000)),
    "exploration": ("04_explore", running("04_explore")),
    "a trajectory is done": ("04_explore", present("04_explore/trajectories/*.extxyz", 0)),
    "pseudo-labels": ("05_pseudo_label", running("05_pseudo_label")),
    "base fit": ("06_base", running("06_base")),
    "base is written": ("06_base", present("06_base/base.yace")),
    "delta": ("07_delta", running("07_delta")),
    "judgement": ("07_delta", present("07_delta/final.yace")),
    "gates": ("08_gates", running("08_gates")),
    "a gate is measured": ("08_gates", present("08_gates/measured/nve_drift*")),
    "delivery": ("output", present("output/metrics.json")),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MOMENTS)
def test_a_kill_at_any_moment_is_survived(finished, tmp_path, name):
    step, moment = MOMENTS[name]
    config = write_tiny(tmp_path, *PACED)
    directory = tmp_path / "run"
    before_the_step(finished.directory, directory, step)
    run = Run(config, directory)
    run.wait_for(moment)
    run.kill()
    Run(config, directory).finish()
    same_as_uninterrupted(directory, finished)


def before_the_step(source: Path, directory: Path, step: str) -> None:
    """`source` as it was before `step`. The paced oracle's labels have other keys: they are made again."""
    directory.mkdir()
    shutil.copytree(source / "01_sample", directory / "01_sample")
    if step > "02_label":
        done = ("02_label", "03_finetune", "04_explore", "05_pseudo_label", "06_base", "07_delta", "08_gates")
        for name in done:
            if name < step:
                shutil.copytree(source / name, directory / name)


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(finished, tmp_path, cli):
    config = write_tiny(tmp_path, *PACED)
    directory = tmp_path / "run"
    shutil.copytree(finished.directory / "01_sample", directory / "01_sample")
    run = Run(config, directory)
    run.wait_for(labelled(6))
    os.killpg(run.process.pid, signal.SIGINT)  # a terminal sends it to the workers too
    output, _ = run.process.communicate(timeout=60)
    assert run.process.returncode == 130, output
    assert "Interrupted." in output
    assert "the same command goes on" in output
    assert "Traceback" not in output
    assert not run.alive()
    state = WorkflowState.read(directory).steps["02_label"]
    assert (state.status, state.message) == ("failed", "interrupted")
    assert "interrupted" in (directory / "run.log").read_text().splitlines()[-1]
    keys = [row.key for row in Ledger(directory / "ledger.csv").rows]
    assert 6 <= len(keys) < asked_by_step_2(finished.directory)
    answer = cli("run", config, "--run-dir", directory, "--until", "label")
    assert answer.code == 0, answer.err
    keys = [row.key for row in Ledger(directory / "ledger.csv").rows]
    assert len(keys) == len(set(keys)) == asked_by_step_2(finished.directory)
