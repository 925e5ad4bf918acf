"""Rows and exact Jacobian of ACE potentials that are not linear in their parameters.

E_i = f_i Σ_p w_p F(ρ_p; m_p) + e_i + E0_i with the densities ρ_p = Σ_f c_pf B_f, f_i and e_i the core's
switch and energy (`pyacemaker.ace.cores`), and R_nl = Σ_k c_nlk g_k the radial functions of ranks ≥ 2.
Parameters are the c_pf and, if wanted, the c_nlk.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pyacemaker.ace.basis import Basis
from pyacemaker.ace.model import ACEModel, Embedding
from pyacemaker.structures import AtomStructure, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class DensityModel:
    """A potential of P densities as a point in the space of its parameters.

    basis: functions, with the present radial coefficients in its bonds. coefficients: (P, K), c_pf.
    embeddings: by species, each of P densities. e0: (N,), eV.
    Bonds (i, j) and (j, i) must hold the same radial coefficients: they are one set of parameters.
    """

    basis: Basis
    coefficients: FloatArray
    embeddings: Mapping[int, Embedding]
    e0: FloatArray

    def __post_init__(self) -> None:
        counts = {embedding.ndensity for embedding in self.embeddings.values()}
        if self.coefficients.shape != (next(iter(counts), 0), len(self.basis)) or len(counts) != 1:
            raise ValueError(
                f"coefficients have shape {self.coefficients.shape}; expected ({sorted(counts)}, "
                f"{len(self.basis)}): the densities of every embedding, and the functions of the basis"
            )
        for i, j in self.pairs:
            if not np.array_equal(self.basis.bonds[i, j].coefficients, self.basis.bonds[j, i].coefficients):
                raise ValueError(f"bonds ({i}, {j}) and ({j}, {i}) differ in their radial coefficients")

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """The unordered pairs of species (a ≤ b), in the order of `radial`."""
        count = len(self.basis.elements)
        return tuple((a, b) for a in range(count) for b in range(a, count))

    def to_model(self) -> ACEModel:
        """The potential itself, for the evaluator and for `.yace` files."""
        return self.basis.to_model(self.coefficients, self.e0, self.embeddings)

    @property
    def radial(self) -> FloatArray:
        """(M,) the independent radial coefficients: of each pair a ≤ b in order, c_nlk ravelled."""
        return np.concatenate([self.basis.bonds[pair].coefficients.ravel() for pair in self.pairs])

    def moved(self, coefficients: FloatArray, radial: FloatArray | None = None) -> "DensityModel":
        """The same model at other parameters. coefficients: (P, K). radial: (M,); as they are where None."""
        if radial is None:
            return replace(self, coefficients=coefficients)
        if radial.shape != self.radial.shape:
            raise ValueError(f"{radial.shape} radial coefficients; expected {self.radial.shape}")
        bonds, first = dict(self.basis.bonds), 0
        for a, b in self.pairs:
            shape = bonds[a, b].coefficients.shape
            last = first + int(np.prod(shape))
            for pair in ((a, b), (b, a)):
                bonds[pair] = replace(bonds[pair], coefficients=radial[first:last].reshape(shape).copy())
            first = last
        return replace(self, basis=replace(self.basis, bonds=bonds), coefficients=coefficients)


@dataclass(frozen=True, eq=False)
class NonlinearRows:
    """Rows of several structures, laid out as `pyacemaker.ace.design.DesignRows`.

    values: (R,) predicted energies (eV), forces (eV/Å) and stresses (eV/Å³), cores included, E0 left out.
    jacobian: (P·K [+ M], R), C-contiguous, their derivatives: of c_pf density by density, then of c_nlk in
    the order of `DensityModel.radial`. starts: (S + 1,) first row of each structure.
    """

    values: FloatArray
    jacobian: FloatArray
    starts: IntArray


class NonlinearDesign:
    """Computes values and Jacobian of one model; `at` reuses its tables for other parameters."""

    def __init__(self, model: DensityModel, *, radial: bool = False) -> None:
        self.model = model
        self.has_radial = radial

    def at(self, model: DensityModel) -> "NonlinearDesign":
        """The design of the same functions at other parameters (`DensityModel.moved`)."""
        raise NotImplementedError

    def rows(self, structures: Sequence[AtomStructure]) -> NonlinearRows:
        """Values and Jacobian of energy, forces and, for structures with a volume, stress."""
        raise NotImplementedError
