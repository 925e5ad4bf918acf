"""The baseline interface: a cheap physical energy that the fitted potential only has to correct."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pyacemaker.base import Spec
from pyacemaker.structures import AtomStructure, BoolArray, FloatArray, IntArray, Labels
from pyacemaker.structures.neighbours import neighbour_list

PairFunction = Callable[[IntArray, IntArray, FloatArray], tuple[FloatArray, FloatArray]]
"""(Z_i, Z_j, r), each (pairs,), r in Å, to (e, de/dr), eV and eV/Å."""


@dataclass(frozen=True, eq=False)
class PairSum:
    """A baseline's answer for n atoms.

    energies: (n,), eV, the share of each atom; their sum is the energy. forces: (n, 3), eV/Å. virial: (3, 3),
    eV, the derivative of the energy with the strain, so that virial / volume is ASE's stress.
    """

    energies: FloatArray
    forces: FloatArray
    virial: FloatArray

    @property
    def energy(self) -> float:
        """eV, of the whole structure."""
        return float(self.energies.sum())


class Baseline(Spec, ABC):
    """A fixed physical energy. Subclasses add `kind`, their settings, and `energy_forces_virial`."""

    @abstractmethod
    def energy_forces_virial(
        self, numbers: IntArray, positions: FloatArray, cell: FloatArray, pbc: BoolArray
    ) -> PairSum:
        """Energies (eV), forces (eV/Å) and virial (eV) of one structure, periodic images included.

        numbers: (n,) atomic numbers. positions: (n, 3), Å. cell: (3, 3), Å, rows are lattice vectors. pbc:
        (3,). Raises `UnsupportedElementError` for an element without parameters, `DataError` where two atoms
        coincide.
        """

    def evaluate(self, structures: Sequence[AtomStructure]) -> list[Labels]:
        """Labels of each structure, in order; the stress is None without periodicity or volume."""
        return [self._labels(structure) for structure in structures]

    def _labels(self, structure: AtomStructure) -> Labels:
        total = self.energy_forces_virial(
            structure.numbers, structure.positions, structure.cell, structure.pbc
        )
        volume = abs(float(np.linalg.det(structure.cell)))
        stress = None
        if structure.is_periodic and volume > 0.0:
            stress = total.virial[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]] / volume
        return Labels(total.energy, total.forces, stress, total.energies)


def sum_pairs(
    numbers: IntArray,
    positions: FloatArray,
    cell: FloatArray,
    pbc: BoolArray,
    cutoff: float,
    pair: PairFunction,
) -> PairSum:
    """E = ½ Σ_i Σ_j e(Z_i, Z_j, r_ij) over all neighbours j of i within `cutoff` (Å), images included.

    An atom interacts with its own images; each pair's energy is shared equally. F_i = Σ_j e′ r̂_ij, with r̂_ij
    from i to j; virial = ½ Σ_ij e′ r_ij ⊗ r_ij / r_ij.
    """
    edges = neighbour_list(positions, cell, pbc, cutoff)
    numbers = np.asarray(numbers)
    energy, slope = pair(numbers[edges.i], numbers[edges.j], edges.distances)
    pull = (slope / edges.distances)[:, None] * edges.vectors
    forces = np.zeros((len(numbers), 3))
    np.add.at(forces, edges.i, pull)
    energies = np.zeros(len(numbers))
    np.add.at(energies, edges.i, 0.5 * energy)
    return PairSum(energies, forces, 0.5 * pull.T @ edges.vectors)
