"""Where labels come from: electronic structure, tight binding, formulas, other models."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from pyacemaker.base import plugin
from pyacemaker.oracles.abinit import AbinitOracle
from pyacemaker.oracles.analytic import EmtOracle, LennardJonesOracle
from pyacemaker.oracles.any_calculator import AnyCalculatorOracle, plain_calculator
from pyacemaker.oracles.base import LabelLimits, Oracle
from pyacemaker.oracles.calculators import CalculatorOracle
from pyacemaker.oracles.cp2k import Cp2kOracle
from pyacemaker.oracles.dft import DftOracle
from pyacemaker.oracles.espresso import EspressoOracle
from pyacemaker.oracles.gpaw import GpawOracle
from pyacemaker.oracles.mace import MaceOracle
from pyacemaker.oracles.pyscf import PyscfOracle
from pyacemaker.oracles.rehearsal import rehearsal_oracle
from pyacemaker.oracles.tblite import TbliteOracle
from pyacemaker.oracles.vasp import VaspOracle

BuiltinOracle = Annotated[
    PyscfOracle
    | TbliteOracle
    | GpawOracle
    | EspressoOracle
    | VaspOracle
    | Cp2kOracle
    | AbinitOracle
    | AnyCalculatorOracle
    | EmtOracle
    | LennardJonesOracle
    | MaceOracle,
    Field(discriminator="kind"),
]
AnyOracle = Annotated[BuiltinOracle, plugin(Oracle), BeforeValidator(plain_calculator)]
"""Any oracle of this package, or `kind: module:Class`: an oracle, or a plain ASE calculator."""

__all__ = [
    "AbinitOracle",
    "AnyCalculatorOracle",
    "AnyOracle",
    "CalculatorOracle",
    "Cp2kOracle",
    "DftOracle",
    "EmtOracle",
    "EspressoOracle",
    "GpawOracle",
    "LabelLimits",
    "LennardJonesOracle",
    "MaceOracle",
    "Oracle",
    "PyscfOracle",
    "TbliteOracle",
    "VaspOracle",
    "rehearsal_oracle",
]
