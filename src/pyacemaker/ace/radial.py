"""Radial basis functions g_k(r) and their derivatives, exactly (no tables).

With r_c = rcut, T_k the Chebyshev polynomials of the first kind, and everything zero from r_c on:

- ChebExpCos: x = 1 − 2(e^{−λr/r_c} − e^{−λ})/(1 − e^{−λ}), v = ½(1 + cos πr/r_c), g_1 = v,
  g_k = ½ v (1 − T_{k−1}(x)); for r > r_c − dcut also times ½(1 + cos π(r − r_c + dcut)/dcut).
- ChebPow: x = 1 − 2(1 − r/r_c)^λ, g_k = ½(1 − T_k(x)). ChebLinear: the same with x = 1 − r/r_c, which does
  not vanish at r_c.
- SBessel: the orthonormal combinations of spherical Bessel functions that vanish twice at r_c
  (Kocer, Mason, Erturk, J. Chem. Phys. 150, 154102 (2019)).

Evaluators of `.yace` files interpolate the g_k by cubic Hermite polynomials between the knots n·h,
h = r_c/N ≈ `KNOTS`, with value and slope zero at r_c. Where a g_k changes within a few knots, the
interpolated function is what everyone evaluates, so it is here, too: for ChebExpCos in an outer switch
narrower than `NARROW`, for ChebPow and ChebLinear between the last knots (where ChebLinear falls to zero).

Chebyshev forms: Drautz, Phys. Rev. B 99, 014104 (2019); Lysogorskiy et al., npj Comput. Mater. 7, 97 (2021).
The scalar kernels are compiled and may be called from other kernels.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pyacemaker.ace.model import RADIAL_BASES, Bond

Array = NDArray[np.float64]

CHEB_EXP_COS, CHEB_POW, CHEB_LINEAR, SBESSEL = range(4)
"""Kinds of radial basis inside kernels: positions in `RADIAL_BASES`."""

assert RADIAL_BASES == ("ChebExpCos", "ChebPow", "ChebLinear", "SBessel")

KNOTS = 0.001
"""Å, the spacing of knots in the tables of other evaluators (`deltaSplineBins` as it is always written)."""

NARROW = 0.1
"""Å; interpolating a wider switch changes it by less than 1e-9."""


def radial_functions(bond: Bond, r: Array) -> tuple[Array, Array]:
    """g_k(r) and dg_k/dr (1/Å) of a bond, without its inner switch: two arrays (P, nradbase).

    r: (P,) distances, Å, positive. Zero for r ≥ rcut.
    """
    values = np.zeros((len(r), bond.nradbase))
    slopes = np.zeros((len(r), bond.nradbase))
    kind = RADIAL_BASES.index(bond.radial_basis)
    _radial_rows(
        kind, np.ascontiguousarray(r, float), bond.rcut, bond.dcut, bond.radial_parameters[0], values, slopes
    )
    return values, slopes


def inner_factor(bond: Bond, r: Array) -> tuple[Array, Array]:
    """The factor on every g_k at short range and its derivative (1/Å): two arrays (P,).

    1 − P(r; a, δ) with the bond's `inner_window`; see there.
    """
    value, slope = polynomial_switch(r, *bond.inner_window)
    return 1.0 - value, -slope


def interpolated_from(bond: Bond) -> float:
    """The distance, Å, from which on the g_k are interpolated between knots; rcut where nowhere."""
    kind = RADIAL_BASES.index(bond.radial_basis)
    return float(_knots_begin(kind, bond.rcut, bond.dcut))


def cut_radial_functions(bond: Bond, r: Array) -> tuple[Array, Array]:
    """g_k(r) and dg_k/dr (1/Å) with the bond's inner switch applied: two arrays (P, nradbase)."""
    values, slopes = radial_functions(bond, r)
    factor, factor_slope = inner_factor(bond, r)
    slopes = slopes * factor[:, None] + values * factor_slope[:, None]
    return values * factor[:, None], slopes


