"""What stands in pacemaker's `input.yaml`: the settings of the potential, of the fit and of the backend."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pyacemaker.base import Spec

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Order = Annotated[int, Field(ge=0)]
Orders = Annotated[tuple[Count, ...], Field(min_length=1, max_length=6)]
Ells = Annotated[tuple[Order, ...], Field(min_length=1, max_length=6)]
Species = Literal["ALL", "UNARY", "BINARY", "TERNARY", "QUATERNARY", "QUINARY"]

LARGEST_L = (0, 10, 6, 4, 3)
"""For ranks 1 to 5: the largest l that pacemaker's tables of coupling coefficients hold."""

EMBEDDINGS = {1: (1.0, 1.0), 2: (1.0, 1.0, 1.0, 0.5)}
"""Prefactors and exponents of the densities: E = ρ₁, and E = ρ₁ + F(ρ₂) with F ~ √ρ₂ (Finnis–Sinclair)."""


Windows = Mapping[tuple[str, str], tuple[float, float]]
"""Å, by pair of elements in alphabetical order: where the share of a ZBL core ends, and over which width."""


class Products(Spec):
    """Limits on the products of one kind."""

    nradmax: Orders
    """Largest n for each rank, from 1 on; there are no products of higher ranks."""
    lmax: Ells
    """Largest l for each rank; 0 for rank 1."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.nradmax) != len(self.lmax):
            raise ValueError(
                f"nradmax has {len(self.nradmax)} ranks and lmax {len(self.lmax)}; give one number per rank"
            )
        for rank, (ell, largest) in enumerate(zip(self.lmax, LARGEST_L, strict=False), start=1):
            if ell > largest:
                raise ValueError(f"lmax of rank {rank} is {ell}; pacemaker goes up to {largest}")
        return self

    def up_to(self, order: int) -> dict[str, list[int]]:
        """As `input.yaml` has it, without the ranks above `order`."""
        return {
            "nradmax_by_orders": list(self.nradmax[:order]),
            "lmax_by_orders": list(self.lmax[:order]),
        }


TEMPLATE: dict[Species, Products] = {
    "UNARY": Products(nradmax=(15, 6, 4, 3, 2, 2), lmax=(0, 3, 3, 2, 2, 1)),
    "BINARY": Products(nradmax=(15, 6, 3, 2, 2, 1), lmax=(0, 3, 2, 1, 1, 0)),
    "TERNARY": Products(nradmax=(15, 3, 3, 2, 1), lmax=(0, 2, 2, 1, 1)),
    "ALL": Products(nradmax=(15, 3, 2, 1, 1), lmax=(0, 2, 2, 1, 1)),
}
"""The limits that pacemaker's own template suggests."""


