"""Point defects: atoms missing, in between, or of the other kind."""

import itertools

import numpy as np

from pyacemaker.selection.filters import closest_fraction
from pyacemaker.structures import AtomStructure, FloatArray, IntArray
from pyacemaker.structures.neighbours import neighbour_list

_SAME = 0.05  # Å: voids nearer than this are one


def without(structure: AtomStructure, atoms: IntArray | list[int]) -> AtomStructure:
    """The structure with some atoms (indices) missing."""
    kept = np.setdiff1d(np.arange(len(structure)), atoms)
    return structure.replace(
        numbers=structure.numbers[kept],
        positions=structure.positions[kept],
        labels=None,
        label_weights=None,
    )


def with_atom(structure: AtomStructure, number: int, position: FloatArray) -> AtomStructure:
    """The structure with one atom more, of atomic `number` at `position` (3,), Å."""
    return structure.replace(
        numbers=np.append(structure.numbers, number),
        positions=np.vstack([structure.positions, position]),
        labels=None,
        label_weights=None,
    )


def distinct_sites(structure: AtomStructure) -> list[int]:
    """One atom of every kind of site: of the same element with the same elements at the same distances."""
    first: dict[tuple[float, ...], int] = {}
    for atom, environment in enumerate(_environments(structure)):
        first.setdefault(environment, atom)
    return list(first.values())


def _environments(structure: AtomStructure) -> list[tuple[float, ...]]:
    """What each atom sees: its element, and distance (to 0.01 Å) and element of each neighbour."""
    edges = neighbour_list(structure.positions, structure.cell, structure.pbc, _reach(structure))
    found = []
    for atom in range(len(structure)):
        mine = edges.i == atom
        shell = sorted(zip(np.round(edges.distances[mine], 2), structure.numbers[edges.j[mine]], strict=True))
        found.append((float(structure.numbers[atom]), *(float(x) for pair in shell for x in pair)))
    return found


def _reach(structure: AtomStructure) -> float:
    """Å: a radius within which an atom has some twenty neighbours."""
    return float(1.7 * ((structure.volume or 0.0) / len(structure)) ** (1 / 3))


def vacancies(structure: AtomStructure) -> list[AtomStructure]:
    """One atom missing, once for every kind of site."""
    return [without(structure, [site]) for site in distinct_sites(structure)]


def divacancies(structure: AtomStructure) -> list[AtomStructure]:
    """Two atoms missing, a nearest and a second-nearest pair, once for every kind of site."""
    edges = neighbour_list(structure.positions, structure.cell, structure.pbc, _reach(structure))
    found = []
    for site in distinct_sites(structure):
        mine = np.flatnonzero((edges.i == site) & (edges.j != site))
        _, first = np.unique(np.round(edges.distances[mine], 2), return_index=True)
        partners = dict.fromkeys(int(edges.j[mine[index]]) for index in first[:2])
        found += [without(structure, [site, partner]) for partner in partners]
    return found


def interstitials(
    structure: AtomStructure, n_voids: int = 2, min_distance: float = 0.6
) -> list[AtomStructure]:
    """One atom of every element more, in the `n_voids` largest kinds of void and as dumbbells.

    Those with two atoms nearer than `min_distance` of the sum of their covalent radii are left out.
    """
    elements = sorted(set(structure.numbers.tolist()))
    voids = largest_voids(structure, n_voids)
    found = [with_atom(structure, z, void) for z, void in itertools.product(elements, voids)]
    return [s for s in [*found, *dumbbells(structure)] if closest_fraction(s) >= min_distance]


def dumbbells(structure: AtomStructure) -> list[AtomStructure]:
    """Two atoms sharing a site, along 100, 110 and 111, at 0.7 of the nearest-neighbour distance."""
    edges = neighbour_list(structure.positions, structure.cell, structure.pbc, _reach(structure))
    found = []
    for site in distinct_sites(structure):
        half = 0.35 * float(edges.distances[edges.i == site].min())
        for direction in np.array([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]):
            step = half * direction / np.linalg.norm(direction)
            moved = structure.positions.copy()
            moved[site] -= step
            found.append(
                with_atom(
                    structure.replace(positions=moved),
                    int(structure.numbers[site]),
                    structure.positions[site] + step,
                )
            )
    return found


def largest_voids(structure: AtomStructure, n: int) -> FloatArray:
    """(at most n, 3), Å: centres of the largest empty spheres, one for every radius, the largest first.

    They are the corners of the Voronoi cells around the atoms and their images.
    """
    from scipy.spatial import Voronoi

    shifts = np.array(list(itertools.product((-1, 0, 1), repeat=3))) @ structure.cell
    points = (structure.positions[None] + shifts[:, None]).reshape(-1, 3)
    corners = Voronoi(points).vertices
    fractions = corners @ np.linalg.inv(structure.cell)
    inside = corners[((fractions > -1e-6) & (fractions < 1.0 - 1e-6)).all(axis=1)]
    radii = np.array([np.linalg.norm(points - corner, axis=1).min() for corner in inside])
    order = np.lexsort((*np.round(inside, 3).T, -np.round(radii, 2)))
    chosen: list[int] = []
    for index in order:
        if all(abs(radii[index] - radii[other]) > _SAME for other in chosen):
            chosen.append(int(index))
    return np.asarray(inside[chosen[:n]])


def exchanged(structure: AtomStructure, first: int, second: int) -> AtomStructure:
    """The structure with the elements of two atoms (indices) exchanged."""
    numbers = structure.numbers.copy()
    numbers[[first, second]] = numbers[[second, first]]
    return structure.replace(numbers=numbers, labels=None, label_weights=None)


def substituted(structure: AtomStructure, atom: int, number: int) -> AtomStructure:
    """The structure with another element (atomic number) on one site."""
    numbers = structure.numbers.copy()
    numbers[atom] = number
    return structure.replace(numbers=numbers, labels=None, label_weights=None)


def antisites(structure: AtomStructure) -> list[AtomStructure]:
    """Every kind of site with each of the other elements on it, and one exchanged pair of neighbours for each
    kind of site; none where there is only one element."""
    elements = sorted(set(structure.numbers.tolist()))
    found = []
    for site in distinct_sites(structure):
        others = [z for z in elements if z != structure.numbers[site]]
        found += [substituted(structure, site, z) for z in others]
        found += [exchanged(structure, site, _nearest_unlike(structure, site))] if others else []
    return found


def _nearest_unlike(structure: AtomStructure, site: int) -> int:
    from ase.geometry import get_distances

    _, distances = get_distances(
        structure.positions[site], structure.positions, cell=structure.cell, pbc=structure.pbc
    )
    unlike = structure.numbers != structure.numbers[site]
    return int(np.argmin(np.where(unlike, np.round(distances[0], 6), np.inf)))
