"""The basis functions of one centre species, flattened for the kernels of the design matrix.

A_nlm with m ≥ 0 are kept as real *components*: the real part, and for m > 0 the imaginary part. A function is
B = Σ_q C_q Re Π_t z_t, where each factor z_t is some A_nlm or its conjugate; A_{l,−m} = (−1)^m A*_{lm}, and
the signs are inside C_q. Monomials that are each other's conjugate or permutation are merged.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyacemaker.ace.angular import recurrence
from pyacemaker.ace.basis import Block
from pyacemaker.ace.model import Bond
from pyacemaker.structures import FloatArray, IntArray

LOCAL, FACTORS, PRODUCTS, COUPLING, WEIGHTS, FUNCTIONS, RANK = range(7)
"""Columns of `Tables.blocks`."""

Key = tuple[int, int, int, int]
"""Species, channel, l and m ≥ 0 of a variable A_nlm."""


class Tables(NamedTuple):
    """The blocks of one centre species.

    components: (C, 4) species, channel, packed (l, m), part (0 real, 1 imaginary); the first `used` occur in
    functions, any others are A of the g_k themselves. blocks: (blocks + 1, 7) where each block starts in
    `local`, `factors`, `products`, `coupling`, in the weights ∂B/∂component and in the functions, and its
    rank. local: components of each block. factors: (F, 3) of each block's z: its real and imaginary part as
    places in the block's components (−1: none) and −1 for a conjugate, else 1. products: factors of each
    monomial. coupling: C_q, (monomials, functions) of each block. alpha, beta: see `angular.recurrence`.
    """

    lmax: int
    functions: int
    used: int
    components: IntArray
    blocks: IntArray
    local: IntArray
    factors: IntArray
    products: NDArray[np.int32]
    coupling: FloatArray
    alpha: FloatArray
    beta: FloatArray


class Channels:
    """The radial functions of a bond that variables use: g_n for pair terms, R_nl for the others.

    shared: equal functions are one channel. Otherwise all are apart: channel k is g_{k+1}, then R_nl follow.
    """

    def __init__(self, bond: Bond, shared: bool = True) -> None:
        self._base, self._angular = bond.nradbase, bond.lmax + 1
        rows = np.concatenate([np.eye(bond.nradbase), bond.coefficients.reshape(-1, bond.nradbase)])
        self._place = np.arange(len(rows))
        self.matrix: FloatArray = rows
        if shared:
            _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
            rank = np.argsort(np.argsort(first))
            self.matrix, self._place = rows[np.sort(first)], rank[inverse.ravel()]

    def of(self, rank: int, n: int, angular: int) -> int:
        """Row of `matrix` (channels, nradbase) that a factor (n, l) of a product of this rank needs."""
        place = n - 1 if rank == 1 else self._base + (n - 1) * self._angular + angular
        return int(self._place[place])


def build_tables(
    blocks: Sequence[Block], channels: Sequence[Channels], primitives: Sequence[Key] = ()
) -> Tables:
    """The tables of one centre species. channels: of its bonds to each species. primitives: more."""
    wanted = {key for block in blocks for column in block.columns for key in _keys(block, column, channels)}
    components = _components(sorted(wanted))
    used = len(components)
    components += _components(sorted(set(primitives) - wanted))
    index = {component: number for number, component in enumerate(components)}
    parts = [_flatten(block, channels) for block in blocks]
    sizes = [
        (len(p.local), len(p.factors), p.products.size, p.coupling.size, len(p.local) * len(b), len(b), 0)
        for p, b in zip(parts, blocks, strict=True)
    ]
    starts = np.zeros((len(blocks) + 1, 7), dtype=np.int64)
    starts[1:] = np.cumsum(np.array(sizes, dtype=np.int64).reshape(-1, 7), axis=0)
    starts[:-1, RANK] = [block.rank for block in blocks]
    lmax = max((key[2] for key in (*wanted, *primitives)), default=0)
    packed = [(mu, n, angular * (angular + 1) // 2 + m, part) for mu, n, angular, m, part in components]
    return Tables(
        lmax,
        int(starts[-1, FUNCTIONS]),
        used,
        np.array(packed, dtype=np.int64).reshape(-1, 4),
        starts,
        np.array([index[component] for part in parts for component in part.local], dtype=np.int64),
        np.array([factor for part in parts for factor in part.factors], dtype=np.int64).reshape(-1, 3),
        np.concatenate([np.zeros(0, np.int32), *(part.products.ravel() for part in parts)]),
        np.concatenate([np.zeros(0), *(part.coupling.ravel() for part in parts)]),
        *recurrence(lmax),
    )


class _Flat(NamedTuple):
    """One block: its components, factors (re, im, sign), and its merged monomials."""

    local: list[tuple[int, int, int, int, int]]
    factors: list[tuple[int, int, int]]
    products: NDArray[np.int32]
    coupling: FloatArray


def _keys(block: Block, column: tuple[int, int, int], channels: Sequence[Channels]) -> list[Key]:
    mu, n, angular = column
    channel = channels[mu].of(block.rank, n, angular)
    return [(mu, channel, angular, m) for m in range(angular + 1)]


def _components(keys: Sequence[Key]) -> list[tuple[int, int, int, int, int]]:
    return [(*key, part) for key in keys for part in ((0, 1) if key[3] else (0,))]


def _flatten(block: Block, channels: Sequence[Channels]) -> _Flat:
    columns = [_keys(block, column, channels)[0][:3] for column in block.columns]
    merged: dict[tuple[tuple[int, int, int, int], ...], FloatArray] = {}
    for ms, mix in zip(block.ms.tolist(), block.coupling.T, strict=True):
        product = _canonical([(*column, m) for column, m in zip(columns, ms, strict=True)])
        sign = (-1) ** sum(-m for *_, m in product if m < 0)
        merged[product] = merged.get(product, 0.0) + sign * mix
    local = _components(sorted({(*z[:3], abs(z[3])) for product in merged for z in product}))
    place = {component: number for number, component in enumerate(local)}
    numbers = {z: k for k, z in enumerate(sorted({z for product in merged for z in product}))}
    factors = [
        (place[*z[:3], abs(z[3]), 0], place.get((*z[:3], abs(z[3]), 1), -1), -1 if z[3] < 0 else 1)
        for z in numbers
    ]
    products = np.array([[numbers[z] for z in product] for product in merged], dtype=np.int32)
    return _Flat(local, factors, products, np.array(list(merged.values())))


def _canonical(product: list[tuple[int, int, int, int]]) -> tuple[tuple[int, int, int, int], ...]:
    """The one of a product and its conjugate (which has the same real part) that stands for both; Σ m = 0."""
    mirror = [(*z[:3], -z[3]) for z in product]
    return min(tuple(sorted(product)), tuple(sorted(mirror)))
