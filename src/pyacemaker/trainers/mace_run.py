"""One run of `mace_run_train` in a child process: its files, its progress, its failures."""

import json
import logging
import math
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyacemaker.errors import TrainingDivergenceError, TrainingError
from pyacemaker.files import complete_lines
from pyacemaker.processes import die_with_parent, single_thread_environment
from pyacemaker.structures import AtomStructure, Dataset
from pyacemaker.trainers.mace_child import HEAD
from pyacemaker.units import GPA_PER_EV_PER_CUBIC_ANGSTROM, MEV_PER_EV

Progress = Callable[[int, int, dict[str, float]], None]
"""Called with the number of epochs done, the number planned, and the errors on the validation set."""

RUN_NAME = "tuned"
_POLL_SECONDS = 0.2
_LOG_TAIL_LINES = 15
_HEAD_OR_LABELS = re.compile(r"Processing head (\w+)|Total Training set \[(.*)\]")
_COUNT = re.compile(r"(\w+): (\d+)")
_LEARNING_RATE = re.compile(r"Learning rate: ([-+.\deE]+),")
logger = logging.getLogger(__name__)


def write_training_file(path: Path, dataset: Dataset, weight: float | None = None) -> None:
    """An extxyz file with `REF_energy`, `REF_forces` and, where there is one, `REF_stress` (ASE's sign).

    weight: of every label, in a way that the `universal` loss of several heads heeds, too; it ignores the
    weights of structures, which are written where this is None.
    """
    frames = [_training_frame(structure) for structure in dataset]
    if weight is not None:
        for frame in frames:
            frame.info["config_weight"] = 1.0
            frame.info |= {f"config_{name}_weight": weight for name in ("energy", "forces", "stress")}
    import ase.io

    ase.io.write(path, frames, format="extxyz")


def _training_frame(structure: AtomStructure) -> Any:
    if structure.labels is None:
        raise ValueError(f"structure {structure.id} has no labels")
    # info keys such as config_type would change how MACE reads the frame: only what is meant goes in
    atoms = structure.replace(info={}).to_atoms()
    atoms.info = {
        "REF_energy": structure.labels.energy,
        "total_charge": structure.charge,
        "total_spin": structure.multiplicity or 1,
        "config_weight": structure.weight,
    }
    if structure.labels.stress is not None:
        xx, yy, zz, yz, xz, xy = structure.labels.stress.tolist()
        atoms.info["REF_stress"] = [xx, xy, xz, xy, yy, yz, xz, yz, zz]
    atoms.arrays["REF_forces"] = structure.labels.forces
    return atoms


@dataclass
class TrainingHistory:
    """What a run reported: errors before training and after each evaluated epoch, newest last.

    Each entry has epoch (−1 before training), loss, energy_rmse_mev_per_atom, forces_rmse_mev_per_angstrom,
    where there is a stress stress_rmse_gpa, and after training began training_loss, the mean over the steps
    of the epoch. entries: of the head that learns the labels; replay: of the one that keeps what was known.
    """

    entries: list[dict[str, float]] = field(default_factory=list)
    replay: list[dict[str, float]] = field(default_factory=list)

    @property
    def initial(self) -> dict[str, float]:
        """The errors before training."""
        return self.entries[0]

    @property
    def best(self) -> dict[str, float]:
        """The entry of lowest loss after training began: the one whose weights MACE saves."""
        return min(self.entries[1:], key=lambda entry: entry["loss"])

    def curves(self) -> dict[str, list[dict[str, float]]]:
        """The entries by what they are measured on: `labels`, and `replay` where something was replayed."""
        return {"labels": self.entries, **({"replay": self.replay} if self.replay else {})}


