"""What a run directory holds: every file read at most once; what is not there is None or empty."""

import csv
import io
import json
import logging
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import yaml

from pyacemaker.config import PyAceConfig, load_config
from pyacemaker.errors import PyacemakerError
from pyacemaker.structures import Dataset
from pyacemaker.structures.formats import read_structures
from pyacemaker.structures.ledger import LedgerRow
from pyacemaker.structures.store import LabelStore, Ledger
from pyacemaker.workflow.state import WorkflowState, is_running
from pyacemaker.workflow.step import Manifest

log = logging.getLogger(__name__)

MODELS = ("foundation", "teacher", "base", "final")
"""What a run judges, in the order in which it makes them."""


@dataclass(frozen=True, eq=False)
class RunFiles:
    """One run directory, looked at but never changed."""

    directory: Path

    @cached_property
    def state(self) -> WorkflowState:
        """Where the run stands; `DataError` where the directory is none of a run."""
        state = WorkflowState.read(self.directory)
        if not self.running:
            for step in state.steps.values():
                if step.status == "running":
                    step.status, step.message = "failed", "cut short; the same run command resumes it"
        return state

    @cached_property
    def running(self) -> bool:
        """Whether a process is at work in the directory."""
        return is_running(self.directory)

    @cached_property
    def unfinished(self) -> list[str]:
        """The names of the steps that are not done, in order."""
        return [name for name, step in self.state.steps.items() if step.status != "done"]

    @cached_property
    def config(self) -> dict[str, Any]:
        """`config.yaml` as it stands; empty where it cannot be read."""
        try:
            content = yaml.safe_load(self.text("config.yaml") or "")
        except yaml.YAMLError as error:
            log.warning("%s is damaged: %s", self.directory / "config.yaml", error)
            return {}
        return content if isinstance(content, dict) else {}

    @cached_property
    def settings(self) -> PyAceConfig | None:
        """The same, checked; None where this version or this machine refuses it (a file has moved, say)."""
        try:
            return load_config(self.directory / "config.yaml")
        except (PyacemakerError, OSError):
            log.info(
                "this version or this machine refuses %s/config.yaml: shown as it stands", self.directory
            )
            return None

    @cached_property
    def ledger(self) -> list[LedgerRow]:
        """Every DFT calculation of the run, oldest first."""
        store = LabelStore(self.directory / "labels", look_only=True)
        return Ledger(self.directory / "ledger.csv", store, look_only=True).rows

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """`output/metrics.json`, or what step 7 measured where the run was not published; empty without."""
        return self.json("output/metrics.json") or self.json("07_delta/metrics.json") or {}

    @cached_property
    def measured(self) -> dict[str, Any]:
        """Everything that the gates measured, with curves, by gate."""
        return self.json("08_gates/gates.json") or {}

    @cached_property
    def test(self) -> Dataset:
        """The frozen test set with its DFT labels."""
        return self.structures("02_label/test.extxyz")

    @cached_property
    def selection(self) -> list[dict[str, str]]:
        """`selection.csv`: of each structure of the pool its tag, uncertainty, role and round."""
        return list(csv.DictReader(io.StringIO(self.text("02_label/selection.csv") or "")))

    @cached_property
    def reference_energies(self) -> dict[str, float]:
        """eV per element that the models of the run share; empty before step 2 is done."""
        found: dict[str, float] = (self.json("02_label/reference.json") or {}).get("energies", {})
        return found

    def text(self, name: str) -> str | None:
        """A text file of the run."""
        path = self.directory / name
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None

    def json(self, name: str) -> Any:
        """The content of a JSON file of the run; None where it is missing or damaged."""
        return _json(self.directory / name)

    def structures(self, name: str) -> Dataset:
        """The structures of a file of the run, in order; none where it is missing or damaged."""
        return _structures(self.directory / name)

    def manifest(self, step: str) -> Manifest | None:
        """The manifest of a finished step."""
        return Manifest.read(self.directory / step)


def _json(path: Path) -> Any:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        log.warning("%s is damaged: %s", path, error)
        return None


def _structures(path: Path) -> Dataset:
    if not path.is_file():
        return Dataset()
    return _read_once(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=8)
def _read_once(path: Path, _changed: int) -> Dataset:
    try:
        return read_structures(path, allow_empty=True)
    except PyacemakerError as error:
        log.warning("%s", error)
        return Dataset()
