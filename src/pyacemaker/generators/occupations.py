"""Which element sits on which site of an alloy's lattice."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor

import numpy as np

from pyacemaker.structures import AtomStructure, FloatArray, IntArray
from pyacemaker.structures.neighbours import neighbour_list

_SHELL_WIDTH = 0.1  # Å: neighbours whose distances differ by less are in one shell
_N_SHELLS = 3
_MOST_COMPOSITIONS = 100_000  # that are looked through
_SWEEPS = 60  # tried exchanges per site
_HOTTEST = 0.02  # of the objective, where the annealing starts


def spread_compositions(n_sites: int, ranges: Sequence[tuple[float, float]], n: int) -> list[tuple[int, ...]]:
    """At most `n` compositions as atoms of each element on `n_sites` sites, two elements at least in each.

    ranges: smallest and largest fraction of each element. The first is the most even one. Every further one
    is the farthest from those before it, first among those that hold every element, until they are half of
    all, then among all: the farthest of all alone would lie on the edges, so that a ternary alloy would be
    three binary ones. The order of the elements decides ties. Where 10⁵ compositions or more are possible,
    the choice is from as many drawn with a fixed seed.
    """
    least = [max(0, ceil(low * n_sites - 1e-9)) for low, _ in ranges]
    most = [min(n_sites - 1, floor(high * n_sites + 1e-9)) for _, high in ranges]
    fitting = list(itertools.islice(_counts(n_sites, least, most), _MOST_COMPOSITIONS))
    if len(fitting) == _MOST_COMPOSITIONS:
        fitting = _drawn_counts(n_sites, np.array(least), np.array(most))
    if not fitting:
        return []
    points = np.array(fitting) / n_sites
    inside = points.min(axis=1) > 0.0
    chosen = [int(np.argmin(np.round(((points - 1 / len(ranges)) ** 2).sum(axis=1), 9)))]
    nearest = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < min(n, len(fitting)):
        allowed = nearest > 0.0
        if 2 * len(chosen) < n and np.any(allowed & inside):
            allowed &= inside
        chosen.append(int(np.argmax(np.round(np.where(allowed, nearest, -1.0), 9))))
        nearest = np.minimum(nearest, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return [fitting[index] for index in chosen]


def _counts(n_sites: int, least: Sequence[int], most: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Every way to share the sites within these bounds of each element, in lexicographic order."""
    if len(least) == 1:
        if least[0] <= n_sites <= most[0]:
            yield (n_sites,)
        return
    lowest = max(least[0], n_sites - sum(most[1:]))
    highest = min(most[0], n_sites - sum(least[1:]))
    for first in range(lowest, highest + 1):
        for rest in _counts(n_sites - first, least[1:], most[1:]):
            yield (first, *rest)


def _drawn_counts(n_sites: int, least: IntArray, most: IntArray) -> list[tuple[int, ...]]:
    """The most even way to share the sites within these bounds, and random others, in lexicographic order."""
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(len(least)), _MOST_COMPOSITIONS)
    draws = least + rng.multinomial(n_sites - least.sum(), shares)
    even = least.copy()
    for _ in range(n_sites - int(least.sum())):
        even[np.argmin(np.where(even < most, even, n_sites))] += 1
    kept = (*draws[(draws <= most).all(axis=1)], even)
    return sorted({tuple(int(count) for count in row) for row in kept})


def occupied(structure: AtomStructure, sites: IntArray, numbers: IntArray) -> AtomStructure:
    """The structure with the elements `numbers` (atomic numbers) on `sites` (indices)."""
    found = structure.numbers.copy()
    found[sites] = numbers
    return structure.replace(numbers=found, labels=None, label_weights=None)


def random_occupation(elements: IntArray, counts: Sequence[int], rng: np.random.Generator) -> IntArray:
    """(n_sites,) atomic numbers: `counts` of each of `elements`, in a random order."""
    return np.asarray(rng.permutation(np.repeat(elements, counts)))


@dataclass(frozen=True)
class PairShells:
    """The neighbours of an alloy's sites: pairs (i, j) of site positions, shell by shell, nearest first."""

    pairs: tuple[tuple[IntArray, IntArray], ...]

    @classmethod
    def of(cls, structure: AtomStructure, sites: IntArray, n_shells: int = _N_SHELLS) -> "PairShells":
        """The first `n_shells` shells among `sites` (indices) of the structure."""
        reach = 2.6 * float(((structure.volume or 0.0) / len(sites)) ** (1 / 3))
        part = structure.positions[sites]
        edges = neighbour_list(part, structure.cell, structure.pbc, reach)
        order = np.argsort(edges.distances, kind="stable")
        breaks = np.flatnonzero(np.diff(edges.distances[order]) > _SHELL_WIDTH) + 1
        shells = np.split(order, breaks)[:n_shells]
        return cls(tuple((edges.i[shell], edges.j[shell]) for shell in shells))

    def disorder_error(self, kinds: IntArray, n_kinds: int) -> float:
        """How far the pairs are from a random alloy: Σ_shells Σ_ab (p_ab − x_a x_b)² / shell number.

        kinds: (n_sites,) index of the element on each site. p_ab: share of the pairs of a shell with a and b;
        x_a: share of a. Zero where all pair correlations are those of infinite disorder (Zunger et al.,
        Phys. Rev. Lett. 65, 353 (1990)).
        """
        shares = np.bincount(kinds, minlength=n_kinds) / len(kinds)
        ideal = np.outer(shares, shares).ravel()
        error = 0.0
        for number, (i, j) in enumerate(self.pairs, start=1):
            found = np.bincount(kinds[i] * n_kinds + kinds[j], minlength=n_kinds**2) / len(i)
            error += float(np.sum((found - ideal) ** 2)) / number
        return error


def quasi_random_occupation(
    shells: PairShells, elements: IntArray, counts: Sequence[int], rng: np.random.Generator
) -> IntArray:
    """(n_sites,) atomic numbers whose pair correlations are as near to a random alloy's as exchanges get.

    Simulated annealing: two unlike sites are exchanged, and kept where the error falls or by chance.
    """
    kinds = random_occupation(np.arange(len(elements)), counts, rng)
    error = shells.disorder_error(kinds, len(elements))
    best, least = kinds.copy(), error
    steps = _SWEEPS * len(kinds)
    for step in range(steps):
        first, second = rng.integers(len(kinds), size=2)
        if kinds[first] == kinds[second]:
            continue
        kinds[[first, second]] = kinds[[second, first]]
        tried = shells.disorder_error(kinds, len(elements))
        heat = _HOTTEST * (1.0 - step / steps) ** 2 + 1e-12
        if tried <= error or rng.uniform() < np.exp((error - tried) / heat):
            error = tried
        else:
            kinds[[first, second]] = kinds[[second, first]]
        if error < least - 1e-12:
            best, least = kinds.copy(), error
    return np.asarray(elements[best])


def random_swap(
    structure: AtomStructure, sites: IntArray, rng: np.random.Generator
) -> tuple[int, int] | None:
    """Two sites (atom indices) with different elements, drawn at random; None where all are alike."""
    numbers = structure.numbers[sites]
    first, second = np.nonzero(np.triu(numbers[:, None] != numbers[None]))
    if not len(first):
        return None
    index = int(rng.integers(len(first)))
    return int(sites[first[index]]), int(sites[second[index]])


def vegard_scale(counts: Sequence[int], volumes: FloatArray) -> float:
    """Factor on lengths: the volumes (relative, of each pure element) averaged over the composition."""
    shares = np.asarray(counts) / np.sum(counts)
    return float((shares @ volumes) ** (1 / 3))
