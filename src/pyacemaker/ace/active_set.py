"""Active sets: per element the K atomic environments whose invariants span the largest volume.

γ_i = max_k |(B_i A⁻¹)_k| is the extrapolation grade of atom i: the rows of A are the invariants of the active
environments, B_i those of the atom; a γ above 1 means that the volume would grow with that atom in the set
(Podryabinkin, Shapeev, Comput. Mater. Sci. 140, 171 (2017); for ACE: Lysogorskiy et al., Phys. Rev. Materials
7, 043801 (2023)).

Some combinations of functions hardly vary in any data: those that need more neighbours of a kind than
molecules have, or differences between radial functions at distances that do not occur. Their place in A take
rows of a small fixed size along these combinations, so that γ leaves the data's own noise alone and is large
where an atom does vary there.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg.lapack import dgecon, dgetrf

from pyacemaker.ace.basis import Basis
from pyacemaker.ace.design import Design
from pyacemaker.ace.maxvol import TOLERANCE, column_sizes, exchanged, maxvol
from pyacemaker.errors import InsufficientDataError, UnsupportedElementError
from pyacemaker.processes import map_ordered
from pyacemaker.structures import AtomStructure, FloatArray, IntArray

RANK_TOLERANCE = 1e-8
"""Singular values of the active rows (columns scaled to 1) below this share of the largest are no data."""

SIZE_WITHOUT_DATA = 1e-6
"""Size of the rows along combinations of functions without data (columns scaled to 1): above all noise."""

LEAST_RANK = 0.5
"""Share of the functions that the data has to span."""

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

    inverse: (K, K), A⁻¹. members: (r, 2), which structure and which atom in it the first r rows of A are; the
    other K − r stand for combinations of functions without data. environments: how many there were to choose
    from. largest: their largest γ.
    """

    element: str
    inverse: FloatArray
    members: IntArray
    environments: int
    largest: float

    @property
    def functions(self) -> int:
        """K."""
        return len(self.inverse)

    @property
    def rank(self) -> int:
        """How many independent combinations of functions the data spans."""
        return len(self.members)

    def facts(self) -> dict[str, int | float]:
        """Functions, rank, environments and their largest γ, for JSON."""
        return {
            "functions": self.functions,
            "rank": self.rank,
            "environments": self.environments,
            "largest_gamma": self.largest,
        }


