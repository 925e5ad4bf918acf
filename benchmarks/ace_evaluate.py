"""Speed of ACE evaluation: energy and forces per atom, against python-ace where it is installed.

    python benchmarks/ace_evaluate.py [--quick]

Copper in a rattled fcc supercell with 78 neighbours per atom, bases of about 76 to 2331 functions, and one
potential of three species. Both sides are met as a user meets them, through an ASE calculator that builds its
neighbour list; the columns `kernel` leave the lists out. The two take turns, and the smallest time of each
counts. One thread. Ends with one JSON object; `ratio` is the worst of ours / reference over the sizes.
"""

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
from ase import Atoms
from ase.build import bulk

from pyacemaker.ace.basis import Basis, Block, graded_blocks, orthonormal_bond
from pyacemaker.ace.neighbours import neighbour_list
from pyacemaker.potentials.ace import ACEPotential
from pyacemaker.structures import AtomStructure

SIZES = {76: 15.0, 189: 27.5, 451: 39.0, 895: 57.0, 2331: 205.0}
"""Numbers of functions, and µs/atom of a prototype of this engine on another machine, with its list."""

LATTICE_CONSTANT = 3.61
CUTOFF = LATTICE_CONSTANT * (np.sqrt(2.5) + np.sqrt(3.0)) / 2
"""Å: between the fifth and the sixth shell of fcc, 78 neighbours."""

Timer = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """One potential and the structure on which it is timed."""

    name: str
    functions: int
    path: Path
    atoms: Atoms
    prototype: float | None = None


def blocks_of_size(mu: int, species: int, functions: int, max_rank: int) -> tuple[Block, ...]:
    """The simplest blocks, until `functions` functions are reached."""
    many = graded_blocks(mu, np.full(species, 78), 2 * functions, max_rank, 8, 8)
    chosen: list[Block] = []
    for block in sorted(many, key=lambda block: (block.degree, block.rank, block.columns)):
        if sum(map(len, chosen)) + len(block) <= functions:
            chosen.append(block)
    return tuple(sorted(chosen, key=lambda block: (block.rank, block.columns)))


def write_potential(elements: tuple[str, ...], functions: int, max_rank: int, path: Path) -> int:
    """Write a potential with random coefficients; returns its number of functions per species."""
    species = range(len(elements))
    blocks = tuple(blocks_of_size(mu, len(elements), functions, max_rank) for mu in species)
    nradmax = max(n for block in blocks[0] for _, n, _ in block.columns)
    lmax = max(angular for block in blocks[0] for _, _, angular in block.columns)
    bond = orthonormal_bond(CUTOFF, "SBessel", 2.5, (nradmax, lmax, nradmax), 1.5)
    basis = Basis(elements, {(a, b): bond for a in species for b in species}, blocks)
    rng = np.random.default_rng(functions)
    coefficients = rng.normal(size=len(basis)) * 0.02 / 4.0**basis.ranks
    ACEPotential(basis.to_model(coefficients, np.zeros(len(elements)))).to_yace(path)
    return basis.counts[0]


def make_atoms(elements: tuple[str, ...], repeat: int) -> Atoms:
    """A rattled fcc supercell with elements at random."""
    atoms = bulk("Cu", a=LATTICE_CONSTANT, cubic=True) * (repeat, repeat, repeat)
    rng = np.random.default_rng(0)
    atoms.positions += rng.normal(scale=0.05, size=(len(atoms), 3))
    atoms.symbols = rng.choice(elements, len(atoms))
    return atoms


def make_cases(folder: Path, quick: bool, max_rank: int) -> list[Case]:
    """One case for each size, and one with three species."""
    cases = []
    for size, prototype in SIZES.items():
        path = folder / f"cu-{size}.yace"
        found = write_potential(("Cu",), size, max_rank, path)
        cases.append(Case("Cu", found, path, make_atoms(("Cu",), 4 if quick else 6), prototype))
    elements = ("Al", "Cu", "Ni")
    found = write_potential(elements, 400, 3, folder / "three.yace")
    cases.append(Case("AlCuNi", found, folder / "three.yace", make_atoms(elements, 4 if quick else 6)))
    return cases


def ours(case: Case) -> dict[str, Timer]:
    """What is timed of this package: a calculator, and its kernel alone."""
    potential = ACEPotential.from_yace(case.path)
    calculator, compiled, atoms = potential.calculator(), potential.compiled, case.atoms
    edges = neighbour_list(atoms.positions, atoms.cell.array, atoms.pbc, potential.model.cutoff)
    species = compiled.species(atoms.numbers)
    return {
        "ours": lambda: calculator.calculate(atoms),
        "kernel": lambda: compiled.evaluate_edges(species, edges),
    }


