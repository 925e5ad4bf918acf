"""Energies, forces and virials of an ACE potential."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyacemaker.ace import kernels
from pyacemaker.ace.angular import recurrence
from pyacemaker.ace.cores import core_terms, has_core
from pyacemaker.ace.model import EMBEDDINGS, RADIAL_BASES, ACEModel
from pyacemaker.ace.neighbours import Edges, neighbour_list
from pyacemaker.ace.products import product_graph
from pyacemaker.ace.tables import radial_table
from pyacemaker.errors import UnsupportedElementError

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What the potential says of one structure of n atoms.

    energies: (n,), eV, E0 and cores included. forces: (n, 3), eV/Å. virial: (3, 3), eV, the derivative of the
    energy with respect to a homogeneous strain, Σ r⃗ ⊗ ∂E/∂r⃗ over edges: the volume times the stress in ASE's
    sign (positive = tensile).
    """

    energies: Array
    forces: Array
    virial: Array

    @property
    def energy(self) -> float:
        """Energy of the structure, eV."""
        return float(self.energies.sum())


class CompiledModel:
    """A potential with its tables and product graphs, ready to be evaluated. Build it once, use it often."""

    def __init__(self, model: ACEModel) -> None:
        self.model = model
        self.has_core = has_core(model)
        self.recurrence = recurrence(max(bond.lmax for bond in model.bonds.values()))
        self.centres = [_centre(model, mu) for mu in range(len(model.elements))]

    def evaluate(
        self, numbers: ArrayLike, positions: ArrayLike, cell: ArrayLike, pbc: ArrayLike
    ) -> Evaluation:
        """Energies, forces and virial of one structure.

        numbers: (n,) atomic numbers. positions: (n, 3), Å. cell: (3, 3), Å. pbc: (3,).
        Raises `UnsupportedElementError` for an element that the potential lacks, and `DataError` as
        `neighbour_list` does.
        """
        species = self.species(numbers)
        edges = neighbour_list(positions, cell, pbc, self.model.cutoff)
        return self.evaluate_edges(species, edges)

    def evaluate_edges(self, species: NDArray[np.int64], edges: Edges) -> Evaluation:
        """The same from species numbers (n,) and edges that reach at least to the cutoff."""
        atoms = len(species)
        energies, gradients = np.zeros(atoms), np.zeros((len(edges), 3))
        neighbours = kernels.Neighbours(
            edges.offsets(atoms), species[edges.j], edges.vectors, edges.distances
        )
        f, core_energy, core = self._core(species, edges)
        for mu, (centre, bonds) in enumerate(self.centres):
            mine = np.flatnonzero(species == mu)
            if len(mine):
                kernels.evaluate_centres(
                    mine, centre, bonds, self.recurrence, neighbours, core, energies, gradients
                )
        forces, virial = np.zeros((atoms, 3)), np.zeros((3, 3))
        kernels.scatter(edges.i, edges.j, edges.vectors, gradients, forces, virial)
        return Evaluation(f * energies + core_energy + self.model.e0[species], forces, virial)

    def species(self, numbers: ArrayLike) -> NDArray[np.int64]:
        """Species numbers of atomic numbers; `UnsupportedElementError` for an element that is not there."""
        from ase.data import chemical_symbols

        given = np.asarray(numbers, dtype=np.int64)
        found = self._species_of_number[given]
        if (found < 0).any():
            missing = sorted({chemical_symbols[number] for number in given[found < 0]})
            raise UnsupportedElementError(
                f"the structure holds {', '.join(missing)}, which the ACE potential for "
                f"{', '.join(self.model.elements)} does not cover; use a potential fitted with these elements"
            )
        return found

    @cached_property
    def _species_of_number(self) -> NDArray[np.int64]:
        from ase.data import atomic_numbers

        table = np.full(max(atomic_numbers.values()) + 1, -1, dtype=np.int64)
        for mu, symbol in enumerate(self.model.elements):
            table[atomic_numbers[symbol]] = mu
        return table

    def _core(self, species: NDArray[np.int64], edges: Edges) -> tuple[Array, Array, kernels.Core]:
        if not self.has_core:
            ones, none = np.ones(len(species)), np.zeros(len(edges))
            return ones, np.zeros(len(species)), kernels.Core(ones, none, none)
        terms = core_terms(self.model, species, edges)
        return terms.f, terms.energy, kernels.Core(terms.f, terms.df_dr, terms.denergy_dr)


def evaluate(
    model: ACEModel, numbers: ArrayLike, positions: ArrayLike, cell: ArrayLike, pbc: ArrayLike
) -> Evaluation:
    """`CompiledModel.evaluate` of a model that is compiled first: for single calls."""
    return CompiledModel(model).evaluate(numbers, positions, cell, pbc)


def _centre(model: ACEModel, mu: int) -> tuple[kernels.Centre, kernels.Bonds]:
    embedding = model.embeddings[mu]
    graph = product_graph(model, mu)
    centre = kernels.Centre(
        np.array(embedding.weights),
        np.array(embedding.exponents),
        EMBEDDINGS.index(embedding.function),
        graph.inner,
        graph.inner_signs,
        graph.terms,
        graph.term_signs,
        graph.term_weights,
    )
    return centre, _bonds(model, mu, graph.first_column)


def _bonds(model: ACEModel, mu: int, first_column: NDArray[np.int64]) -> kernels.Bonds:
    species = range(len(model.elements))
    bonds = [model.bonds[mu, nu] for nu in species]
    tables = [radial_table(model, mu, nu) for nu in species]
    bins = np.cumsum([0, *(len(table.exact) for table in tables)])
    functions = max(len(table.combine) for table in tables)
    table = np.zeros((bins[-1], 6, functions))
    combine = np.zeros((len(bonds), functions, max(bond.nradbase for bond in bonds)))
    for nu in species:
        rows, size = tables[nu].combine.shape
        combine[nu, :rows, :size] = tables[nu].combine
        table[bins[nu] : bins[nu + 1], :, :rows] = tables[nu].coefficients
    return kernels.Bonds(
        np.array([bond.nradmax for bond in bonds]),
        np.array([bond.lmax for bond in bonds]),
        np.array([bond.nradbase for bond in bonds]),
        np.array([RADIAL_BASES.index(bond.radial_basis) for bond in bonds]),
        np.array([bond.inner_cutoff == "distance" for bond in bonds]),
        first_column,
        np.array([(b.rcut, b.dcut, b.radial_parameters[0], b.rcut_in, b.dcut_in) for b in bonds]),
        np.array([1.0 / table.step for table in tables]),
        bins[:-1].astype(np.int64),
        table,
        np.concatenate([table.exact for table in tables]),
        combine,
    )
