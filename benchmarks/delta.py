"""What a few DFT labels are best used for, once a base potential is distilled: delta strategies side by side.

    python benchmarks/delta.py [--quick] [--seeds 1 2 3 4 5] [--systems sn2 alloy] [--folder DIR]

Cheap oracles play DFT: GFN1-xTB on F⁻ + CH3Cl → CH3F + Cl⁻ (the foundation was trained on GFN2-xTB), and
effective medium theory on Al-Cu crystals (the foundation is an under-trained model of the same method).

Each seed draws its own test sets and labels from the candidates of step 1, fine-tunes its own teacher and
fits its own base; then every strategy makes a final potential from the same teacher, pool and labels:
`relabel` and `joint` with several `dft_emphasis`, `residual`, `ridge`, `auto`, and, for comparison, the DFT
labels alone without teacher and base. All are judged twice: on the frozen test set, and on a larger
independent one, which is there for the choice of settings. RMSEs, meV/atom and meV/Å; `wins` says in how many
seeds the final potential beats the base in energy and forces.

`--folder` keeps everything, so that an interrupted benchmark goes on. `--quick` shows that it works: so
little training does nobody justice. Ends with one JSON object; `ratio`: the error of the default strategy
over the base's on the frozen test sets, geometric mean over seeds, energy and forces, in the worse system.
"""

import argparse
import json
import logging
import os
import resource
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
from savings import ALLOY, SN2, System

from pyacemaker.config import PyAceConfig
from pyacemaker.errors import OracleError
from pyacemaker.files import write_json
from pyacemaker.generators.dimers import DIMER, ISOLATED_ATOM
from pyacemaker.potentials.ace import ACEPotential
from pyacemaker.potentials.base import Potential
from pyacemaker.selection.active_set import spread_over_tags
from pyacemaker.structures import Accuracy, Dataset
from pyacemaker.structures.formats import read_structures, write_structures
from pyacemaker.trainers import AceTrainer
from pyacemaker.trainers.delta import DeltaProblem, DeltaSettings
from pyacemaker.trainers.mace import MaceTrainer
from pyacemaker.trainers.reference_energies import align_reference_energies
from pyacemaker.workflow.orchestrator import Orchestrator

Errors = dict[str, dict[str, float]]
"""By test set: energy (meV/atom) and forces (meV/Å), RMSE."""

CANDIDATES_SEED = 1
"""All seeds draw from the same candidates; test sets, labels, training and fits are their own."""

SYSTEMS = {"sn2": SN2, "alloy": ALLOY}
VARIANTS: dict[str, dict[str, Any]] = {
    "relabel, 0.1": {"strategy": "relabel", "dft_emphasis": 0.1},
    "relabel, 0.3": {"strategy": "relabel", "dft_emphasis": 0.3},
    "relabel, 1": {"strategy": "relabel", "dft_emphasis": 1.0},
    "relabel, 2": {"strategy": "relabel", "dft_emphasis": 2.0},
    "residual, 0.3": {"strategy": "residual", "dft_emphasis": 0.3},
    "ridge": {"strategy": "ridge"},
    "joint, 0.3": {"strategy": "joint", "dft_emphasis": 0.3},
    "joint, 2": {"strategy": "joint", "dft_emphasis": 2.0},
    "auto": {"strategy": "auto", "dft_emphasis": 0.3},
}
ALONE, BASE = "DFT labels alone", "base"


@dataclass(frozen=True)
class Budget:
    """Structures to train on, in the frozen test set and in the one for choices; epochs; functions."""

    train: int = 36
    frozen: int = 60
    choice: int = 240
    epochs: int = 30
    functions: int = 200


QUICK = Budget(train=16, frozen=20, choice=20, epochs=6, functions=60)


