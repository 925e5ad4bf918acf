"""Steps 1 and 2 and the label store on more and more structures: time, and memory that stays flat.

    python benchmarks/scale.py [--quick]

The structures are small, distorted, strained Al-Cu cells; the foundation is a small MACE model; ASE's EMT is
the oracle. Per size, in a process of its own: step 1 (candidates, filters, descriptors, DIRECT), step 2
(uncertainty, test set, active set, labels), all candidates labelled into the store, all of them asked for
again, the store built again from its result files, and its export to an ASE database.

Each process warms up first: steps 1 and 2 on so many structures that every stage fills a batch of the model,
whose buffers (some hundred MB, and what malloc loses between them) then stand for all sizes alike. Prints
seconds and the peak memory of each stage, warm-up included; the last line is one JSON object. `ratio`: peak
memory at the largest size over that at the smallest, which is the `reference`; `kb_per_structure`: how much
one more structure adds.
"""

import argparse
import contextlib
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np

from pyacemaker.config import LabelSettings, PyAceConfig, SampleSettings
from pyacemaker.execution import InlineExecutor
from pyacemaker.generators.base import Generator
from pyacemaker.oracles import EmtOracle
from pyacemaker.oracles.base import LabelLimits
from pyacemaker.potentials.foundation import FoundationSettings
from pyacemaker.structures import AtomStructure, Dataset
from pyacemaker.structures.exports import export_labels
from pyacemaker.structures.store import DATABASE, LabelStore, Ledger
from pyacemaker.workflow.labelling import label_structures
from pyacemaker.workflow.orchestrator import Orchestrator

MODEL = Path(__file__).parents[1] / "tests" / "data" / "cual_foundation.model"
ORACLE = EmtOracle(limits=LabelLimits(max_failed_fraction=0.5))


class DistortedCells(Generator):
    """fcc cells of four Al and Cu atoms: any occupation, strained and rattled."""

    kind: Literal["distorted_cells"] = "distorted_cells"
    count: int

    def generate(self, teacher: Any, rng: np.random.Generator) -> Dataset:
        """`count` of them."""
        return Dataset(self._cells(rng))

    def _cells(self, rng: np.random.Generator) -> Iterator[AtomStructure]:
        sites = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2.0
        for _ in range(self.count):
            numbers = rng.choice([13, 29], 4)
            length = 4.05 - 0.11 * np.count_nonzero(numbers == 29)
            cell = length * (np.eye(3) * rng.uniform(0.94, 1.10) + rng.normal(scale=0.03, size=(3, 3)))
            positions = sites @ cell + rng.normal(scale=rng.uniform(0.02, 0.2), size=(4, 3))
            tag = "rattled" if rng.random() < 0.5 else "strained"
            yield AtomStructure(numbers, positions, cell, np.ones(3, dtype=bool), tag=tag)


def settings(size: int) -> PyAceConfig:
    """A run that samples `size` candidates, keeps half of them, and labels three tenths."""
    return PyAceConfig(
        foundation=FoundationSettings(model=str(MODEL)),
        dft=ORACLE,
        sample=SampleSettings(generators=(DistortedCells(count=size),), n_pool=size // 2),
        label=LabelSettings(n_train=max(20, size // 5), n_test=max(20, size // 10)),
        execution=InlineExecutor(),
    )


def warm_up(folder: Path) -> None:
    """Steps 1 and 2, a test set and an active set of a whole batch each."""
    config = settings(400).model_copy(update={"label": LabelSettings(n_train=150, n_test=100)})
    sample = config.sample.model_copy(update={"n_pool": 300})
    Orchestrator(config.model_copy(update={"sample": sample}), folder / "warm").run(until="label")


def stages(size: int, folder: Path) -> dict[str, Callable[[], object]]:
    """What is measured, in order."""
    config = settings(size)

    def label() -> None:
        candidates = DistortedCells(count=size).generate(None, np.random.default_rng(7))
        store = LabelStore(folder / "all", folder / "shared")
        ledger = Ledger(folder / "ledger.csv", store)
        label_structures(candidates, ORACLE, InlineExecutor(), store, ledger, reason="benchmark")

    return {
        "warm up": lambda: warm_up(folder),
        "sample": lambda: Orchestrator(config, folder / "run").run(until="sample"),
        "select, label": lambda: Orchestrator(config, folder / "run").run(until="label"),
        "label all": label,
        "look up all": label,
        "rebuild": lambda: _rebuild(folder / "all"),
        "export": lambda: export_labels(folder / "all", folder / "labels.db"),
    }


def _rebuild(folder: Path) -> None:
    (folder / DATABASE).unlink()
    LabelStore(folder).get("")


def measure(size: int) -> dict[str, dict[str, float]]:
    """Seconds and peak MB of each stage, in this process."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, run in stages(size, Path(folder)).items():
            gc.collect()
            restart_peak()
            started = time.perf_counter()
            run()
            found[name] = {"seconds": time.perf_counter() - started, "peak_mb": peak_mb()}
        files = sum(path.is_file() for path in Path(folder, "all").rglob("*"))
        found["files left"] = {"seconds": 0.0, "peak_mb": float(files)}
    return found


def restart_peak() -> None:
    """Let the kernel forget this process's peak memory, where it can (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_mb() -> float:
    """Largest memory of this process since `restart_peak`, MB."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024.0
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024.0


def in_own_process(size: int) -> dict[str, dict[str, float]]:
    """`measure` in a fresh process, so that no size inherits the memory of another."""
    command = [sys.executable, __file__, "--size", str(size)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(answer.stdout.splitlines()[-1])


def row(name: str, *values: object) -> None:
    print(f"{name:<16}" + "".join(f"{value:>20}" for value in values), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, under a minute")
    parser.add_argument("--size", type=int, help="measure one size in this process and print JSON")
    options = parser.parse_args()
    if options.size:
        print(json.dumps(measure(options.size)))
        return
    sizes = (100, 1000) if options.quick else (100, 1000, 10000)
    started = time.perf_counter()
    tables = {size: in_own_process(size) for size in sizes}
    row("stage", *(f"{size} structures" for size in sizes))
    for name in tables[sizes[0]]:
        if name == "files left":
            row(name, *(f"{tables[size][name]['peak_mb']:.0f}" for size in sizes))
            continue
        cells = ((tables[size][name]["seconds"], tables[size][name]["peak_mb"]) for size in sizes)
        row(name, *(f"{seconds:.1f} s  {peak:.0f} MB" for seconds, peak in cells))
    peaks = {size: max(stage["peak_mb"] for stage in tables[size].values()) for size in sizes}
    largest, smallest = sizes[-1], sizes[0]
    each = {name: 1e3 * stage["seconds"] / largest for name, stage in tables[largest].items()}
    result = {
        "seconds": sum(stage["seconds"] for name, stage in tables[largest].items() if name != "warm up"),
        "peak_mb": peaks[largest],
        "ratio": peaks[largest] / peaks[smallest],
        "reference": f"{smallest} structures",
        "kb_per_structure": 1024.0 * (peaks[largest] - peaks[smallest]) / (largest - smallest),
        "ms_per_structure": {
            name: round(value, 3) for name, value in each.items() if value and name != "warm up"
        },
        "wall_seconds": time.perf_counter() - started,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
