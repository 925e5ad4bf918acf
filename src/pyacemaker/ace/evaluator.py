"""Energies, forces and virials of an ACE potential."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyacemaker.ace import kernels
from pyacemaker.ace.angular import packed_size, recurrence
from pyacemaker.ace.cores import core_constants
from pyacemaker.ace.edge_kernels import TILE
from pyacemaker.ace.lanes import LANES, aligned
from pyacemaker.ace.model import EMBEDDINGS, RADIAL_BASES, ACEModel
from pyacemaker.ace.neighbours import EdgeMemory, Edges, neighbour_list
from pyacemaker.ace.products import Leaves, product_graph
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
        self.recurrence = recurrence(max(bond.lmax for bond in model.bonds.values()))
        self.centres = [_centre(model, mu) for mu in range(len(model.elements))]
        self._rooms: list[kernels.Room | None] = [None] * len(self.centres)
        self._memories: list[EdgeMemory] = []  # those not in use: one for each thread at work

    def evaluate(
        self, numbers: ArrayLike, positions: ArrayLike, cell: ArrayLike, pbc: ArrayLike
    ) -> Evaluation:
        """Energies, forces and virial of one structure.

        numbers: (n,) atomic numbers. positions: (n, 3), Å. cell: (3, 3), Å. pbc: (3,).
        Raises `UnsupportedElementError` for an element that the potential lacks, and `DataError` as
        `neighbour_list` does.
        """
        species = self.species(numbers)
        memory = self._memories.pop() if self._memories else EdgeMemory()
        edges = neighbour_list(positions, cell, pbc, self.model.cutoff, memory)
        found = self.evaluate_edges(species, edges)
        self._memories.append(memory)
        return found

    def evaluate_edges(self, species: NDArray[np.int64], edges: Edges) -> Evaluation:
        """The same from species numbers (n,) and edges that reach at least to the cutoff."""
        atoms = len(species)
        energies, forces, virial = np.zeros(atoms), np.zeros((atoms, 3)), np.zeros((3, 3))
        offsets = edges.offsets(atoms)
        neighbours = kernels.Neighbours(offsets, species, edges.j, edges.vectors, edges.distances)
        slots = int(np.diff(offsets).max(initial=0)) * min(LANES, len(self.centres))
        for mu, (centre, bonds) in enumerate(self.centres):
            mine = np.flatnonzero(species == mu)
            if len(mine):
                room = self._room(mu, slots)
                kernels.evaluate_centres(
                    mine, centre, bonds, self.recurrence, neighbours, room, energies, forces, virial
                )
        return Evaluation(energies, forces, virial)

    def _room(self, mu: int, slots: int) -> kernels.Room:
        """Working memory for centres of one species, kept from call to call."""
        room = self._rooms[mu]
        if room is None or len(room.edge) < slots:
            room = self._rooms[mu] = _make_room(*self.centres[mu], int(1.25 * slots) + 8)
        return room

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
        np.array([embedding.rho_core_cutoff, embedding.drho_core_cutoff]),
        model.bonds[mu, mu].inner_cutoff == "zbl",
        float(model.e0[mu]),
        graph.inner,
        graph.inner_signs,
        graph.heads,
        graph.starts,
        graph.partners,
        graph.weights,
    )
    return centre, _bonds(model, mu, graph.leaves)


def _bonds(model: ACEModel, mu: int, leaves: Leaves) -> kernels.Bonds:
    species = range(len(model.elements))
    bonds = [model.bonds[mu, nu] for nu in species]
    tables = [radial_table(model, mu, nu, leaves) for nu in species]
    bins = np.cumsum([0, *(len(table.exact) for table in tables)])
    functions = max(len(table.combine) for table in tables)
    chunks = -(-functions // LANES)
    table = aligned((int(bins[-1]), 6, chunks * LANES))
    combine = np.zeros((len(bonds), functions, max(bond.nradbase for bond in bonds)))
    for nu in species:
        rows, size = tables[nu].combine.shape
        combine[nu, :rows, :size] = tables[nu].combine
        table[bins[nu] : bins[nu + 1], :, :rows] = tables[nu].coefficients
    used = [max((ell for nu, _, ell in leaves.channels if nu == species), default=0) for species in species]
    return kernels.Bonds(
        np.array(used),
        np.array([RADIAL_BASES.index(bond.radial_basis) for bond in bonds]),
        np.array([bond.nradbase for bond in bonds]),
        np.array([len(table.combine) for table in tables]),
        bins.astype(np.int64),
        np.array([bond.inner_window[0] > 0.0 for bond in bonds]),
        np.array([(b.rcut, b.dcut, b.radial_parameters[0], *b.inner_window) for b in bonds]),
        core_constants(model)[mu],
        np.array([1.0 / table.step for table in tables]),
        table.reshape(len(table), 6, chunks, LANES),
        np.concatenate([table.exact for table in tables]),
        combine,
        leaves.starts,
        leaves.first,
        np.concatenate([table.columns for table in tables]),
    )


def _make_room(centre: kernels.Centre, bonds: kernels.Bonds, slots: int) -> kernels.Room:
    densities, lmax = len(centre.weights), int(bonds.lmax.max())
    functions = bonds.table.shape[2] * LANES
    channels = bonds.channels[:, 1:] - bonds.channels[:, :-1]
    nodes = int((channels * np.arange(1, channels.shape[1] + 1)).sum()) + len(centre.inner)
    return kernels.Room(
        np.zeros((slots, LANES), np.int64),
        aligned((slots, 3, LANES)),
        aligned((slots, LANES)),
        aligned((slots, functions, LANES)),
        aligned((slots, functions, LANES)),
        aligned((slots, packed_size(lmax), LANES)),
        aligned((slots, packed_size(lmax), LANES)),
        aligned((slots, lmax + 1, 2, LANES)),
        aligned((TILE, 2, LANES)),
        aligned((nodes, LANES)),
        aligned((nodes, LANES)),
        aligned((nodes, LANES)),
        aligned((nodes, LANES)),
        aligned((densities, LANES)),
        aligned((densities, LANES)),
        aligned((4, LANES)),
        np.full(LANES, -1, np.int64),
        aligned((5, LANES)),
    )
