"""The Lennard-Jones pair energy with a cutoff."""

from typing import Annotated, Literal, Self

import numpy as np
from ase.data import atomic_numbers, chemical_symbols
from pydantic import Field, model_validator

from pyacemaker.base import Spec
from pyacemaker.baselines.base import Baseline, PairSum, sum_pairs
from pyacemaker.errors import UnsupportedElementError
from pyacemaker.structures import BoolArray, FloatArray, IntArray

PositiveFloat = Annotated[float, Field(gt=0)]


class LennardJonesAtom(Spec):
    """One element's parameters."""

    epsilon: PositiveFloat
    """Depth of the well of two such atoms, eV."""
    sigma: PositiveFloat
    """Distance at which their energy is zero, Å; the minimum lies at 2^(1/6) σ."""


class LennardJones(Baseline):
    """E = ½ Σ_i Σ_j 4ε [(σ/r)¹² − (σ/r)⁶] − e_c for r below the cutoff: LAMMPS `pair_style lj/cut`.

    Unlike pairs mix as Lorentz and Berthelot have it: σ_ij = (σ_i + σ_j)/2, ε_ij = √(ε_i ε_j). e_c is the
    energy at the cutoff with `shift`, else zero; the force jumps at the cutoff either way.
    """

    kind: Literal["lennard_jones"] = "lennard_jones"
    atoms: Annotated[dict[str, LennardJonesAtom], Field(min_length=1)]
    """Parameters by chemical symbol: `{Ar: {epsilon: 0.0104, sigma: 3.4}}`."""
    cutoff: PositiveFloat
    """Å."""
    shift: bool = True
    """Whether the energy of each pair is shifted to be zero at the cutoff."""

    @model_validator(mode="after")
    def _check_symbols(self) -> Self:
        for symbol in self.atoms:
            if atomic_numbers.get(symbol, 0) < 1:
                raise ValueError(f"atoms: {symbol!r} is not a chemical symbol")
        return self

    def energy_forces_virial(
        self, numbers: IntArray, positions: FloatArray, cell: FloatArray, pbc: BoolArray
    ) -> PairSum:
        """The Lennard-Jones energy of all pairs; see `Baseline`."""
        self._check_elements(numbers)
        return sum_pairs(numbers, positions, cell, pbc, self.cutoff, self._pair)

    def _check_elements(self, numbers: IntArray) -> None:
        missing = sorted({chemical_symbols[number] for number in numbers} - self.atoms.keys())
        if missing:
            raise UnsupportedElementError(
                f"lennard_jones has no parameters for {', '.join(missing)} but for "
                f"{', '.join(sorted(self.atoms))}; add epsilon and sigma of the missing elements under atoms"
            )

    def _pair(self, first: IntArray, second: IntArray, r: FloatArray) -> tuple[FloatArray, FloatArray]:
        epsilon_of, sigma_of = np.zeros(len(chemical_symbols)), np.zeros(len(chemical_symbols))
        for symbol, atom in self.atoms.items():
            epsilon_of[atomic_numbers[symbol]] = atom.epsilon
            sigma_of[atomic_numbers[symbol]] = atom.sigma
        epsilon = np.sqrt(epsilon_of[first] * epsilon_of[second])
        sigma = (sigma_of[first] + sigma_of[second]) / 2.0
        energy = _well(epsilon, sigma / r)
        if self.shift:
            energy -= _well(epsilon, sigma / self.cutoff)
        attraction = (sigma / r) ** 6
        return energy, 24.0 * epsilon / r * attraction * (1.0 - 2.0 * attraction)


def _well(epsilon: FloatArray, ratio: FloatArray) -> FloatArray:
    return np.asarray(4.0 * epsilon * (ratio**12 - ratio**6))
