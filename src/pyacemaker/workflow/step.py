"""What a step is, and when it counts as done."""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pyacemaker.base import fingerprint
from pyacemaker.config import PyAceConfig
from pyacemaker.execution import Executor, PoolName
from pyacemaker.files import sha256_file, write_atomic
from pyacemaker.structures.store import LabelStore, Ledger
from pyacemaker.workflow.progress import Progress, silent

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class StepContext:
    """What a step's function may use: its settings, its directories, its seed.

    directory: where it writes. inputs: the directories of the steps it needs, by step name.
    """

    config: PyAceConfig
    directory: Path
    inputs: Mapping[str, Path]
    seed: int
    store: LabelStore
    ledger: Ledger
    progress: Progress = silent

    @property
    def rng(self) -> np.random.Generator:
        """A fresh random generator with the step's seed."""
        return np.random.default_rng(self.seed)

    def executor(self, pool: PoolName) -> Executor:
        """What runs one kind of work of this run."""
        return self.config.execution.for_pool(pool, self.directory.parent)


@dataclass(frozen=True)
class Step:
    """One of the steps: a pure function of its inputs on disk, its settings and its seed.

    settings: picks from the configuration everything that the outcome depends on (specs or JSON values).
    versions: the packages whose version matters. outputs: the files that `run` leaves in its directory.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    settings: Callable[[PyAceConfig], list[Any]]
    outputs: tuple[str, ...]
    run: Callable[[StepContext], None]
    versions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """What a finished step left behind: its key and the SHA-256 of every output."""

    key: str
    outputs: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, directory: Path) -> "Manifest | None":
        """The manifest of a step's directory, None where there is none or it is damaged."""
        try:
            content = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
            return cls(content["key"], dict(content["outputs"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, directory: Path) -> None:
        """Write it atomically: from this moment the step is done."""
        text = json.dumps({"key": self.key, "outputs": self.outputs}, indent=2, sort_keys=True)
        write_atomic(directory / MANIFEST, text + "\n")

    def matches(self, directory: Path) -> bool:
        """Whether every output is there with the recorded content."""
        return all(
            (directory / name).is_file() and sha256_file(directory / name) == digest
            for name, digest in self.outputs.items()
        )


def step_seed(run_seed: int, name: str) -> int:
    """The seed of a step: 32 bits of a hash of (run seed, step name)."""
    return int(fingerprint([run_seed, name])[:8], 16)


def step_key(step: Step, config: PyAceConfig, inputs: Mapping[str, Manifest], versions: list[str]) -> str:
    """Content hash of a step's settings, seed, inputs and the versions of the code that matters."""
    from pyacemaker.base import Spec

    chosen = [item.fingerprint() if isinstance(item, Spec) else item for item in step.settings(config)]
    needed = {name: manifest.outputs for name, manifest in inputs.items()}
    return fingerprint([step.name, step_seed(config.seed, step.name), chosen, needed, versions])


def hash_outputs(step: Step, directory: Path) -> dict[str, str]:
    """SHA-256 of each output of a step that has run; `FileNotFoundError` when it left one out."""
    return {name: sha256_file(directory / name) for name in step.outputs}
