"""Bulk labels by a MACE model: structures per second against one-by-one calls of MACE's ASE calculator.

    python benchmarks/labelling.py [--quick] [--model FILE] [--data FILE] [--device cuda] [--dtype float32]

Rattled copies of a molecule of six atoms, or the structures of a file, are labelled with energy, forces and
stress where they are periodic, with the small model of the tests and the larger one of the example, or the
one given: by `MaceOracle.compute_batch` in memory, by `MaceOracle.compute_stream` into
part files, and one after the other by `mace.calculators.MACECalculator`, in the same process on one thread;
all take turns and the shortest time of each counts. The two kinds of labels are compared. Then streams of
1,000 and of 10,000 structures (a tenth of that with --quick) run in processes of their own: their peak
memory, and how long a second call takes that finds everything labelled.

The last line is one JSON object; `ratio`: how many times faster bulk labels of the first model are (one call
costs some 10 ms of overhead, whatever the model: the smaller the model, the more a batch saves), `ratios` has
all models, `reference` names the calculator.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np
import torch

from pyacemaker.oracles.mace import MaceOracle
from pyacemaker.potentials.mace_model import quiet_mace
from pyacemaker.structures import AtomStructure, Labels
from pyacemaker.structures.formats import read_structures

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "sn2"
MODELS = (ROOT / "tests" / "data" / "sn2_foundation.model", EXAMPLE / "foundation.model")


def rattled(count: int) -> Iterator[AtomStructure]:
    """F⁻···CH3Cl, six atoms, displaced at random."""
    start = read_structures(EXAMPLE / "reactant.xyz")[-1].replace(labels=None)
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield start.replace(positions=start.positions + rng.normal(scale=0.05, size=start.positions.shape))


def one_by_one(structures: list[AtomStructure], settings: argparse.Namespace) -> Callable[[], list[Labels]]:
    """MACE's own calculator, called as a user of ASE calls it."""
    with quiet_mace():
        from mace.calculators import MACECalculator

        calculator = MACECalculator(
            model_paths=str(settings.model), device=settings.device, default_dtype=settings.dtype
        )
    images = [structure.to_atoms() for structure in structures]

    def label() -> list[Labels]:
        found = []
        for atoms in images:
            calculator.calculate(atoms, properties=["energy", "forces", "stress"])
            results = calculator.results
            found.append(Labels(results["energy"], results["forces"], results["stress"]))
        return found

    return label


def oracle(settings: argparse.Namespace) -> MaceOracle:
    return MaceOracle(model=str(settings.model), device=settings.device, dtype=settings.dtype)


def best_times(tasks: dict[str, Callable[[], Any]], device: str, rounds: int) -> dict[str, float]:
    """The shortest time of each, in turns; seconds of the clock on a GPU, of this process on a CPU."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    best = dict.fromkeys(tasks, np.inf)
    for _ in range(rounds):
        for name, task in tasks.items():
            started = clock()
            task()
            best[name] = min(best[name], clock() - started)
    return best


def largest_difference(structures: list[AtomStructure], found: list[Labels], other: list[Labels]) -> float:
    """eV/Å: of the forces; energies (eV) and stress (eV/Å³) count where they differ by more."""
    worst = 0.0
    for structure, one, two in zip(structures, found, other, strict=True):
        worst = max(worst, float(np.abs(one.forces - two.forces).max()), abs(one.energy - two.energy))
        if one.stress is not None and two.stress is not None and structure.pbc.all():
            worst = max(worst, float(np.abs(one.stress - two.stress).max()))
    return worst


def stream(settings: argparse.Namespace) -> None:
    """In a process of its own: label `settings.stream` structures, then again; prints one JSON object."""
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(2):
            started, count = time.process_time(), 0
            for part in oracle(settings).compute_stream(rattled(settings.stream), Path(folder)):
                count += len(part)
            seconds.append(time.process_time() - started)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"structures": count, "seconds": seconds, "peak_mb": peak}))


def in_a_process(settings: argparse.Namespace, count: int) -> dict[str, Any]:
    options = ["--model", settings.model, "--device", settings.device, "--dtype", settings.dtype]
    command = [sys.executable, __file__, *map(str, options), "--stream", str(count)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return found


def compare(settings: argparse.Namespace) -> tuple[dict[str, float], float, int]:
    """The times per way, how far the labels differ, and the number of structures."""
    if settings.data is None:
        structures = list(rattled(200 if settings.quick else 400))
    else:
        structures = [s.replace(labels=None) for s in read_structures(settings.data)][: settings.limit]
    alone, mace = one_by_one(structures, settings), oracle(settings)
    difference = largest_difference(structures, mace.compute_batch(structures), alone())

    def streamed() -> None:
        with tempfile.TemporaryDirectory() as folder:
            for _ in mace.compute_stream(structures, Path(folder)):
                pass

    tasks = {"one by one": alone, "batches": lambda: mace.compute_batch(structures), "stream": streamed}
    return best_times(tasks, settings.device, 2 if settings.quick else 4), difference, len(structures)


def show(settings: argparse.Namespace) -> dict[str, float]:
    """Compare the ways with one model; prints a table."""
    times, difference, count = compare(settings)
    atoms = "six-atom molecules" if settings.data is None else settings.data.name
    print(f"{settings.model.name} of {settings.model.parent.name}: {count} {atoms}, ", end="")
    print(f"{settings.dtype} on {settings.device}")
    print(f"{'':12}{'ms/structure':>14}{'structures/s':>14}{'times faster':>14}")
    for name, seconds in times.items():
        speedup = times["one by one"] / seconds
        print(f"{name:12}{1e3 * seconds / count:14.3f}{count / seconds:14.0f}{speedup:14.1f}")
    print(f"largest difference: {difference:.1e} (eV, eV/Å, eV/Å³)\n")
    return {
        "ratio": times["one by one"] / times["batches"],
        "stream_ratio": times["one by one"] / times["stream"],
        "structures_per_second": count / times["batches"],
        "difference": difference,
    }


def report(settings: argparse.Namespace) -> dict[str, Any]:
    started = time.perf_counter()
    models = MODELS if settings.model is None else (settings.model,)
    found = []
    for settings.model in models:
        found.append(show(settings))
    settings.model = models[0]
    sizes = (100, 1000) if settings.quick else (1000, 10_000)
    runs = [in_a_process(settings, size) for size in sizes]
    for run in runs:
        first, again = run["seconds"]
        print(
            f"stream of {run['structures']}: {first:.1f} s, peak {run['peak_mb']:.0f} MB; again {again:.2f} s"
        )
    return {
        "seconds": time.perf_counter() - started,
        "peak_mb": runs[-1]["peak_mb"],
        "memory_ratio": runs[-1]["peak_mb"] / runs[0]["peak_mb"],
        **found[0],
        "ratios": [one["ratio"] for one in found],
        "reference": "mace.calculators.MACECalculator, one structure at a time",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--model", type=Path, help="a MACE model file; default: two small ones")
    parser.add_argument("--data", type=Path, help="structures to label; default: molecules of six atoms")
    parser.add_argument("--limit", type=int, default=400, help="structures of --data that are used")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float64")
    parser.add_argument("--stream", type=int, help=argparse.SUPPRESS)
    settings = parser.parse_args()
    if settings.device == "cpu":
        torch.set_num_threads(1)
    if settings.stream:
        stream(settings)
    else:
        print(json.dumps(report(settings)))


if __name__ == "__main__":
    main()
