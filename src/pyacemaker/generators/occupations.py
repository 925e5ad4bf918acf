"""Which element sits on which site of an alloy's lattice."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyacemaker.structures import AtomStructure, FloatArray, IntArray
from pyacemaker.structures.neighbours import neighbour_list

_SHELL_WIDTH = 0.1  # Å: neighbours whose distances differ by less are in one shell
_N_SHELLS = 3
_SWEEPS = 60  # tried exchanges per site
_HOTTEST = 0.02  # of the objective, where the annealing starts


def spread_compositions(n_sites: int, ranges: Sequence[tuple[float, float]], n: int) -> list[tuple[int, ...]]:
    """At most `n` compositions as atoms of each element on `n_sites` sites, two elements at least in each.

    ranges: smallest and largest fraction of each element. The first is the most even one, every further one
    the farthest from those before it; the order of the elements decides ties.
    """
    counts = [
        (*head, n_sites - sum(head))
        for head in itertools.product(range(n_sites + 1), repeat=len(ranges) - 1)
        if sum(head) <= n_sites
    ]
    fitting = [count for count in counts if max(count) < n_sites and _in_ranges(count, ranges)]
    if not fitting:
        return []
    points = np.array(fitting) / n_sites
    chosen = [int(np.argmin(np.round(((points - 1 / len(ranges)) ** 2).sum(axis=1), 9)))]
    nearest = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < min(n, len(fitting)):
        chosen.append(int(np.argmax(np.round(nearest, 9))))
        nearest = np.minimum(nearest, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return [fitting[index] for index in chosen]


def _in_ranges(count: tuple[int, ...], ranges: Sequence[tuple[float, float]]) -> bool:
    total = sum(count)
    return all(low - 1e-9 <= c / total <= high + 1e-9 for c, (low, high) in zip(count, ranges, strict=True))


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
