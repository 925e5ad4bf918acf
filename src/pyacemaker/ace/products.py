"""The products Π_t A_t of all basis functions of one centre as a graph of shared pair products.

Leaves are A_{μnlm} with m ≥ 0; A_{μnl,−m} = (−1)^m A*_{μnlm}, so a factor is a leaf or its conjugate.
Products that are equal, or conjugate (their real parts agree), are one. Every product of three and more
factors is split in two parts that other products need too, as far as possible (recursive evaluation:
Lysogorskiy et al., npj Comput. Mater. 7, 97 (2021)). Only the real part of a whole product counts;
those are the *terms*.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from pyacemaker.ace.angular import packed_size
from pyacemaker.ace.model import ACEModel, BasisFunction, Bond

Factor = tuple[int, bool]
"""A leaf, and whether its conjugate is meant."""

Product = tuple[Factor, ...]
"""Factors in ascending order."""


@dataclass(frozen=True, eq=False)
class ProductGraph:
    """The products of one centre species. Nodes: the leaves first, then one node for each inner product.

    leaves: how many. The leaf of (μ, n, l, m), n from 0, is (first_column[μ] + l(l + 1)/2 + m)·nradmax + n
    with the largest nradmax of any bond; first_column: (N,).
    inner: (I, 2) nodes whose product each inner node is; inner_signs: (I, 2), −1 where the factor is
    conjugated. terms: (T, 2) nodes; term_signs: (T,) the sign s of Re = Re Re − s·Im Im;
    term_weights: (T, ndensity).
    """

    leaves: int
    first_column: NDArray[np.int64]
    inner: NDArray[np.int64]
    inner_signs: NDArray[np.float64]
    terms: NDArray[np.int64]
    term_signs: NDArray[np.float64]
    term_weights: NDArray[np.float64]


def product_graph(model: ACEModel, mu0: int) -> ProductGraph:
    """The graph of all functions of rank 2 and higher of one species."""
    bonds = [model.bonds[mu0, nu] for nu in range(len(model.elements))]
    first_column = np.cumsum([0, *(packed_size(bond.lmax) for bond in bonds)])
    radials = max(bond.nradmax for bond in bonds)
    leaves = int(first_column[-1]) * radials
    products: dict[Product, NDArray[np.float64]] = {}
    for function in model.functions[mu0]:
        if function.rank > 1:
            _collect(function, first_column, radials, products)
    builder = _Builder(leaves, _real_leaves(bonds, radials), _pair_counts(products))
    ordered = sorted(products, key=lambda product: (len(product), product))
    terms = [builder.term(product) for product in ordered]
    ndensity = model.embeddings[mu0].ndensity
    return ProductGraph(
        leaves,
        first_column[:-1].astype(np.int64),
        np.array(builder.inner, dtype=np.int64).reshape(-1, 2),
        np.array(builder.signs, dtype=float).reshape(-1, 2),
        np.array([term[:2] for term in terms], dtype=np.int64).reshape(-1, 2),
        np.array([term[2] for term in terms], dtype=float),
        np.array([products[product] for product in ordered], dtype=float).reshape(-1, ndensity),
    )


def _real_leaves(bonds: list[Bond], radials: int) -> list[bool]:
    """Of each leaf, whether m = 0."""
    return [
        m == 0
        for bond in bonds
        for ell in range(bond.lmax + 1)
        for m in range(ell + 1)
        for _ in range(radials)
    ]


def _collect(
    function: BasisFunction,
    first_column: NDArray[np.int64],
    radials: int,
    products: dict[Product, NDArray[np.float64]],
) -> None:
    """Add the products of one function, with their weights."""
    for ms, weights in zip(function.ms_combs.tolist(), function.ctildes, strict=True):
        factors = []
        sign = 1.0
        for mu, n, ell, m in zip(function.mus, function.ns, function.ls, ms, strict=True):
            column = int(first_column[mu]) + ell * (ell + 1) // 2 + abs(m)
            factors.append((column * radials + n - 1, m < 0, m == 0))
            if m < 0 and m % 2:
                sign = -sign
        product = _canonical(factors)
        products[product] = products.get(product, 0.0) + sign * weights


def _canonical(factors: list[tuple[int, bool, bool]]) -> Product:
    """The smaller of a product and its conjugate. factors: (leaf, conjugated, real)."""
    plain = tuple(sorted((leaf, conjugated) for leaf, conjugated, _ in factors))
    mirror = tuple(sorted((leaf, conjugated != (not real)) for leaf, conjugated, real in factors))
    return min(plain, mirror)


def _pair_counts(products: dict[Product, NDArray[np.float64]]) -> Counter[Product]:
    counts: Counter[Product] = Counter()
    for product in products:
        if len(product) > 2:
            counts.update(set(combinations(product, 2)))
    return counts


@dataclass
class _Builder:
    """Adds nodes for inner products where none exists yet."""

    leaves: int
    real: list[bool]
    pair_counts: Counter[Product]
    inner: list[tuple[int, int]] = field(default_factory=list)
    signs: list[tuple[float, float]] = field(default_factory=list)
    nodes: dict[Product, tuple[int, float]] = field(default_factory=dict)

    def term(self, product: Product) -> tuple[int, int, float]:
        """Two nodes and the sign s of a whole product."""
        left, right = self._best_split(product)
        (a, sign_a), (b, sign_b) = self._node(left), self._node(right)
        return a, b, sign_a * sign_b

    def _node(self, product: Product) -> tuple[int, float]:
        """The node of a product, and −1 where it stands for the conjugate."""
        if len(product) == 1:
            return product[0][0], -1.0 if product[0][1] else 1.0
        if product not in self.nodes:
            left, right = self._best_split(product)
            (a, sign_a), (b, sign_b) = self._node(left), self._node(right)
            self.nodes[product] = (self.leaves + len(self.inner), 1.0)
            self.inner.append((a, b))
            self.signs.append((sign_a, sign_b))
            self.nodes.setdefault(self._mirror(product), (self.nodes[product][0], -1.0))
        return self.nodes[product]

    def _best_split(self, product: Product) -> tuple[Product, Product]:
        """The split that needs the fewest new nodes; among equals, the pair that occurs most often."""
        return min(_splits(product), key=lambda split: (self._cost(split), self._rarity(split), split))

    def _cost(self, split: tuple[Product, Product]) -> int:
        # a new node of n factors needs at most n - 1 products
        return sum(0 if len(part) == 1 or part in self.nodes else len(part) - 1 for part in split)

    def _rarity(self, split: tuple[Product, Product]) -> int:
        return -sum(self.pair_counts[part] for part in split if len(part) == 2)

    def _mirror(self, product: Product) -> Product:
        return tuple(sorted((leaf, conjugated != (not self.real[leaf])) for leaf, conjugated in product))


def _splits(product: Product) -> Iterator[tuple[Product, Product]]:
    """All ways to part a product in two; the first factor is always on the left for equal sizes."""
    places = range(len(product))
    for size in range(1, len(product) // 2 + 1):
        for chosen in combinations(places, size):
            if 2 * size == len(product) and chosen[0] != 0:
                continue
            small = tuple(product[place] for place in chosen)
            large = tuple(product[place] for place in places if place not in chosen)
            yield large, small
