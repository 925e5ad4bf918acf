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

_ANION_RADII = {
    "O": 1.40,
    "S": 1.84,
    "Se": 1.98,
    "Te": 2.21,
    "F": 1.33,
    "Cl": 1.81,
    "Br": 1.96,
    "I": 2.20,
    "N": 1.46,
    "H": 1.28,
}
_CATION_RADII = {
    **{"Li": 0.76, "Na": 1.02, "K": 1.38, "Rb": 1.52, "Cs": 1.67},
    **{"Be": 0.45, "Mg": 0.72, "Ca": 1.00, "Sr": 1.18, "Ba": 1.35},
    **{"B": 0.27, "Al": 0.535, "Ga": 0.62, "In": 0.80, "Tl": 1.50},
    **{"Si": 0.40, "Ge": 0.53, "Sn": 0.69, "Pb": 1.19, "Sb": 0.76, "Bi": 1.03},
    **{"Sc": 0.745, "Y": 0.90, "Ti": 0.605, "Zr": 0.72, "Hf": 0.71, "V": 0.64, "Nb": 0.64, "Ta": 0.64},
    **{"Cr": 0.615, "Mo": 0.65, "W": 0.66, "Mn": 0.83, "Re": 0.63, "Fe": 0.78, "Ru": 0.62, "Os": 0.63},
    **{"Co": 0.745, "Rh": 0.665, "Ir": 0.625, "Ni": 0.69, "Pd": 0.86, "Pt": 0.625},
    **{"Cu": 0.73, "Ag": 1.15, "Au": 1.37, "Zn": 0.74, "Cd": 0.95, "Hg": 1.02},
    **{"La": 1.032, "Ce": 0.87, "Pr": 0.99, "Nd": 0.983, "Sm": 0.958, "Eu": 1.17, "Gd": 0.938},
    **{"Tb": 0.923, "Dy": 0.912, "Ho": 0.901, "Er": 0.89, "Tm": 0.88, "Yb": 0.868, "Lu": 0.861},
    **{"Th": 0.94, "U": 0.89, "Np": 0.87, "Pu": 0.86},
}
"""Å, six neighbours (N³⁻: four), high spin, the charge that is the commonest in simple crystals: R. D.
Shannon, Acta Cryst. A32, 751 (1976); H⁻: what the cell of LiH (4.08 Å) leaves beside Li⁺."""


def measured_volume(symbol: str) -> float | None:
    """Å³ per atom of the element at room temperature, from its density, where this is in the table."""
    density = _DENSITIES.get(symbol)
    if density is None:
        return None
    return float(atomic_masses[atomic_numbers[symbol]]) * _A3_PER_AMU_CM3_PER_G / density


def ionic_bond(first: str, second: str) -> float | None:
    """Å between a cation with six neighbours and an anion, in either order; None for any other two."""
    for cation, anion in ((first, second), (second, first)):
        if cation in _CATION_RADII and anion in _ANION_RADII:
            return _CATION_RADII[cation] + _ANION_RADII[anion]
    return None


def is_anion(symbol: str) -> bool:
    """Whether the element is one that ionic radii are known of as an anion."""
    return symbol in _ANION_RADII
