"""The products Π_t A_t of all basis functions of one centre as a graph of shared pair products.

Leaves are A_{μnlm} with m ≥ 0; A_{μnl,−m} = (−1)^m A*_{μnlm}, so a factor is a leaf or its conjugate.
Products that are equal, or conjugate (their real parts agree), are one. Every product of three and more
factors is split in two parts that other products need too, as far as possible (recursive evaluation:
Lysogorskiy et al., npj Comput. Mater. 7, 97 (2021)). Only the real part of a whole product counts;
those are the *terms*.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from pyacemaker.ace.model import ACEModel, BasisFunction

Factor = tuple[int, bool]
"""A leaf, and whether its conjugate is meant."""

Product = tuple[Factor, ...]
"""Factors in ascending order."""


@dataclass(frozen=True, eq=False)
class Leaves:
    """Which A_{μnlm} of one centre species occur in a product of two and more, and their numbers.

    channels: the (μ, n, l), n from 0, by μ, then l, then n. starts: (N, L + 2), where L is the largest l of
    any bond: the channels of (μ, l) are numbered starts[μ, l] … starts[μ, l + 1] − 1. first: (N, L + 1).
    The k-th channel of (μ, l) has the leaves first[μ, l] + m·(number of channels of (μ, l)) + k, 0 ≤ m ≤ l.
    """

    channels: tuple[tuple[int, int, int], ...]
    starts: NDArray[np.int64]
    first: NDArray[np.int64]

    def __len__(self) -> int:
        return sum(ell + 1 for _, _, ell in self.channels)

    def number(self, mu: int, n: int, ell: int, m: int) -> int:
        """The leaf of (μ, n, l, m), n from 0, m ≥ 0."""
        begin, end = self.starts[mu, ell : ell + 2]
        place = self.channels.index((mu, n, ell), begin, end) - begin
        return int(self.first[mu, ell] + m * (end - begin) + place)

    def are_real(self) -> list[bool]:
        """Of each leaf, whether m = 0."""
        found = []
        for mu, ell in np.ndindex(*self.first.shape):
            count = int(self.starts[mu, ell + 1] - self.starts[mu, ell])
            found += [m == 0 for m in range(ell + 1) for _ in range(count)]
        return found


@dataclass(frozen=True, eq=False)
class ProductGraph:
    """The products of one centre species. Nodes: the leaves first, then one node for each inner product.

    inner: (I, 2) nodes whose product each inner node is; inner_signs: (I, 2), −1 where the factor is
    conjugated. The T terms are grouped by one of their two nodes, the head: ρ_p = Σ_terms weights_tp
    (Re Re − s_t Im Im). heads: (G,) nodes. starts: (G + 1,) the first term of each group. partners: (T,) the
    other node. weights: (T, ndensity, 2): the factors of Re Re and of Im Im.
    """

    leaves: Leaves
    inner: NDArray[np.int64]
    inner_signs: NDArray[np.float64]
    heads: NDArray[np.int64]
    starts: NDArray[np.int64]
    partners: NDArray[np.int64]
    weights: NDArray[np.float64]


def product_graph(model: ACEModel, mu0: int) -> ProductGraph:
    """The graph of all functions of rank 2 and higher of one species."""
    leaves = used_leaves(model, mu0)
    products: dict[Product, NDArray[np.float64]] = {}
    for function in model.functions[mu0]:
        if function.rank > 1:
            _collect(function, leaves, products)
    builder = _Builder(len(leaves), leaves.are_real(), _pair_counts(products))
    ordered = sorted(products, key=lambda product: (len(product), product))
    terms = [builder.term(product) for product in ordered]
    ndensity = model.embeddings[mu0].ndensity
    weights = np.array([products[product] for product in ordered], dtype=float).reshape(-1, ndensity)
    heads, starts, partners, weights = _grouped(terms, weights)
    return ProductGraph(
        leaves,
        np.array(builder.inner, dtype=np.int64).reshape(-1, 2),
        np.array(builder.signs, dtype=float).reshape(-1, 2),
        heads,
        starts,
        partners,
        weights,
    )


def used_leaves(model: ACEModel, mu0: int) -> Leaves:
    """The leaves that the functions of one species need."""
    count = len(model.elements)
    lmax = max(model.bonds[mu0, nu].lmax for nu in range(count))
    found = {
        (mu, ell, n - 1)
        for function in model.functions[mu0]
        if function.rank > 1
        for mu, n, ell in zip(function.mus, function.ns, function.ls, strict=True)
    }
    ordered = sorted(found)
    starts = np.zeros((count, lmax + 2), dtype=np.int64)
    first = np.zeros((count, lmax + 1), dtype=np.int64)
    leaf = 0
    for mu, ell in np.ndindex(count, lmax + 1):
        begin, end = (bisect_left(ordered, (mu, ell + step, 0)) for step in (0, 1))
        starts[mu, ell : ell + 2] = begin, end
        first[mu, ell] = leaf
        leaf += (end - begin) * (ell + 1)
    return Leaves(tuple((mu, n, ell) for mu, ell, n in ordered), starts, first)


def _grouped(
    terms: list[tuple[int, int, float]], weights: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Heads, starts, partners and weights of terms (a, b, s): each joins the group of its commoner node."""
    occurrences = Counter(node for a, b, _ in terms for node in (a, b))
    pairs = [max((a, b), (b, a), key=lambda pair: (occurrences[pair[0]], pair)) for a, b, _ in terms]
    order = sorted(range(len(terms)), key=lambda t: pairs[t])
    heads, starts = np.unique(np.array([pairs[t][0] for t in order], dtype=np.int64), return_index=True)
    partners = np.array([pairs[t][1] for t in order], dtype=np.int64)
    signs = np.array([terms[t][2] for t in order], dtype=float)
    real = weights[order]
    both = np.stack([real, -signs[:, None] * real], axis=2)
    return heads, np.append(starts, len(terms)).astype(np.int64), partners, np.ascontiguousarray(both)


def _collect(function: BasisFunction, leaves: Leaves, products: dict[Product, NDArray[np.float64]]) -> None:
    """Add the products of one function, with their weights."""
    for ms, weights in zip(function.ms_combs.tolist(), function.ctildes, strict=True):
        factors = []
        sign = 1.0
        for mu, n, ell, m in zip(function.mus, function.ns, function.ls, ms, strict=True):
            factors.append((leaves.number(mu, n - 1, ell, abs(m)), m < 0, m == 0))
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
