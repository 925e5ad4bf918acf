"""Active sets: per element the K atomic environments whose invariants span the largest volume.

γ_i = max_k |(B_i A⁻¹)_k| is the extrapolation grade of atom i: the rows of A are the invariants of the active
environments, B_i those of the atom; a γ above 1 means that the volume would grow with that atom in the set
(Podryabinkin, Shapeev, Comput. Mater. Sci. 140, 171 (2017); for ACE: Lysogorskiy et al., Phys. Rev. Materials
7, 043801 (2023)). Rows are exchanged until no γ exceeds a tolerance (MaxVol: Goreinov et al., in Matrix
Methods, World Scientific 2010).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy.linalg.lapack import dgecon, dgetrf

from pyacemaker.ace.basis import Basis
from pyacemaker.ace.design import Design
from pyacemaker.errors import InsufficientDataError, UnsupportedElementError
from pyacemaker.processes import map_ordered
from pyacemaker.structures import AtomStructure, FloatArray, IntArray

TOLERANCE = 1.01
"""Largest γ over all environments that an active set leaves."""

SMALLEST_RECIPROCAL_CONDITION = 1e-15
"""Of the active rows, columns scaled to a largest entry of 1; below this they count as rank-deficient."""

ATOMS_PER_CHUNK = 2048
"""Atoms whose invariants are computed together, unless one structure has more."""

KEPT_BYTES = 2**30
"""Invariants up to this size stay in memory between passes over the data; others are computed again."""

Progress = Callable[[int, int], None]
Chunk = list[tuple[FloatArray, IntArray]]
"""Per species the invariants of some atoms (n, K), and the structure and number of each (n, 2)."""


@dataclass(frozen=True, eq=False)
class ElementActiveSet:
    """The active set of one element with K functions.

    inverse: (K, K), A⁻¹. members: (K, 2), which structure and which atom in it the rows of A are.
    environments: how many there were to choose from. largest: their largest γ.
    """

    element: str
    inverse: FloatArray
    members: IntArray
    environments: int
    largest: float


def grades(invariants: FloatArray, inverse: FloatArray) -> FloatArray:
    """(n,) γ of each row of `invariants` (n, K); zero where an element has no functions."""
    if not inverse.size:
        return np.zeros(len(invariants))
    return np.asarray(np.abs(invariants @ inverse).max(axis=1))


def maxvol(rows: FloatArray, tolerance: float = TOLERANCE) -> IntArray:
    """K distinct rows of `rows` (n ≥ K, K) such that no exchange raises |det| by more than `tolerance`.

    Also for rank-deficient rows: those chosen span what all span. Deterministic.
    """
    if len(rows) < rows.shape[1]:
        raise ValueError(f"{len(rows)} rows for {rows.shape[1]} columns; MaxVol needs at least as many")
    if not rows.shape[1]:
        return np.zeros(0, dtype=np.int64)
    lower, chosen = _pivoted(rows)
    return _exchanged(lower @ np.linalg.inv(lower[chosen]), chosen, tolerance)


def active_sets(
    basis: Basis,
    structures: Sequence[AtomStructure],
    *,
    processes: int = 1,
    tolerance: float = TOLERANCE,
    progress: Progress | None = None,
) -> tuple[ElementActiveSet, ...]:
    """The active set of each element of `basis`, chosen from all atoms of `structures`.

    Structures go through in chunks, repeatedly, until none of their atoms has a γ above `tolerance`. The
    result does not depend on the number of processes. progress: called with structures whose invariants have
    been computed and how many there are in all; again from the start for another pass over data that does not
    fit into memory.

    Raises `InsufficientDataError` where an element has no environments, fewer than functions, or linearly
    dependent ones, and `UnsupportedElementError` for an element outside the basis.
    """
    counts = _environments(basis, structures)
    elements = [_Growing(count) for count in basis.counts]
    chunks = _Chunks(basis, structures, processes, progress)
    while True:
        exchanged = False
        for growing in elements:
            growing.largest = 0.0
        for found in chunks:
            for growing, (rows, members) in zip(elements, found, strict=True):
                exchanged |= growing.add(rows, members, tolerance)
        for symbol, growing in zip(basis.elements, elements, strict=True):
            growing.require_full_rank(symbol)
        if not exchanged:
            break
    return tuple(
        ElementActiveSet(symbol, growing.inverse, growing.members, count, growing.largest)
        for symbol, growing, count in zip(basis.elements, elements, counts, strict=True)
    )


class _Growing:
    """The active set of one element while the data goes by."""

    def __init__(self, functions: int) -> None:
        self.rows = np.zeros((0, functions))
        self.members = np.zeros((0, 2), dtype=np.int64)
        self.inverse = np.zeros((functions, functions))
        self.full = functions == 0
        self.largest = 0.0

    def add(self, rows: FloatArray, members: IntArray, tolerance: float) -> bool:
        """Take up what of `rows` enlarges the volume; whether anything did."""
        functions = self.rows.shape[1]
        if not len(rows) or not functions:
            return False
        if self.full:
            weights = rows @ self.inverse
            largest = np.abs(weights).max(axis=1)
            self.largest = max(self.largest, float(largest.max()))
            if largest.max() <= tolerance:
                return False
            outside = np.flatnonzero(largest > tolerance)
            start = np.arange(functions)
            pool = np.concatenate([np.eye(functions), weights[outside]])
            chosen = _exchanged(pool, start, tolerance)
            rows, members = rows[outside], members[outside]
        else:
            pool = np.concatenate([self.rows, rows])
            chosen = maxvol(pool, tolerance) if len(pool) >= functions else np.arange(len(pool))
        self.rows = np.concatenate([self.rows, rows])[chosen]
        self.members = np.concatenate([self.members, members])[chosen]
        self.full = len(self.rows) == functions and _reciprocal_condition(self.rows) > (
            SMALLEST_RECIPROCAL_CONDITION
        )
        if self.full:
            self.inverse = _inverse(self.rows)
        return True

    def require_full_rank(self, symbol: str) -> None:
        """`InsufficientDataError` where the data seen so far does not span all functions."""
        if self.full:
            return
        scaled = self.rows / _column_sizes(self.rows)
        rank, functions = int(np.linalg.matrix_rank(scaled)), self.rows.shape[1]
        raise InsufficientDataError(
            f"the environments of {symbol} in the data are linearly dependent: they span about {rank} of its "
            f"{functions} functions; add more varied structures (strained, disordered, from molecular "
            "dynamics) or use a smaller basis"
        )


class _Chunks:
    """The invariants of all environments in fixed chunks, as often as asked for."""

    def __init__(
        self, basis: Basis, structures: Sequence[AtomStructure], processes: int, progress: Progress | None
    ) -> None:
        self._basis, self._structures, self._processes = basis, structures, processes
        self._progress = progress
        self._parts = list(_parts(structures))
        self._kept: list[Chunk] = []
        self._bytes = 0

    def __iter__(self) -> Iterator[Chunk]:
        yield from self._kept
        first = len(self._kept)
        parts = [(part, [self._structures[k] for k in part]) for part in self._parts[first:]]
        computed = map_ordered(_chunk, parts, self._processes, prepare=_prepare, prepare_args=(self._basis,))
        for number, found in enumerate(computed if parts else (), start=first):
            self._bytes += sum(rows.nbytes for rows, _ in found)
            if self._bytes <= KEPT_BYTES and number == len(self._kept):
                self._kept.append(found)
            if self._progress is not None:
                self._progress(int(self._parts[number][-1]) + 1, len(self._structures))
            yield found


_designs: list[Design] = []


def _prepare(basis: Basis) -> None:
    _designs[:] = [Design(basis)]


def _chunk(part: tuple[IntArray, list[AtomStructure]]) -> Chunk:
    """The invariants of all atoms of some structures, whose numbers come with them."""
    numbers, structures = part
    design = _designs[0]
    basis = design.basis
    invariants = design.invariants(structures)
    symbols = np.array([symbol for structure in structures for symbol in structure.symbols])
    members = np.concatenate(
        [
            np.stack([np.full(len(s), k), np.arange(len(s))], axis=1)
            for k, s in zip(numbers, structures, strict=True)
        ]
    )
    found = []
    for mu, symbol in enumerate(basis.elements):
        mine = symbols == symbol
        rows = np.ascontiguousarray(invariants[mine, basis.offsets[mu] : basis.offsets[mu + 1]])
        found.append((rows, members[mine]))
    return found


def _parts(structures: Sequence[AtomStructure]) -> Iterator[IntArray]:
    first, atoms = 0, 0
    for number, structure in enumerate(structures):
        if atoms and atoms + len(structure) > ATOMS_PER_CHUNK:
            yield np.arange(first, number)
            first, atoms = number, 0
        atoms += len(structure)
    if atoms:
        yield np.arange(first, len(structures))


def _environments(basis: Basis, structures: Sequence[AtomStructure]) -> list[int]:
    """How many atoms each element has; the errors of `active_sets` that need no invariants."""
    counts = dict.fromkeys(basis.elements, 0)
    for structure in structures:
        for symbol in structure.symbols:
            if symbol not in counts:
                raise UnsupportedElementError(
                    f"the data holds {symbol}, but the potential covers {', '.join(basis.elements)}; "
                    "leave these structures out"
                )
            counts[symbol] += 1
    for symbol, functions in zip(basis.elements, basis.counts, strict=True):
        if counts[symbol] < functions:
            found = f"{counts[symbol]} environments" if counts[symbol] else "no environment"
            raise InsufficientDataError(
                f"the data holds {found} of {symbol}, whose active set needs {functions}, one for each "
                f"function; add structures with {symbol} or use a smaller basis"
            )
    return list(counts.values())


def _pivoted(rows: FloatArray) -> tuple[FloatArray, IntArray]:
    """The unit lower trapezoidal factor of an LU decomposition, in the order of `rows`, and the pivot rows.

    Unlike the upper factor it is well-conditioned, also for rank-deficient rows (whose zero pivots do not
    matter here).
    """
    functions = rows.shape[1]
    factors, swaps, _ = dgetrf(rows / _column_sizes(rows))
    order = np.arange(len(rows))
    for k, other in enumerate(swaps[:functions]):
        order[[k, other]] = order[[other, k]]
    lower = np.tril(factors, -1)
    lower[np.arange(functions), np.arange(functions)] = 1.0
    unsorted = np.empty_like(lower, order="C")
    unsorted[order] = lower
    return unsorted, order[:functions].astype(np.int64)


def _exchanged(weights: FloatArray, chosen: IntArray, tolerance: float) -> IntArray:
    """Rows after all exchanges. weights: (n, K) W with rows = W · rows[chosen].

    The K rows that stick out most are exchanged one by one; then W follows for all rows at once.
    """
    functions = weights.shape[1]
    chosen = chosen.copy()
    while True:
        largest = np.abs(weights).max(axis=1)
        largest[chosen] = 0.0
        outside = np.flatnonzero(largest > tolerance)
        if not len(outside):
            return chosen
        worst = outside[np.argsort(-largest[outside], kind="stable")[:functions]]
        pool = np.concatenate([chosen, worst])
        places = np.arange(functions)
        _exchange(np.ascontiguousarray(weights[pool]), places, tolerance)
        chosen = pool[places]
        weights = weights @ np.linalg.inv(weights[chosen])


@njit(cache=True)  # type: ignore[untyped-decorator]
def _exchange(weights: FloatArray, places: IntArray, tolerance: float) -> None:
    """Exchange rows while an entry of `weights` (n, K) exceeds `tolerance`; `places` (K,) are those in use.

    Putting row i in place k multiplies the volume by |W_ik| and changes W by
    −W_·k (W_i· − e_k)/W_ik.
    """
    rows, functions = weights.shape
    while True:
        row, column, largest = 0, 0, 0.0
        for i in range(rows):
            for k in range(functions):
                if abs(weights[i, k]) > largest:
                    row, column, largest = i, k, abs(weights[i, k])
        if largest <= tolerance:
            return
        direction = weights[row] / weights[row, column]
        direction[column] -= 1.0 / weights[row, column]
        for i in range(rows):
            factor = weights[i, column]
            if factor != 0.0:
                for k in range(functions):
                    weights[i, k] -= factor * direction[k]
        places[column] = row


def _column_sizes(rows: FloatArray) -> FloatArray:
    size = np.abs(rows).max(axis=0, initial=0.0)
    return np.where(size > 0.0, size, 1.0)


def _inverse(rows: FloatArray) -> FloatArray:
    """A⁻¹, computed with columns scaled to a largest entry of 1."""
    size = _column_sizes(rows)
    return np.ascontiguousarray(np.linalg.inv(rows / size) / size[:, None])


def _reciprocal_condition(rows: FloatArray) -> float:
    """1/(‖A‖₁ ‖A⁻¹‖₁), estimated, with scaled columns; 0 for an exactly singular A."""
    scaled = rows / _column_sizes(rows)
    factors, _, singular = dgetrf(scaled)
    if singular:
        return 0.0
    return float(dgecon(factors, np.abs(scaled).sum(axis=0).max())[0])
