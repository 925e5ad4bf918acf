"""The parts of an ACE potential in the C-tilde basis, as immutable data.

Drautz, Phys. Rev. B 99, 014104 (2019); Lysogorskiy et al., npj Comput. Mater. 7, 97 (2021);
Bochkarev et al., Phys. Rev. Materials 6, 013804 (2022).

Species are numbered 0 … N−1 in the order of `ACEModel.elements`; lengths are in Å, energies in eV.
A part that contradicts itself raises `ValueError`; the `.yace` reader turns that into `PotentialFormatError`.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

InnerCutoff = Literal["density", "distance", "zbl"]
"""How atoms at short range are treated; see `pyacemaker.ace.cores`."""

RADIAL_BASES = ("ChebExpCos", "ChebPow", "ChebLinear", "SBessel")
"""Radial bases that the engine knows, by their names in `.yace` files."""

EMBEDDINGS = ("FinnisSinclairShiftedScaled", "FinnisSinclair")
"""Embedding functions that the engine knows, by their names in `.yace` files."""

MAX_RANK = 6
"""Largest number of factors in a basis function."""

LARGEST_RCUT = 100.0
"""Å; a longer cutoff is a mistake."""

LARGEST_LMAX, LARGEST_NRADBASE = 50, 1000
"""Bounds on the size of radial bases; more is a mistake."""


@dataclass(frozen=True, eq=False)
class Bond:
    """Radial functions and core repulsion of one ordered pair of species (centre, neighbour).

    rcut: cutoff, Å. dcut: width of the outer switch, Å. radial_basis: one of `RADIAL_BASES`.
    radial_parameters: (λ, …), of which the first counts. coefficients: (nradmax, lmax + 1, nradbase), c_nlk
    of R_nl = Σ_k c_nlk g_k. prehc, lambdahc: amplitude and exponent of the core (eV·Å and 1/Å² for `density`
    and `distance`; for `zbl` a factor, and unused). rcut_in, dcut_in: end and width of the inner switch, Å.
    inner_cutoff: the kind of core.
    """

    rcut: float
    dcut: float
    radial_basis: str
    radial_parameters: tuple[float, ...]
    coefficients: NDArray[np.float64]
    prehc: float = 0.0
    lambdahc: float = 1.0
    rcut_in: float = 0.0
    dcut_in: float = 0.0
    inner_cutoff: InnerCutoff = "distance"

    def __post_init__(self) -> None:
        _require_known("radial basis", self.radial_basis, RADIAL_BASES)
        _require_known("inner cutoff type", self.inner_cutoff, get_args(InnerCutoff))
        if self.coefficients.ndim != 3 or 0 in self.coefficients.shape[1:]:
            raise ValueError(
                f"radial coefficients have shape {self.coefficients.shape}; "
                "expected (nradmax, lmax + 1, nradbase)"
            )
        if self.lmax > LARGEST_LMAX or self.nradbase > LARGEST_NRADBASE:
            raise ValueError(
                f"lmax {self.lmax} and nradbase {self.nradbase} must not exceed "
                f"{LARGEST_LMAX} and {LARGEST_NRADBASE}"
            )
        if not (0.0 <= self.dcut <= self.rcut and 0.0 < self.rcut <= LARGEST_RCUT):
            raise ValueError(
                f"rcut {self.rcut} and dcut {self.dcut} must satisfy 0 <= dcut <= rcut, "
                f"0 < rcut <= {LARGEST_RCUT}"
            )
        if not self.dcut_in >= 0.0:
            raise ValueError(f"dcut_in {self.dcut_in} must not be negative")
        if not self.radial_parameters:
            raise ValueError("radial parameters are empty; expected [λ]")
        if (self.radial_basis == "ChebExpCos" and self.radial_parameters[0] == 0.0) or (
            self.radial_basis == "ChebPow" and not self.radial_parameters[0] > 0.0
        ):
            raise ValueError(f"λ = {self.radial_parameters[0]} makes no {self.radial_basis} functions")

    @property
    def nradmax(self) -> int:
        """Number of contracted radial functions per l."""
        return int(self.coefficients.shape[0])

    @property
    def lmax(self) -> int:
        """Largest angular momentum."""
        return int(self.coefficients.shape[1]) - 1

    @property
    def nradbase(self) -> int:
        """Number of radial basis functions g_k."""
        return int(self.coefficients.shape[2])

    @property
    def inner_window(self) -> tuple[float, float]:
        """End and width, Å, of the switch that turns the radial functions off at short range; end ≤ 0: none.

        They are off below the end minus the width. `distance`: (rcut_in, dcut_in). Other kinds let the radial
        functions be, but for what evaluators of this format do besides: `density` has them end abruptly at
        rcut_in − dcut_in (0 unless someone set it), and `zbl` at 1 Å where dcut_in = 0.
        """
        if self.inner_cutoff == "distance":
            return self.rcut_in, self.dcut_in
        if self.inner_cutoff == "density":
            return self.rcut_in - self.dcut_in, 0.0
        return (1.0 if self.dcut_in == 0.0 else 0.0), 0.0


def difference(one: Bond, other: Bond) -> str:
    """The name of the first field in which two bonds differ; "" where they are equal."""
    for field in fields(Bond):
        if not np.array_equal(getattr(one, field.name), getattr(other, field.name)):
            return field.name
    return ""


@dataclass(frozen=True)
class Embedding:
    """Embedding of one species: E_ACE = Σ_p w_p F(ρ_p; m_p), p = 1 … ndensity.

    parameters: (w_1, m_1, w_2, m_2, …), m_p > 0. function: one of `EMBEDDINGS`.
    rho_core_cutoff, drho_core_cutoff: end and width of the switch on the core density, eV.
    """

    ndensity: int
    parameters: tuple[float, ...]
    function: str = "FinnisSinclairShiftedScaled"
    rho_core_cutoff: float = 100000.0
    drho_core_cutoff: float = 250.0

    def __post_init__(self) -> None:
        _require_known("embedding", self.function, EMBEDDINGS)
        if self.ndensity < 1 or len(self.parameters) != 2 * self.ndensity:
            raise ValueError(
                f"{len(self.parameters)} embedding parameters for {self.ndensity} densities; "
                "expected a weight and an exponent for each density"
            )
        if min(self.exponents) <= 0.0:
            raise ValueError(f"embedding exponents {self.exponents} must be positive")
        if not self.drho_core_cutoff >= 0.0:
            raise ValueError(f"drho_core_cutoff {self.drho_core_cutoff} must not be negative")

    @property
    def weights(self) -> tuple[float, ...]:
        """w_p of each density."""
        return self.parameters[0::2]

    @property
    def exponents(self) -> tuple[float, ...]:
        """m_p of each density."""
        return self.parameters[1::2]


@dataclass(frozen=True, eq=False)
class BasisFunction:
    """One C-tilde basis function: ρ_p += Σ_ms c̃_p[ms] Re Π_t A_{μ_t n_t l_t m_t}.

    mu0: species of the centre. mus, ns (from 1), ls: species, radial index and l of each factor.
    ms_combs: (M, rank) integers. ctildes: (M, ndensity).
    For rank 1 the n-th basis function g_n itself is the radial function; l and m are 0.
    """

    mu0: int
    mus: tuple[int, ...]
    ns: tuple[int, ...]
    ls: tuple[int, ...]
    ms_combs: NDArray[np.int64]
    ctildes: NDArray[np.float64]

    def __post_init__(self) -> None:
        rank = len(self.mus)
        if not (1 <= rank <= MAX_RANK and len(self.ns) == len(self.ls) == rank):
            raise ValueError(
                f"mus {self.mus}, ns {self.ns}, ls {self.ls} must have one common length, 1 to {MAX_RANK}"
            )
        if self.ms_combs.ndim != 2 or self.ms_combs.shape[1] != rank:
            raise ValueError(f"ms_combs have shape {self.ms_combs.shape}; expected (M, {rank})")
        if self.ctildes.ndim != 2 or len(self.ctildes) != len(self.ms_combs):
            raise ValueError(
                f"ctildes have shape {self.ctildes.shape}; expected ({len(self.ms_combs)}, ndensity)"
            )
        if np.any(np.abs(self.ms_combs) > np.array(self.ls)):
            raise ValueError(f"ms_combs exceed the angular momenta {self.ls}")
        if self.ms_combs.sum(axis=1).any():
            raise ValueError("ms_combs hold m's whose sum is not 0: no rotational invariant")

    @property
    def rank(self) -> int:
        """Number of factors."""
        return len(self.mus)


@dataclass(frozen=True, eq=False)
class ACEModel:
    """A whole ACE potential.

    elements: chemical symbols. e0: (N,) energy of each isolated atom, eV. delta_spline_bins: spacing of the
    look-up tables that other evaluators build, Å. embeddings: by species. bonds: by (centre, neighbour), all
    N² ordered pairs, with one kind of core. functions: by species of the centre.
    """

    elements: tuple[str, ...]
    e0: NDArray[np.float64]
    delta_spline_bins: float
    embeddings: dict[int, Embedding]
    bonds: dict[tuple[int, int], Bond]
    functions: dict[int, tuple[BasisFunction, ...]]

    def __post_init__(self) -> None:
        count = len(self.elements)
        _require_elements(self.elements)
        if count == 0 or self.e0.shape != (count,):
            raise ValueError(f"E0 has shape {self.e0.shape}; expected one energy for each of {self.elements}")
        _require_keys("embeddings", set(self.embeddings), set(range(count)))
        _require_keys("functions", set(self.functions), set(range(count)))
        pairs = {(i, j) for i in range(count) for j in range(count)}
        _require_keys("bonds", set(self.bonds), pairs)
        kinds = {bond.inner_cutoff for bond in self.bonds.values()}
        if len(kinds) > 1:
            raise ValueError(f"inner cutoff types {sorted(kinds)} are mixed; expected one for all bonds")
        if not 0.0 < self.delta_spline_bins < math.inf:
            raise ValueError(f"deltaSplineBins is {self.delta_spline_bins}; expected a positive length")
        for function in self.all_functions():
            self._check_function(function)

    @property
    def cutoff(self) -> float:
        """Largest cutoff of any bond, Å."""
        return max(bond.rcut for bond in self.bonds.values())

    def all_functions(self) -> Iterator[BasisFunction]:
        """Every basis function, by species of the centre."""
        for species in range(len(self.elements)):
            yield from self.functions[species]

    def _check_function(self, function: BasisFunction) -> None:
        name = f"function mu0 {function.mu0}, mus {function.mus}, ns {function.ns}, ls {function.ls}"
        if not 0 <= function.mu0 < len(self.elements) or not all(
            0 <= mu < len(self.elements) for mu in function.mus
        ):
            raise ValueError(f"{name} names a species outside {self.elements}")
        if function.ctildes.shape[1] != self.embeddings[function.mu0].ndensity:
            raise ValueError(
                f"{name} has {function.ctildes.shape[1]} densities; "
                f"its species has {self.embeddings[function.mu0].ndensity}"
            )
        for mu, n, ell in zip(function.mus, function.ns, function.ls, strict=True):
            bond = self.bonds[function.mu0, mu]
            n_limit, l_limit = (bond.nradbase, 0) if function.rank == 1 else (bond.nradmax, bond.lmax)
            if not (1 <= n <= n_limit and 0 <= ell <= l_limit):
                raise ValueError(f"{name} exceeds n = {n_limit} or l = {l_limit} of its bond")


def _require_known(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise ValueError(f"{what} {name!r} is unknown; expected one of {', '.join(known)}")


def _require_elements(elements: tuple[str, ...]) -> None:
    from ase.data import atomic_numbers

    for symbol in elements:
        if not atomic_numbers.get(symbol):
            raise ValueError(f"elements hold {symbol!r}; expected chemical symbols")
    if len(set(elements)) < len(elements):
        raise ValueError(f"elements {list(elements)} repeat themselves; expected each once")


def _require_keys(what: str, found: set[object] | set[int] | set[tuple[int, int]], expected: object) -> None:
    if found != expected:
        raise ValueError(f"{what} have the keys {sorted(found, key=str)}; expected exactly {expected}")
