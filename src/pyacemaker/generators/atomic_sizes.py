"""Sizes of atoms where the cell of a simple crystal does not tell them."""

from ase.data import atomic_masses, atomic_numbers

_A3_PER_AMU_CM3_PER_G = 1.66053906660

_DENSITIES = {
    "B": 2.34,
    "P": 2.69,
    "S": 2.07,
    "Cl": 2.04,
    "Mn": 7.3,
    "Ga": 5.91,
    "As": 5.75,
    "Se": 4.809,
    "Br": 4.05,
    "In": 7.31,
    "Sn": 7.287,
    "Sb": 6.68,
    "Te": 6.24,
    "I": 4.933,
    "Pm": 7.26,
    "Sm": 7.52,
    "Hg": 13.5336,
    "Bi": 9.79,
    "Ra": 5.0,
    "Pa": 15.4,
    "U": 19.1,
    "Np": 20.2,
    "Pu": 19.7,
    "Am": 12.0,
    "Cm": 13.51,
}
"""g/cm³ at room temperature (CRC Handbook of Chemistry and Physics, 97th ed., section 4; black phosphorus,
rhombic sulfur, grey selenium, white tin, liquid mercury; chlorine and bromine: the frozen solids, from their
cells, J. Donohue, The Structures of the Elements, 1974)."""


def measured_volume(symbol: str) -> float | None:
    """Å³ per atom of the element at room temperature, from its density, where this is in the table."""
    density = _DENSITIES.get(symbol)
    if density is None:
        return None
    return float(atomic_masses[atomic_numbers[symbol]]) * _A3_PER_AMU_CM3_PER_G / density
