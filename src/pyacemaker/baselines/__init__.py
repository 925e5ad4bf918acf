"""Cheap physical energies under the fitted potential."""

from typing import Annotated

from pydantic import Field

from pyacemaker.base import plugin
from pyacemaker.baselines.base import Baseline, PairSum
from pyacemaker.baselines.lennard_jones import LennardJones, LennardJonesAtom
from pyacemaker.baselines.zbl import Zbl

AnyBaseline = Annotated[
    Annotated[Zbl | LennardJones, Field(discriminator="kind")],
    plugin(Baseline),
]
"""A baseline as a config file names it."""

__all__ = ["AnyBaseline", "Baseline", "LennardJones", "LennardJonesAtom", "PairSum", "Zbl"]
