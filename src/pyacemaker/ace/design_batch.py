"""Several structures as one list of atoms, edges and rows, ready for the kernels of the design matrix."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pyacemaker.ace.cores import CoreTerms
from pyacemaker.ace.design_kernel import Sites
from pyacemaker.ace.model import Bond
from pyacemaker.ace.neighbours import Edges, neighbour_list
from pyacemaker.ace.radial import cut_radial_functions, radial_functions
from pyacemaker.errors import UnsupportedElementError
from pyacemaker.structures import AtomStructure, FloatArray, IntArray

_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@dataclass(frozen=True, eq=False)
class Layout:
    """Which row holds what: of each structure energy, 3n forces, and 6 stresses where it has a volume.

    starts: (S + 1,) first row of each structure. atom_rows: (atoms, 3) energy row of each atom's structure,
    row of its force's x, and first virial row (−1: none). volumes: (R,) 1, and in stress rows the volume, Å³.
    """

    starts: IntArray
    atom_rows: IntArray
    volumes: FloatArray


@dataclass(frozen=True, eq=False)
class Batch:
    """Several structures as one list of atoms and edges (sorted by centre, then by the neighbour's species).

    species: (atoms,). segments: (atoms, N + 1) first edge of each neighbour species.
    """

    species: IntArray
    edges: Edges
    segments: IntArray

    @classmethod
    def of(cls, structures: Sequence[AtomStructure], elements: Sequence[str], cutoff: float) -> "Batch":
        """The edges of all structures up to a cutoff, Å; `UnsupportedElementError` for a foreign element."""
        count = len(elements)
        found = [neighbour_list(s.positions, s.cell, s.pbc, cutoff) for s in structures]
        shift = np.cumsum([0, *(len(s) for s in structures)])[:-1]
        i = np.concatenate([e.i + s for e, s in zip(found, shift, strict=True)])
        j = np.concatenate([e.j + s for e, s in zip(found, shift, strict=True)])
        species = np.concatenate([species_of(elements, s) for s in structures])
        vectors = np.concatenate([e.vectors for e in found])
        distances = np.concatenate([e.distances for e in found])
        key = i * count + species[j]
        if count > 1:
            order = np.argsort(key, kind="stable")
            i, j, key, vectors, distances = i[order], j[order], key[order], vectors[order], distances[order]
        starts = np.arange(len(species))[:, None] * count + np.arange(count + 1)
        segments = np.searchsorted(key, starts).astype(np.int64)
        return cls(species, Edges(i, j, vectors, distances), segments)

    def sites(
        self,
        atoms: IntArray,
        radial: tuple[FloatArray, FloatArray],
        atom_rows: IntArray,
        core: CoreTerms | None,
    ) -> Sites:
        """Some atoms of one species for the kernel. radial: from `channel_values`. core: None for f = 1."""
        edges = self.edges
        switch, slope = np.ones(len(atoms)), np.zeros(len(edges))
        if core is not None:
            switch, slope = core.f[atoms], core.df_dr
        return Sites(
            np.ascontiguousarray(self.segments[atoms]),
            edges.vectors,
            edges.distances,
            *radial,
            switch,
            slope,
            np.ascontiguousarray(atom_rows[atoms]),
            np.ascontiguousarray(atom_rows[edges.j, 1]),
        )

    def channel_values(
        self, mu: int, bonds: Mapping[tuple[int, int], Bond], contractions: Sequence[FloatArray]
    ) -> tuple[FloatArray, FloatArray]:
        """(channels, P) radial functions and slopes of the edges whose centre is of species mu.

        contractions: by neighbour species, (channels, nradbase): the sums of g_k that are wanted.
        """
        edges, count = self.edges, len(contractions)
        channels = max(len(contraction) for contraction in contractions)
        kinds = self.species[edges.i] * count + self.species[edges.j]
        values, slopes = np.zeros((channels, len(edges))), np.zeros((channels, len(edges)))
        for nu, contraction in enumerate(contractions):
            mine = np.flatnonzero(kinds == mu * count + nu)
            if len(mine) == len(edges):
                g, dg = _base_functions(bonds[mu, nu], edges.distances)
                return contraction @ g.T, contraction @ dg.T
            g, dg = _base_functions(bonds[mu, nu], edges.distances[mine])
            values[: len(contraction), mine] = contraction @ g.T
            slopes[: len(contraction), mine] = contraction @ dg.T
        return values, slopes


def _base_functions(bond: Bond, r: FloatArray) -> tuple[FloatArray, FloatArray]:
    """g_k and dg_k/dr (P, nradbase), inner cutoff included where there is one."""
    if bond.inner_cutoff == "distance" and bond.rcut_in > 0.0:
        return cut_radial_functions(bond, r)
    return radial_functions(bond, r)


def layout(structures: Sequence[AtomStructure]) -> Layout:
    """The rows of some structures."""
    volumes = [structure.volume for structure in structures]
    sizes = [1 + 3 * len(s) + (0 if v is None else 6) for s, v in zip(structures, volumes, strict=True)]
    starts = np.cumsum([0, *sizes]).astype(np.int64)
    atom_rows = np.full((sum(len(s) for s in structures), 3), -1, dtype=np.int64)
    divisors = np.ones(starts[-1])
    first = 0
    for structure, volume, start, end in zip(structures, volumes, starts, starts[1:], strict=False):
        mine = slice(first, first + len(structure))
        atom_rows[mine, 0] = start
        atom_rows[mine, 1] = start + 1 + 3 * np.arange(len(structure))
        if volume is not None:
            atom_rows[mine, 2] = end - 6
            divisors[end - 6 : end] = volume
        first += len(structure)
    return Layout(starts, atom_rows, divisors)


def core_rows(terms: CoreTerms, edges: Edges, atom_rows: IntArray, rows: int) -> FloatArray:
    """(R,) the core energies' part of every row, stress rows times the volume."""
    core: FloatArray = np.bincount(atom_rows[:, 0], terms.energy, rows).astype(np.float64)
    gradient = terms.denergy_dr[:, None] * edges.vectors / edges.distances[:, None]
    for c in range(3):
        core += np.bincount(atom_rows[edges.i, 1] + c, gradient[:, c], rows)
        core -= np.bincount(atom_rows[edges.j, 1] + c, gradient[:, c], rows)
    periodic = atom_rows[edges.i, 2] >= 0
    first = atom_rows[edges.i[periodic], 2]
    for number, (a, b) in enumerate(_VOIGT):
        share = 0.5 * (edges.vectors[:, a] * gradient[:, b] + edges.vectors[:, b] * gradient[:, a])
        core += np.bincount(first + number, share[periodic], rows)
    return core


def species_of(elements: Sequence[str], structure: AtomStructure) -> IntArray:
    """(n,) species number of each atom; `UnsupportedElementError` for an element that is not in
    `elements`."""
    index = {symbol: number for number, symbol in enumerate(elements)}
    missing = sorted(set(structure.symbols) - set(index))
    if missing:
        raise UnsupportedElementError(
            f"structure {structure.id} holds {', '.join(missing)}, but the basis covers "
            f"{', '.join(elements)}; add the element to the basis or leave the structure out"
        )
    return np.array([index[symbol] for symbol in structure.symbols], dtype=np.int64)
