"""Look-up tables of the radial functions that the evaluator needs: quintics in narrow bins.

For a bond (μ, ν) these are the F functions u_f(r) = Σ_k C_fk g_k(r), with the inner cutoff applied to g:
first, per density, the sum of all rank-1 functions, then R_nl for every l and n. In each bin one quintic
matches value and slope at both ends and in the middle. Bins in which that misses the exact function (at the
edges of switches) are flagged, and the evaluator computes there exactly.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyacemaker.ace.model import ACEModel, Bond
from pyacemaker.ace.radial import cut_radial_functions

Array = NDArray[np.float64]

BIN_WIDTH = 0.01
"""Å, before rounding to a whole number of bins."""

TOLERANCE = 1e-11
"""Largest error of a tabulated value relative to the function's largest value; slopes: 100 times that."""


@dataclass(frozen=True, eq=False)
class RadialTable:
    """Tables of one bond.

    combine: (F, nradbase), the matrix C. coefficients: (bins, 6, F), ascending powers of
    t = (r − r_bin)/step, 0 ≤ t < 1. step: Å. exact: (bins,), where the table must not be used.
    """

    combine: Array
    coefficients: Array
    step: float
    exact: NDArray[np.bool_]


def radial_table(model: ACEModel, mu: int, nu: int) -> RadialTable:
    """The table of bond (μ, ν)."""
    bond = model.bonds[mu, nu]
    combine = _combination(model, mu, nu)
    bins = int(np.ceil(bond.rcut / BIN_WIDTH))
    step = bond.rcut / bins
    quarters = np.linspace(0.0, bond.rcut, 4 * bins + 1)
    value, slope = _combined(bond, combine, quarters)
    coefficients = _quintics(value, slope * step)
    return RadialTable(combine, coefficients, step, _missed(coefficients, value, slope * step, step))


def _combination(model: ACEModel, mu: int, nu: int) -> Array:
    bond = model.bonds[mu, nu]
    pair = np.zeros((model.embeddings[mu].ndensity, bond.nradbase))
    for function in model.functions[mu]:
        if function.rank == 1 and function.mus[0] == nu:
            pair[:, function.ns[0] - 1] += function.ctildes.sum(axis=0)
    by_l = bond.coefficients.transpose(1, 0, 2).reshape(-1, bond.nradbase)
    return np.ascontiguousarray(np.concatenate([pair, by_l]))


def _combined(bond: Bond, combine: Array, r: Array) -> tuple[Array, Array]:
    value, slope = cut_radial_functions(bond, r)
    return value @ combine.T, slope @ combine.T


def _quintics(value: Array, slope: Array) -> Array:
    """(bins, 6, F) from values and slopes (per bin width) at quarter points; the halves are matched."""
    points = np.array([0.0, 0.5, 1.0])
    powers = np.arange(6)
    rows = points[:, None] ** powers
    slope_rows = powers * points[:, None] ** np.maximum(powers - 1, 0)
    solve = np.linalg.inv(np.concatenate([rows, slope_rows]))
    at = [value[0:-1:4], value[2::4], value[4::4], slope[0:-1:4], slope[2::4], slope[4::4]]
    return np.ascontiguousarray(np.einsum("cq,qbf->bcf", solve, np.array(at)))


def _missed(coefficients: Array, value: Array, slope: Array, step: float) -> NDArray[np.bool_]:
    """Bins whose quintic is off at one and three quarters."""
    scale = np.maximum(np.abs(value).max(axis=0), 1e-300)
    missed = np.zeros(len(coefficients), dtype=bool)
    powers = np.arange(6)
    for place in (1, 3):
        t = place / 4.0
        found = np.einsum("bcf,c->bf", coefficients, t**powers)
        found_slope = np.einsum("bcf,c->bf", coefficients, powers * t ** np.maximum(powers - 1, 0))
        error = np.abs(found - value[place::4]) / scale
        error_slope = np.abs(found_slope - slope[place::4]) / (scale * step)
        missed |= (error > TOLERANCE).any(axis=1) | (error_slope > 100.0 * TOLERANCE).any(axis=1)
    return missed
