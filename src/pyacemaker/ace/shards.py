"""Normal equations of many structures, in shards: parts that any process may do, in any order, once.

The partition depends on the structures alone, never on the number of processes, and the shards are added in
their order: the sum has the same bits however it came about. With a directory every finished shard is kept
under a name that is a hash of all it depends on: a fit that was killed goes on from there, and a changed
structure, label, weight or basis leads to another name.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from pyacemaker.ace.basis import Basis
from pyacemaker.ace.design import Design
from pyacemaker.ace.fit import RowWeights, normal_equations
from pyacemaker.ace.gram import NormalEquations
from pyacemaker.errors import DataError, UnsupportedElementError
from pyacemaker.processes import map_ordered
from pyacemaker.structures import AtomStructure, FloatArray
from pyacemaker.structures.dataset import locating

LARGEST_NUMBER = 32
"""About how many shards there are at most in all: each is as large as the Gram matrix while it travels."""

SMALLEST_ROWS = 1000
"""Rows below which a shard is not worth a process's attention."""

PARALLEL_WORK = 2e5
"""Atoms × functions below which one process does it all: a fraction of a second."""

_VERSION = 1
"""Part of every shard's name: raise it when the rows change their meaning."""


@dataclass(frozen=True, eq=False)
class LinearProblem:
    """What turns labelled structures into weighted rows.

    e0: (N,), eV. shifts: (N, M), the directions in which E0 is fitted; see `fit.normal_equations`.
    """

    basis: Basis
    e0: FloatArray
    weights: RowWeights
    shifts: FloatArray

    @property
    def unknowns(self) -> int:
        """K + M: coefficients, then shifts of E0."""
        return len(self.basis) + int(self.shifts.shape[1])

    def digest(self) -> bytes:
        """A hash of everything in it."""
        hasher = hashlib.sha256(
            repr((_VERSION, self.weights, self.basis.elements, self.basis.core_switches)).encode()
        )
        for pair in sorted(self.basis.bonds):
            bond = self.basis.bonds[pair]
            scalars = {name: value for name, value in vars(bond).items() if name != "coefficients"}
            hasher.update(repr((pair, bond.coefficients.shape, scalars)).encode())
            hasher.update(bond.coefficients.tobytes())
        for blocks in self.basis.blocks:
            for block in blocks:
                hasher.update(repr((block.mu0, block.columns, block.coupling.shape)).encode())
                hasher.update(block.ms.tobytes() + block.coupling.tobytes())
        hasher.update(repr(self.shifts.shape).encode() + self.e0.tobytes() + self.shifts.tobytes())
        return hasher.digest()


@dataclass(frozen=True, eq=False)
class WeightedStructures:
    """Labelled structures and (S,) the factors on their squared errors. first: position of the first one."""

    structures: Sequence[AtomStructure]
    importance: FloatArray
    first: int = 0

    def rows(self) -> int:
        """About how many rows they have."""
        return sum(7 + 3 * len(structure) for structure in self.structures)

    def parts(self, count: int) -> "list[WeightedStructures]":
        """`count` parts of about equal numbers of rows, in order; fewer where there are fewer structures."""
        sizes = np.cumsum([7 + 3 * len(structure) for structure in self.structures])
        edges = np.searchsorted(sizes, sizes[-1] * np.arange(1, count) / count, side="left") + 1
        bounds = np.unique(np.concatenate([[0], edges, [len(self.structures)]])).tolist()
        return [
            WeightedStructures(self.structures[a:b], self.importance[a:b], self.first + a)
            for a, b in pairwise(bounds)
        ]

    def digest(self) -> bytes:
        """A hash of geometries, labels and weights, to the last bit."""
        hasher = hashlib.sha256(self.importance.tobytes())
        for structure in self.structures:
            hasher.update(f"{len(structure)}".encode())
            for array in (structure.numbers, structure.positions, structure.cell, structure.pbc):
                hasher.update(array.tobytes())
            labels, weights = structure.labels, structure.label_weights
            if labels is not None:
                stress = b"-" if labels.stress is None else labels.stress.tobytes()
                hasher.update(np.float64(labels.energy).tobytes() + labels.forces.tobytes() + stress)
            if weights is not None:
                hasher.update(np.float64(weights.energy).tobytes())
                hasher.update(weights.forces.tobytes() + weights.stress.tobytes())
        return hasher.digest()


