"""What the data says of each pair of elements, and the short-range windows that follow from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pyacemaker.ace.neighbours import Edges, neighbour_list
from pyacemaker.errors import ConfigError
from pyacemaker.structures import AtomStructure, FloatArray, IntArray
from pyacemaker.structures.dataset import locating

CLOSEST_FACTOR = 0.85
"""The window ends below this share of the closest approach in the data: there ACE is at work unchanged."""
TYPICAL_FACTOR = 0.8
"""… and below this share of the median nearest-neighbour distance."""
LARGEST_RADII_FACTOR = 1.1
"""… and below this share of the sum of covalent radii: pairs that never come close get no artificial
fence."""
SMALLEST_RADII_FACTOR = 0.5
"""… but not below this share, whatever compressed structures the data holds: there ZBL is the better
physics."""
UNSEEN_RADII_FACTOR = 0.75
"""The end of the window, as a share of the sum of covalent radii, for pairs that the data does not hold."""
WIDTH_FACTOR = 0.25
"""Width of every window as a share of the shortest one's end. Equal widths keep E continuous when two
neighbours compete for being the closest."""

NATURAL_NEIGHBOURS = 36
"""Neighbours that an automatic cutoff takes in: of 26 to 45, about the best for Si and Mo (mlearn)."""
NATURAL_RANGE = (4.8, 6.5)
"""Å: shortest and longest automatic cutoff of bulk."""
SPARSE_CUTOFF = 5.0
"""Å: automatic cutoff where there is no bulk."""
FEWEST_OF_BULK = 25
"""Neighbours within `SIGHT` of the median atom below which there is no bulk."""
SIGHT = 6.0
"""Å: within which the density is measured."""
SAMPLED = 50
"""Structures in which the density is measured."""


@dataclass(frozen=True, eq=False)
class PairStatistics:
    """Of N elements, by (centre, neighbour).

    closest: (N, N) shortest distance, Å, infinite where no such pair is within the cutoff. typical: (N, N)
    median over centres of the distance to the closest such neighbour, Å. neighbours: (N, N) largest number
    within the cutoff. dense: (N,) by centre, shortest distance of an eighth-nearest neighbour, Å, infinite
    where no atom has eight: the nearest-neighbour distance of the most compressed close packing. cutoff: Å,
    how far was looked.
    """

    closest: FloatArray
    typical: FloatArray
    neighbours: IntArray
    dense: FloatArray
    cutoff: float


def pair_statistics(
    structures: Sequence[AtomStructure], elements: Sequence[str], cutoff: float
) -> PairStatistics:
    """Distances and coordination over all structures, within `cutoff` (Å)."""
    count = len(elements)
    index = {symbol: number for number, symbol in enumerate(elements)}
    nearest: dict[tuple[int, int], list[FloatArray]] = {
        (a, b): [] for a in range(count) for b in range(count)
    }
    neighbours, dense = np.zeros((count, count), dtype=np.int64), np.full(count, np.inf)
    for position, structure in enumerate(structures):
        species = np.array([index[symbol] for symbol in structure.symbols])
        with locating(position, structure):
            edges = neighbour_list(structure.positions, structure.cell, structure.pbc, cutoff)
        _lower_dense(dense, species, edges)
        key = edges.i * count + species[edges.j]
        order = np.lexsort((edges.distances, key))
        found, first, number = np.unique(key[order], return_index=True, return_counts=True)
        for mu, nu, distance, many in zip(
            species[found // count], found % count, edges.distances[order[first]], number, strict=True
        ):
            nearest[int(mu), int(nu)].append(distance)
            neighbours[mu, nu] = max(neighbours[mu, nu], many)
    closest, typical = np.full((count, count), np.inf), np.full((count, count), np.inf)
    for pair, distances in nearest.items():
        if distances:
            closest[pair], typical[pair] = np.min(distances), np.median(distances)
    return PairStatistics(
        np.minimum(closest, closest.T), np.minimum(typical, typical.T), neighbours, dense, cutoff
    )


def natural_cutoff(structures: Sequence[AtomStructure]) -> float:
    """Å: a sphere of this radius holds about `NATURAL_NEIGHBOURS` atoms of the bulk that the structures show.

    The density is that around the median atom of up to `SAMPLED` structures, within `SIGHT`. Structures
    without a bulk (molecules, clusters, single layers) get `SPARSE_CUTOFF`. Raises as `neighbour_list`.
    """
    pick = np.unique(np.linspace(0, len(structures) - 1, min(SAMPLED, len(structures))).astype(int))
    counts: list[IntArray] = []
    for position in pick:
        structure = structures[position]
        with locating(int(position), structure):
            edges = neighbour_list(structure.positions, structure.cell, structure.pbc, SIGHT)
        counts.append(np.diff(edges.offsets(len(structure))))
    crowd = float(np.median(np.concatenate(counts))) if counts else 0.0
    if crowd < FEWEST_OF_BULK:
        return SPARSE_CUTOFF
    radius = SIGHT * (NATURAL_NEIGHBOURS / crowd) ** (1.0 / 3.0)
    return round(float(np.clip(radius, *NATURAL_RANGE)), 1)


def _lower_dense(dense: FloatArray, species: IntArray, edges: Edges) -> None:
    """Lower each species' entry to the shortest distance of an eighth neighbour in one structure."""
    order = np.lexsort((edges.distances, edges.i))
    offsets = edges.offsets(len(species))
    eighth = offsets[:-1] + 7
    crowded = np.flatnonzero(eighth < offsets[1:])
    np.minimum.at(dense, species[crowded], edges.distances[order[eighth[crowded]]])


def core_windows(
    statistics: PairStatistics,
    elements: Sequence[str],
    given: Mapping[tuple[int, int], float],
    width: float | None = None,
) -> dict[tuple[int, int], tuple[float, float]]:
    """(rcut_in, dcut_in) in Å of every ordered pair: ZBL below rcut_in − dcut_in, ACE above rcut_in.

    given: rcut_in of pairs that the user chose; the others follow from the data. width: dcut_in, the same for
    all pairs, because the `.yace` switch jumps where neighbours with different widths compete for being the
    nearest; None: a share of the shortest rcut_in.
    """
    from ase.data import atomic_numbers, covalent_radii

    radii = [float(covalent_radii[atomic_numbers[symbol]]) for symbol in elements]
    count = len(elements)
    ends = {}
    for a in range(count):
        for b in range(count):
            reach = radii[a] + radii[b]
            closest, typical = float(statistics.closest[a, b]), float(statistics.typical[a, b])
            if np.isfinite(closest):
                end = min(CLOSEST_FACTOR * closest, TYPICAL_FACTOR * typical, LARGEST_RADII_FACTOR * reach)
                ends[a, b] = max(end, SMALLEST_RADII_FACTOR * reach)
            else:
                ends[a, b] = UNSEEN_RADII_FACTOR * reach
    for (a, b), end in given.items():
        ends[a, b] = ends[b, a] = end
    common = round(WIDTH_FACTOR * min(ends.values()), 3) if width is None else width
    if common >= min(ends.values()):
        raise ConfigError(
            f"window_width = {common} Å is not below the end of the shortest window, "
            f"{min(ends.values()):.3f} Å; choose a smaller width"
        )
    return {pair: (round(end, 3), common) for pair, end in ends.items()}