def polynomial_switch(r: Array, end: float, width: float) -> tuple[Array, Array]:
    """P(r; a, δ) and dP/dr: 1 up to a − δ, 0 from a on, a quintic (twice differentiable) between.

    x = 1 − 2(1 + (r − a)/δ), P = ½ + 15/4 (x/4 − x³/6 + x⁵/20). r of any shape; end a, width δ.
    """
    r = np.asarray(r, float)
    inside = (r > end - width) & (r < end)
    x = 1.0 - 2.0 * (1.0 + (np.where(inside, r, end) - end) / (width or 1.0))
    middle = 0.5 + 3.75 * (x / 4.0 - x**3 / 6.0 + x**5 / 20.0)
    middle_slope = 3.75 * (0.25 - 0.5 * x**2 + 0.25 * x**4) * (-2.0 / (width or 1.0))
    below = (r <= end - width).astype(float)
    return np.where(inside, middle, below), np.where(inside, middle_slope, 0.0)


@njit(cache=True)  # type: ignore[untyped-decorator]
def switch_point(r: float, end: float, width: float) -> tuple[float, float]:
    """P(r; a, δ) and dP/dr at one point; see `polynomial_switch`."""
    if r <= end - width:
        return 1.0, 0.0
    if r >= end:
        return 0.0, 0.0
    x = 1.0 - 2.0 * (1.0 + (r - end) / width)
    x2 = x * x
    value = 0.5 + 3.75 * x * (0.25 - x2 / 6.0 + x2 * x2 / 20.0)
    slope = 3.75 * (0.25 - 0.5 * x2 + 0.25 * x2 * x2) * (-2.0 / width)
    return value, slope


@njit(cache=True)  # type: ignore[untyped-decorator]
def radial_point(
    kind: int, r: float, rcut: float, dcut: float, lam: float, value: Array, slope: Array
) -> None:
    """Write g_k and dg_k/dr at one distance into `value` and `slope`, both (nradbase,)."""
    if r >= rcut:
        value[:] = 0.0
        slope[:] = 0.0
    elif r > _knots_begin(kind, rcut, dcut):
        _between_knots(kind, r, rcut, dcut, lam, value, slope)
    else:
        _exact_point(kind, r, rcut, dcut, lam, value, slope)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _knots_begin(kind: int, rcut: float, dcut: float) -> float:
    """From where on to interpolate."""
    if kind == SBESSEL or (kind == CHEB_EXP_COS and not 0.0 < dcut < NARROW):
        return rcut
    return rcut - 2.0 * KNOTS if kind != CHEB_EXP_COS else rcut - dcut - 2.0 * KNOTS


@njit(cache=True)  # type: ignore[untyped-decorator]
def _between_knots(
    kind: int, r: float, rcut: float, dcut: float, lam: float, value: Array, slope: Array
) -> None:
    """Cubic Hermite interpolation between the knots around r < rcut."""
    count = max(int(rcut / KNOTS), 1)
    scale = count / rcut
    knot = min(int(r * scale), count - 1)
    t = r * scale - knot
    size = len(value)
    low, dlow, high, dhigh = np.zeros(size), np.zeros(size), np.zeros(size), np.zeros(size)
    _exact_point(kind, knot / scale, rcut, dcut, lam, low, dlow)
    if knot + 1 < count:
        _exact_point(kind, (knot + 1) / scale, rcut, dcut, lam, high, dhigh)
    for k in range(size):
        a, b = dlow[k] / scale, dhigh[k] / scale
        rise = high[k] - low[k]
        square, cube = 3.0 * rise - 2.0 * a - b, a + b - 2.0 * rise
        value[k] = low[k] + t * (a + t * (square + t * cube))
        slope[k] = scale * (a + t * (2.0 * square + 3.0 * t * cube))


