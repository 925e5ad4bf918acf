"""pyacemaker: distil a MACE foundation model and a small DFT budget into an ACE potential."""

import importlib
from typing import Any

__version__ = "0.1.0"

_EXPORTS = {
    "ACECalculator": "pyacemaker.potentials.ace",
    "fit_ace": "pyacemaker.trainers.ace",
    "run": "pyacemaker.workflow.orchestrator",
}

__all__ = ["ACECalculator", "__version__", "fit_ace", "run"]


def __getattr__(name: str) -> Any:
    """Import the heavy parts only when they are asked for."""
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'pyacemaker' has no attribute {name!r}")