@dataclass(frozen=True)
class MaceRun:
    """A training command in a directory of its own.

    directory: exists, holds the input files, receives all output. arguments: of `mace_run_train`, without the
    directories. epochs: planned. patience: epochs without a lower loss on the validation set after which it
    ends; None = never. timeout_s: wall time after which the process is killed; None = never.
    """

    directory: Path
    arguments: Sequence[str]
    epochs: int
    seed: int
    timeout_s: float | None = None
    patience: int | None = None

    def execute(self, progress: Progress | None = None) -> tuple[Path, TrainingHistory]:
        """Train; the saved model file and the history.

        Raises `TrainingDivergenceError` for a loss that is NaN or infinite, `TrainingError` for a timeout, a
        failed process or a missing model file.
        """
        history = TrainingHistory()
        earlier = self._results.stat().st_size if self._results.is_file() else 0  # MACE appends
        with self._log_path.open("wb") as log:
            process = subprocess.Popen(
                self._command(),
                cwd=self.directory,
                env=single_thread_environment() | {"PYTHONHASHSEED": "0"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - the child only calls prctl before exec
            )
            try:
                self._follow(process, earlier, history, progress)
            finally:
                _end(process)
        return self._finished_model(process.returncode, history), history

    def labels_read(self, head: str = HEAD) -> dict[str, int]:
        """How many structures of a head's training set had each label (`energy`, `forces`, …), as MACE says.

        Empty where its log does not say so.
        """
        present = HEAD
        for found in _HEAD_OR_LABELS.finditer(self._log()):
            if found.group(1):
                present = found.group(1)
            elif present == head:
                return {name: int(count) for name, count in _COUNT.findall(found.group(2))}
        return {}

    def learning_rate(self) -> float | None:
        """The learning rate that MACE says it used; None where its log does not say so."""
        found = _LEARNING_RATE.search(self._log())
        return float(found.group(1)) if found else None

    def _log(self) -> str:
        return self._log_path.read_text(encoding="utf-8", errors="replace")

    @property
    def _results(self) -> Path:
        return self.directory / "results" / f"{RUN_NAME}_run-{self.seed}_train.txt"

    @property
    def _log_path(self) -> Path:
        return self.directory / "train.log"

    def _command(self) -> list[str]:
        places = {
            "work_dir": self.directory,
            "model_dir": self.directory,
            "log_dir": self.directory / "logs",
            "checkpoints_dir": self.directory / "checkpoints",
            "results_dir": self.directory / "results",
        }
        return [
            sys.executable,
            "-m",
            "pyacemaker.trainers.mace_child",
            str(self.patience or self.epochs + 1),
            f"--name={RUN_NAME}",
            f"--seed={self.seed}",
            f"--max_num_epochs={self.epochs}",
            *(f"--{name}={path}" for name, path in places.items()),
            *self.arguments,
        ]

    def _follow(
        self,
        process: "subprocess.Popen[bytes]",
        earlier: int,
        history: TrainingHistory,
        progress: Progress | None,
    ) -> None:
        """Read what the process reports until it ends; earlier: bytes of the results that are not its own."""
        started = time.monotonic()
        lines, losses = complete_lines(self._results, earlier), list[float]()
        running = True
        while running:
            running = process.poll() is None
            for line in next(lines):
                self._take(json.loads(line), losses, history, progress)
            if running and self.timeout_s is not None and time.monotonic() - started > self.timeout_s:
                raise TrainingError(
                    f"fine-tuning ran past its limit of {self.timeout_s:g} s; raise timeout_s or lower epochs"
                )
            if running:
                time.sleep(_POLL_SECONDS)

    def _take(
        self,
        record: Mapping[str, Any],
        losses: list[float],
        history: TrainingHistory,
        progress: Progress | None,
    ) -> None:
        """One record of the results; losses: of the steps since the last epoch ended."""
        if not math.isfinite(record["loss"]):
            raise TrainingDivergenceError(
                f"fine-tuning diverged: the loss is {record['loss']} in epoch {record.get('epoch')}; lower "
                "lr, or check the labels"
            )
        if record["mode"] == "opt":
            losses.append(float(record["loss"]))
        if record["mode"] != "eval":
            return
        entry = _errors(record)
        if record.get("head", HEAD) != HEAD:
            history.replay.append(entry)
            return
        if losses:
            entry["training_loss"] = sum(losses) / len(losses)
            losses.clear()
        history.entries.append(entry)
        logger.debug("fine-tuning: %s", entry)
        if progress is not None and entry["epoch"] >= 0:
            progress(int(entry["epoch"]) + 1, self.epochs, entry)

    def _finished_model(self, returncode: int, history: TrainingHistory) -> Path:
        model = self.directory / f"{RUN_NAME}.model"
        if returncode != 0 or len(history.entries) < 2 or not model.is_file():
            tail = self._log().splitlines()[-_LOG_TAIL_LINES:]
            raise TrainingError(
                f"mace_run_train ended with exit code {returncode} and "
                f"{'a' if model.is_file() else 'no'} model; the end of {self._log_path}:\n" + "\n".join(tail)
            )
        return model


def _errors(record: Mapping[str, Any]) -> dict[str, float]:
    epoch, stress = record.get("epoch"), record.get("rmse_stress")
    return {
        "epoch": -1 if epoch is None else int(epoch),
        "loss": float(record["loss"]),
        "energy_rmse_mev_per_atom": float(record["rmse_e_per_atom"]) * MEV_PER_EV,
        "forces_rmse_mev_per_angstrom": float(record["rmse_f"]) * MEV_PER_EV,
        **({} if stress is None else {"stress_rmse_gpa": stress * GPA_PER_EV_PER_CUBIC_ANGSTROM}),
    }


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill the process and its children, where it still runs."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
