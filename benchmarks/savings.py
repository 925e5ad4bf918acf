"""How many DFT calls the pipeline saves over random sampling without a teacher, at the same test error.

    python benchmarks/savings.py [--quick] [--seeds 1 2 3] [--systems sn2 alloy] [--folder DIR]

Cheap oracles play DFT: GFN1-xTB on F⁻ + CH3Cl → CH3F + Cl⁻ (the foundation was trained on GFN2-xTB), and
effective medium theory on Al-Cu crystals (the foundation is an under-trained model of the same method).

- Ours: a run of all seven steps. Candidates, DIRECT over the half of which the teacher is less certain, n
  labels, fine-tuning, exploration, pseudo-labels, base fit, delta.
- Reference: random structures of the same candidates, labelled, and an ACE potential fitted to these labels
  alone, with the run's basis, on n, 2 n, 4 n … labels. With the energies of isolated or of fitted atoms,
  whichever is better on the test set, and never worse than with fewer labels.
- The test set of both: candidates drawn at random in every tag, and as many frames of molecular dynamics by
  the oracle itself; neither arm learns from any of them.

The calls of both arms include the isolated atoms, those of the test set are left out. Where the reference
reaches the error of ours, between two of its sizes, is interpolated linearly in the logarithms; where it does
not with all candidates, the ratio is a lower bound, marked ≥. Energies in meV/atom, forces in meV/Å; RMSEs
where nothing else is said. `--folder` keeps everything, so that an interrupted benchmark goes on. `--quick`
shows that it works: so little training does neither arm justice. Ends with one JSON object; `ratio`: calls
of the reference over ours, the geometric mean over seeds, in the system and quantity (RMSE of energy or
forces) where it is smallest.
"""

import argparse
import json
import logging
import os
import resource
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NoReturn

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np

from pyacemaker.config import PyAceConfig
from pyacemaker.errors import OracleError
from pyacemaker.execution import InlineExecutor
from pyacemaker.files import write_json
from pyacemaker.generators.dimers import DIMER, ISOLATED_ATOM
from pyacemaker.generators.langevin import Langevin, TrajectoryPlan
from pyacemaker.oracles import EmtOracle, TbliteOracle
from pyacemaker.oracles.base import LabelLimits, Oracle
from pyacemaker.potentials.ace import ACEPotential
from pyacemaker.potentials.base import Potential
from pyacemaker.selection.active_set import spread_over_tags
from pyacemaker.structures import Accuracy, AtomStructure, Dataset, Labels
from pyacemaker.structures.formats import read_structures, write_structures
from pyacemaker.structures.store import LabelStore, Ledger
from pyacemaker.workflow.labelling import label_structures
from pyacemaker.workflow.orchestrator import Orchestrator

EXAMPLES = Path(__file__).parents[1] / "examples"
LIMITS = LabelLimits(max_failed_fraction=0.5)
QUANTITIES = {
    "energy": "energy_rmse_mev_per_atom",
    "forces": "forces_rmse_mev_per_angstrom",
    "energy MAE": "energy_mae_mev_per_atom",
    "forces MAE": "forces_mae_mev_per_angstrom",
}
DECISIVE = ("energy", "forces")


@dataclass(frozen=True)
class System:
    """A system: its run, and the molecular dynamics of its oracle that half of the test set comes from.

    settings: of the run, as in a config file. temperatures: K. timestep: fs. few: its generator's in a quick
    benchmark.
    """

    settings: dict[str, Any]
    temperatures: tuple[float, ...]
    timestep: float
    few: dict[str, Any]

    def config(self, seed: int, quick: bool) -> PyAceConfig:
        """The run of one seed; all candidates are in its pool, so that its test set is drawn from all."""
        settings = {**self.settings, "seed": seed, "execution": InlineExecutor()}
        changes: dict[str, dict[str, Any]] = {"sample": {"n_pool": 100_000}, "label": {"n_test": 60}}
        if quick:
            generator = {**self.settings["sample"]["generators"][0], **self.few}
            changes["sample"]["generators"] = [generator]
            changes["label"] = {"n_train": 16, "n_test": 20}
            changes["finetune"] = {"epochs": 6}
            changes["explore"] = {"n_structures": 60, "n_trajectories": 6, "equilibration": 20, "interval": 5}
            changes["base"] = {"functions": 60}
        merged = {key: {**settings[key], **change} for key, change in changes.items()}
        return PyAceConfig(**{**settings, **merged})


