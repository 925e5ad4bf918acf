"""Pressure by stochastic cell rescaling, isotropic: Bernetti, Bussi, J. Chem. Phys. 153, 114107 (2020).

With ε = ln V the cell follows

    dε = (P − P₀) dt / (B τ) + √(2 k_B T / (V B τ)) dW,

P the present pressure, P₀ the target. B, a bulk modulus, and τ, a time, set the pace alone: whatever they
are, volumes have the distribution of the isothermal–isobaric ensemble, dV V^N exp(−P₀ V / k_B T) for an ideal
gas. Positions are stretched with the cell, velocities the other way.
"""

import numpy as np

from pyacemaker.structures import AtomStructure, FloatArray

_LARGEST_GAP = 6.0
"""Å of nothing along a cell vector that make a structure a slab, a wire or a molecule in a box."""


def pressure_of(stress: FloatArray, twice_kinetic: float, volume: float) -> float:
    """eV/Å³: (2 K / V − tr σ) / 3, with the stress σ (6,) of the potential alone in eV/Å³, tensile positive.

    twice_kinetic: 2 K in eV, of all degrees of freedom. volume: Å³.
    """
    return float((twice_kinetic / volume - stress[:3].sum()) / 3.0)


def log_volume_step(
    excess: float, thermal: float, volume: float, pace: float, rng: np.random.Generator
) -> float:
    """The change of ln V in one time step.

    excess: P − P₀, eV/Å³. thermal: k_B T, eV. volume: Å³. pace: Δt / (B τ), Å³/eV.
    """
    noise = np.sqrt(2.0 * thermal * pace / volume) * rng.standard_normal()
    return float(excess * pace + noise)


def fills_space(structure: AtomStructure) -> bool:
    """Whether a pressure has a meaning: periodic in three directions, without a gap of vacuum."""
    if not structure.pbc.all() or structure.volume is None:
        return False
    inverse = np.linalg.inv(structure.cell)
    heights = 1.0 / np.linalg.norm(inverse, axis=0)
    fractional = np.sort((structure.positions @ inverse) % 1.0, axis=0)
    gaps = np.diff(np.vstack([fractional, fractional[:1] + 1.0]), axis=0).max(axis=0)
    return bool(np.all(gaps * heights < _LARGEST_GAP))
