"""Where labels come from: electronic structure, tight binding, formulas, other models."""

from typing import Annotated

from pydantic import Field

from pyacemaker.base import plugin
from pyacemaker.oracles.analytic import EmtOracle, LennardJonesOracle
from pyacemaker.oracles.base import LabelLimits, Oracle
from pyacemaker.oracles.dft import DftOracle
from pyacemaker.oracles.mace import MaceOracle
from pyacemaker.oracles.pyscf import PyscfOracle
from pyacemaker.oracles.tblite import TbliteOracle

BuiltinOracle = Annotated[
    PyscfOracle | TbliteOracle | EmtOracle | LennardJonesOracle | MaceOracle, Field(discriminator="kind")
]
AnyOracle = Annotated[BuiltinOracle, plugin(Oracle)]
"""Any oracle of this package, or `kind: module:Class`."""

__all__ = [
    "AnyOracle",
    "DftOracle",
    "EmtOracle",
    "LabelLimits",
    "LennardJonesOracle",
    "MaceOracle",
    "Oracle",
    "PyscfOracle",
    "TbliteOracle",
]