def theirs(case: Case) -> dict[str, Timer]:
    """The same of python-ace, with its recursive and its default evaluator; empty where it is missing."""
    try:
        from pyace import PyACECalculator
    except ImportError:
        return {}

    def timers(name: str, **options: bool) -> dict[str, Timer]:
        calculator = PyACECalculator(str(case.path), **options)
        calculator.compute_projections = False
        calculator.calculate(case.atoms)
        return {
            name: lambda: calculator.calculate(case.atoms),
            f"{name} kernel": lambda: calculator.ace.compute(calculator.ae, compute_projections=False),
        }

    recursive = timers("recursive", recursive_evaluator=True, recursive=True)
    return {**recursive, **{name: timer for name, timer in timers("default").items() if name == "default"}}


def check_agreement(case: Case) -> None:
    """Both say the same of the structure, or the comparison means nothing."""
    from pyace import PyACECalculator

    found = ACEPotential.from_yace(case.path).evaluate([AtomStructure.from_atoms(case.atoms)])[0]
    calculator = PyACECalculator(str(case.path), recursive_evaluator=True, recursive=True)
    calculator.calculate(case.atoms)
    error = np.abs(calculator.results["forces"] - found.forces).max()
    assert error < 1e-5 * np.abs(found.forces).max(), f"forces differ by {error} eV/Å"


def measure(timers: dict[str, Timer], atoms: int, rounds: int) -> dict[str, float]:
    """µs/atom of each, the smallest of `rounds` in which all take turns.

    Processor time: what others do on the machine does not count.
    """
    best = {name: np.inf for name in timers}
    for _ in range(rounds):
        for name, timer in timers.items():
            start = time.process_time()
            timer()
            best[name] = min(best[name], time.process_time() - start)
    return {name: 1e6 * seconds / atoms for name, seconds in best.items()}


def measure_case(case: Case, rounds: int) -> dict[str, object]:
    """The row of one potential."""
    mine, reference = ours(case), theirs(case)
    for timer in mine.values():
        timer()
    if reference:
        check_agreement(case)
    found = measure({**mine, **reference}, len(case.atoms), rounds)
    row: dict[str, object] = {"system": case.name, "functions": case.functions, "atoms": len(case.atoms)}
    row |= {name.replace(" ", "_"): round(value, 2) for name, value in found.items()}
    row["prototype"] = case.prototype
    if reference:
        row["ratio"] = round(found["ours"] / found["recursive"], 3)
        row["kernel_ratio"] = round(found["kernel"] / found["recursive kernel"], 3)
    return row


def measure_small(case: Case) -> float:
    """µs for a calculation of a one-atom cell through the calculator: the price of a call."""
    atoms = bulk("Cu", a=LATTICE_CONSTANT)
    calculator = ACEPotential.from_yace(case.path).calculator()
    calculator.calculate(atoms)
    return measure({"call": lambda: calculator.calculate(atoms)}, 1, 30)["call"]


def measure_batch(case: Case, quick: bool) -> dict[str, float]:
    """Seconds to evaluate many structures in one process and in two; the start of the workers included."""
    structure = AtomStructure.from_atoms(case.atoms)
    potential = ACEPotential.from_yace(case.path)
    potential.evaluate([structure])
    start = time.perf_counter()
    potential.evaluate([structure] * 10)
    each = (time.perf_counter() - start) / 10
    batch = [structure] * int((4.0 if quick else 40.0) / each)
    seconds = []
    for processes in (1, 2):
        start = time.perf_counter()
        potential.evaluate(batch, processes=processes)
        seconds.append(time.perf_counter() - start)
    atoms = len(batch) * len(structure)
    return {"atoms": atoms, "one": seconds[0], "two": seconds[1], "speed_up": seconds[0] / seconds[1]}


def reference_name() -> str | None:
    """Name and version of the reference, None where it is not installed."""
    try:
        import pyace
    except ImportError:
        return None
    return f"python-ace {pyace.__version__}"


COLUMNS = (
    "system",
    "functions",
    "ours",
    "kernel",
    "recursive",
    "recursive_kernel",
    "default",
    "prototype",
    "ratio",
    "kernel_ratio",
)


def print_table(rows: list[dict[str, object]]) -> None:
    """All rows; what was not measured is left blank."""
    print(" ".join(f"{name:>16}" for name in COLUMNS), "  (µs/atom)")
    for row in rows:
        print(" ".join(f"{row[name] if row.get(name) is not None else '':>16}" for name in COLUMNS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller cells, fewer repetitions")
    parser.add_argument("--max-rank", type=int, default=5, help="largest rank of a function")
    options = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        cases = make_cases(Path(folder), options.quick, options.max_rank)
        rows = [measure_case(case, 5 if options.quick else 9) for case in cases]
        print_table(rows)
        call = measure_small(cases[0])
        print(f"one call for a one-atom cell: {call:.0f} µs")
        batch = measure_batch(cases[3], options.quick)
        print(f"{batch['atoms']} atoms: 1 process {batch['one']:.1f} s, 2 processes {batch['two']:.1f} s")
    ratios = [row["ratio"] for row in rows if "ratio" in row]
    result = {
        "seconds": round(time.perf_counter() - start, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "ratio": max(ratios) if ratios else None,
        "reference": reference_name(),
        "call_us": round(call, 1),
        "batch": {name: round(value, 3) for name, value in batch.items()},
        "rows": rows,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