def grades(invariants: FloatArray, inverse: FloatArray) -> FloatArray:
    """(n,) γ of each row of `invariants` (n, K); zero where an element has no functions."""
    if not inverse.size:
        return np.zeros(len(invariants))
    return np.asarray(np.abs(invariants @ inverse).max(axis=1))


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

    Raises `InsufficientDataError` where an element has no environments, fewer (different ones) than
    functions, or such that span less than half of the functions, and `UnsupportedElementError` for an element
    outside the basis.
    """
    counts = _environments(basis, structures)
    chunks = _Chunks(basis, structures, processes, progress)
    spans = [_Span(functions) for functions in basis.counts]
    for found in chunks:
        for span, (rows, members) in zip(spans, found, strict=True):
            span.add(rows, members, tolerance)
    elements = [span.start(symbol, tolerance) for symbol, span in zip(basis.elements, spans, strict=True)]
    settled = False
    while not settled:
        settled = True
        for growing in elements:
            growing.largest = 0.0
        for found in chunks:
            for growing, (rows, members) in zip(elements, found, strict=True):
                settled &= not growing.add(rows, members, tolerance)
    return tuple(
        ElementActiveSet(symbol, growing.inverse(), growing.members, count, growing.largest)
        for symbol, growing, count in zip(basis.elements, elements, counts, strict=True)
    )


class _Span:
    """Rows that span all rows seen, and how many different rows there were (as far as that matters)."""

    def __init__(self, functions: int) -> None:
        self.functions = functions
        self.rows = np.zeros((0, functions))
        self.members = np.zeros((0, 2), dtype=np.int64)
        self._sizes: FloatArray | None = None
        self._different: set[bytes] = set()

    def add(self, rows: FloatArray, members: IntArray, tolerance: float) -> None:
        """Take up `rows` (n, K)."""
        if not len(rows) or not self.functions:
            return
        if self._sizes is None:
            self._sizes = column_sizes(rows)
        if len(self._different) < self.functions:
            rounded = np.round(rows / self._sizes, 5) + 0.0
            self._different.update(row.tobytes() for row in rounded)
        pool, owners = np.concatenate([self.rows, rows]), np.concatenate([self.members, members])
        chosen = maxvol(pool, tolerance) if len(pool) > self.functions else np.arange(len(pool))
        self.rows, self.members = pool[chosen], owners[chosen]

    def start(self, symbol: str, tolerance: float) -> "_Growing":
        """The active set of what was seen; `InsufficientDataError` where that is too little."""
        if len(self._different) < self.functions:
            raise InsufficientDataError(
                f"the data holds {len(self._different)} different environments of {symbol}, whose active set "
                f"needs {self.functions}, one for each function; add more varied structures (strained, "
                "disordered, from molecular dynamics) or use a smaller basis"
            )
        coordinates, without_data = self._coordinates(symbol)
        rows = self.rows @ coordinates
        chosen = maxvol(rows, tolerance)
        return _Growing(coordinates, without_data, rows[chosen], self.members[chosen])

    def _coordinates(self, symbol: str) -> tuple[FloatArray, FloatArray]:
        """(K, r) T such that the rows · T are well-conditioned, and (K, K − r) combinations without data."""
        sizes = column_sizes(self.rows)
        if not self.functions or _reciprocal_condition(self.rows / sizes) > RANK_TOLERANCE:
            return np.diag(1.0 / sizes), np.zeros((self.functions, 0))
        _, singular, directions = np.linalg.svd(self.rows / sizes)
        rank = int(np.sum(singular > RANK_TOLERANCE * singular[0]))
        if rank < LEAST_RANK * self.functions:
            raise InsufficientDataError(
                f"the environments of {symbol} in the data are linearly dependent: they span {rank} of its "
                f"{self.functions} functions; add more varied structures (strained, disordered, from "
                "molecular dynamics) or use a smaller basis"
            )
        scaled = directions.T / sizes[:, None]
        return scaled[:, :rank] / singular[:rank], scaled[:, rank:] / SIZE_WITHOUT_DATA


class _Growing:
    """The active set of one element while the data goes by again."""

    def __init__(
        self, coordinates: FloatArray, without_data: FloatArray, rows: FloatArray, members: IntArray
    ) -> None:
        self._coordinates, self._without_data = coordinates, without_data
        self._rows, self.members = rows, members
        self._inverse = np.linalg.inv(rows)
        self.largest = 0.0

    def inverse(self) -> FloatArray:
        """(K, K) A⁻¹."""
        along_data = self._coordinates @ self._inverse
        return np.ascontiguousarray(np.concatenate([along_data, self._without_data], axis=1))

    def add(self, rows: FloatArray, members: IntArray, tolerance: float) -> bool:
        """Take up what of `rows` (n, K) enlarges the volume; whether anything did."""
        rank = len(self._rows)
        if not len(rows) or not rank:
            return False
        here = rows @ self._coordinates
        weights = here @ self._inverse
        largest = np.abs(weights).max(axis=1)
        beside = np.abs(rows @ self._without_data).max(initial=0.0)
        self.largest = max(self.largest, float(largest.max()), float(beside))
        outside = np.flatnonzero(largest > tolerance)
        if not len(outside):
            return False
        chosen = exchanged(np.concatenate([np.eye(rank), weights[outside]]), np.arange(rank), tolerance)
        self._rows = np.concatenate([self._rows, here[outside]])[chosen]
        self.members = np.concatenate([self.members, members[outside]])[chosen]
        self._inverse = np.linalg.inv(self._rows)
        return True


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
        if first == len(self._parts):
            return
        parts = [(part, [self._structures[k] for k in part]) for part in self._parts[first:]]
        computed = map_ordered(_chunk, parts, self._processes, prepare=_prepare, prepare_args=(self._basis,))
        for number, found in enumerate(computed, start=first):
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
            np.stack([np.full(len(s), number), np.arange(len(s))], axis=1)
            for number, s in zip(numbers, structures, strict=True)
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
        if counts[symbol] < max(functions, 1):
            found = f"{counts[symbol]} environments" if counts[symbol] else "no environment"
            raise InsufficientDataError(
                f"the data holds {found} of {symbol}, whose active set needs {functions}, one for each "
                f"function; add structures with {symbol} or use a smaller basis"
            )
    return list(counts.values())


def _reciprocal_condition(rows: FloatArray) -> float:
    """1/(‖A‖₁ ‖A⁻¹‖₁), estimated; 0 for an exactly singular A."""
    factors, _, singular = dgetrf(rows)
    if singular:
        return 0.0
    return float(dgecon(factors, np.abs(rows).sum(axis=0).max())[0])