SN2 = System(
    settings={
        "foundation": {
            "model": str(EXAMPLES / "sn2" / "foundation.model"),
            "training_data": str(EXAMPLES / "sn2" / "foundation" / "gfn2_train.xyz.gz"),
        },
        "dft": TbliteOracle(method="GFN1-xTB", limits=LIMITS),
        "sample": {
            "generators": [
                {
                    "kind": "reaction",
                    "reactant": str(EXAMPLES / "sn2" / "reactant.xyz"),
                    "product": str(EXAMPLES / "sn2" / "product.xyz"),
                    "n_path": 36,
                    "n_path_rattles": 220,
                    "grid_points": 16,
                    "n_rattles": 28,
                    "n_orientations": 6,
                    "md_frames": 42,
                }
            ]
        },
        "label": {"n_train": 36},
        "finetune": {"epochs": 60, "lr": 0.003, "scheduler_gamma": 0.95},
        "explore": {"n_structures": 1000, "temperatures": [300, 600, 1000]},
        "base": {"cutoff": 6.0, "functions": 400},
    },
    temperatures=(300.0, 600.0, 1000.0),
    timestep=0.5,
    few={"n_path": 9, "neb_steps": 5, "n_path_rattles": 60, "n_rattles": 6, "md_frames": 2, "grid_points": 7},
)
ALLOY = System(
    settings={
        "foundation": {
            "model": str(EXAMPLES / "aluminium" / "foundation.model"),
            "training_data": str(EXAMPLES / "aluminium" / "foundation" / "emt_train.xyz.gz"),
        },
        "dft": EmtOracle(limits=LIMITS),
        "sample": {
            "generators": [
                {
                    "kind": "alloy",
                    "elements": ["Al", "Cu"],
                    "n_compositions": 11,
                    "n_random": 30,
                    "n_strains": 8,
                    "n_rattles": 6,
                    "n_swaps": 3,
                    "n_motion": 4,
                    "max_atoms": 8,
                }
            ]
        },
        "label": {"n_train": 24},
        "finetune": {"epochs": 300},
        "explore": {
            "n_structures": 600,
            "temperatures": [300, 900, 1500],
            "dynamics": {"timestep": 2.0},
        },
        "base": {"cutoff": 6.0, "functions": 300},
    },
    temperatures=(300.0, 900.0, 1500.0),
    timestep=2.0,
    few={"lattices": ["fcc"], "n_compositions": 4, "n_random": 6, "n_ordered": 0, "n_motion": 0},
)
SYSTEMS = {"sn2": SN2, "alloy": ALLOY}
SIZES = (1, 2, 4, 8, 16, 32)
"""Labels of the reference over those of the run."""


