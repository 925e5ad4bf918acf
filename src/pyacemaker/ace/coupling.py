"""Rotation- and permutation-invariant combinations of products of spherical harmonics.

A product Π_t A_{v_t, l_t, m_t} (v: species and radial index) with Σm = 0 is a *monomial*. Rotational
invariants are sums of monomials with generalised Clebsch–Gordan coefficients (Drautz, PRB 99, 014104, 2019):
the angular momenta are coupled in a chain, ((l₁ l₂)L₁₂ l₃)L₁₂₃ …, to a total of zero. Where several factors
share v and l, different monomials are the same number, so the coefficients are added onto one representative
each, and only a linearly independent set of the invariants is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import factorial, sqrt

import numpy as np

from pyacemaker.structures import FloatArray, IntArray

INDEPENDENCE_TOLERANCE = 1e-9
"""An invariant whose part outside the span of the earlier ones is smaller than this (norm 1) is dropped."""


@dataclass(frozen=True, eq=False)
class Invariants:
    """Independent invariants of one kind of product: B_p = Σ_q coefficients[p, q] · Re Π_t A_{m[q, t]}.

    ms: (monomials, factors), the m of each factor. coefficients: (invariants, monomials), orthonormal rows.
    """

    ms: IntArray
    coefficients: FloatArray


@cache
def clebsch_gordan(l1: int, m1: int, l2: int, m2: int, total: int, projection: int) -> float:
    """⟨l₁ m₁ l₂ m₂ | L M⟩ in the Condon–Shortley convention, by Racah's formula with exact integers."""
    if m1 + m2 != projection or not abs(l1 - l2) <= total <= l1 + l2:
        return 0.0
    if abs(m1) > l1 or abs(m2) > l2 or abs(projection) > total:
        return 0.0
    f = factorial
    triangle = f(total + l1 - l2) * f(total - l1 + l2) * f(l1 + l2 - total) / f(l1 + l2 + total + 1)
    states = f(total + projection) * f(total - projection) * f(l1 - m1) * f(l1 + m1) * f(l2 - m2) * f(l2 + m2)
    lowest = max(0, l2 - total - m1, l1 - total + m2)
    highest = min(l1 + l2 - total, l1 - m1, l2 + m2)
    series = sum(
        (-1) ** k
        / (
            f(k)
            * f(l1 + l2 - total - k)
            * f(l1 - m1 - k)
            * f(l2 + m2 - k)
            * f(total - l2 + m1 + k)
            * f(total - l1 - m2 + k)
        )
        for k in range(lowest, highest + 1)
    )
    return float(sqrt((2 * total + 1) * triangle * states) * series)


def chain_couplings(ls: tuple[int, ...]) -> list[FloatArray]:
    """One tensor per way to couple `ls` in a chain to L = 0, indexed by (m₁ + l₁, m₂ + l₂, …).

    In the order of the intermediate L's. Empty when the l's cannot couple to zero.
    """
    return [tensor for _, tensor in chain_paths(ls)]


def chain_paths(ls: tuple[int, ...]) -> list[tuple[tuple[int, ...], FloatArray]]:
    """The L's of every chain, (l₁, L₁₂, L₁₂₃, …, 0), and its tensor; otherwise as `chain_couplings`."""
    paths: dict[tuple[int, ...], FloatArray] = {(ls[0],): np.eye(2 * ls[0] + 1)}
    for position, angular in enumerate(ls[1:], start=2):
        remaining = ls[position:]
        grown: dict[tuple[int, ...], FloatArray] = {}
        for path, tensor in paths.items():
            for total in range(abs(path[-1] - angular), path[-1] + angular + 1):
                if _can_vanish(total, remaining):
                    table = coupling_table(path[-1], angular, total)
                    grown[(*path, total)] = np.einsum("...a,abc->...bc", tensor, table)
        paths = grown
    return [(path, tensor[..., 0]) for path, tensor in paths.items() if path[-1] == 0]