@dataclass(frozen=True)
class Comparison:
    """One system and one seed; everything is kept in `folder`."""

    system: System
    seed: int
    folder: Path
    candidates: Path
    budget: Budget
    quick: bool

    @cached_property
    def config(self) -> PyAceConfig:
        base = {**self.system.settings["base"], "functions": self.budget.functions}
        finetune = {**self.system.settings["finetune"], "epochs": self.budget.epochs}
        settings = {**self.system.settings, "base": base, "finetune": finetune}
        config = replace(self.system, settings=settings).config(CANDIDATES_SEED, self.quick)
        return config.model_copy(update={"finetune": MaceTrainer(**finetune), "base": AceTrainer(**base)})

    def measure(self) -> dict[str, Errors]:
        """The errors of every variant on both test sets, and those of the base and of the teacher."""
        started = time.process_time()
        self.folder.mkdir(parents=True, exist_ok=True)
        problem, tests, teacher = self.problem()
        found = {
            "teacher": {name: rmse(teacher.evaluate(test), test) for name, test in tests.items()},
            BASE: self.judged(problem.base, tests),
        }
        variants = dict(list(VARIANTS.items())[1::3]) if self.quick else VARIANTS
        for name, settings in variants.items():
            found[name] = self.variant(problem, name, settings, tests)
        found[ALONE] = self.alone(problem, tests)
        print(f"{self.folder.name}: {time.process_time() - started:.0f} s of processor time", flush=True)
        return found

    def drawn(self) -> tuple[dict[str, Dataset], Dataset]:
        """`train`, `frozen` and `choice`, labelled by the oracle; and the pool, without the test sets."""
        candidates = read_structures(self.candidates).filter(lambda s: s.tag not in (DIMER, ISOLATED_ATOM))
        rng, left = np.random.default_rng([self.seed, 7]), candidates
        parts = {}
        for name in ("frozen", "choice", "train"):
            chosen = spread_over_tags(left, min(getattr(self.budget, name), len(left) // 3), rng)
            file = self.folder / f"{name}.extxyz"
            if not file.is_file():
                write_structures(file, self.labelled(left[chosen]))
            parts[name] = read_structures(file)
            if name != "train":
                left = left[np.setdiff1d(np.arange(len(left)), chosen)]
        return parts, left

    def labelled(self, structures: Dataset) -> Dataset:
        """Labels by the oracle; structures that it fails on are left out."""
        found = []
        for structure in structures:
            with suppress(OracleError):
                found.append(structure.replace(labels=self.config.dft.label(structure), source="oracle"))
        return Dataset(found)

    def problem(self) -> tuple[DeltaProblem, dict[str, Dataset], Potential]:
        """As steps 3 to 6 leave it to step 7."""
        parts, pool = self.drawn()
        train = parts.pop("train")
        foundation = self.config.foundation
        oracle = self.config.dft
        atoms = {s: oracle.label(oracle.isolated_atom(s)).energy for s in train.elements}
        start = foundation.load()
        aligned = align_reference_energies(train, start.evaluate(train), start.reference_energies, atoms)
        model, base = self.folder / "teacher.model", self.folder / "base.yace"
        if not model.is_file():
            self.config.finetune.train(
                train,
                foundation=foundation.resolve(),
                reference_energies=aligned.energies,
                out=model,
                seed=self.seed,
                workdir=self.folder / "training",
            )
        teacher = foundation.tuned(model)
        labelled = teacher.label(pool).filter(lambda s: np.abs(s.labels.forces).max() < 30.0)
        trainer = self.config.potential_trainer()
        trained = trainer.train(labelled, out=base, reference_energies=aligned.energies)
        known = set(train.ids)
        problem = DeltaProblem(
            train=train,
            teacher=teacher.evaluate(train),
            pool=labelled.filter(lambda s: s.id not in known),
            base=base,
            trainer=trainer.again(trained.facts),
            reference_energies=aligned.energies,
            settings=self.config.delta,
        )
        return problem, parts, teacher

    def variant(
        self, problem: DeltaProblem, name: str, settings: dict[str, Any], tests: dict[str, Dataset]
    ) -> Errors:
        folder = self.folder / "variants" / name.replace(", ", "-")
        file = folder / "errors.json"
        if not file.is_file():
            result = replace(problem, settings=DeltaSettings(**settings)).solve(folder)
            if result.scores:
                print(f"{self.folder.name}: auto took {result.strategy}", flush=True)
            write_json(file, self.judged(result.trained.path, tests))
        found: Errors = json.loads(file.read_text(encoding="utf-8"))
        return found

    def alone(self, problem: DeltaProblem, tests: dict[str, Dataset]) -> Errors:
        """The base's settings on the DFT labels alone."""
        file = self.folder / "variants" / "alone.json"
        if not file.is_file():
            trainer = self.config.base.in_a_run().model_copy(update={"underdetermined": True})
            out = self.folder / "variants" / "alone.yace"
            trainer.train(problem.train, out=out, reference_energies=problem.reference_energies)
            write_json(file, self.judged(out, tests))
        found: Errors = json.loads(file.read_text(encoding="utf-8"))
        return found

    def judged(self, path: Path, tests: dict[str, Dataset]) -> Errors:
        potential = ACEPotential.from_yace(path)
        return {name: rmse(potential.evaluate(test), test) for name, test in tests.items()}


def candidates(system: System, folder: Path, quick: bool) -> Path:
    """What step 1 makes of the system, once for all seeds."""
    file = folder / "candidates.extxyz"
    if not file.is_file():
        Orchestrator(system.config(CANDIDATES_SEED, quick), folder / "run").run(until="01_sample")
        write_structures(file, read_structures(folder / "run" / "01_sample" / "candidates.extxyz"))
    return file


def rmse(predicted: list[Any], test: Dataset) -> dict[str, float]:
    found = Accuracy.on(test, predicted)
    return {"energy": found.energy_rmse_mev_per_atom, "forces": found.forces_rmse_mev_per_angstrom}


def compared(system: str, seeds: list[int], folder: Path, quick: bool) -> dict[str, Any]:
    """The table of one system."""
    shared, budget = candidates(SYSTEMS[system], folder / system, quick), QUICK if quick else Budget()
    places = {seed: folder / f"{system}-{seed}" for seed in seeds}
    return table(
        system,
        [
            Comparison(SYSTEMS[system], seed, place, shared, budget, quick).measure()
            for seed, place in places.items()
        ],
    )


def table(system: str, seeds: list[dict[str, Errors]]) -> dict[str, dict[str, Any]]:
    """Print the geometric means over seeds and how often the base is beaten; the rows by name."""
    print(f"\n{system}: RMSE, geometric mean over {len(seeds)} seeds (energy meV/atom, forces meV/Å)")
    print(f"{'':18s} {'frozen test set':>20s} {'wins':>6s} {'for choices':>18s} {'wins':>6s}")
    rows: dict[str, dict[str, Any]] = {}
    for name in seeds[0]:
        row: dict[str, Any] = {}
        for test in ("frozen", "choice"):
            values = {key: [seed[name][test][key] for seed in seeds] for key in ("energy", "forces")}
            row[test] = {key: float(np.exp(np.mean(np.log(found)))) for key, found in values.items()}
            won = [
                all(s[name][test][key] < s[BASE][test][key] for key in ("energy", "forces")) for s in seeds
            ]
            row[test]["wins"] = sum(won)
        rows[name] = row
        cells = [
            f"{row[t]['energy']:9.2f} {row[t]['forces']:9.1f} {row[t]['wins']:4d}/{len(seeds)}"
            for t in ("frozen", "choice")
        ]
        print(f"{name:18s} {cells[0]} {cells[1]}")
    return rows


def default_row(rows: dict[str, Any]) -> str:
    """The variant that the package has as its default, or the nearest that was measured."""
    default = DeltaSettings()
    wanted = f"{default.strategy}, {default.dft_emphasis:g}"
    return wanted if wanted in rows else next(name for name in rows if name.startswith(default.strategy))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="under two minutes: only shows that it works")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    started = time.perf_counter()
    systems, seeds = (["sn2"], [1]) if options.quick else (options.systems, options.seeds)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        found = {system: compared(system, seeds, folder, options.quick) for system in systems}
    ratios = []
    for rows in found.values():
        ours, base = rows[default_row(rows)]["frozen"], rows[BASE]["frozen"]
        ratios.append(float(np.sqrt(ours["energy"] / base["energy"] * ours["forces"] / base["forces"])))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    answer = {
        "benchmark": "delta",
        "seconds": time.perf_counter() - started,
        "peak_mb": peak,
        "ratio": max(ratios),
        "reference": "base",
        "systems": found,
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    sys.exit(main())
