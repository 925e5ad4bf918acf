"""Molecular dynamics of many replicas: steps per second against ASE, and against torch-sim where installed.

    python benchmarks/dynamics.py [--quick] [--model FILE] [--device cuda] [--replicas N]

Langevin dynamics at 600 K of replicas of the example's six-atom complex, with the same model, time step and
friction: by `MdGenerator` (guards and all), by ASE's Langevin with MACE's calculator one replica after the
other, and by torch-sim's batched `nvt_langevin` with its own MACE model. One thread; all take turns, the
shortest time of each counts. The means of the potential energy over the second half of all replicas are
compared: they have to agree within their standard errors.

Prints a table; the last line is one JSON object. `ratio`: our time over ASE's, the `reference`; with
torch-sim `torch_sim_ratio`: our time over its.
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np
import torch
from ase import units

from pyacemaker.generators.langevin import Langevin, TrajectoryPlan
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.potentials.mace_model import quiet_mace
from pyacemaker.structures import AtomStructure
from pyacemaker.structures.formats import read_structures

ROOT = Path(__file__).parents[1]
TEMPERATURE, TIMESTEP, FRICTION = 600.0, 0.5, 0.02

Engine = Callable[[AtomStructure, int, int], np.ndarray]
"""From a start, a number of replicas and of steps to energies (replicas, frames) in eV, every ten steps."""


def ours(settings: argparse.Namespace) -> Engine:
    potential = MacePotential(settings.model, device=settings.device)
    dynamics = Langevin(timestep=TIMESTEP, friction=FRICTION, confine=None)

    def run(start: AtomStructure, replicas: int, steps: int) -> np.ndarray:
        plans = [
            TrajectoryPlan(start, TEMPERATURE, seed, steps // 10, 10, 0, "md") for seed in range(replicas)
        ]
        found = dynamics.run(plans, potential)
        assert not any(one.event for one in found)
        return np.array([[label.energy for label in potential.evaluate(one.frames)] for one in found])

    return run


def with_ase(settings: argparse.Namespace) -> Engine:
    with quiet_mace():
        from mace.calculators import MACECalculator

        calculator = MACECalculator(
            model_paths=str(settings.model), device=settings.device, default_dtype="float64"
        )
    from ase.md.langevin import Langevin as AseLangevin
    from ase.md.velocitydistribution import MaxwellBoltzmannDistribution

    def run(start: AtomStructure, replicas: int, steps: int) -> np.ndarray:
        found = []
        for seed in range(replicas):
            rng = np.random.default_rng(seed)
            atoms = start.to_atoms()
            atoms.calc = calculator
            MaxwellBoltzmannDistribution(atoms, temperature_K=TEMPERATURE, rng=rng)
            md = AseLangevin(
                atoms,
                TIMESTEP * units.fs,
                temperature_K=TEMPERATURE,
                friction=FRICTION / units.fs,
                fixcm=False,
                rng=rng,
            )
            energies: list[float] = []
            md.attach(lambda a=atoms, e=energies: e.append(a.get_potential_energy()), interval=10)
            md.run(steps)
            found.append(energies[1:])
        return np.array(found)

    return run


def with_torch_sim(settings: argparse.Namespace) -> Engine | None:
    try:
        with quiet_mace():
            import torch_sim
            from torch_sim.integrators import nvt_langevin
            from torch_sim.models.mace import MaceModel
    except ImportError as error:
        print(f"torch-sim is not here: {error}")
        return None
    with quiet_mace():
        raw = torch.load(settings.model, map_location=settings.device, weights_only=False)
        model = MaceModel(
            model=raw.to(torch.float64),
            device=torch.device(settings.device),
            dtype=torch.float64,
            compute_forces=True,
            compute_stress=False,
        )

    def run(start: AtomStructure, replicas: int, steps: int) -> np.ndarray:
        atoms = start.to_atoms()
        atoms.cell = 40.0 * np.eye(3)
        state = torch_sim.initialize_state(
            [atoms.copy() for _ in range(replicas)], model.device, torch.float64
        )
        kinetic = torch.tensor(units.kB * TEMPERATURE, dtype=torch.float64, device=model.device)
        begin, update = nvt_langevin(
            model,
            dt=torch.tensor(TIMESTEP * units.fs, dtype=torch.float64, device=model.device),
            kT=kinetic,
            gamma=torch.tensor(FRICTION / units.fs, dtype=torch.float64, device=model.device),
        )
        state, energies = begin(state, seed=1), []
        for step in range(1, steps + 1):
            state = update(state)
            if step % 10 == 0:
                energies.append(state.energy.detach().cpu().numpy().copy())
        return np.array(energies).T

    return run


def timed(engine: Engine, start: AtomStructure, settings: argparse.Namespace) -> tuple[float, np.ndarray]:
    clock = time.process_time if settings.device == "cpu" else time.perf_counter
    begun = clock()
    energies = engine(start, settings.replicas, settings.steps)
    return clock() - begun, energies


def mean_energy(energies: np.ndarray) -> tuple[float, float]:
    """eV: the mean over the second half of all replicas, and its standard error from the replicas' spread."""
    means = energies[:, energies.shape[1] // 2 :].mean(axis=1)
    return float(means.mean()), float(means.std(ddof=1) / np.sqrt(len(means)))


def report(settings: argparse.Namespace) -> dict[str, Any]:
    begun = time.perf_counter()
    start = read_structures(ROOT / "examples" / "sn2" / "reactant.xyz")[-1].replace(labels=None)
    engines = {"ours": ours(settings), "ASE": with_ase(settings), "torch-sim": with_torch_sim(settings)}
    present = {name: engine for name, engine in engines.items() if engine is not None}
    best, energies = dict.fromkeys(present, np.inf), {}
    for _ in range(1 if settings.quick else 2):
        for name, engine in present.items():
            seconds, energies[name] = timed(engine, start, settings)
            best[name] = min(best[name], seconds)
    print(f"{settings.replicas} replicas, {settings.steps} steps, {settings.device}")
    print(f"{'':12}{'ms/step of all':>16}{'replica steps/s':>17}{'mean E − ours, eV':>22}")
    mean = {name: mean_energy(found) for name, found in energies.items()}
    for name, seconds in best.items():
        off, error = mean[name][0] - mean["ours"][0], np.hypot(mean[name][1], mean["ours"][1])
        rate = settings.replicas * settings.steps / seconds
        print(f"{name:12}{1e3 * seconds / settings.steps:16.2f}{rate:17.0f}{off:14.3f} ± {error:.3f}")
    facts = {
        "seconds": time.perf_counter() - begun,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "ratio": best["ours"] / best["ASE"],
        "reference": "ASE's Langevin with MACE's calculator",
    }
    if "torch-sim" in best:
        facts["torch_sim_ratio"] = best["ours"] / best["torch-sim"]
    return facts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--model", type=Path, default=ROOT / "tests" / "data" / "sn2_foundation.model")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--replicas", type=int, default=16)
    settings = parser.parse_args()
    settings.steps = 50 if settings.quick else 400
    if settings.device == "cpu":
        torch.set_num_threads(1)
    print(json.dumps(report(settings)))


if __name__ == "__main__":
    main()
