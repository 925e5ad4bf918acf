"""The command line in this process, and one tiny run of all seven steps that many tests look at."""

import io
import shutil
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from pyacemaker.processes import use_single_threads

use_single_threads()  # before numpy and torch are imported: the same bits as the command line

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "sn2"
FOUNDATION = ROOT / "tests" / "data" / "sn2_foundation.model"

TINY = """\
name: tiny
seed: 7
foundation:
  model: foundation.model
dft:
  kind: tblite
  method: GFN1-xTB
  limits:
    max_failed_fraction: 0.3
sample:
  generators:
    - kind: reaction
      reactant: reactant.xyz
      product: product.xyz
      n_path: 8
      neb_steps: 5
      n_path_rattles: 32
      grid_points: 6
      n_rattles: 4
      separations: [2.6, 4.0]
      n_orientations: 2
      md_temperatures: [600]
      md_frames: 5
  n_pool: 60
label:
  n_train: 12
  n_test: 20
finetune:
  epochs: 4
  lr: 0.0005
explore:
  n_structures: 40
  n_trajectories: 8
  temperatures: [200, 300]
  interval: 5
  equilibration: 20
base:
  functions: 80
delta:
  strategy: relabel
  dft_emphasis: 0.3
  correction:
    functions: 30
    max_rank: 2
    nradbase: 6
    baseline: none
    smoothness: 2.0
    ridge: cross-validation
execution:
  kind: inline
gates:
  path_labels: 3
  nve_drift: {steps: 400, limit: 100}
  md_stability: {n_trajectories: 2, steps: 50, limit: 100}
  frequencies: null
"""


@dataclass(frozen=True)
class Answer:
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    def complaint(self) -> str:
        """Standard error of a command that complained, checked to be sentences and no traceback."""
        assert self.code in (1, 2), (self.code, self.out, self.err)
        assert "Traceback" not in self.out + self.err
        return self.err


@dataclass(frozen=True)
class FinishedRun:
    """A run of all seven steps: its config file, its directory, what the command answered."""

    config: Path
    directory: Path
    answer: Answer
    seconds: float


def run_command(*arguments: object) -> Answer:
    """`pyacemaker ARGUMENTS` in this process, through its entry point."""
    from pyacemaker.cli.main import main

    out, err = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["pyacemaker", *map(str, arguments)]
    try:
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
            main()
    finally:
        sys.argv = before
    return Answer(int(end.value.code or 0), out.getvalue(), err.getvalue())


def write_tiny(folder: Path, *changes: tuple[str, str]) -> Path:
    """A config of a run that takes half a minute, with its files; `changes` are replacements in its text."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(FOUNDATION, folder / "foundation.model")
    for name in ("reactant.xyz", "product.xyz"):
        shutil.copyfile(EXAMPLE / name, folder / name)
    text = TINY
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def cli():
    """`cli("status", run_dir)` runs the command in this process and returns its `Answer`."""
    return run_command


@pytest.fixture
def tiny(tmp_path):
    """`tiny(("seed: 7", "seed: 8"), …)` writes a changed tiny config into the test's folder."""
    return lambda *changes: write_tiny(tmp_path, *changes)


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> FinishedRun:
    """The tiny run, finished. Look, don't touch: `run_copy` is for tests that change something."""
    folder = tmp_path_factory.mktemp("tiny")
    config = write_tiny(folder)
    started = time.process_time()
    answer = run_command("run", config, "--run-dir", folder / "run")
    assert answer.code == 0, answer.err
    return FinishedRun(config, folder / "run", answer, time.process_time() - started)


@pytest.fixture
def run_copy(finished, tmp_path) -> Path:
    """The finished run's directory, copied: the test's own."""
    return Path(shutil.copytree(finished.directory, tmp_path / "run"))
