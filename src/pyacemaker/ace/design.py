"""The design matrix: energies, forces and stresses as linear functions of the basis coefficients.

With the core's switch f_i and energy e_i (`pyacemaker.ace.cores`), E = Σ_i [f_i Σ_f c_f B_f(i) + e_i + E0_i]:
every label is *matrix row* · c + *core* + E0. All derivatives are exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyacemaker.ace.basis import Basis, graded_blocks, orthonormal_bond
from pyacemaker.ace.cores import CoreTerms, core_terms, has_core
from pyacemaker.ace.design_kernel import Tables, accumulate_atoms, build_tables
from pyacemaker.ace.neighbours import Edges, neighbour_list
from pyacemaker.ace.radial import radial_functions
from pyacemaker.errors import UnsupportedElementError
from pyacemaker.structures import AtomStructure, FloatArray, IntArray
from pyacemaker.structures.dataset import locating

_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


@dataclass(frozen=True, eq=False)
class DesignRows:
    """Rows of several structures, structure after structure: energy, 3n forces, 6 stresses (with a volume only).

    matrix: (K, R), the transposed design matrix: per row eV, eV/Å or eV/Å³ per unit of each coefficient.
    core: (R,) the same rows of the core energies. starts: (S + 1,) first row of each structure.
    """

    matrix: FloatArray
    core: FloatArray
    starts: IntArray


@dataclass(frozen=True, eq=False)
class _Batch:
    """Several structures as one list of atoms and edges (sorted by centre, then by the neighbour's
    species)."""

    species: IntArray
    edges: Edges
    segments: IntArray  # (atoms, N + 1) first edge of each neighbour species
    structure: IntArray  # (atoms,)


class Design:
    """Computes design rows for one basis; its tables are built once."""

    def __init__(self, basis: Basis) -> None:
        self.basis = basis
        count = len(basis.elements)
        self._tables = [
            build_tables(blocks, [basis.bonds[mu, nu] for nu in range(count)])
            for mu, blocks in enumerate(basis.blocks)
        ]
        self._frame = basis.to_model(np.zeros(len(basis)), np.zeros(count))
        self._has_core = has_core(self._frame)

    def rows(self, structures: Sequence[AtomStructure]) -> DesignRows:
        """Energy (eV), force (eV/Å) and, for structures with a volume, stress rows (eV/Å³, tensile positive)."""
        batch = self._batch(structures)
        sizes = [1 + 3 * len(s) + (0 if s.volume is None else 6) for s in structures]
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        atom_rows = np.full((len(batch.species), 3), -1, dtype=np.int64)
        first = 0
        for structure, start in zip(structures, starts, strict=False):
            mine = slice(first, first + len(structure))
            atom_rows[mine, 0] = start
            atom_rows[mine, 1] = start + 1 + 3 * np.arange(len(structure))
            if structure.volume is not None:
                atom_rows[mine, 2] = start + 1 + 3 * len(structure)
            first += len(structure)
        matrix = np.zeros((len(self.basis), starts[-1]))
        core = self._fill(batch, atom_rows, matrix)
        for structure, end in zip(structures, starts[1:], strict=True):
            volume = structure.volume
            if volume is not None:
                matrix[:, end - 6 : end] /= volume
                core[end - 6 : end] /= volume
        return DesignRows(matrix, core, starts)

    def invariants(self, structures: Sequence[AtomStructure]) -> FloatArray:
        """(atoms, K): the functions of each atom of all structures; zero in the columns of other species."""
        batch = self._batch(structures)
        atoms = len(batch.species)
        atom_rows = np.stack([np.arange(atoms), np.full(atoms, -1), np.full(atoms, -1)], axis=1)
        matrix = np.zeros((len(self.basis), atoms))
        self._fill(batch, atom_rows, matrix, switched=False)
        return np.ascontiguousarray(matrix.T)

    def _fill(
        self, batch: _Batch, atom_rows: IntArray, matrix: FloatArray, switched: bool = True
    ) -> FloatArray:
        """Add all atoms to `matrix`; returns the core's rows."""
        edges = batch.edges
        core = np.zeros(matrix.shape[1])
        switch, slope = np.ones(len(batch.species)), np.zeros(len(edges))
        if self._has_core and switched:
            terms = core_terms(self._frame, batch.species, edges)
            switch, slope = terms.f, terms.df_dr
            core = _core_rows(terms, edges, atom_rows, matrix.shape[1])
        force_rows = np.ascontiguousarray(atom_rows[edges.j, 1])
        for mu, tables in enumerate(self._tables):
            atoms = np.flatnonzero(batch.species == mu)
            if len(atoms) and tables.functions:
                radial, radial_slope = self._radial(mu, tables, batch)
                accumulate_atoms(
                    (tables.variables, tables.species_ptr),
                    (tables.block_ptr, tables.local, tables.monomials, tables.coupling),
                    (tables.lmax, tables.alpha, tables.beta),
                    np.ascontiguousarray(batch.segments[atoms]),
                    (edges.vectors, edges.distances, radial, radial_slope),
                    (switch[atoms], slope),
                    (np.ascontiguousarray(atom_rows[atoms]), force_rows),
                    matrix[self.basis.offsets[mu] : self.basis.offsets[mu + 1]],
                )
        return core

    def _radial(self, mu: int, tables: Tables, batch: _Batch) -> tuple[FloatArray, FloatArray]:
        """(channels, P) radial functions and slopes of the edges whose centre is of species mu."""
        edges, species = batch.edges, batch.species
        channels = max(len(contraction) for contraction in tables.contractions)
        values, slopes = np.zeros((channels, len(edges))), np.zeros((channels, len(edges)))
        centred = species[edges.i] == mu
        for nu, contraction in enumerate(tables.contractions):
            mine = np.flatnonzero(centred & (species[edges.j] == nu))
            if len(mine):
                g, dg = radial_functions(self.basis.bonds[mu, nu], edges.distances[mine])
                values[: len(contraction), mine] = contraction @ g.T
                slopes[: len(contraction), mine] = contraction @ dg.T
        return values, slopes

    def _batch(self, structures: Sequence[AtomStructure]) -> _Batch:
        cutoff, count = self.basis.cutoff, len(self.basis.elements)
        found = [neighbour_list(s.positions, s.cell, s.pbc, cutoff) for s in structures]
        sizes = np.array([len(s) for s in structures], dtype=np.int64)
        shift = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
        i = np.concatenate([e.i + s for e, s in zip(found, shift, strict=True)])
        j = np.concatenate([e.j + s for e, s in zip(found, shift, strict=True)])
        species = np.concatenate([species_of(self.basis.elements, s) for s in structures])
        key = i * count + species[j]
        order = np.argsort(key, kind="stable")
        vectors = np.concatenate([e.vectors for e in found])[order]
        distances = np.concatenate([e.distances for e in found])[order]
        starts = np.arange(len(species))[:, None] * count + np.arange(count + 1)
        segments = np.searchsorted(key[order], starts).astype(np.int64)
        structure = np.repeat(np.arange(len(structures)), sizes)
        return _Batch(species, Edges(i[order], j[order], vectors, distances), segments, structure)


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


