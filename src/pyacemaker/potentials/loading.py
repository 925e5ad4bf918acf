"""A potential from a file, by its kind."""

from pathlib import Path

from pyacemaker.errors import PotentialFormatError
from pyacemaker.potentials.base import Potential

MACE_SUFFIXES = (".model", ".pt", ".pth")


def load_potential(path: Path) -> Potential:
    """The potential in `path`: `.yace` is an ACE potential; `.model`, `.pt` and `.pth` are MACE models.

    A MACE model file is a pickle: loading one executes it, so load only files whose origin you trust. Raises
    `PotentialFormatError` for a missing file or another suffix, and what the loaders raise.
    """
    if path.is_dir():
        raise PotentialFormatError(f"{path} is a directory; expected a potential file (.yace or .model)")
    if not path.is_file():
        raise PotentialFormatError(f"the potential {path} does not exist; expected a .yace or .model file")
    if path.suffix == ".yace":
        from pyacemaker.potentials.ace import ACEPotential

        return ACEPotential.from_yace(path)
    if path.suffix in MACE_SUFFIXES:
        from pyacemaker.potentials.mace import MacePotential

        return MacePotential(path)
    raise PotentialFormatError(
        f"{path} has the suffix {path.suffix!r}; expected .yace (ACE) or {', '.join(MACE_SUFFIXES)} (MACE)"
    )