@njit(cache=True)  # type: ignore[untyped-decorator]
def _exact_point(
    kind: int, r: float, rcut: float, dcut: float, lam: float, value: Array, slope: Array
) -> None:
    """The formulas, for r < rcut."""
    if kind == CHEB_EXP_COS:
        _cheb_exp_cos(r, rcut, dcut, lam, value, slope)
    elif kind == SBESSEL:
        _sbessel(r, rcut, value, slope)
    elif kind == CHEB_POW:
        rest = 1.0 - r / rcut
        power = rest ** (lam - 1.0)
        _half_one_minus_chebyshev(1.0 - 2.0 * power * rest, 2.0 * lam * power / rcut, value, slope)
    else:
        _half_one_minus_chebyshev(1.0 - r / rcut, -1.0 / rcut, value, slope)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _radial_rows(
    kind: int, r: Array, rcut: float, dcut: float, lam: float, values: Array, slopes: Array
) -> None:
    for row in range(len(r)):
        radial_point(kind, r[row], rcut, dcut, lam, values[row], slopes[row])


@njit(cache=True)  # type: ignore[untyped-decorator]
def _half_one_minus_chebyshev(x: float, dx: float, value: Array, slope: Array) -> None:
    """½(1 − T_k(x)), k = 1 … K, and its derivative for dx/dr = dx."""
    before, before_slope = 1.0, 0.0
    now, now_slope = x, 1.0
    for k in range(len(value)):
        value[k] = 0.5 * (1.0 - now)
        slope[k] = -0.5 * now_slope * dx
        after = 2.0 * x * now - before
        after_slope = 2.0 * now + 2.0 * x * now_slope - before_slope
        before, before_slope, now, now_slope = now, now_slope, after, after_slope


@njit(cache=True)  # type: ignore[untyped-decorator]
def _cheb_exp_cos(r: float, rcut: float, dcut: float, lam: float, value: Array, slope: Array) -> None:
    span = 1.0 - math.exp(-lam)
    decay = math.exp(-lam * r / rcut)
    x = 1.0 - 2.0 * (decay - math.exp(-lam)) / span
    dx = 2.0 * lam / rcut * decay / span
    v = 0.5 * (1.0 + math.cos(math.pi * r / rcut))
    dv = -0.5 * math.pi / rcut * math.sin(math.pi * r / rcut)
    if r > rcut - dcut:
        phase = math.pi * (r - rcut + dcut) / dcut
        outer = 0.5 * (1.0 + math.cos(phase))
        douter = -0.5 * math.pi / dcut * math.sin(phase)
        dv = dv * outer + v * douter
        v = v * outer
    _half_one_minus_chebyshev(x, dx, value[1:], slope[1:])
    for k in range(1, len(value)):
        slope[k] = slope[k] * v + value[k] * dv
        value[k] *= v
    value[0] = v
    slope[0] = dv


@njit(cache=True)  # type: ignore[untyped-decorator]
def _sinc(z: float) -> tuple[float, float]:
    """sin(z)/z and its derivative."""
    if z < 1e-2:
        z2 = z * z
        return 1.0 - z2 / 6.0 + z2 * z2 / 120.0, z * (-1.0 / 3.0 + z2 / 30.0 - z2 * z2 / 840.0)
    return math.sin(z) / z, (math.cos(z) - math.sin(z) / z) / z


@njit(cache=True)  # type: ignore[untyped-decorator]
def _sbessel(r: float, rcut: float, value: Array, slope: Array) -> None:
    scale = math.sqrt(2.0) * math.pi / rcut**1.5
    d_before = 1.0
    for n in range(len(value)):
        low, high = (n + 1) * math.pi / rcut, (n + 2) * math.pi / rcut
        first, dfirst = _sinc(low * r)
        second, dsecond = _sinc(high * r)
        norm = scale * (n + 1) * (n + 2) / math.sqrt((n + 1.0) ** 2 + (n + 2.0) ** 2)
        if n % 2 == 1:
            norm = -norm
        f = norm * (first + second)
        df = norm * (low * dfirst + high * dsecond)
        if n == 0:
            value[0], slope[0] = f, df
            continue
        e = n**2 * (n + 2.0) ** 2 / (4.0 * (n + 1.0) ** 4 + 1.0)
        d = 1.0 - e / d_before
        mix = math.sqrt(e / d_before)
        value[n] = (f + mix * value[n - 1]) / math.sqrt(d)
        slope[n] = (df + mix * slope[n - 1]) / math.sqrt(d)
        d_before = d