def design_features(
    structures: Sequence[AtomStructure],
    elements: Sequence[str] | None = None,
    cutoff: float = 5.0,
    functions: int = 60,
) -> FloatArray:
    """(structures, d): invariants of a small default basis, averaged over the atoms of each element.

    elements: those of the structures where None. cutoff: Å. functions: about how many per element.
    Descriptors for selection where there is no other model; they know elements and geometry, not energies.
    """
    symbols = tuple(elements or sorted({symbol for s in structures for symbol in s.symbols}))
    count = len(symbols)
    bond = orthonormal_bond(cutoff, "ChebExpCos", 2.5, (6, 6, 6), 0.8)
    blocks = tuple(graded_blocks(mu, np.full(count, 99), functions, 3, 6) for mu in range(count))
    basis = Basis(symbols, {(i, j): bond for i in range(count) for j in range(count)}, blocks)
    design = Design(basis)
    averages = []
    for index, structure in enumerate(structures):
        with locating(index, structure):
            averages.append(design.invariants([structure]).sum(axis=0) / len(structure))
    return np.array(averages).reshape(-1, len(basis))


def _core_rows(terms: CoreTerms, edges: Edges, atom_rows: IntArray, rows: int) -> FloatArray:
    """The core energies' part of every row."""
    core: FloatArray = np.bincount(atom_rows[:, 0], terms.energy, rows).astype(np.float64)
    gradient = terms.denergy_dr[:, None] * edges.vectors / edges.distances[:, None]
    for c in range(3):
        if np.any(atom_rows[:, 1] < 0):
            break
        core += np.bincount(atom_rows[edges.i, 1] + c, gradient[:, c], rows)
        core -= np.bincount(atom_rows[edges.j, 1] + c, gradient[:, c], rows)
    periodic = atom_rows[edges.i, 2] >= 0
    first = atom_rows[edges.i[periodic], 2]
    for number, (a, b) in enumerate(_VOIGT):
        share = 0.5 * (edges.vectors[:, a] * gradient[:, b] + edges.vectors[:, b] * gradient[:, a])
        core += np.bincount(first + number, share[periodic], rows)
    return core
