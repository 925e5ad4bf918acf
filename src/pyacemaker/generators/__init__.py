"""Candidate structures: what is worth considering before anything is labelled."""

from typing import Annotated

from pydantic import Field

from pyacemaker.base import plugin
from pyacemaker.generators.base import Generator
from pyacemaker.generators.crystal import CrystalGenerator
from pyacemaker.generators.md import MdGenerator
from pyacemaker.generators.reaction import ReactionGenerator

BuiltinGenerator = Annotated[
    CrystalGenerator | ReactionGenerator | MdGenerator,
    Field(discriminator="kind"),
]
AnyGenerator = Annotated[BuiltinGenerator, plugin(Generator)]
"""Any generator a config can name: `crystal`, `reaction`, `md`, or `module:Class` from elsewhere."""

__all__ = ["AnyGenerator", "CrystalGenerator", "Generator", "MdGenerator", "ReactionGenerator"]
