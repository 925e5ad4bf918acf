"""Cells under pressure and strain."""

import numpy as np

from pyacemaker.structures import AtomStructure, FloatArray

_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def strained(structure: AtomStructure, strain: FloatArray) -> AtomStructure:
    """The structure under a small `strain` (3, 3), symmetric: r → (1 + ε) r for atoms and cell vectors."""
    deformation = np.eye(3) + strain
    return structure.replace(
        positions=structure.positions @ deformation,
        cell=structure.cell @ deformation,
        labels=None,
        label_weights=None,
    )


def at_volume(structure: AtomStructure, ratio: float) -> AtomStructure:
    """The structure scaled to `ratio` times its volume."""
    return strained(structure, (ratio ** (1 / 3) - 1.0) * np.eye(3))


def random_strain(largest: float, rng: np.random.Generator) -> FloatArray:
    """(3, 3), symmetric: a random direction among the six components, the greatest uniform in (0, largest).

    Shear components are ε_ij, half of the engineering shear.
    """
    components = rng.standard_normal(6)
    components *= largest * rng.uniform() / np.abs(components).max()
    strain = np.zeros((3, 3))
    for (i, j), value in zip(_VOIGT, components, strict=True):
        strain[i, j] = strain[j, i] = value
    return strain