class PacemakerInput(Spec):
    """The settings that become pacemaker's `input.yaml`."""

    cutoff: Annotated[float, Field(gt=0, le=20)] = 6.0
    """Å: how far an atom sees."""
    elements: tuple[str, ...] = ()
    """Elements of the potential; empty: those of the data."""
    order: Annotated[int, Field(ge=1, le=6)] = 5
    """Largest rank: how many neighbours a basis function sees at once."""
    functions: Annotated[int, Field(ge=1, le=20000)] = 300
    """Functions per element, at most."""
    products: Mapping[Species, Products] = Field(default_factory=lambda: dict(TEMPLATE))
    """n and l of the products, by the number of different elements in them."""
    radial_basis: Literal["SBessel", "ChebExpCos", "ChebPow", "ChebLinear"] = "SBessel"
    """Radial functions."""
    radial_parameters: Annotated[tuple[float, ...], Field(min_length=1)] = (5.25,)
    """Parameters of the radial functions (λ of `ChebExpCos`)."""
    cutoff_width: Positive = 0.01
    """Å over which the radial functions are switched off."""
    densities: Literal[1, 2] = 2
    """1: a linear potential; 2: with a square root of a second density."""
    repulsion: Literal["zbl", "pacemaker", "none"] = "zbl"
    """What acts when two atoms come closer than in any data. `zbl`: screened nuclear repulsion, in the
    windows below the data that the project's own engine takes. `pacemaker`: its `repulsion: auto`, which
    begins at the closest distance of each pair in the data; a bond that is a little shorter than all of those
    then meets the full nuclear repulsion."""
    kappa: Annotated[float, Field(ge=0, le=1)] | Literal["auto"] = 0.3
    """Share of the forces in the loss: (1 − κ) Σ w_E (ΔE/n)² + κ Σ w_F |ΔF|²."""
    l1: NotNegative = 1e-8
    """L1 regularisation of all coefficients."""
    l2: NotNegative = 1e-8
    """L2 regularisation of all coefficients."""
    smoothness: tuple[NotNegative, NotNegative, NotNegative] = (0.0, 0.0, 0.0)
    """Weights of the radial functions' values, slopes and curvatures in the loss (`w0_rad`, `w1_rad`,
    `w2_rad`)."""
    optimizer: Literal["BFGS", "L-BFGS-B"] = "BFGS"
    """`L-BFGS-B` where BFGS's matrix of parameters × parameters is too large."""
    maxiter: Annotated[int, Field(ge=1)] = 500
    """Iterations, of every step of the ladder."""
    ladder_step: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, lt=1)] | None = None
    """Functions that each step of the ladder adds (a number, or a share of those so far); None: all at once.
    """
    ladder_type: Literal["body_order", "power_order"] = "body_order"
    """The order in which the ladder adds functions."""
    fit_cycles: Annotated[int, Field(ge=1)] = 1
    """How often each fit is repeated from where it ended."""
    batch_size: Annotated[int, Field(ge=1)] = 100
    """Structures at a time."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42
    """Of numpy in pacemaker."""

    def content(
        self,
        elements: tuple[str, ...],
        e0: Mapping[str, float],
        windows: Windows | None = None,
        *,
        test: bool,
    ) -> dict[str, Any]:
        """`input.yaml` for the tables `train.pckl.gzip` and, if asked for, `test.pckl.gzip`.

        elements: of the potential. e0: eV by element. windows: of the ZBL core, None: without one.
        """
        data: dict[str, Any] = {
            "filename": "train.pckl.gzip",
            "reference_energy": {symbol: float(e0[symbol]) for symbol in elements},
        }
        if test:
            data["test_filename"] = "test.pckl.gzip"
        return {
            "cutoff": self.cutoff,
            "seed": self.seed,
            "potential": self._potential(elements, windows or {}),
            "data": data,
            "fit": self._fit(),
            "backend": {"evaluator": "tensorpot", "batch_size": self.batch_size, "display_step": 50},
        }

    def _potential(self, elements: tuple[str, ...], windows: Windows) -> dict[str, Any]:
        functions: dict[str, Any] = {"number_of_functions_per_element": self.functions}
        functions |= {name: rule.up_to(self.order) for name, rule in self.products.items()}
        embedding: dict[str, Any] = {
            "npot": "FinnisSinclairShiftedScaled",
            "fs_parameters": list(EMBEDDINGS[self.densities]),
            "ndensity": self.densities,
        }
        if windows:
            embedding |= {"rho_core_cut": 1, "drho_core_cut": 1}
        every: dict[str, Any] = {
            "radbase": self.radial_basis,
            "radparameters": list(self.radial_parameters),
            "rcut": self.cutoff,
            "dcut": self.cutoff_width,
            "NameOfCutoffFunction": "cos",
        }
        return {
            "deltaSplineBins": 0.001,
            "elements": list(elements),
            "embeddings": {"ALL": embedding},
            "bonds": {"ALL": every, **{_pair(pair): _core(*ends) for pair, ends in windows.items()}},
            "functions": functions,
        }

    def _fit(self) -> dict[str, Any]:
        names = ("w0_rad", "w1_rad", "w2_rad")
        smooth = {name: weight for name, weight in zip(names, self.smoothness, strict=True) if weight}
        fit: dict[str, Any] = {
            "loss": {"kappa": self.kappa, "L1_coeffs": self.l1, "L2_coeffs": self.l2, **smooth},
            "optimizer": self.optimizer,
            "maxiter": self.maxiter,
            "fit_cycles": self.fit_cycles,
        }
        if self.repulsion == "pacemaker":
            fit["repulsion"] = "auto"
        if self.ladder_step is not None:
            fit |= {"ladder_step": self.ladder_step, "ladder_type": self.ladder_type}
        return fit


def _pair(pair: tuple[str, str]) -> str:
    """A bond as pacemaker names it: `Al` for Al–Al, `AlCu`."""
    return pair[0] if pair[0] == pair[1] else "".join(pair)


def _core(end: float, width: float) -> dict[str, Any]:
    """ZBL below `end` − `width`, ACE above `end`."""
    return {"core-repulsion": [1, 1], "r_in": end, "delta_in": width, "inner_cutoff_type": "zbl"}
