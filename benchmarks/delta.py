"""What a few DFT labels are best used for, once a base potential is distilled: delta strategies side by side.

    python benchmarks/delta.py [--quick] [--seeds 1 2 3 4 5] [--systems sn2 alloy] [--folder DIR]

Cheap oracles play DFT: GFN1-xTB on F⁻ + CH3Cl → CH3F + Cl⁻ (the foundation was trained on GFN2-xTB), and
effective medium theory on Al-Cu crystals (the foundation is an under-trained model of the same method).

Each seed is a run of its own up to the base fit; then every strategy makes a final potential from the same
teacher, pool and labels: `relabel` and `joint` with several `dft_emphasis`, `residual`, `ridge`, `auto`, and,
for comparison, the DFT labels alone without teacher and base. All are judged twice: on the run's frozen test
set, and on frames of molecular dynamics by the oracle, which settings may be chosen on. RMSEs, meV/atom and
meV/Å; `wins` says in how many seeds the final potential beats the base in energy and forces.

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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
from savings import ALLOY, SN2, Study, System

from pyacemaker.config import PyAceConfig
from pyacemaker.files import write_json
from pyacemaker.potentials.ace import ACEPotential
from pyacemaker.structures import Accuracy, Dataset
from pyacemaker.structures.formats import read_structures, write_structures
from pyacemaker.trainers.delta import DeltaProblem, DeltaSettings
from pyacemaker.workflow.orchestrator import Orchestrator

Errors = dict[str, dict[str, float]]
"""By test set: energy (meV/atom) and forces (meV/Å), RMSE."""

SMALLER: dict[str, dict[str, Any]] = {
    "finetune": {"epochs": 40},
    "explore": {"n_structures": 300},
    "base": {"functions": 300},
}
"""What makes a run of `savings.py` short enough for five seeds of two systems."""

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
}
ALONE, BASE, AUTO = "DFT labels alone", "base", "auto"


@dataclass(frozen=True)
class Comparison:
    """One system and one seed; everything is kept in `folder`."""

    system: System
    seed: int
    folder: Path
    quick: bool

    @property
    def config(self) -> PyAceConfig:
        settings = self.system.settings
        if not self.quick:
            merged = {key: {**settings[key], **change} for key, change in SMALLER.items()}
            settings = {**settings, **merged}
        return replace(self.system, settings=settings).config(self.seed, self.quick)

    @property
    def study(self) -> Study:
        frames, steps = (20, 20) if self.quick else (240, 100)
        return Study(self.system, self.config, self.folder, n_frames=frames, steps=steps)

    def measure(self) -> dict[str, Errors]:
        """The errors of every variant on both test sets, and those of the base and of the teacher."""
        logging.disable(logging.WARNING)
        self.folder.mkdir(parents=True, exist_ok=True)
        run = self.folder / "run"
        Orchestrator(self.config, run).run(until="06_base")
        tests = {"frozen": read_structures(run / "02_label" / "test.extxyz"), "frames": self.frames()}
        teacher = self.config.foundation.tuned(run / "03_finetune" / "teacher.model")
        found = {
            "teacher": {name: rmse(teacher.evaluate(test), test) for name, test in tests.items()},
            BASE: self.judged(run / "06_base" / "base.yace", tests),
        }
        problem = self.problem()
        variants = dict(list(VARIANTS.items())[1::3]) if self.quick else VARIANTS
        for name, settings in {**variants, AUTO: {"strategy": "auto", "dft_emphasis": 0.3}}.items():
            found[name] = self.variant(problem, name, settings, tests)
        found[ALONE] = self.alone(problem, tests)
        return found

    def frames(self) -> Dataset:
        """Frames of the oracle's own dynamics, in no run's data."""
        file = self.folder / "frames.extxyz"
        if not file.is_file():
            write_structures(file, self.study.label(self.study.oracle_frames(), "test set"))
        return read_structures(file)

    def problem(self) -> DeltaProblem:
        """As step 7 poses it."""
        run, config = self.folder / "run", self.config
        train = read_structures(run / "02_label" / "train.extxyz")
        pool = read_structures(run / "05_pseudo_label" / "surrogate.extxyz")
        teacher = config.foundation.tuned(run / "03_finetune" / "teacher.model")
        facts = json.loads((run / "06_base" / "training.json").read_text(encoding="utf-8"))
        energies = json.loads((run / "02_label" / "reference.json").read_text(encoding="utf-8"))["energies"]
        known = set(train.ids)
        return DeltaProblem(
            train=train,
            teacher=teacher.evaluate(train),
            pool=pool.filter(lambda s: s.id not in known),
            base=run / "06_base" / "base.yace",
            trainer=config.potential_trainer().again(facts),
            reference_energies=energies,
            settings=config.delta,
        )

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


def rmse(predicted: list[Any], test: Dataset) -> dict[str, float]:
    found = Accuracy.on(test, predicted)
    return {"energy": found.energy_rmse_mev_per_atom, "forces": found.forces_rmse_mev_per_angstrom}


def table(system: str, seeds: list[dict[str, Errors]]) -> dict[str, dict[str, Any]]:
    """Print the geometric means over seeds and how often the base is beaten; the rows by name."""
    print(f"\n{system}: RMSE, geometric mean over {len(seeds)} seeds (energy meV/atom, forces meV/Å)")
    print(f"{'':18s} {'frozen test set':>20s} {'wins':>6s} {'frames':>18s} {'wins':>6s}")
    rows: dict[str, dict[str, Any]] = {}
    for name in seeds[0]:
        row: dict[str, Any] = {}
        for test in ("frozen", "frames"):
            values = {key: [seed[name][test][key] for seed in seeds] for key in ("energy", "forces")}
            row[test] = {key: float(np.exp(np.mean(np.log(found)))) for key, found in values.items()}
            won = [
                all(s[name][test][key] < s[BASE][test][key] for key in ("energy", "forces")) for s in seeds
            ]
            row[test]["wins"] = sum(won)
        rows[name] = row
        cells = [
            f"{row[t]['energy']:9.2f} {row[t]['forces']:9.1f} {row[t]['wins']:4d}/{len(seeds)}"
            for t in ("frozen", "frames")
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
    started = time.perf_counter()
    systems, seeds = (["sn2"], [1]) if options.quick else (options.systems, options.seeds)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        found = {
            system: table(
                system,
                [
                    Comparison(SYSTEMS[system], seed, folder / f"{system}-{seed}", options.quick).measure()
                    for seed in seeds
                ],
            )
            for system in systems
        }
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