@cache
def invariants(ls: tuple[int, ...], groups: tuple[int, ...]) -> Invariants:
    """The independent invariants of a product with angular momenta `ls`.

    groups: one integer per factor; adjacent factors with equal integers have the same species, radial index
    and l, so exchanging them changes nothing. Σl has to be even (else the invariants are odd under inversion
    and none is returned).
    """
    if sum(ls) % 2:
        return _none(len(ls))
    return _independent(*on_monomials(chain_couplings(ls), groups))


def on_monomials(tensors: Sequence[FloatArray], groups: tuple[int, ...]) -> tuple[IntArray, FloatArray]:
    """Coupling tensors with equal products added up: (monomials, factors) m's, (tensors, monomials) rows."""
    ls = tuple(size // 2 for size in tensors[0].shape) if len(tensors) else groups
    monomials: dict[tuple[int, ...], int] = {}
    rows: list[dict[int, float]] = []
    for tensor in tensors:
        row: dict[int, float] = {}
        for index in np.argwhere(np.abs(tensor) > 1e-14):
            canonical = canonical_ms(
                tuple(int(i) - angular for i, angular in zip(index, ls, strict=True)), groups
            )
            column = monomials.setdefault(canonical, len(monomials))
            row[column] = row.get(column, 0.0) + float(tensor[tuple(index)])
        rows.append(row)
    dense = np.zeros((len(rows), len(monomials)))
    for number, row in enumerate(rows):
        dense[number, list(row)] = list(row.values())
    return np.array(list(monomials), dtype=np.int64).reshape(-1, len(ls)), dense


def canonical_ms(ms: tuple[int, ...], groups: tuple[int, ...]) -> tuple[int, ...]:
    """The representative of all m's that give the same real part: m sorted within groups, up to m → −m.

    For Σm = 0 the product with all m's negated is the complex conjugate, so its real part is the same.
    """
    return max(_sorted_in_groups(ms, groups), _sorted_in_groups(tuple(-m for m in ms), groups))


def _sorted_in_groups(ms: tuple[int, ...], groups: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(
        -negative for _, negative in sorted((group, -m) for group, m in zip(groups, ms, strict=True))
    )


def _can_vanish(total: int, remaining: tuple[int, ...]) -> bool:
    largest = max((total, *remaining))
    return 2 * largest <= total + sum(remaining)


@cache
def coupling_table(l1: int, l2: int, total: int) -> FloatArray:
    """(2l₁ + 1, 2l₂ + 1, 2L + 1): all Clebsch–Gordan coefficients of l₁ and l₂ to L."""
    table = np.zeros((2 * l1 + 1, 2 * l2 + 1, 2 * total + 1))
    for m1 in range(-l1, l1 + 1):
        for m2 in range(-l2, l2 + 1):
            if abs(m1 + m2) <= total:
                value = clebsch_gordan(l1, m1, l2, m2, total, m1 + m2)
                table[m1 + l1, m2 + l2, m1 + m2 + total] = value
    return table


def independent_rows(rows: FloatArray) -> tuple[list[int], list[FloatArray]]:
    """Numbers of the rows that are no combinations of earlier ones, and the orthonormal directions they add.

    Gram–Schmidt in the order of the rows, whose norms should be about 1 or zero.
    """
    numbers: list[int] = []
    directions: list[FloatArray] = []
    for number, row in enumerate(rows):
        rest = row.copy()
        for _ in range(2):  # twice is enough for full orthogonality
            for earlier in directions:
                rest -= (earlier @ rest) * earlier
        norm = float(np.linalg.norm(rest))
        if norm > INDEPENDENCE_TOLERANCE:
            numbers.append(number)
            directions.append(rest / norm)
    return numbers, directions


def _independent(ms: IntArray, rows: FloatArray) -> Invariants:
    """The directions that `rows` add, without the monomials that none needs."""
    _, kept = independent_rows(rows)
    if not kept:
        return _none(ms.shape[1])
    coefficients = np.array(kept)
    coefficients[np.abs(coefficients) < 1e-14] = 0.0
    used = np.any(coefficients != 0.0, axis=0)
    return Invariants(ms[used], np.ascontiguousarray(coefficients[:, used]))


def _none(factors: int) -> Invariants:
    return Invariants(np.zeros((0, factors), dtype=np.int64), np.zeros((0, 0)))
