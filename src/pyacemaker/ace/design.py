"""The design matrix: energies, forces and stresses as linear functions of the basis coefficients.

With the core's switch f_i and energy e_i (`pyacemaker.ace.cores`), E = Σ_i [f_i Σ_f c_f B_f(i) + e_i + E0_i]:
every label is *matrix row* · c + *core* + E0. All derivatives are exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyacemaker.ace.basis import Basis, graded_blocks, orthonormal_bond
from pyacemaker.ace.cores import core_terms, has_core
from pyacemaker.ace.design_batch import Batch, core_rows, layout, species_of
from pyacemaker.ace.design_kernel import accumulate_atoms, accumulate_values
from pyacemaker.ace.design_tables import Channels, build_tables
from pyacemaker.structures import AtomStructure, FloatArray, IntArray
from pyacemaker.structures.dataset import locating

__all__ = ["Design", "DesignRows", "design_features", "species_of"]


@dataclass(frozen=True, eq=False)
class DesignRows:
    """Rows of several structures, structure after structure: energy, 3n forces, 6 stresses (with a volume
    only).

    matrix: (K, R), the transposed design matrix: per row eV, eV/Å or eV/Å³ per unit of each coefficient.
    core: (R,) the same rows of the core energies. starts: (S + 1,) first row of each structure.
    """

    matrix: FloatArray
    core: FloatArray
    starts: IntArray


class Design:
    """Computes design rows for one basis; its tables are built once.

    Rows are dense: a call needs 8 K R bytes for its result, so one structure of 10,000 atoms takes 1.2 GB
    with 5,000 functions. Sets of structures can be split, structures cannot.
    """

    def __init__(self, basis: Basis) -> None:
        self.basis = basis
        count = len(basis.elements)
        channels = [[Channels(basis.bonds[mu, nu]) for nu in range(count)] for mu in range(count)]
        self._tables = [build_tables(blocks, channels[mu]) for mu, blocks in enumerate(basis.blocks)]
        self._contractions = [[channel.matrix for channel in row] for row in channels]
        self._frame = basis.to_model(np.zeros(len(basis)), np.zeros(count))
        self._has_core = has_core(self._frame)

    def rows(self, structures: Sequence[AtomStructure]) -> DesignRows:
        """Energy (eV), force (eV/Å) and, for structures with a volume, stress rows (eV/Å³, tensile
        positive)."""
        batch, places = self._batch(structures), layout(structures)
        matrix = np.zeros((len(self.basis), places.starts[-1]))
        core, terms = np.zeros(matrix.shape[1]), None
        if self._has_core:
            terms = core_terms(self._frame, batch.species, batch.edges)
            core = core_rows(terms, batch.edges, places.atom_rows, matrix.shape[1]) / places.volumes
        for mu, tables in enumerate(self._tables):
            atoms = np.flatnonzero(batch.species == mu)
            if len(atoms) and tables.functions:
                radial = batch.channel_values(mu, self.basis.bonds, self._contractions[mu])
                sites = batch.sites(atoms, radial, places.atom_rows, terms)
                mine = slice(self.basis.offsets[mu], self.basis.offsets[mu + 1])
                accumulate_atoms(tables, sites, matrix[None, mine])
        stress = np.flatnonzero(places.volumes != 1.0)
        matrix[:, stress] /= places.volumes[stress]
        return DesignRows(matrix, core, places.starts)

    def invariants(self, structures: Sequence[AtomStructure]) -> FloatArray:
        """(atoms, K): the functions of each atom of all structures; zero in the columns of other species."""
        batch = self._batch(structures)
        matrix = np.zeros((len(batch.species), len(self.basis)))
        none = np.full((len(batch.species), 3), -1, dtype=np.int64)
        for mu, tables in enumerate(self._tables):
            atoms = np.flatnonzero(batch.species == mu)
            if len(atoms) and tables.functions:
                values = np.empty((len(atoms), tables.functions))
                radial = batch.channel_values(mu, self.basis.bonds, self._contractions[mu])
                accumulate_values(tables, batch.sites(atoms, radial, none, None), values)
                matrix[atoms, self.basis.offsets[mu] : self.basis.offsets[mu + 1]] = values
        return matrix

    def _batch(self, structures: Sequence[AtomStructure]) -> Batch:
        return Batch.of(structures, self.basis.elements, self.basis.cutoff)


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
