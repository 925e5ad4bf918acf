"""The invariants of a product in the coupling scheme of `.asi` and B-basis `.yaml` files, in their order.

The angular momenta are coupled pairwise, (l₁ l₂)L₁₂, (l₃ l₄)L₃₄, …, and the pairs (with an odd l as the last)
in a chain to L = 0; each function is the product of standard Clebsch–Gordan coefficients along that tree,
Σ_m c_m Re Π_t A_{v_t l_t m_t} (Bochkarev et al., Phys. Rev. Materials 6, 013804, 2022). The intermediate L's
name it. They span what `coupling.invariants` spans; only the functions themselves differ.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np

from pyacemaker.ace.coupling import (
    chain_paths,
    coupling_table,
    independent_rows,
    on_monomials,
)
from pyacemaker.ace.reading_order import reading_order
from pyacemaker.structures import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class TreeInvariants:
    """Independent invariants B_p = Σ_q coefficients[p, q] · Re Π_t A_{m[q, t]} of one kind of product.

    lints: the intermediate L's of each (rank 3: l₃; 4: L, L; 5: L₁₂, L₃₄, l₅; 6: L₁₂, L₃₄, L₅₆, L₅₆).
    ms: (monomials, factors). coefficients: (invariants, monomials).
    """

    lints: tuple[tuple[int, ...], ...]
    ms: IntArray
    coefficients: FloatArray


@cache
def tree_invariants(ls: tuple[int, ...], groups: tuple[int, ...]) -> TreeInvariants:
    """The independent invariants of a product with angular momenta `ls`; `groups` as in `invariants`.

    Of linearly dependent ones those with the smallest intermediate L's stay. In `reading_order`.
    """
    couplings = list(tree_couplings(ls))
    every, dense = on_monomials([tensor for _, tensor in couplings], groups)
    kept = sorted(independent_rows(dense)[0], key=lambda number: reading_order(ls, couplings[number][0]))
    coefficients = dense[kept]
    coefficients[np.abs(coefficients) < 1e-14] = 0.0
    used = np.any(coefficients != 0.0, axis=0)
    lints = tuple(couplings[number][0] for number in kept)
    return TreeInvariants(lints, every[used], np.ascontiguousarray(coefficients[:, used]))


def tree_couplings(ls: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], FloatArray]]:
    """The intermediate L's and the tensor, indexed by (m₁ + l₁, m₂ + l₂, …), of every way along the tree."""
    if len(ls) <= 2:
        yield from (((), tensor) for _, tensor in chain_paths(ls))
        return
    for pairs in _pair_totals(ls):
        nodes = (*pairs, ls[-1]) if len(ls) % 2 else pairs
        for path, top in chain_paths(nodes):
            yield (*pairs, *path[1:-1]), _expanded(ls, pairs, top)


def _pair_totals(ls: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    def grow(chosen: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        first = 2 * len(chosen)
        if first + 1 >= len(ls):
            yield chosen
            return
        a, b = ls[first], ls[first + 1]
        for total in range(abs(a - b), a + b + 1):
            yield from grow((*chosen, total))

    return grow(())


def _expanded(ls: tuple[int, ...], pairs: tuple[int, ...], top: FloatArray) -> FloatArray:
    """`top`, indexed by the M's of the nodes, over the m's of all factors."""
    tensor = top
    for number, total in reversed(list(enumerate(pairs))):
        table = coupling_table(ls[2 * number], ls[2 * number + 1], total)
        # the axis of the pair becomes the axes of its two factors
        tensor = np.moveaxis(np.tensordot(tensor, table, axes=(number, 2)), (-2, -1), (number, number + 1))
    return np.asarray(tensor)
