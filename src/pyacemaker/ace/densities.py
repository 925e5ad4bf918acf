"""A second density to start from: the embedded-atom picture projected on the pair functions of a basis.

With two densities E_i = ρ₁ + F(ρ₂; ½), F ~ √ρ₂ (Finnis, Sinclair, Philos. Mag. A 50, 45 (1984); in ACE:
Lysogorskiy et al., npj Comput. Mater. 7, 97 (2021)). The start for ρ₂ is a sum over neighbours of a positive,
decaying function φ(r) = e^{−β(r/r₀ − 1)} (1 − r²/r_c²)², so that F bends where atoms are crowded.
"""

from collections.abc import Sequence

import numpy as np

from pyacemaker.ace.basis import Basis
from pyacemaker.ace.design import Design, species_of
from pyacemaker.ace.model import Bond, Embedding
from pyacemaker.ace.radial import radial_functions
from pyacemaker.structures import AtomStructure, FloatArray

EXPONENTS = (1.0, 0.5)
"""m of the first and the second density."""

POINTS = 200
"""Distances at which φ is projected."""


def embeddings(elements: int, densities: int) -> dict[int, Embedding]:
    """For every element Σ_p F(ρ_p; m_p) in the shifted and scaled Finnis–Sinclair form, m = (1, ½)."""
    parameters = tuple(value for p in range(densities) for value in (1.0, EXPONENTS[p]))
    return {mu: Embedding(densities, parameters) for mu in range(elements)}


def pair_density(basis: Basis, decay: float, start: FloatArray, nearest: FloatArray) -> FloatArray:
    """(K,) coefficients of ρ = Σ_j φ(r_ij) on the rank-1 functions, zero for all others.

    decay: β. start: (N, N) Å, from where on φ matters, by (centre, neighbour). nearest: (N, N) Å, r₀.
    """
    found = np.zeros(len(basis))
    for mu, blocks in enumerate(basis.blocks):
        position = basis.offsets[mu]
        indices: dict[int, list[tuple[int, int, float]]] = {}
        for block in blocks:
            if block.rank == 1:
                nu, n, _ = block.columns[0]
                indices.setdefault(nu, []).append((position, n - 1, float(block.coupling[0, 0])))
            position += len(block)
        for nu, mine in indices.items():
            where, orders, factors = (np.array(column) for column in zip(*mine, strict=True))
            bond = basis.bonds[mu, nu]
            shape = _projected(bond, orders, decay, float(start[mu, nu]), float(nearest[mu, nu]))
            found[where] = shape / factors
    return found


def normalised(basis: Basis, density: FloatArray, structures: Sequence[AtomStructure]) -> FloatArray:
    """(K,) the density scaled so that its mean over the atoms of each element is 1."""
    values = Design(basis).invariants(structures) @ density
    species = np.concatenate([species_of(basis.elements, s) for s in structures])
    scaled = density.copy()
    for mu in range(len(basis.elements)):
        mean = float(np.mean(values[species == mu])) if np.any(species == mu) else 0.0
        mine = slice(basis.offsets[mu], basis.offsets[mu + 1])
        scaled[mine] = density[mine] / mean if mean > 0.0 else 0.0
    return scaled


def _projected(bond: Bond, orders: FloatArray, decay: float, start: float, nearest: float) -> FloatArray:
    """Coefficients of g_k, k in `orders`, closest to φ between `start` and the cutoff."""
    first = min(start, 0.5 * bond.rcut) if np.isfinite(start) else 0.5 * bond.rcut
    middle = min(nearest, 0.8 * bond.rcut) if np.isfinite(nearest) else 0.5 * bond.rcut
    r = np.linspace(first, bond.rcut, POINTS, endpoint=False)
    shape = np.exp(-decay * (r / middle - 1.0)) * (1.0 - (r / bond.rcut) ** 2) ** 2
    values = radial_functions(bond, r)[0][:, orders]
    return np.asarray(np.linalg.lstsq(values, shape, rcond=1e-6)[0])
