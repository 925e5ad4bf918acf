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
from typing import get_args

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pyacemaker.ace.model import ACEModel, Bond, InnerCutoff
from pyacemaker.ace.neighbours import Edges
from pyacemaker.ace.radial import polynomial_switch, switch_point
from pyacemaker.units import COULOMB_EV_ANGSTROM

Array = NDArray[np.float64]

_SCREENING = ((0.18175, 3.1998), (0.50986, 0.94229), (0.28022, 0.4029), (0.02817, 0.20162))

DENSITY, DISTANCE, SCREENED = range(3)
"""Kinds of core inside kernels: positions in `InnerCutoff`."""

assert get_args(InnerCutoff) == ("density", "distance", "zbl")


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
    atoms, pairs = len(species), len(edges)
    rho, drho_dr = np.zeros(atoms), np.zeros(pairs)
    _pair_sums(species, edges.i, edges.j, edges.distances, core_constants(model), rho, drho_dr)
    if _is_zbl(model):
        f, df_dr = np.ones(atoms), np.zeros(pairs)
        _nearest_switch(
            species, edges.offsets(atoms), edges.j, edges.distances, core_windows(model), f, df_dr
        )
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
    found = np.empty((2, len(r)))
    _core_row(_pair_constants(bond, numbers), np.ascontiguousarray(r, dtype=float), found)
    return found[0], found[1]


def core_constants(model: ACEModel) -> Array:
    """(N, N, 11): what `core_point` needs, by centre and neighbour."""
    from ase.data import atomic_numbers

    numbers = [atomic_numbers[symbol] for symbol in model.elements]
    count = len(numbers)
    rows = [
        _pair_constants(model.bonds[mu, nu], (numbers[mu], numbers[nu]))
        for mu, nu in np.ndindex(count, count)
    ]
    return np.array(rows).reshape(count, count, -1)


def core_windows(model: ACEModel) -> Array:
    """(N, N, 3): rcut_in, dcut_in and rcut of every bond, Å."""
    count = len(model.elements)
    bonds = [model.bonds[mu, nu] for mu, nu in np.ndindex(count, count)]
    return np.array([(b.rcut_in, b.dcut_in, b.rcut) for b in bonds]).reshape(count, count, 3)


def _is_zbl(model: ACEModel) -> bool:
    return any(bond.inner_cutoff == "zbl" for bond in model.bonds.values())


def _density_window(model: ACEModel, mu: int) -> tuple[float, float]:
    return model.embeddings[mu].rho_core_cutoff, model.embeddings[mu].drho_core_cutoff


def _pair_constants(bond: Bond, numbers: tuple[int, int]) -> Array:
    """Kind, amplitude, rate, rcut, dcut, rcut_in, dcut_in; for `zbl` 1/a and the polynomial S: x³, x⁴, 1."""
    kind = get_args(InnerCutoff).index(bond.inner_cutoff)
    ends = bond.rcut, bond.dcut, bond.rcut_in, bond.dcut_in
    if kind != SCREENED:
        return np.array([kind, abs(bond.prehc), abs(bond.lambdahc), *ends, 0.0, 0.0, 0.0, 0.0])
    inverse = (numbers[0] ** 0.23 + numbers[1] ** 0.23) / 0.4685
    scale = bond.prehc * 0.5 * COULOMB_EV_ANGSTROM * numbers[0] * numbers[1]
    end, dend, d2end = _screening_end(bond.rcut, inverse)
    width = bond.dcut
    cubic = quartic = 0.0
    if width > 0.0:
        cubic = (width * d2end - 3.0 * dend) / width**2 / 3.0
        quartic = (2.0 * dend - width * d2end) / width**3 / 4.0
        end += -0.5 * width * dend + width**2 * d2end / 12.0
    return np.array([kind, scale, 0.0, *ends, inverse, cubic, quartic, -end])


