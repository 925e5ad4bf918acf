"""Embedding functions F(ρ; m), odd in ρ, that turn densities into energy.

- FinnisSinclairShiftedScaled: F = ρ for m = 1, else sgn(ρ)[(|ρ| + x₀e^{−|ρ|})^m − y₀e^{−|ρ|}] with q = 1/m,
  x₀ = q^{q/(1−q)}, y₀ = q^{1/(1−q)} (Bochkarev et al., Phys. Rev. Materials 6, 013804 (2022)).
- FinnisSinclair: h = exp(−(w|ρ|)³), w = 10⁶, F = sgn(ρ)[(1−h)|ρ|^m + w^{1−m} h|ρ|]
  (Lysogorskiy et al., npj Comput. Mater. 7, 97 (2021)).
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pyacemaker.ace.model import EMBEDDINGS, Embedding

Array = NDArray[np.float64]

SHIFTED_SCALED, PLAIN = range(2)
"""Kinds of embedding inside kernels: positions in `EMBEDDINGS`."""

assert EMBEDDINGS == ("FinnisSinclairShiftedScaled", "FinnisSinclair")


def embed(embedding: Embedding, rho: Array) -> tuple[Array, Array]:
    """E_ACE = Σ_p w_p F(ρ_p; m_p), (n,) eV, and dE_ACE/dρ_p, (n, ndensity). rho: (n, ndensity)."""
    energy = np.zeros(len(rho))
    slope = np.zeros(rho.shape)
    kind = EMBEDDINGS.index(embedding.function)
    for p, (weight, exponent) in enumerate(zip(embedding.weights, embedding.exponents, strict=True)):
        for row in range(len(rho)):
            value, derivative = embed_point(kind, rho[row, p], exponent)
            energy[row] += weight * value
            slope[row, p] = weight * derivative
    return energy, slope


@njit(cache=True)  # type: ignore[untyped-decorator]
def embed_point(kind: int, rho: float, exponent: float) -> tuple[float, float]:
    """F(ρ; m) and dF/dρ at one density."""
    if abs(exponent - 1.0) < 1e-10:
        return rho, 1.0
    size = abs(rho)
    if kind == SHIFTED_SCALED:
        value, slope = _shifted_scaled(size, exponent)
    else:
        value, slope = _plain(size, exponent)
    return value * np.sign(rho), slope


@njit(cache=True)  # type: ignore[untyped-decorator]
def _shifted_scaled(size: float, exponent: float) -> tuple[float, float]:
    q = 1.0 / exponent
    x0 = q ** (q / (1.0 - q))
    y0 = q ** (1.0 / (1.0 - q))
    decay = math.exp(-size)
    base = size + x0 * decay
    value = base**exponent - y0 * decay
    return value, exponent * base ** (exponent - 1.0) * (1.0 - x0 * decay) + y0 * decay


@njit(cache=True)  # type: ignore[untyped-decorator]
def _plain(size: float, exponent: float) -> tuple[float, float]:
    w = 1e6
    steep = w ** (1.0 - exponent)
    if size == 0.0:
        return 0.0, steep
    cube = (w * size) ** 3
    h = math.exp(-cube)
    dh = -3.0 * cube / size * h
    power = size**exponent
    value = (1.0 - h) * power + steep * h * size
    slope = (1.0 - h) * exponent * power / size - dh * power + steep * (h + dh * size)
    return value, slope


@njit(cache=True)  # type: ignore[untyped-decorator]
def embed_curvature(kind: int, rho: float, exponent: float) -> float:
    """d²F/dρ² at one density: odd in ρ, and 0 at ρ = 0, where that of the shifted form jumps."""
    size = abs(rho)
    if abs(exponent - 1.0) < 1e-10 or size < 1e-100:
        return 0.0
    shifted = kind == SHIFTED_SCALED
    found: float = _shifted_scaled_curvature(size, exponent) if shifted else _plain_curvature(size, exponent)
    return found if rho > 0.0 else -found


@njit(cache=True)  # type: ignore[untyped-decorator]
def _shifted_scaled_curvature(size: float, exponent: float) -> float:
    q = 1.0 / exponent
    decay = math.exp(-size)
    bend = q ** (q / (1.0 - q)) * decay
    base = size + bend
    power = exponent * base ** (exponent - 2.0)
    curvature: float = power * ((exponent - 1.0) * (1.0 - bend) ** 2 + base * bend)
    return curvature - float(q ** (1.0 / (1.0 - q))) * decay


@njit(cache=True)  # type: ignore[untyped-decorator]
def _plain_curvature(size: float, exponent: float) -> float:
    w = 1e6
    steep = w ** (1.0 - exponent)
    cube = (w * size) ** 3
    h, rest = math.exp(-cube), -math.expm1(-cube)
    dh = -3.0 * cube / size * h
    d2h = (9.0 * cube - 6.0) * cube / size**2 * h
    power = size**exponent
    slope, curvature = exponent * power / size, exponent * (exponent - 1.0) * power / size**2
    found: float = rest * curvature - 2.0 * dh * slope - d2h * power + steep * (2.0 * dh + d2h * size)
    return found
