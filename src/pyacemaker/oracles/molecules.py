"""Charge, spin and package checks that the molecular engines share."""

from importlib.metadata import PackageNotFoundError, version

from pyacemaker.errors import EngineMissingError, OracleError
from pyacemaker.structures import AtomStructure


def installed_version(package: str, setting: str, install: str = "") -> str:
    """The version of an installed package; `EngineMissingError` naming the `setting` that asks for it."""
    try:
        return version(package)
    except PackageNotFoundError as error:
        cure = install or f"pip install {package}"
        message = f"{setting} needs the package {package}, which is not installed: {cure}"
        raise EngineMissingError(message) from error


def electron_count(structure: AtomStructure) -> int:
    """Number of electrons: the nuclear charges less the total charge."""
    return int(structure.numbers.sum()) - structure.charge


def unpaired_electrons(structure: AtomStructure) -> int:
    """2S: from the multiplicity, or the lowest that fits the number of electrons.

    Raises `OracleError` when the multiplicity does not fit.
    """
    electrons = electron_count(structure)
    unpaired = electrons % 2 if structure.multiplicity is None else structure.multiplicity - 1
    if electrons < 1 or unpaired < 0 or unpaired > electrons or (electrons - unpaired) % 2:
        raise OracleError(
            f"structure {structure.id}: multiplicity {structure.multiplicity} does not fit {electrons} "
            f"electrons (charge {structure.charge}): correct the structure's charge or spin"
        )
    return unpaired


def refuse_periodic(structure: AtomStructure, engine: str) -> None:
    """`OracleError` for a periodic structure given to a molecular code."""
    if structure.is_periodic:
        raise OracleError(
            f"structure {structure.id} is periodic (pbc {structure.pbc.tolist()}) but {engine} computes "
            "molecules only: choose an oracle for crystals, or remove pbc"
        )