def _screening_end(r: float, inverse: float) -> tuple[float, float, float]:
    """e = φ(r/a)/r and its first two derivatives; inverse: 1/a."""
    terms = [(w * math.exp(-d * inverse * r), d * inverse) for w, d in _SCREENING]
    phi = sum(term for term, _ in terms)
    dphi = -sum(term * rate for term, rate in terms)
    d2phi = sum(term * rate**2 for term, rate in terms)
    return phi / r, dphi / r - phi / r**2, d2phi / r - 2.0 * dphi / r**2 + 2.0 * phi / r**3


@njit(cache=True)  # type: ignore[untyped-decorator]
def core_point(constants: Array, r: float) -> tuple[float, float]:
    """One neighbour's share of ρ_i (eV) and its derivative (eV/Å). constants: a row of `core_constants`."""
    kind, amplitude = int(constants[0]), constants[1]
    rcut, dcut, rcut_in, dcut_in = constants[3], constants[4], constants[5], constants[6]
    if amplitude == 0.0 or r >= rcut:
        return 0.0, 0.0
    if kind == SCREENED:
        value, slope = _screened_point(constants, r)
        outer, outer_slope = switch_point(r, rcut, dcut)
    else:
        rate = constants[2]
        if rate * r * r >= 50.0:
            return 0.0, 0.0
        bare = amplitude * math.exp(-rate * r * r) / r
        fade = 0.5 * (1.0 + math.cos(math.pi * r / rcut))
        value = bare * fade
        slope = -value * (2.0 * rate * r + 1.0 / r)
        slope -= bare * 0.5 * math.pi / rcut * math.sin(math.pi * r / rcut)
        if kind == DENSITY:
            return value, slope
        outer, outer_slope = switch_point(r, rcut_in, dcut_in)
    return value * outer, slope * outer + value * outer_slope


@njit(cache=True)  # type: ignore[untyped-decorator]
def _screened_point(constants: Array, r: float) -> tuple[float, float]:
    """prehc (k/2) Z_i Z_j [φ(r/a)/r + S(r)], S bringing value and two derivatives to zero at rcut."""
    phi, dphi = 0.0, 0.0
    for weight, decay in _SCREENING:
        rate = decay * constants[7]
        term = weight * math.exp(-rate * r)
        phi += term
        dphi -= rate * term
    x = max(r - constants[3] + constants[4], 0.0)
    value = phi / r + x**3 * (constants[8] + constants[9] * x) + constants[10]
    slope = dphi / r - phi / r**2 + x**2 * (3.0 * constants[8] + 4.0 * constants[9] * x)
    return constants[1] * value, constants[1] * slope


@njit(cache=True)  # type: ignore[untyped-decorator]
def _core_row(constants: Array, r: Array, found: Array) -> None:
    for place in range(len(r)):
        found[0, place], found[1, place] = core_point(constants, r[place])


@njit(cache=True)  # type: ignore[untyped-decorator]
def _pair_sums(
    species: NDArray[np.int64],
    i: NDArray[np.int64],
    j: NDArray[np.int64],
    distances: Array,
    constants: Array,
    rho: Array,
    slopes: Array,
) -> None:
    for edge in range(len(i)):
        value, slopes[edge] = core_point(constants[species[i[edge]], species[j[edge]]], distances[edge])
        rho[i[edge]] += value


@njit(cache=True)  # type: ignore[untyped-decorator]
def _nearest_switch(
    species: NDArray[np.int64],
    offsets: NDArray[np.int64],
    j: NDArray[np.int64],
    distances: Array,
    windows: Array,
    f: Array,
    df_dr: Array,
) -> None:
    """f_i of a `zbl` core and its derivative over edges: only the closest neighbour's edge counts."""
    for atom in range(len(species)):
        nearest, closest, width = -1, math.inf, 0.0
        for edge in range(offsets[atom], offsets[atom + 1]):
            start, wide, reach = windows[species[atom], species[j[edge]]]
            if distances[edge] < reach and distances[edge] - start + wide < closest:
                nearest, closest, width = edge, distances[edge] - start + wide, wide
        if nearest >= 0 and closest < width:
            value, slope = switch_point(width - closest, width, width)
            f[atom], df_dr[nearest] = value, -slope
