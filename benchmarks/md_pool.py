"""Is every frame that exploration keeps physical? Asked of an engine that exploration knows nothing of.

    python benchmarks/md_pool.py [--quick] [--frames FILE] [--model FILE]

The example's foundation (or --model) runs molecular dynamics from the reactant and the product of the example
at 300, 600 and 1000 K, as step 4 does; or the frames of a run are read (--frames 04_explore/frames.extxyz).
Nothing of the package's guards is used here: distances come from ASE, and GFN2-xTB (tblite) computes the
energy and the forces of every frame. A frame is unphysical where two atoms are closer than 0.55 of the sum of
their covalent radii, where GFN2 does not converge or has a force above 30 eV/Å, or where it lies more than
0.5 eV per atom above the lowest frame plus the thermal energy of its temperature.

Then short trajectories with guards that see nothing, at 8 times the time step: the same judgement has to
find what the guards would have cut, or it could not find anything.

Prints a table; the last line is one JSON object. `ratio`: the share of unphysical frames with guards over
that without, the `reference`.
"""

import argparse
import json
import os
import re
import resource
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.geometry import get_distances

from pyacemaker.generators.guards import MdGuards
from pyacemaker.generators.langevin import Langevin
from pyacemaker.generators.md import MdGenerator
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.structures import Dataset
from pyacemaker.structures.formats import read_structures

EXAMPLE = Path(__file__).parents[1] / "examples" / "sn2"
BLIND = MdGuards(min_distance=1e-3, max_force=1e6, max_temperature=1e6, min_energy_jump=1e9, drop_frames=0)
MIN_DISTANCE, MAX_FORCE, MAX_ENERGY = 0.55, 30.0, 0.5
BOLTZMANN = 8.617333e-5


def closest(atoms: Atoms) -> float:
    """The smallest distance over the sum of covalent radii."""
    _, distance = get_distances(atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    radii = covalent_radii[atoms.numbers]
    fraction = distance / (radii[:, None] + radii[None])
    return float(fraction[np.triu_indices(len(atoms), 1)].min())


def judged(atoms: Atoms, charge: int) -> tuple[float, float, float, str]:
    """Closest approach, largest force (eV/Å) and energy (eV) by GFN2-xTB, and what is wrong already."""
    from tblite.ase import TBLite

    if not np.isfinite(atoms.positions).all():
        return np.nan, np.nan, np.nan, "not finite"
    near = closest(atoms)
    if near < MIN_DISTANCE or np.abs(atoms.positions).max() > 100.0:
        return near, np.nan, np.nan, "atoms too close" if near < MIN_DISTANCE else "blown apart"
    atoms.calc = TBLite(method="GFN2-xTB", charge=charge, verbosity=0, max_iterations=250)
    try:
        force = float(np.linalg.norm(atoms.get_forces(), axis=1).max())
        energy = float(atoms.get_potential_energy())
    except Exception as error:  # noqa: BLE001 - tblite has no error of its own for what does not converge
        return near, np.nan, np.nan, f"GFN2 fails: {type(error).__name__}"
    return near, force, energy, "large force" if force > MAX_FORCE else ""


def judge(frames: Dataset) -> dict[str, dict[str, float | Counter[str]]]:
    """By tag: how many frames, how many are unphysical and why, and the extremes."""
    rows = defaultdict(list)
    for frame in frames:
        rows[frame.tag].append((*judged(frame.to_atoms(), frame.charge), len(frame)))
    lowest = min((row[2] for part in rows.values() for row in part if np.isfinite(row[2])), default=0.0)
    table: dict[str, dict[str, float | Counter[str]]] = {}
    for tag, part in sorted(rows.items()):
        hottest = max(map(float, re.findall(r"\d+", tag)), default=1000.0)
        reasons: Counter[str] = Counter()
        for _, _, energy, wrong, n in part:
            allowed = n * MAX_ENERGY + 3 * n * BOLTZMANN * hottest
            reason = wrong or ("high energy" if energy - lowest > allowed else "")
            reasons[reason] += bool(reason)
        table[tag] = {
            "frames": len(part),
            "unphysical": sum(reasons.values()),
            "reasons": +reasons,
            "closest": min((row[0] for row in part if np.isfinite(row[0])), default=np.nan),
            "force": max((row[1] for row in part if np.isfinite(row[1])), default=np.nan),
        }
    return table


def explored(model: Path, n: int, dynamics: Langevin, **settings: int) -> tuple[Dataset, Counter[str]]:
    """Frames as step 4 makes them, and what ended trajectories."""
    starts = Dataset(read_structures(EXAMPLE / name)[-1] for name in ("reactant.xyz", "product.xyz"))
    generator = MdGenerator(n_structures=n, n_trajectories=18, dynamics=dynamics, **settings)
    found = generator.run_group(generator.trajectories(starts, seed=1), MacePotential(model))
    events = Counter(one.event.kind if one.event else "completed" for one in found)
    return Dataset(frame for one in found for frame in one.frames), events


def show(title: str, frames: Dataset, events: Counter[str] | None) -> tuple[int, int]:
    print(f"{title}: {len(frames)} frames" + (f", trajectories {dict(events)}" if events else ""), flush=True)
    print(f"{'tag':16}{'frames':>8}{'unphysical':>12}{'closest':>10}{'max |F| eV/Å':>14}")
    table = judge(frames)
    for tag, row in table.items():
        why = dict(row["reasons"]) or ""
        extremes = f"{row['closest']:10.2f}{row['force']:14.1f}"
        print(f"{tag:16}{row['frames']:8}{row['unphysical']:12}{extremes}  {why}", flush=True)
    print()
    return sum(row["unphysical"] for row in table.values()), len(frames)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--frames", type=Path, help="frames of a run, instead of new ones")
    parser.add_argument("--model", type=Path, default=EXAMPLE / "foundation.model")
    settings = parser.parse_args(arguments)
    started, n = time.perf_counter(), 90 if settings.quick else 900
    frames, events = (
        (read_structures(settings.frames), None)
        if settings.frames
        else explored(settings.model, n, Langevin())
    )
    bad, total = show("With guards", frames, events)
    wild, blind_events = explored(
        settings.model, 90, Langevin(timestep=4.0, guards=BLIND), interval=2, equilibration=0
    )
    wild_bad, wild_total = show("Without, at 8 times the time step", wild, blind_events)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    facts = {
        "seconds": time.perf_counter() - started,
        "peak_mb": peak,
        "ratio": (bad / max(total, 1)) / max(wild_bad / max(wild_total, 1), 1e-9),
        "reference": "the same judgement of trajectories without guards",
        "frames": total,
        "unphysical": bad,
        "unphysical_without_guards": wild_bad,
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
