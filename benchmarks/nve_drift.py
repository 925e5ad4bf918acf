"""Does a model conserve energy? The drift of its total energy without a thermostat.

    python benchmarks/nve_drift.py [--quick] [--model FILE ...] [--structure FILE]

Velocity Verlet from thermal velocities, each model and temperature at two time steps; the structure is the
example's reactant unless another is given. Drift: the slope of a straight line through the total energy over
time, meV/atom/ps; fluctuation: the standard deviation about the line, meV/atom, which falls with the square
of the time step where forces are the gradient of the energy. The reference is a model whose forces are not:
the first one with a force that turns around an axis added, 0.05 eV/Å², which the drift has to show.

Prints a table; the last line is one JSON object. `ratio`: the largest drift of the models over that of the
`reference`.
"""

import argparse
import json
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np
from ase import units
from ase.data import atomic_masses

from pyacemaker.potentials.base import Potential
from pyacemaker.potentials.loading import load_potential
from pyacemaker.structures import AtomStructure, Labels
from pyacemaker.structures.formats import read_structures

EXAMPLE = Path(__file__).parents[1] / "examples" / "sn2"


def trajectory(
    evaluate: Callable[[AtomStructure], Labels],
    start: AtomStructure,
    temperature: float,
    timestep: float,
    steps: int,
) -> np.ndarray:
    """(steps,) total energy, eV. temperature: K, of the first velocities. timestep: fs."""
    rng, dt = np.random.default_rng(1), timestep * units.fs
    masses = atomic_masses[start.numbers][:, None]
    velocities = np.sqrt(units.kB * temperature / masses) * rng.standard_normal(start.positions.shape)
    velocities -= (masses * velocities).sum(axis=0) / masses.sum()
    positions, labels, total = start.positions.copy(), evaluate(start), []
    for _ in range(steps):
        velocities += 0.5 * dt * labels.forces / masses
        positions += dt * velocities
        labels = evaluate(start.replace(positions=positions))
        velocities += 0.5 * dt * labels.forces / masses
        total.append(labels.energy + 0.5 * float((masses * velocities**2).sum()))
    return np.array(total)


def drift(total: np.ndarray, timestep: float, n_atoms: int) -> tuple[float, float]:
    """Slope in meV/atom/ps, and standard deviation about the line in meV/atom."""
    picoseconds = 1e-3 * timestep * np.arange(len(total))
    slope, offset = np.polyfit(picoseconds, total, 1)
    rest = total - slope * picoseconds - offset
    return 1e3 * float(slope) / n_atoms, 1e3 * float(rest.std()) / n_atoms


def evaluator(potential: Potential, curl: float = 0.0) -> Callable[[AtomStructure], Labels]:
    """The model's labels, with a force field that is no gradient added: `curl` (eV/Å²) times (−y, x, 0)."""

    def evaluate(structure: AtomStructure) -> Labels:
        labels = potential.evaluate([structure])[0]
        offset = structure.positions - structure.positions.mean(axis=0)
        turning = np.stack([-offset[:, 1], offset[:, 0], np.zeros(len(offset))], axis=1)
        return Labels(labels.energy, labels.forces + curl * turning)

    return evaluate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--model", type=Path, nargs="+", default=[EXAMPLE / "foundation.model"])
    parser.add_argument("--structure", type=Path, default=EXAMPLE / "reactant.xyz")
    settings = parser.parse_args()
    started = time.perf_counter()
    start = read_structures(settings.structure)[-1].replace(labels=None)
    picoseconds = 0.2 if settings.quick else 2.0
    temperatures = (300.0,) if settings.quick else (300.0, 600.0)
    print(f"{'model':28}{'K':>6}{'fs':>6}{'drift meV/atom/ps':>20}{'fluctuation meV/atom':>22}")
    worst, reference = 0.0, 0.0
    for number, path in enumerate(settings.model):
        potential = load_potential(path)
        for temperature in temperatures:
            for timestep in (1.0, 0.5):
                steps = round(1e3 * picoseconds / timestep)
                total = trajectory(evaluator(potential), start, temperature, timestep, steps)
                slope, spread = drift(total, timestep, len(start))
                name = f"{path.parent.name}/{path.name}"
                print(f"{name:28}{temperature:6.0f}{timestep:6.1f}{slope:20.4f}{spread:22.4f}")
                worst = max(worst, abs(slope)) if timestep == 0.5 else worst
        if number == 0:
            steps = round(1e3 * picoseconds / 0.5)
            total = trajectory(evaluator(potential, 0.05), start, temperatures[0], 0.5, steps)
            reference, spread = drift(total, 0.5, len(start))
            print(
                f"{'with a turning force':28}{temperatures[0]:6.0f}{0.5:6.1f}{reference:20.4f}{spread:22.4f}"
            )
    facts = {
        "seconds": time.perf_counter() - started,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "ratio": worst / max(abs(reference), 1e-12),
        "reference": "a turning force of 0.05 eV/Å² added",
        "drift_mev_per_atom_per_ps": worst,
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
