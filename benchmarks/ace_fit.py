"""How fast the linear ACE fit is: rows and normal equations, their solution, two processes, many structures.

    python benchmarks/ace_fit.py [--quick]

The data are disordered Cu crystals with ASE's EMT labels, made on the fly. Prints a table; the last line is
one JSON object. `seconds`: design matrix + normal equations + cross-validated solution of (a) on two
processes. `speedup`: one process over two, on the larger set of (b). `scaling`: seconds per structure at the
largest size over the smallest.
"""

import argparse
import json
import os
import resource
import time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np

from pyacemaker.ace import fit, ridge, shards
from pyacemaker.ace.basis import Basis, orthonormal_bond, rectangular_blocks
from pyacemaker.structures import AtomStructure, Dataset, Labels
from pyacemaker.trainers.ace import AceTrainer

CUTOFF = 6.0
WEIGHTS = fit.RowWeights(15.0, 1.0, 1.0, 30.0)


def emt_crystal(rng: np.random.Generator, repeat: int, symbol: str = "Cu") -> AtomStructure:
    """A distorted, strained fcc cell of repeat × 4 atoms with EMT energy, forces and stress."""
    from ase.build import bulk
    from ase.calculators.emt import EMT

    atoms = bulk(symbol, "fcc", cubic=True).repeat((repeat, 1, 1))
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(scale=0.03, size=(3, 3))), scale_atoms=True)
    atoms.positions += rng.normal(scale=0.08, size=atoms.positions.shape)
    atoms.calc = EMT()
    labels = Labels(atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress())
    return AtomStructure.from_atoms(atoms, labels=labels)


def basis_822() -> Basis:
    """822 functions of one element, ranks 1 to 5."""
    nradmax, lmax = (21, 8, 3, 3, 1), (0, 6, 4, 2, 1)
    bond = orthonormal_bond(CUTOFF, "SBessel", 2.5, (8, 6, 21), 1.6)
    return Basis(("Cu",), {(0, 0): bond}, (rectangular_blocks(0, [99], nradmax, lmax),))


def states(basis: Basis, structures: Dataset, processes: int, folds: int = 5) -> tuple[list, float]:
    """The normal equations of the folds, and the seconds they took."""
    problem = shards.LinearProblem(basis, np.array([3.5]), WEIGHTS, np.zeros((1, 0)))
    groups = [
        shards.WeightedStructures(structures[part], np.ones(len(part)))
        for part in fit.folds(len(structures), folds, 0)
    ]
    started = time.perf_counter()
    found = shards.accumulate(problem, groups, processes)
    return found, time.perf_counter() - started


def row(name: str, *values: object) -> None:
    print(f"{name:<46}" + "".join(f"{value:>14}" for value in values), flush=True)


def speed(quick: bool) -> dict[str, float]:
    """(a): 2,850 atoms × 822 functions on one process and on two."""
    rng = np.random.default_rng(0)
    structures = Dataset(emt_crystal(rng, 2 if k % 2 else 3) for k in range(28 if quick else 285))
    basis = basis_822()
    states(basis, structures[:2], 1)  # compile
    atoms = structures.n_atoms
    found = {}
    for processes in (1, 2):
        folds, seconds = states(basis, structures, processes)
        started = time.perf_counter()
        solution = ridge.cross_validate(folds, ridge.smoothness(basis.degrees, 1.0))
        solving = time.perf_counter() - started
        found[processes] = seconds
        row(
            f"{atoms} atoms x {len(basis)} functions, {processes} process(es)",
            f"{seconds:.2f} s",
            f"{solving:.2f} s",
            f"{1e3 * seconds / atoms:.2f} ms/atom",
        )
    seconds = found[2] + solving
    return {
        "seconds": seconds,
        "solve_seconds": solving,
        "speedup_small": found[1] / found[2],
        "functions": len(basis),
        "atoms": atoms,
        "ridge": solution.strength,
    }


def scaling(sizes: tuple[int, ...]) -> dict[str, float]:
    """(b): whole fits of more and more structures with a small basis."""
    per_structure, peaks = [], []
    rng = np.random.default_rng(1)
    pool = [emt_crystal(rng, 2) for _ in range(min(200, max(sizes)))]
    for size in sizes:
        structures = Dataset(_jittered(pool[k % len(pool)], k) for k in range(size))
        trainer = AceTrainer(functions=60, cutoff=CUTOFF, ridge="evidence", restraints=False)
        started = time.perf_counter()
        trainer.solve(structures, processes=1)
        seconds = time.perf_counter() - started
        per_structure.append(seconds / size)
        peaks.append(peak_mb())
        row(
            f"{size} structures",
            f"{seconds:.2f} s",
            f"{1e3 * seconds / size:.2f} ms each",
            f"{peaks[-1]:.0f} MB",
        )
    return {
        "scaling": per_structure[-1] / per_structure[1 if len(sizes) > 2 else 0],
        "memory_growth_mb": peaks[-1] - peaks[0],
    }


def _jittered(structure: AtomStructure, seed: int) -> AtomStructure:
    """Another structure with the same labels: what the labels say costs no time."""
    noise = np.random.default_rng(seed).normal(scale=0.01, size=structure.positions.shape)
    return structure.replace(positions=structure.positions + noise)


def speedup(atoms: int) -> float:
    """One process over two; the start of the workers is included."""
    rng = np.random.default_rng(2)
    pool = [emt_crystal(rng, 3) for _ in range(50)]
    structures = Dataset(_jittered(pool[k % 50], k) for k in range(atoms // 12))
    basis = basis_822()
    one, two = (states(basis, structures, processes)[1] for processes in (1, 2))
    row(
        f"{structures.n_atoms} atoms, 1 and 2 processes", f"{one:.2f} s", f"{two:.2f} s", f"{one / two:.2f} x"
    )
    return one / two


def peak_mb() -> float:
    """Largest memory of this process or of a child so far, MB."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(kind).ru_maxrss for kind in kinds) / 1024.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, under a minute")
    quick = parser.parse_args().quick
    row("what", "rows + Gram", "solve", "")
    result = speed(quick)
    result |= scaling((100, 300) if quick else (100, 1000, 10000))
    result["speedup"] = speedup(3000 if quick else 30000)
    result |= {"peak_mb": peak_mb(), "ratio": None, "reference": None}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