@dataclass(frozen=True)
class Study:
    """One system and one seed; everything is kept in `folder`.

    n_frames: frames of the oracle's dynamics in the test set. steps: time steps before each of them.
    """

    system: System
    config: PyAceConfig
    folder: Path
    n_frames: int = 60
    steps: int = 100
    sizes: tuple[int, ...] = SIZES

    @property
    def run_dir(self) -> Path:
        return self.folder / "run"

    def measure(self) -> dict[str, Any]:
        """Calls and errors of both arms, and with how many calls the reference is as good as ours."""
        logging.disable(logging.WARNING)
        started = time.perf_counter()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.run()
        test = self.test_set()
        ours = self.our_errors(test)
        curve = list(self.reference(test, ours["final"]))
        return {
            "calls": self.our_calls(),
            "test": len(test),
            "errors": ours,
            "reference": curve,
            "crossings": {name: crossing(curve, name, ours["final"][name]) for name in QUANTITIES},
            "seconds": time.perf_counter() - started,
        }

    def run(self) -> None:
        """All seven steps, without the gates, whose labels teach nothing. A final potential that is no better
        than the base is measured all the same."""
        Orchestrator(self.config, self.run_dir).run(until="delta")

    def our_calls(self) -> int:
        """Calculations of the run, failed ones and isolated atoms too, but not those of the test set."""
        ledger = Ledger(self.run_dir / "ledger.csv", look_only=True)
        return ledger.totals().calls - ledger.totals("test set").calls

    def test_set(self) -> Dataset:
        """The run's own test set, drawn at random in each tag of the candidates, and frames of the oracle."""
        file = self.folder / "test.extxyz"
        if not file.is_file():
            drawn = read_structures(self.run_dir / "02_label" / "test.extxyz")
            write_structures(file, drawn + self.label(self.oracle_frames(), "test set"))
        return read_structures(file)

    def oracle_frames(self) -> Dataset:
        """One frame each of molecular dynamics on the oracle, started from candidates of all tags."""
        rng = np.random.default_rng([self.config.seed, 101])
        candidates, temperatures = self.candidates(), self.system.temperatures
        plans = [
            TrajectoryPlan(
                start=candidates[index],
                temperature=temperatures[number % len(temperatures)],
                seed=int(rng.integers(2**31)),
                n_frames=1,
                interval=1,
                equilibration=self.steps,
                tag="oracle_md",
            )
            for number, index in enumerate(spread_over_tags(candidates, self.n_frames, rng))
        ]
        found = Langevin(timestep=self.system.timestep).run(plans, OraclePotential(self.config.dft))
        return Dataset(frame for trajectory in found for frame in trajectory.frames)

    def candidates(self) -> Dataset:
        """All candidates of the run but isolated atoms, dimers and its test set."""
        found = read_structures(self.run_dir / "01_sample" / "candidates.extxyz")
        test = set(read_structures(self.run_dir / "02_label" / "test.extxyz").ids)
        return found.filter(lambda s: s.tag not in (DIMER, ISOLATED_ATOM) and s.id not in test)

    def our_errors(self, test: Dataset) -> dict[str, dict[str, float]]:
        """Errors of the run's models, and of an ACE fitted to the run's labels without the teacher."""
        run, foundation = self.run_dir, self.config.foundation
        models: dict[str, Potential] = {
            "foundation": foundation.tuned(run / "07_delta" / "foundation_aligned.model"),
            "teacher": foundation.tuned(run / "03_finetune" / "teacher.model"),
            "base": ACEPotential.from_yace(run / "06_base" / "base.yace"),
            "final": ACEPotential.from_yace(run / "07_delta" / "final.yace"),
        }
        found = {name: errors(model.evaluate(test), test) for name, model in models.items()}
        return found | {"DIRECT, no teacher": self.fitted(self.run_labels(), test, "selected")}

    def run_labels(self) -> Dataset:
        return read_structures(self.run_dir / "02_label" / "train.extxyz")

    def reference(self, test: Dataset, goal: dict[str, float]) -> Iterator[dict[str, float]]:
        """Calls and errors of the reference at each size, until it has met the goal in both quantities."""
        candidates, missing = self.candidates(), set(QUANTITIES)
        order = np.random.default_rng([self.config.seed, 102]).permutation(len(candidates))
        for size in self.sizes:
            chosen = candidates[order[: size * self.config.label.n_train]]
            labelled = self.label(chosen, "reference")
            found = self.fitted(labelled, test, f"random-{len(chosen)}")
            yield {"calls": len(chosen) + len(candidates.elements), **found}
            missing -= {name for name in missing if found[name] <= goal[name]}
            if not missing or len(chosen) == len(candidates):
                return

    def fitted(self, labelled: Dataset, test: Dataset, name: str) -> dict[str, float]:
        """The smaller errors of two ACE potentials with the run's basis, fitted to these labels alone.

        One has the energies of isolated atoms, the other of fitted ones.
        """
        file = self.folder / "fits" / f"{name}.json"
        if not file.is_file():
            file.parent.mkdir(exist_ok=True)
            reached = []
            trainer = self.config.base.in_a_run().model_copy(update={"underdetermined": True})
            for atoms in (self.isolated(), "fitted"):
                trainer.train(labelled, out=file.with_suffix(".yace"), reference_energies=atoms)
                potential = ACEPotential.from_yace(file.with_suffix(".yace"))
                reached.append(errors(potential.evaluate(test), test))
            write_json(file, {key: min(found[key] for found in reached) for key in QUANTITIES})
        found: dict[str, float] = json.loads(file.read_text(encoding="utf-8"))
        return found

    def isolated(self) -> dict[str, float]:
        """eV, the isolated atoms by the oracle."""
        file = self.run_dir / "02_label" / "reference.json"
        found: dict[str, float] = json.loads(file.read_text(encoding="utf-8"))["isolated_atoms_ev"]
        return found

    def label(self, structures: Dataset, reason: str) -> Dataset:
        """Labels by the oracle, kept in this study's folder."""
        store = LabelStore(self.folder / "labels")
        ledger = Ledger(self.folder / "ledger.csv", store)
        oracle, executor = self.config.dft, InlineExecutor()
        return label_structures(structures, oracle, executor, store, ledger, reason=reason).dataset


class OraclePotential(Potential):
    """An oracle as a potential, so that molecular dynamics can run on it."""

    name = "oracle"

    def __init__(self, oracle: Oracle) -> None:
        self.oracle = oracle
        self.elements = ()

    def evaluate(self, structures: Sequence[AtomStructure]) -> list[Labels]:
        return [self._labels(structure) for structure in structures]

    def _labels(self, structure: AtomStructure) -> Labels:
        """NaN where the oracle fails, so that the guards end the trajectory."""
        try:
            return self.oracle.calculate(structure)
        except OracleError:
            return Labels(np.nan, np.full((len(structure), 3), np.nan))

    def calculator(self) -> NoReturn:
        raise NotImplementedError("only evaluated in batches")


