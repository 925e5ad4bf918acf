"""Which structures are worth a DFT label."""

from typing import Annotated

from pydantic import Field

from pyacemaker.base import plugin
from pyacemaker.selection.active_set import ActiveSet, ActiveSetSelector, spread_over_tags
from pyacemaker.selection.base import Selector
from pyacemaker.selection.committee import CommitteeUncertainty
from pyacemaker.selection.direct import DirectSelector
from pyacemaker.selection.farthest_point import FarthestPointSelector
from pyacemaker.selection.filters import Filtered, HardFilters, closest_fraction
from pyacemaker.selection.llpr import LlprUncertainty
from pyacemaker.selection.maxvol import MaxvolSelector
from pyacemaker.selection.random import RandomSelector
from pyacemaker.selection.uncertainty import MahalanobisUncertainty
from pyacemaker.selection.uncertainty_base import Uncertainties, Uncertainty

BuiltinSelector = Annotated[
    DirectSelector | FarthestPointSelector | RandomSelector | MaxvolSelector, Field(discriminator="kind")
]
AnySelector = Annotated[BuiltinSelector, plugin(Selector)]
"""Any selector a config can name: `direct`, `farthest-point`, `random`, `maxvol`, `module:Class`."""

BuiltinUncertainty = Annotated[MahalanobisUncertainty | LlprUncertainty, Field(discriminator="kind")]
AnyUncertainty = Annotated[BuiltinUncertainty, plugin(Uncertainty)]
"""Any uncertainty a config can name: `mahalanobis`, `llpr`, `module:Class`."""

_Tuned = Annotated[
    LlprUncertainty | MahalanobisUncertainty | CommitteeUncertainty, Field(discriminator="kind")
]
TunedUncertainty = Annotated[_Tuned, plugin(Uncertainty)]
"""Any uncertainty of a fine-tuned model: also `committee`."""

__all__ = [
    "ActiveSet",
    "ActiveSetSelector",
    "AnySelector",
    "AnyUncertainty",
    "CommitteeUncertainty",
    "DirectSelector",
    "FarthestPointSelector",
    "Filtered",
    "HardFilters",
    "LlprUncertainty",
    "MahalanobisUncertainty",
    "MaxvolSelector",
    "RandomSelector",
    "Selector",
    "TunedUncertainty",
    "Uncertainties",
    "Uncertainty",
    "closest_fraction",
    "spread_over_tags",
]
