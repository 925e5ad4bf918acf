"""Sets of invariant basis functions, and how linear coefficients become a `.yace` model.

A *block* is all functions of one product type (μ0; μ_t, n_t, l_t): they share their monomials. The functions
of a basis are numbered by the species of the centre, then by block (rank first), then by invariant.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf

import numpy as np
from numpy.typing import ArrayLike

from pyacemaker.ace.coupling import invariants
from pyacemaker.ace.model import ACEModel, BasisFunction, Bond, Embedding
from pyacemaker.ace.radial import radial_functions
from pyacemaker.structures import FloatArray, IntArray

Column = tuple[int, int, int]
"""Species, radial index n (from 1) and l of one factor of a product."""

Keep = Callable[[tuple[Column, ...]], bool]
"""Whether a product of these factors is wanted."""

RANK_COST = 1.5
"""What one more factor adds to the degree of a product."""
IDLE_SHELLS = 6
"""Shells of degree without a wanted block after which none is expected beyond."""
ANGULAR_COST = 0.5
"""What one more unit of l adds to the degree of a product; one more unit of n adds 1."""
SHELL = 0.5
"""Steps in degree by which a graded basis grows."""


@dataclass(frozen=True, eq=False)
class Block:
    """The independent invariants of one product type around a centre of species mu0.

    columns: (μ, n, l) of each factor, in ascending order. ms: (monomials, rank). coupling: (functions,
    monomials).
    """

    mu0: int
    columns: tuple[Column, ...]
    ms: IntArray
    coupling: FloatArray

    @property
    def rank(self) -> int:
        """Number of factors."""
        return len(self.columns)

    @property
    def degree(self) -> float:
        """Σ_t (n_t − 1 + l_t) plus `RANK_COST` for each factor after the first."""
        return RANK_COST * (self.rank - 1) + sum(_cost(column) for column in self.columns)

    def __len__(self) -> int:
        return len(self.coupling)


@dataclass(frozen=True, eq=False)
class Basis:
    """A linear ACE basis of N species and K functions in all.

    elements: chemical symbols. bonds: radial functions of all N² ordered pairs. blocks: by species of the
    centre. core_switches: by species, `rho_core_cutoff` and `drho_core_cutoff` of the embedding, eV; the
    defaults of `Embedding` where None.
    """

    elements: tuple[str, ...]
    bonds: Mapping[tuple[int, int], Bond]
    blocks: tuple[tuple[Block, ...], ...]
    core_switches: tuple[tuple[float, float], ...] | None = None

    @cached_property
    def counts(self) -> tuple[int, ...]:
        """Number of functions of each species."""
        return tuple(sum(len(block) for block in blocks) for blocks in self.blocks)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """(N + 1,): the functions of species μ are numbered offsets[μ] … offsets[μ + 1] − 1."""
        return tuple(int(total) for total in np.cumsum((0, *self.counts)))

    def __len__(self) -> int:
        return self.offsets[-1]

    @property
    def cutoff(self) -> float:
        """Largest cutoff of any pair, Å."""
        return max(bond.rcut for bond in self.bonds.values())

    @cached_property
    def degrees(self) -> FloatArray:
        """(K,) degree of each function; see `Block.degree`."""
        return np.array(
            [block.degree for blocks in self.blocks for block in blocks for _ in range(len(block))]
        )

    @cached_property
    def ranks(self) -> IntArray:
        """(K,) number of factors of each function."""
        ranks = [block.rank for blocks in self.blocks for block in blocks for _ in range(len(block))]
        return np.array(ranks, dtype=np.int64)

    def to_model(
        self,
        coefficients: FloatArray,
        e0: FloatArray,
        embeddings: Mapping[int, Embedding] | None = None,
    ) -> ACEModel:
        """The potential with the densities ρ_p = Σ_f c_pf B_f, its core and E0.

        coefficients: (K,), eV, for one density, or (P, K). e0: (N,), eV. embeddings: by species, of P
        densities; where None, E_i = ρ_1 (one linear density).
        """
        densities = np.atleast_2d(coefficients)
        if densities.shape[1] != len(self):
            raise ValueError(f"{coefficients.shape} coefficients for {len(self)} functions")
        functions = {
            mu: tuple(self._functions(blocks, densities[:, self.offsets[mu] : self.offsets[mu + 1]]))
            for mu, blocks in enumerate(self.blocks)
        }
        if embeddings is None:
            embeddings = self._linear_embeddings()
        return ACEModel(
            self.elements, np.asarray(e0, dtype=float), 0.001, dict(embeddings), dict(self.bonds), functions
        )

    def _linear_embeddings(self) -> dict[int, Embedding]:
        plain = Embedding(1, (1.0, 1.0))
        if self.core_switches is None:
            return dict.fromkeys(range(len(self.elements)), plain)
        return {
            mu: replace(plain, rho_core_cutoff=end, drho_core_cutoff=width)
            for mu, (end, width) in enumerate(self.core_switches)
        }

    @staticmethod
    def _functions(blocks: Sequence[Block], coefficients: FloatArray) -> Iterator[BasisFunction]:
        position = 0
        for block in blocks:
            mus, ns, ls = zip(*block.columns, strict=True)
            ctildes = coefficients[:, position : position + len(block)] @ block.coupling
            position += len(block)
            yield BasisFunction(block.mu0, mus, ns, ls, block.ms, np.ascontiguousarray(ctildes.T))


def blocks_of(model: ACEModel) -> tuple[tuple[Block, ...], ...]:
    """The product types of a potential, by species of the centre, each with *all* its independent invariants.

    In the order of rank, species, radial indices and l's of the factors, whatever the order in the file.
    C-tilde coefficients of a type lie in the row space of its `Block.coupling` (on the monomials of
    `coupling.canonical_ms`). Raises `ValueError` for a type without any invariant (odd Σl, or l's that cannot
    couple to zero).
    """
    return tuple(
        tuple(_block(mu0, columns) for columns in _product_types(model.functions[mu0]))
        for mu0 in range(len(model.elements))
    )


def basis_of(model: ACEModel) -> Basis:
    """The linear basis that spans the functions of a potential: its bonds and `blocks_of`."""
    return Basis(model.elements, dict(model.bonds), blocks_of(model))


def _product_types(functions: Sequence[BasisFunction]) -> list[tuple[Column, ...]]:
    found = {tuple(sorted(zip(f.mus, f.ns, f.ls, strict=True))) for f in functions}
    return sorted(found, key=lambda columns: (len(columns), *zip(*columns, strict=True)))


def _block(mu0: int, columns: tuple[Column, ...]) -> Block:
    found = invariants(tuple(ell for _, _, ell in columns), groups_of(columns))
    if not len(found.coefficients):
        raise ValueError(f"the product of (species, n, l) {columns} around species {mu0} has no invariant")
    return Block(mu0, columns, found.ms, found.coefficients)


def orthonormal_bond(
    cutoff: float,
    radial_basis: str,
    exponent: float,
    shape: tuple[int, int, int],
    start: float,
    dcut: float = 0.01,
) -> Bond:
    """A bond whose R_nl = Σ_{k ≤ n} c_nk g_k are orthonormal on [start, cutoff] (weight 1) and the same for
    all l.

    The span of R_1 … R_n is that of g_1 … g_n; a ridge treats orthonormal functions more evenly. shape:
    (nradmax, lmax, nradbase). cutoff, start, dcut: Å. exponent: λ.
    """
    nradmax, lmax, nradbase = shape
    nradbase = max(nradbase, nradmax, 1)
    coefficients = np.zeros((nradmax, lmax + 1, nradbase))
    coefficients[np.arange(nradmax), :, np.arange(nradmax)] = 1.0
    bond = Bond(cutoff, dcut, radial_basis, (exponent,), coefficients)
    # Gauss–Legendre is exact enough: the g_k have no more than nradbase oscillations
    nodes, weights = np.polynomial.legendre.leggauss(200)
    r = 0.5 * (cutoff - start) * (nodes + 1.0) + start
    values = radial_functions(bond, r)[0][:, :nradmax] * np.sqrt(0.5 * (cutoff - start) * weights)[:, None]
    upper = np.linalg.qr(values, mode="r")
    mix = np.linalg.inv(upper).T * np.sign(np.diag(upper))[:, None]
    coefficients[:, :, :nradmax] = np.tril(mix)[:, None, :]
    return Bond(cutoff, dcut, radial_basis, (exponent,), coefficients)


def rectangular_blocks(
    mu0: int, limits: ArrayLike, nradmax: Sequence[int], lmax: Sequence[int], keep: Keep | None = None
) -> tuple[Block, ...]:
    """All blocks with n ≤ nradmax[rank − 1] and l ≤ lmax[rank − 1].

    limits: (N,) how many neighbours of each species a term may ask for (0: the species is left out). keep:
    which products are wanted; all where None.
    """
    found: list[Block] = []
    for rank, (n, angular) in enumerate(zip(nradmax, lmax, strict=True), start=1):
        columns = _columns(limits, n, angular if rank > 1 else 0)
        found += _blocks(mu0, columns, rank, limits, inf, keep)
    return tuple(found)


def graded_blocks(
    mu0: int,
    limits: ArrayLike,
    functions: int,
    max_rank: int,
    nradbase: int,
    lmax: int = 12,
    keep: Keep | None = None,
) -> tuple[Block, ...]:
    """About `functions` functions: all pair terms with n ≤ nradbase, then every block up to some degree.

    Whole shells of equal degree are taken, so that no direction or species is preferred; the number reached
    is the one closest to `functions` (as a ratio). limits, keep: as in `rectangular_blocks`.
    """
    pairs = list(_blocks(mu0, _columns(limits, nradbase, 0), 1, limits, inf, keep))
    many: list[Block] = []
    degree, exhausted, idle = 1.0, False, 0
    while len(pairs) + sum(map(len, many)) < functions and not exhausted:
        degree += SHELL
        before = len(many)
        many = [
            block
            for rank in range(2, max_rank + 1)
            for block in _blocks(
                mu0, _graded_columns(limits, degree, nradbase, lmax), rank, limits, degree, keep
            )
        ]
        idle = idle + 1 if len(many) == before else 0
        exhausted = (idle > 0 and degree > 3 * nradbase) or (keep is not None and idle >= IDLE_SHELLS)
    last_shell = sum(len(block) for block in many if block.degree > degree - 0.5 * SHELL)
    reached = len(pairs) + sum(map(len, many))
    if last_shell and (reached - last_shell) * reached > functions**2:
        many = [block for block in many if block.degree <= degree - 0.5 * SHELL]
    return tuple(sorted(pairs + many, key=lambda block: (block.rank, block.columns)))


def _graded_columns(limits: ArrayLike, degree: float, nradbase: int, lmax: int) -> list[Column]:
    highest = int(degree)
    return [c for c in _columns(limits, min(highest + 1, nradbase), min(highest, lmax)) if _cost(c) <= degree]


def _cost(column: Column) -> float:
    return column[1] - 1 + ANGULAR_COST * column[2]


def _columns(limits: ArrayLike, nradmax: int, lmax: int) -> list[Column]:
    return [
        (mu, n, angular)
        for mu, limit in enumerate(np.asarray(limits))
        if limit > 0
        for n in range(1, nradmax + 1)
        for angular in range(lmax + 1)
    ]


def _blocks(
    mu0: int,
    columns: list[Column],
    rank: int,
    limits: ArrayLike,
    max_degree: float,
    keep: Keep | None = None,
) -> Iterator[Block]:
    """The blocks of one rank, by depth-first search over ascending columns."""
    allowed = np.asarray(limits)
    budget = max_degree - RANK_COST * (rank - 1)

    def grow(chosen: tuple[int, ...], spent: float) -> Iterator[tuple[int, ...]]:
        if len(chosen) == rank:
            yield chosen
            return
        for index in range(chosen[-1] if chosen else 0, len(columns)):
            total = spent + _cost(columns[index])
            species = columns[index][0]
            if total > budget + 1e-9:
                continue
            if sum(columns[c][0] == species for c in chosen) < allowed[species]:
                yield from grow((*chosen, index), total)

    for chosen in grow((), 0.0):
        if keep is not None and not keep(tuple(columns[c] for c in chosen)):
            continue
        found = invariants(tuple(columns[c][2] for c in chosen), groups_of(chosen))
        if len(found.coefficients):
            yield Block(mu0, tuple(columns[c] for c in chosen), found.ms, found.coefficients)


def groups_of(chosen: Sequence[Hashable]) -> tuple[int, ...]:
    """One integer per column, the same for equal columns."""
    numbers = {column: number for number, column in enumerate(dict.fromkeys(chosen))}
    return tuple(numbers[column] for column in chosen)
