"""Complex spherical harmonics for m ≥ 0 and their gradients.

Condon–Shortley phase, times √(4π): Y_00 = 1, Y_11 = −√(3/2)(x + iy), and Y_l,−m = (−1)^m Y*_lm, so only
m ≥ 0 is computed. **Packing:** column l(l + 1)/2 + m holds (l, m), 0 ≤ m ≤ l; (lmax + 1)(lmax + 2)/2 columns.

On the sphere Y_lm = Q_lm(z) (x + iy)^m, with Q_lm a polynomial from the stable three-term recurrence in l
(normalised associated Legendre functions over sin^m θ); no angle is ever computed.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]


def packed_size(lmax: int) -> int:
    """Number of (l, m) with 0 ≤ m ≤ l ≤ lmax."""
    return (lmax + 1) * (lmax + 2) // 2


def spherical_harmonics(unit: Array, lmax: int) -> tuple[ComplexArray, ComplexArray]:
    """Y_lm of unit vectors, packed (P, columns), and the gradients (P, columns, 3).

    unit: (P, 3), of length 1, from the centre to the neighbour. The gradient is that of Y_lm(r⃗/|r⃗|) at
    |r⃗| = 1, tangential to the sphere: ∂Y_lm(r̂)/∂r⃗ = gradient / r for a vector of length r.
    """
    count, columns = len(unit), packed_size(lmax)
    values = np.empty((count, columns), complex)
    gradients = np.empty((count, columns, 3), complex)
    alpha, beta = recurrence(lmax)
    _rows(np.ascontiguousarray(unit, float), lmax, alpha, beta, values, gradients)
    return values, gradients


def recurrence(lmax: int) -> tuple[Array, Array]:
    """Coefficients of Q_lm = α_lm (z Q_{l−1,m} + β_lm Q_{l−2,m}), packed; α_mm holds Q_mm itself.

    α_lm = √((4l² − 1)/(l² − m²)), β_lm = −√(((l − 1)² − m²)/(4(l − 1)² − 1)).
    """
    alpha = np.zeros(packed_size(lmax))
    beta = np.zeros(packed_size(lmax))
    diagonal = 1.0
    for m in range(lmax + 1):
        if m > 0:
            diagonal *= -math.sqrt((2.0 * m + 1.0) / (2.0 * m))
        alpha[m * (m + 1) // 2 + m] = diagonal
        for ell in range(m + 1, lmax + 1):
            here = ell * (ell + 1) // 2 + m
            alpha[here] = math.sqrt((4.0 * ell**2 - 1.0) / (ell**2 - m**2))
            if ell > m + 1:
                beta[here] = -math.sqrt(((ell - 1.0) ** 2 - m**2) / (4.0 * (ell - 1.0) ** 2 - 1.0))
    return alpha, beta


@njit(cache=True)  # type: ignore[untyped-decorator]
def legendre_point(z: float, lmax: int, alpha: Array, beta: Array, q: Array, dq: Array) -> None:
    """Write Q_lm(z) and dQ_lm/dz into the packed arrays `q` and `dq`."""
    for m in range(lmax + 1):
        here = m * (m + 1) // 2 + m
        q[here] = alpha[here]
        dq[here] = 0.0
        last, before = here, here
        for ell in range(m + 1, lmax + 1):
            here = ell * (ell + 1) // 2 + m
            q[here] = alpha[here] * (z * q[last] + beta[here] * q[before])
            dq[here] = alpha[here] * (q[last] + z * dq[last] + beta[here] * dq[before])
            before, last = last, here


@njit(cache=True)  # type: ignore[untyped-decorator]
def harmonics_point(
    unit: Array, lmax: int, alpha: Array, beta: Array, y: ComplexArray, dy: ComplexArray
) -> None:
    """Write Y_lm (columns,) and its tangential gradient (columns, 3) at one unit vector."""
    q = np.empty(len(y))
    dq = np.empty(len(y))
    legendre_point(unit[2], lmax, alpha, beta, q, dq)
    phase = complex(1.0, 0.0)
    phase_before = complex(0.0, 0.0)
    turn = complex(unit[0], unit[1])
    for m in range(lmax + 1):
        for ell in range(m, lmax + 1):
            here = ell * (ell + 1) // 2 + m
            y[here] = q[here] * phase
            gx = m * q[here] * phase_before
            gy = complex(-gx.imag, gx.real)
            gz = dq[here] * phase
            radial = gx * unit[0] + gy * unit[1] + gz * unit[2]
            dy[here, 0] = gx - radial * unit[0]
            dy[here, 1] = gy - radial * unit[1]
            dy[here, 2] = gz - radial * unit[2]
        phase_before = phase
        phase = phase * turn


@njit(cache=True)  # type: ignore[untyped-decorator]
def _rows(
    unit: Array, lmax: int, alpha: Array, beta: Array, values: ComplexArray, gradients: ComplexArray
) -> None:
    for row in range(len(unit)):
        harmonics_point(unit[row], lmax, alpha, beta, values[row], gradients[row])
