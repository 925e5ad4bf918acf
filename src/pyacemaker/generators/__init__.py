"""Candidate structures: what is worth considering before anything is labelled."""

from typing import Annotated

from pydantic import Field

from pyacemaker.base import plugin
from pyacemaker.generators.alloy import AlloyGenerator
from pyacemaker.generators.base import Generator
from pyacemaker.generators.crystal import CrystalGenerator
from pyacemaker.generators.dimers import DimerGenerator
from pyacemaker.generators.direct import DirectGenerator
from pyacemaker.generators.md import MdGenerator
from pyacemaker.generators.melt import MeltGenerator
from pyacemaker.generators.molecule import MoleculeGenerator
from pyacemaker.generators.reaction import ReactionGenerator

BuiltinGenerator = Annotated[
    AlloyGenerator
    | CrystalGenerator
    | DimerGenerator
    | DirectGenerator
    | MdGenerator
    | MeltGenerator
    | MoleculeGenerator
    | ReactionGenerator,
    Field(discriminator="kind"),
]
AnyGenerator = Annotated[BuiltinGenerator, plugin(Generator)]
"""Any generator a config can name: `crystal`, `reaction`, `md`, …, or `module:Class` from elsewhere."""

DirectGenerator.model_rebuild(_types_namespace={"AnyGenerator": AnyGenerator})

__all__ = [
    "AlloyGenerator",
    "AnyGenerator",
    "CrystalGenerator",
    "DimerGenerator",
    "DirectGenerator",
    "Generator",
    "MdGenerator",
    "MeltGenerator",
    "MoleculeGenerator",
    "ReactionGenerator",
]