def errors(predicted: Sequence[Labels], test: Dataset) -> dict[str, float]:
    """RMSEs by quantity: meV/atom, meV/Å."""
    found = Accuracy.between(predicted, test.labels).as_dict()
    return {name: found[key] for name, key in QUANTITIES.items()}


def crossing(curve: Sequence[dict[str, float]], name: str, target: float) -> dict[str, Any]:
    """The calls at which the reference's error is `target`: log-log between sizes, else a `bound`, ≤ or ≥.

    The reference never gets worse: at each size its best error so far counts.
    """
    calls = np.log([point["calls"] for point in curve])
    reached = np.log(np.minimum.accumulate([point[name] for point in curve]))
    wanted = float(np.log(target))
    if reached[0] <= wanted:
        return {"calls": float(np.exp(calls[0])), "bound": "≤"}
    if reached[-1] > wanted:
        return {"calls": float(np.exp(calls[-1])), "bound": "≥"}
    after = int(np.argmax(reached <= wanted))
    share = (reached[after - 1] - wanted) / (reached[after - 1] - reached[after])
    between = calls[after - 1] + share * (calls[after] - calls[after - 1])
    return {"calls": float(np.exp(between)), "bound": ""}


def summary(found: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Per quantity: the ratio of calls of every seed, their geometric mean, and whether some are bounds."""
    table = {}
    for name in QUANTITIES:
        ratios = [one["crossings"][name]["calls"] / one["calls"] for one in found]
        bounds = {one["crossings"][name]["bound"] for one in found}
        table[name] = {
            "ratio": round(float(np.exp(np.mean(np.log(ratios)))), 2),
            "bound": "".join(sorted(bounds)),
            "of_seeds": [round(ratio, 2) for ratio in ratios],
        }
    return table


def show(name: str, seed: int, found: dict[str, Any]) -> None:
    """The table of one system and seed."""
    print(f"\n{name}, seed {seed}, {found['test']} test structures, {found['seconds']:.0f} s")
    row("", "calls", *QUANTITIES)
    for model, reached in found["errors"].items():
        row(model, found["calls"], *(f"{reached[quantity]:.2f}" for quantity in QUANTITIES))
    for point in found["reference"]:
        row("random, no teacher", point["calls"], *(f"{point[quantity]:.2f}" for quantity in QUANTITIES))
    for quantity, met in found["crossings"].items():
        ratio = met["calls"] / found["calls"]
        print(
            f"the final error of {quantity}: {met['bound']}{met['calls']:.0f} random calls, {ratio:.1f} times"
        )
    sys.stdout.flush()


def row(name: str, *values: object) -> None:
    print(f"{name:>22}" + "".join(f"{value:>12}" for value in values))


def studies(options: argparse.Namespace, folder: Path) -> dict[tuple[str, int], Study]:
    """All that is to be measured, by system and seed."""
    found = {}
    for seed in options.seeds or ([1] if options.quick else [1, 2, 3]):
        for name in options.systems:
            system = SYSTEMS[name]
            config = system.config(seed, options.quick)
            place = folder / f"{name}-{seed}-{config.fingerprint()[:8]}"
            few = {"n_frames": 20, "steps": 20, "sizes": SIZES[:4]} if options.quick else {}
            found[name, seed] = Study(system, config, place, **few)
    return found


def measured(options: argparse.Namespace, folder: Path) -> dict[str, list[dict[str, Any]]]:
    """What every study found, by system, each shown as soon as it is done."""
    wanted = studies(options, folder)
    found = defaultdict(list)
    with ProcessPoolExecutor(options.processes, get_context("spawn")) as pool:
        for (name, seed), one in zip(wanted, pool.map(Study.measure, wanted.values()), strict=True):
            show(name, seed, one)
            found[name].append(one)
    return dict(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one seed, little of everything, under a minute")
    parser.add_argument("--seeds", type=int, nargs="+", help="default: 1 2 3")
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--processes", type=int, default=2, help="studies at a time, one thread each")
    parser.add_argument("--folder", type=Path, help="keeps everything, and goes on where it was stopped")
    options = parser.parse_args()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        found = measured(options, (options.folder or Path(scratch)).resolve())
    tables = {name: summary(of_one) for name, of_one in found.items()}
    print()
    row("fewer calls, at equal", *QUANTITIES)
    for name, table in tables.items():
        row(name, *(f"{table[q]['bound']}{table[q]['ratio']:.1f} ×" for q in QUANTITIES))
    usage = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    result = {
        "seconds": round(time.perf_counter() - started, 1),
        "peak_mb": round(max(usage) / 1024, 1),
        "ratio": min(table[name]["ratio"] for table in tables.values() for name in DECISIVE),
        "reference": "random sampling without a teacher",
        "ratios": tables,
        "studies": found,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
