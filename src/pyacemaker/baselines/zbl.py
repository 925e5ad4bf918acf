"""The universal screened nuclear repulsion, switched off before the bond."""

from functools import lru_cache
from typing import Annotated, Literal, NamedTuple, Self

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from numpy.typing import ArrayLike
from pydantic import Field, model_validator

from pyacemaker.baselines.base import Baseline, PairSum, sum_pairs
from pyacemaker.structures import BoolArray, FloatArray, IntArray

COULOMB_LAMMPS_METAL = 14.399645
"""e²/(4πε₀) in eV·Å as LAMMPS rounds it in its metal units: the baseline is deployed as `pair_style zbl`."""

SCREENING_LENGTH = 0.46850
"""Å: the numerator of a = 0.4685 / (Z_i^0.23 + Z_j^0.23)."""

_SCREENING = ((0.18175, 3.19980), (0.50986, 0.94229), (0.28022, 0.40290), (0.02817, 0.20162))

Window = tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]


class Zbl(Baseline):
    """E = ½ Σ_i Σ_j [k Z_i Z_j φ(r/a)/r + S(r)] below the outer radius, nothing beyond.

    φ is the universal screening function (`screening`), a = 0.4685 Å / (Z_i^0.23 + Z_j^0.23). S is constant
    below the inner radius and the quartic polynomial of LAMMPS `pair_style zbl inner outer` above, so that
    energy, force and curvature vanish at the outer radius. Ziegler, Biersack, Littmark: The Stopping and
    Range of Ions in Solids (1985); LAMMPS documentation of `pair_style zbl` and `lj/gromacs`.
    """

    kind: Literal["zbl"] = "zbl"
    window: Window = (0.5, 0.8)
    """Inner and outer radius, in `unit`."""
    unit: Literal["covalent", "angstrom"] = "covalent"
    """`covalent`: fractions of the sum of the two covalent radii; `angstrom`: Å, one window for all pairs."""
    pair_windows: dict[str, Window] = Field(default_factory=dict)
    """Windows in Å of single pairs, over `window`: `{Al-Ni: [1.2, 2.0]}`."""

    @model_validator(mode="after")
    def _check_windows(self) -> Self:
        for name, (inner, outer) in {"window": self.window, **self.pair_windows}.items():
            if inner >= outer:
                raise ValueError(f"{name}: the inner radius {inner} must be smaller than the outer {outer}")
        for name in self.pair_windows:
            symbols = name.split("-")
            if len(symbols) != 2 or any(atomic_numbers.get(symbol, 0) < 1 for symbol in symbols):
                raise ValueError(f"pair_windows: {name!r} is not a pair of elements such as Al-Ni")
        pairs = [frozenset(name.split("-")) for name in self.pair_windows]
        if len(set(pairs)) < len(pairs):
            raise ValueError("pair_windows names a pair twice; keep one of A-B and B-A")
        return self

    def window_of(self, first: int, second: int) -> tuple[float, float]:
        """Inner and outer radius in Å for two atomic numbers."""
        for name, window in self.pair_windows.items():
            if {atomic_numbers[symbol] for symbol in name.split("-")} == {first, second}:
                return window
        scale = 1.0
        if self.unit == "covalent":
            scale = float(covalent_radii[first] + covalent_radii[second])
        return self.window[0] * scale, self.window[1] * scale

    def energy_forces_virial(
        self, numbers: IntArray, positions: FloatArray, cell: FloatArray, pbc: BoolArray
    ) -> PairSum:
        """The screened repulsion of all pairs; see `Baseline`."""
        species = sorted({int(number) for number in numbers})
        outer = [self.window_of(a, b)[1] for a in species for b in species]
        return sum_pairs(numbers, positions, cell, pbc, max(outer, default=0.0), self._pair)

    def _pair(self, first: IntArray, second: IntArray, r: FloatArray) -> tuple[FloatArray, FloatArray]:
        energy, slope = np.zeros_like(r), np.zeros_like(r)
        code = np.minimum(first, second) * 1000 + np.maximum(first, second)
        for value in np.unique(code):
            a, b = divmod(int(value), 1000)
            inner, outer = self.window_of(a, b)
            chosen = (code == value) & (r < outer)
            energy[chosen], slope[chosen] = switched_repulsion(a, b, r[chosen], inner, outer)
        return energy, slope


def screening(x: ArrayLike) -> FloatArray:
    """φ(x) = Σ_k c_k exp(−d_k x): the universal screening function, φ(0) = 1."""
    x = np.asarray(x, dtype=np.float64)[..., None]
    weights, rates = np.array(_SCREENING).T
    return np.asarray(np.exp(-rates * x) @ weights)


def repulsion(first: int, second: int, r: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """E(r) = k Z_i Z_j φ(r/a)/r without any switching, and its first two derivatives: eV, eV/Å, eV/Å².

    first, second: atomic numbers. r: distances, Å.
    """
    r = np.asarray(r, dtype=np.float64)
    a = SCREENING_LENGTH / (first**0.23 + second**0.23)
    terms = [(c * np.exp(-d * r / a), -d / a) for c, d in _SCREENING]
    value, slope, curvature = (sum(term * rate**order for term, rate in terms) for order in range(3))
    k = COULOMB_LAMMPS_METAL * first * second
    return (
        k * value / r,
        k * (slope - value / r) / r,
        k * (curvature - 2.0 * slope / r + 2.0 * value / r**2) / r,
    )


def switched_repulsion(
    first: int, second: int, r: FloatArray, inner: float, outer: float
) -> tuple[FloatArray, FloatArray]:
    """E(r) + S(r) and its derivative for r < outer, eV and eV/Å.

    S = C below `inner`, C + A/3 x³ + B/4 x⁴ above, x = r − inner.
    """
    switch = _switch(first, second, inner, outer)
    energy, slope, _ = repulsion(first, second, r)
    x = np.maximum(r - inner, 0.0)
    return (
        energy + switch.c + x**3 * (switch.a / 3.0 + switch.b / 4.0 * x),
        slope + x**2 * (switch.a + switch.b * x),
    )


class _Switch(NamedTuple):
    a: float
    b: float
    c: float


@lru_cache(maxsize=1024)
def _switch(first: int, second: int, inner: float, outer: float) -> _Switch:
    """A, B and C: with them E + S, its slope and its curvature vanish at `outer`."""
    energy, slope, curvature = (float(value) for value in repulsion(first, second, outer))
    width = outer - inner
    return _Switch(
        (width * curvature - 3.0 * slope) / width**2,
        (2.0 * slope - width * curvature) / width**3,
        -energy + width * slope / 2.0 - width**2 * curvature / 12.0,
    )
