"""Look-up tables of the radial functions that the evaluator needs: quintics in narrow bins.

For a bond (μ, ν) these are the F functions u_f(r) = Σ_k C_fk g_k(r), with the inner cutoff applied to g:
first, per density, the sum of all rank-1 functions; then the core (`pyacemaker.ace.cores.core_pair`); then
the different ones among the R_nl that occur in products. In each bin one quintic matches value and slope at
both ends and in the middle. Bins in which that misses an exact function (at the edges of switches, at short
range) are flagged, and the evaluator computes there exactly.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyacemaker.ace.cores import core_pair
from pyacemaker.ace.model import ACEModel, Bond
from pyacemaker.ace.products import Leaves
from pyacemaker.ace.radial import cut_radial_functions, interpolated_from

Array = NDArray[np.float64]

BIN_WIDTHS = (0.04, 0.02, 0.01)
"""Å, before rounding to a whole number of bins: the widest that leaves few bins flagged is taken."""

FEW_FLAGGED = 0.05
"""Largest share of flagged bins, shortest distances apart."""

SHORTEST = 0.8
"""Å: bins below are not counted in that share."""

TOLERANCE = 1e-11
"""Largest error of a tabulated value relative to the function's largest value; slopes: 100 times that."""

CORE_SCALE = 0.1
"""eV and eV/Å: the same tolerance holds for the core relative to this, where its values are smaller."""


@dataclass(frozen=True, eq=False)
class RadialTable:
    """Tables of one bond.

    combine: (F, nradbase), the matrix C; the row of the core is zero. columns: for each channel of this
    neighbour species, in the order of `Leaves.channels`, the f of its R_nl. coefficients: (bins, 6, F),
    ascending powers of t = (r − r_bin)/step, 0 ≤ t < 1. step: Å. exact: (bins,), where the table must not be
    used.
    """

    combine: Array
    columns: NDArray[np.int64]
    coefficients: Array
    step: float
    exact: NDArray[np.bool_]


def radial_table(model: ACEModel, mu: int, nu: int, leaves: Leaves) -> RadialTable:
    """The table of bond (μ, ν) for the products that need `leaves`."""
    combine, columns = _combination(model, mu, nu, leaves)
    for width in BIN_WIDTHS:
        table = _with_bins(model, (mu, nu), combine, columns, int(np.ceil(model.bonds[mu, nu].rcut / width)))
        if table.exact[int(SHORTEST / table.step) :].mean() < FEW_FLAGGED:
            break
    return table


def _combination(model: ACEModel, mu: int, nu: int, leaves: Leaves) -> tuple[Array, NDArray[np.int64]]:
    bond = model.bonds[mu, nu]
    first = np.zeros((model.embeddings[mu].ndensity + 1, bond.nradbase))
    for function in model.functions[mu]:
        if function.rank == 1 and function.mus[0] == nu:
            first[:-1, function.ns[0] - 1] += function.ctildes.sum(axis=0)
    wanted = [(n, ell) for species, n, ell in leaves.channels if species == nu]
    rows: dict[bytes, int] = {}
    different: list[Array] = []
    columns: list[int] = []
    for n, ell in wanted:
        row = bond.coefficients[n, ell]
        if row.tobytes() not in rows:
            rows[row.tobytes()] = len(first) + len(different)
            different.append(row)
        columns.append(rows[row.tobytes()])
    combine = np.concatenate([first, np.array(different).reshape(-1, bond.nradbase)])
    return np.ascontiguousarray(combine), np.array(columns, dtype=np.int64)


def _with_bins(
    model: ACEModel, pair: tuple[int, int], combine: Array, columns: NDArray[np.int64], bins: int
) -> RadialTable:
    bond = model.bonds[pair]
    step = bond.rcut / bins
    r = np.linspace(0.0, bond.rcut, 4 * bins + 1)
    value, slope = cut_radial_functions(bond, r)
    value, slope = value @ combine.T, slope @ combine.T
    core = model.embeddings[pair[0]].ndensity
    value[1:, core], slope[1:, core] = _core(model, pair, bond, r[1:])
    value[0, core], slope[0, core] = value[1, core], slope[1, core]  # infinite; the bin is flagged
    coefficients = _quintics(value, slope * step)
    scale = np.maximum(np.abs(value).max(axis=0), 1e-300)
    scale[core] = CORE_SCALE
    missed = _missed(coefficients, value, slope * step, scale, step)
    missed[0] |= bool(value[:, core].any())
    if (begin := interpolated_from(bond)) < bond.rcut:
        missed[int(begin / step) :] = True  # a switch narrower than the bins can hide between the samples
    return RadialTable(combine, columns, coefficients, step, missed)


def _core(model: ACEModel, pair: tuple[int, int], bond: Bond, r: Array) -> tuple[Array, Array]:
    from ase.data import atomic_numbers

    if bond.prehc == 0.0:
        return np.zeros_like(r), np.zeros_like(r)
    mu, nu = (atomic_numbers[model.elements[number]] for number in pair)
    return core_pair(bond, (mu, nu), r)


def _quintics(value: Array, slope: Array) -> Array:
    """(bins, 6, F) from values and slopes (per bin width) at quarter points; the halves are matched."""
    points = np.array([0.0, 0.5, 1.0])
    powers = np.arange(6)
    rows = points[:, None] ** powers
    slope_rows = powers * points[:, None] ** np.maximum(powers - 1, 0)
    solve = np.linalg.inv(np.concatenate([rows, slope_rows]))
    at = [value[0:-1:4], value[2::4], value[4::4], slope[0:-1:4], slope[2::4], slope[4::4]]
    return np.ascontiguousarray(np.einsum("cq,qbf->bcf", solve, np.array(at)))


def _missed(coefficients: Array, value: Array, slope: Array, scale: Array, step: float) -> NDArray[np.bool_]:
    """Bins whose quintic is off at one and three quarters. scale: (F,) what errors are compared with."""
    missed = np.zeros(len(coefficients), dtype=bool)
    powers = np.arange(6)
    for place in (1, 3):
        t = place / 4.0
        found = np.einsum("bcf,c->bf", coefficients, t**powers)
        found_slope = np.einsum("bcf,c->bf", coefficients, powers * t ** np.maximum(powers - 1, 0))
        here = np.maximum(scale, np.abs(value[place::4]))
        error = np.abs(found - value[place::4]) / here
        error_slope = np.abs(found_slope - slope[place::4]) / (here * step)
        missed |= (error > TOLERANCE).any(axis=1) | (error_slope > 100.0 * TOLERANCE).any(axis=1)
    return missed
