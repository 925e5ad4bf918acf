"""Core repulsion and the switch that turns ACE off at short range.

Every kind of core writes the energy of atom i as

    E_i = f_i E_ACE,i + e_i + E0,

with P the switch of `pyacemaker.ace.radial.polynomial_switch`:

- `density`, `distance`: ρ_i = Σ_j |prehc| e^{−|λ| r²}/r · ½(1 + cos πr/rcut) [· P(r; rcut_in, dcut_in) for
  `distance`], 0 where |λ| r² ≥ 50; f_i = P(ρ_i; rho_core_cutoff, drho_core_cutoff); e_i = ρ_i.
- `zbl`: ρ_i = Σ_j prehc (k/2) Z_i Z_j [φ(r/a)/r + S(r)] P(r; rcut, dcut), the universal screened repulsion
  (Ziegler, Biersack, Littmark 1985) shifted smoothly to zero at rcut; with t = min_j (r − rcut_in + dcut_in),
  f_i = P(dcut_in − t; dcut_in, dcut_in) with the nearest neighbour's dcut_in; e_i = (1 − f_i) ρ_i.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyacemaker.ace.model import ACEModel, Bond
from pyacemaker.ace.neighbours import Edges
from pyacemaker.ace.radial import polynomial_switch
from pyacemaker.units import COULOMB_EV_ANGSTROM

Array = NDArray[np.float64]

_SCREENING_WEIGHTS = np.array([0.18175, 0.50986, 0.28022, 0.02817])
_SCREENING_DECAYS = np.array([3.1998, 0.94229, 0.4029, 0.20162])


@dataclass(frozen=True, eq=False)
class CoreTerms:
    """The cores of n atoms over P edges.

    f: (n,) switch on E_ACE. rho: (n,) core energy ρ_i, eV. energy: (n,) its share e_i of E_i, eV.
    df_dr, drho_dr, denergy_dr: (P,) derivatives of the centre's f, ρ and e with respect to the length of each
    of its edges, 1/Å and eV/Å.
    """

    f: Array
    rho: Array
    energy: Array
    df_dr: Array
    drho_dr: Array
    denergy_dr: Array


def has_core(model: ACEModel) -> bool:
    """Whether any core acts: without one, f_i = 1 and ρ_i = 0 for every atom."""
    if _is_zbl(model):
        return True
    at_zero = [polynomial_switch(np.array(0.0), *_density_window(model, mu))[0] for mu in model.embeddings]
    return any(bond.prehc != 0.0 for bond in model.bonds.values()) or bool(min(at_zero) < 1.0)


def core_terms(model: ACEModel, species: NDArray[np.int64], edges: Edges) -> CoreTerms:
    """The cores of the atoms with the given species (n,) over their edges (which may reach past a cutoff)."""
    rho, drho_dr = _pair_sums(model, species, edges)
    if _is_zbl(model):
        f, df_dr = _nearest_switch(model, species, edges)
        energy = (1.0 - f) * rho
        denergy_dr = (1.0 - f)[edges.i] * drho_dr - rho[edges.i] * df_dr
    else:
        f, slope = np.empty_like(rho), np.empty_like(rho)
        for mu in model.embeddings:
            mine = species == mu
            f[mine], slope[mine] = polynomial_switch(rho[mine], *_density_window(model, mu))
        energy, denergy_dr = rho, drho_dr
        df_dr = slope[edges.i] * drho_dr
    return CoreTerms(f, rho, energy, df_dr, drho_dr, denergy_dr)


def core_pair(bond: Bond, numbers: tuple[int, int], r: Array) -> tuple[Array, Array]:
    """One neighbour's share of ρ_i (eV) and its derivative (eV/Å) at distances r (P,).

    numbers: atomic numbers of centre and neighbour (used by `zbl` only).
    """
    if bond.inner_cutoff == "zbl":
        value, slope = _screened_repulsion(bond, numbers, r)
        outer, outer_slope = polynomial_switch(r, bond.rcut, bond.dcut)
    else:
        value, slope = _gaussian_repulsion(bond, r)
        if bond.inner_cutoff == "density":
            return value, slope
        outer, outer_slope = polynomial_switch(r, bond.rcut_in, bond.dcut_in)
    return value * outer, slope * outer + value * outer_slope


def _is_zbl(model: ACEModel) -> bool:
    return any(bond.inner_cutoff == "zbl" for bond in model.bonds.values())


def _density_window(model: ACEModel, mu: int) -> tuple[float, float]:
    return model.embeddings[mu].rho_core_cutoff, model.embeddings[mu].drho_core_cutoff


def _pair_sums(model: ACEModel, species: NDArray[np.int64], edges: Edges) -> tuple[Array, Array]:
    from ase.data import atomic_numbers

    numbers = [atomic_numbers[symbol] for symbol in model.elements]
    share, slope = np.zeros(len(edges)), np.zeros(len(edges))
    kinds = species[edges.i] * len(numbers) + species[edges.j]
    for (mu, nu), bond in model.bonds.items():
        mine = (kinds == mu * len(numbers) + nu) & (edges.distances < bond.rcut)
        if bond.prehc == 0.0 or not mine.any():
            continue
        share[mine], slope[mine] = core_pair(bond, (numbers[mu], numbers[nu]), edges.distances[mine])
    rho = np.zeros(len(species))
    np.add.at(rho, edges.i, share)
    return rho, slope


def _gaussian_repulsion(bond: Bond, r: Array) -> tuple[Array, Array]:
    rate = abs(bond.lambdahc)
    inside = (rate * r**2 < 50.0) & (r < bond.rcut)
    bare = np.where(inside, abs(bond.prehc) * np.exp(-rate * r**2) / r, 0.0)
    bare_slope = -bare * (2.0 * rate * r + 1.0 / r)
    outer = 0.5 * (1.0 + np.cos(np.pi * r / bond.rcut))
    outer_slope = -0.5 * np.pi / bond.rcut * np.sin(np.pi * r / bond.rcut)
    return bare * outer, bare_slope * outer + bare * outer_slope


def _screening(r: Array | float, length: float) -> tuple[Array, Array, Array]:
    """e = φ(r/a)/r and its first two derivatives."""
    r = np.asarray(r, float)
    rates = _SCREENING_DECAYS / length
    terms = _SCREENING_WEIGHTS * np.exp(-rates * r[..., None])
    phi, dphi, d2phi = terms.sum(-1), -(terms * rates).sum(-1), (terms * rates**2).sum(-1)
    return phi / r, dphi / r - phi / r**2, d2phi / r - 2.0 * dphi / r**2 + 2.0 * phi / r**3


def _screened_repulsion(bond: Bond, numbers: tuple[int, int], r: Array) -> tuple[Array, Array]:
    """prehc (k/2) Z_i Z_j [φ(r/a)/r + S(r)], S bringing value and two derivatives to zero at rcut."""
    length = 0.4685 / (numbers[0] ** 0.23 + numbers[1] ** 0.23)
    scale = bond.prehc * 0.5 * COULOMB_EV_ANGSTROM * numbers[0] * numbers[1]
    value, slope, _ = _screening(r, length)
    end, dend, d2end = (float(part) for part in _screening(bond.rcut, length))
    width = bond.dcut
    if width == 0.0:
        return scale * (value - end), scale * slope
    cubic = (width * d2end - 3.0 * dend) / width**2
    quartic = (2.0 * dend - width * d2end) / width**3
    shift = -end + 0.5 * width * dend - width**2 * d2end / 12.0
    x = np.maximum(r - bond.rcut + width, 0.0)
    value = value + cubic / 3.0 * x**3 + quartic / 4.0 * x**4 + shift
    slope = slope + cubic * x**2 + quartic * x**3
    return scale * value, scale * slope


def _nearest_switch(model: ACEModel, species: NDArray[np.int64], edges: Edges) -> tuple[Array, Array]:
    """f_i of a `zbl` core and its derivative over edges: only the closest neighbour's edge counts."""
    f, df_dr = np.ones(len(species)), np.zeros(len(edges))
    count = len(model.elements)
    start, width, reach = (
        np.array([[getattr(model.bonds[mu, nu], name) for nu in range(count)] for mu in range(count)])
        for name in ("rcut_in", "dcut_in", "rcut")
    )
    pair = species[edges.i], species[edges.j]
    excess = np.where(edges.distances < reach[pair], edges.distances - start[pair] + width[pair], math.inf)
    if len(edges) == 0:
        return f, df_dr
    centres, first = np.unique(edges.i, return_index=True)
    smallest = np.full(len(species), math.inf)
    smallest[centres] = np.minimum.reduceat(excess, first)
    nearest = np.flatnonzero((excess == smallest[edges.i]) & (excess < width[pair]))
    _, unique = np.unique(edges.i[nearest], return_index=True)
    for edge in nearest[unique]:
        end = float(width[species[edges.i[edge]], species[edges.j[edge]]])
        value, slope = polynomial_switch(np.array(end - excess[edge]), end, end)
        f[edges.i[edge]], df_dr[edge] = float(value), -float(slope)
    return f, df_dr