def accumulate(
    problem: LinearProblem,
    groups: Sequence[WeightedStructures],
    processes: int = 1,
    directory: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[NormalEquations]:
    """The normal equations of each group (a fold, the restraints), summed over its shards.

    processes: worker processes; results do not depend on it. directory: where finished shards are kept and
    looked for; they may be deleted after the fit. progress: called with the number of structures done since
    the last call. Raises `DataError` and `UnsupportedElementError` that name the structure.
    """
    shards = [
        (group, part)
        for group, members in enumerate(groups)
        for part in (members.parts(_count(members, len(groups))) if len(members.structures) else [])
    ]
    states = _states(problem, [part for _, part in shards], processes, directory)
    totals: list[NormalEquations | None] = [None] * len(groups)
    for (group, part), state in zip(shards, states, strict=True):
        total = totals[group]
        totals[group] = state if total is None else total.absorb(state)
        if progress is not None:
            progress(len(part.structures))
    return [NormalEquations.empty(problem.unknowns) if total is None else total for total in totals]


def _count(members: WeightedStructures, groups: int) -> int:
    """How many shards a group has: from its rows and the number of groups alone."""
    wanted = -(-members.rows() // SMALLEST_ROWS)
    return max(1, min(wanted, -(-LARGEST_NUMBER // groups)))


def _states(
    problem: LinearProblem, parts: Sequence[WeightedStructures], processes: int, directory: Path | None
) -> Iterator[NormalEquations]:
    paths = [None] * len(parts) if directory is None else _paths(problem, parts, directory)
    missing = [(part, path) for part, path in zip(parts, paths, strict=True) if not _is_there(path)]
    work = len(problem.basis) * sum(len(s) for part, _ in missing for s in part.structures)
    workers = processes if work > PARALLEL_WORK else 1
    computed = map_ordered(
        _shard, missing, min(workers, len(missing)), prepare=_prepare, prepare_args=(problem,)
    )
    done = [_is_there(path) for path in paths]  # before the first is computed
    for path, is_done in zip(paths, done, strict=True):
        if is_done and path is not None:
            yield NormalEquations.load(path)
        else:
            yield next(computed)
    for _ in computed:  # to its end, so that the workers are released
        pass
    _WORKER.clear()


def _is_there(path: Path | None) -> bool:
    return path is not None and path.is_file()


def _paths(problem: LinearProblem, parts: Sequence[WeightedStructures], directory: Path) -> list[Path | None]:
    shared = problem.digest()
    return [directory / f"{hashlib.sha256(shared + part.digest()).hexdigest()[:32]}.npz" for part in parts]


_WORKER: dict[str, tuple[LinearProblem, Design]] = {}
"""What all shards of a process share; filled by `_prepare`."""


def _prepare(problem: LinearProblem) -> None:
    _WORKER["problem"] = (problem, Design(problem.basis))


def _shard(item: tuple[WeightedStructures, Path | None]) -> NormalEquations:
    part, path = item
    problem, design = _WORKER["problem"]
    try:
        state = normal_equations(
            design,
            part.structures,
            problem.e0,
            problem.weights,
            part.importance,
            shifts=problem.shifts,
        )
    except (DataError, UnsupportedElementError):
        _blame(design, part, problem)
        raise
    if path is not None:
        state.save(path)
    return state


def _blame(design: Design, part: WeightedStructures, problem: LinearProblem) -> None:
    """Raise the error of a shard again with the place of the structure that causes it."""
    for index, structure in enumerate(part.structures):
        with locating(part.first + index, structure):
            normal_equations(design, [structure], problem.e0, problem.weights, np.ones(1))
