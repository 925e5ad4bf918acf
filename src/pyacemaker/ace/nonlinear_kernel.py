"""The compiled part of the Jacobian of non-linear models.

Of one atom, with components a (`pyacemaker.ace.design_tables`), V_p = ∂ρ_p/∂a and s_p = f w_p F'(ρ_p):

- density coefficients: ∂E/∂c_pf = s_p B_f, with the rows s_p ∂B_f + B_f ∂s_p, where
  ∂s_p = f w_p F″ ∂ρ_p + w_p F' ∂f;
- radial coefficients: ∂E/∂c_nlk = Σ_m U_nlm a^k_lm, U = Σ_p s_p V_p, a^k the components of the bare g_k, with
  the rows Σ_m (U_nlm D^k_lm + a^k_lm [Σ_p s_p ∂²ρ_p/∂a² · D]_nlm + a^k_lm Σ_p V_p,nlm ∂s_p).
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pyacemaker.ace.design_kernel import (
    add_row,
    combine,
    make_room,
    neighbourhood,
    spread,
    switch_rows,
)
from pyacemaker.ace.design_products import products
from pyacemaker.ace.design_tables import COUPLING, FACTORS, FUNCTIONS, LOCAL, PRODUCTS, RANK, WEIGHTS
from pyacemaker.ace.embedding import embed_curvature, embed_point

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Densities(NamedTuple):
    """The densities of one species. coefficients: (P, functions). weights, exponents: (P,). kind: of F."""

    coefficients: Floats
    weights: Floats
    exponents: Floats
    kind: int


class Radials(NamedTuple):
    """The radial coefficients that functions around one species use.

    entries: (E, 4) first component of A_nl, first component of the same with g_k for R_nl, their number
    2l + 1, and the coefficient's row.
    """

    entries: Integers


@njit(cache=True)
def accumulate_nonlinear(tables, sites, densities, radials, values, out, radial_out):  # type: ignore[no-untyped-def]
    """Add all sites, cores left out, to the values (rows,) and to the Jacobian.

    out: (P, functions, rows). radial_out: (M, rows).
    """
    room = make_room(tables, sites.atoms)
    count = len(densities.weights)
    pull, everything = np.empty((count, tables.used)), np.arange(tables.used)
    rho, scale, slope, curvature = np.empty(count), np.empty(count), np.empty(count), np.empty(count)
    for atom in range(len(sites.atoms)):
        d, reach = neighbourhood(tables, sites, atom, room)
        products(tables, room.a, room.values, room.weights, True)
        _pulls(tables, room, densities, rho, pull)
        energy, f = 0.0, sites.switch[atom]
        for p in range(count):
            value, derivative = embed_point(densities.kind, rho[p], densities.exponents[p])
            energy += densities.weights[p] * value
            slope[p] = densities.weights[p] * derivative
            scale[p] = f * slope[p]
            second = embed_curvature(densities.kind, rho[p], densities.exponents[p])
            curvature[p] = f * densities.weights[p] * second
        switch, extra = np.empty(reach.width), np.empty((count, reach.width))
        drho, drive = np.empty(reach.width), np.zeros(reach.width)
        switch_rows(sites, atom, room, reach, switch)
        for p in range(count):
            combine(pull[p], everything, d, drho)
            for k in range(reach.width):
                extra[p, k] = curvature[p] * drho[k] + slope[p] * switch[k]
                drive[k] += scale[p] * drho[k]
        row = sites.atom_rows[atom, 0]
        values[row] += f * energy
        add_row(room, reach, drive, 1.0, energy, switch, values)
        spread(tables, room, reach, d, row, scale, extra, out)
        if len(radials.entries):
            mixed = _radial_drive(tables, radials, room.a, scale, densities)
            bent = np.dot(mixed, d[: tables.used])
            _radial_rows(radials, room, reach, d, row, scale @ pull, pull, extra, bent, radial_out)


@njit(cache=True)
def _pulls(tables, room, densities, rho, pull):  # type: ignore[no-untyped-def]
    """ρ_p (P,) and V_p = ∂ρ_p/∂a (P, used)."""
    rho[:] = 0.0
    pull[:] = 0.0
    for b in range(len(tables.blocks) - 1):
        here, after = tables.blocks[b], tables.blocks[b + 1]
        local = tables.local[here[LOCAL] : after[LOCAL]]
        weights = room.weights[here[WEIGHTS] : after[WEIGHTS]].reshape(-1, len(local))
        for f in range(len(weights)):
            function = here[FUNCTIONS] + f
            for p in range(len(rho)):
                coefficient = densities.coefficients[p, function]
                rho[p] += coefficient * room.values[function]
                for c in range(len(local)):
                    pull[p, local[c]] += coefficient * weights[f, c]


@njit(cache=True)
def _radial_drive(tables, radials, a, scale, densities):  # type: ignore[no-untyped-def]
    """Σ_m a^k_lm H_nlm of every coefficient (entries, used), H the second derivatives of Σ_p s_p ρ_p."""
    hessian = np.zeros((tables.used, tables.used))
    _hessian(tables, a, scale @ densities.coefficients, hessian)
    mixed = np.zeros((len(radials.entries), tables.used))
    for e in range(len(radials.entries)):
        place, bare, size, _ = radials.entries[e]
        for m in range(size):
            mixed[e] += a[bare + m] * hessian[place + m]
    return mixed


@njit(cache=True)
def _radial_rows(radials, room, reach, d, energy_row, u, pull, extra, bent, out):  # type: ignore[no-untyped-def]
    """Add ∂E/∂c_nlk and its derivatives to the rows. bent: (entries, T) the part of H. u: U (used,)."""
    for e in range(len(radials.entries)):
        place, bare, size, coefficient = radials.entries[e]
        row, gradient = out[coefficient], bent[e]
        for m in range(size):
            row[energy_row] += u[place + m] * room.a[bare + m]
            gradient += u[place + m] * d[bare + m]
        for p in range(len(pull)):
            share = np.sum(pull[p, place : place + size] * room.a[bare : bare + size])
            gradient += share * extra[p]
        add_row(room, reach, gradient, 1.0, 0.0, extra[0, :0], row)


@njit(cache=True)
def _hessian(tables, a, total, out):  # type: ignore[no-untyped-def]
    """Add ∂²(Σ_f total_f B_f)/∂a∂a to `out` (used, used)."""
    for b in range(len(tables.blocks) - 1):
        here, after = tables.blocks[b], tables.blocks[b + 1]
        if here[RANK] == 1:
            continue
        local = tables.local[here[LOCAL] : after[LOCAL]]
        factors = tables.factors[here[FACTORS] : after[FACTORS]]
        terms = tables.products[here[PRODUCTS] : after[PRODUCTS]].reshape(-1, here[RANK])
        coupling = tables.coupling[here[COUPLING] : after[COUPLING]].reshape(len(terms), -1)
        mine = total[here[FUNCTIONS] : after[FUNCTIONS]]
        for q in range(len(terms)):
            weight = 0.0
            for f in range(len(mine)):
                weight += coupling[q, f] * mine[f]
            _term_hessian(terms[q], weight, factors, local, a, out)


@njit(cache=True, forceinline=True)
def _term_hessian(term, weight, factors, local, a, out):  # type: ignore[no-untyped-def]
    """Add the second derivatives of weight · Re Π_t z_t."""
    for t in range(len(term)):
        for s in range(t):
            real, imag = weight, 0.0
            for other in range(len(term)):
                if other not in (s, t):
                    re, im = _factor(factors[term[other]], local, a)
                    real, imag = real * re - imag * im, real * im + imag * re
            _pair_hessian(factors[term[t]], factors[term[s]], local, real, imag, out)


@njit(cache=True, forceinline=True)
def _factor(factor, local, a):  # type: ignore[no-untyped-def]
    """One z: its real and imaginary part."""
    imag = 0.0 if factor[1] < 0 else factor[2] * a[local[factor[1]]]
    return a[local[factor[0]]], imag


@njit(cache=True, forceinline=True)
def _pair_hessian(first, second, local, real, imag, out):  # type: ignore[no-untyped-def]
    """Add ∂²Re(z z' rest), rest = real + i imag, by the parts of z and z' (in both orders)."""
    x, other_x = local[first[0]], local[second[0]]
    out[x, other_x] += real
    out[other_x, x] += real
    if first[1] >= 0:
        y = local[first[1]]
        out[y, other_x] -= first[2] * imag
        out[other_x, y] -= first[2] * imag
    if second[1] >= 0:
        other_y = local[second[1]]
        out[x, other_y] -= second[2] * imag
        out[other_y, x] -= second[2] * imag
    if first[1] >= 0 and second[1] >= 0:
        y, other_y = local[first[1]], local[second[1]]
        out[y, other_y] -= first[2] * second[2] * real
        out[other_y, y] -= first[2] * second[2] * real
