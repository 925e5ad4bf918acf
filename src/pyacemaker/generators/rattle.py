"""Random displacements of atoms."""

import numpy as np

from pyacemaker.selection.filters import closest_fraction
from pyacemaker.structures import AtomStructure

_ATTEMPTS = 20


def rattled(
    structure: AtomStructure,
    amplitude: float,
    count: int,
    rng: np.random.Generator,
    *,
    tag: str,
    min_distance: float = 0.6,
) -> list[AtomStructure]:
    """`count` copies with normal displacements of standard deviation `amplitude` (Å) on every coordinate.

    A copy in which two atoms come nearer than `min_distance` of the sum of their covalent radii is drawn
    again, 20 times at most; fewer than `count` come back where that does not help.
    """
    found = []
    for _ in range(count):
        for _ in range(_ATTEMPTS):
            moved = structure.positions + amplitude * rng.standard_normal(structure.positions.shape)
            candidate = structure.replace(positions=moved, tag=tag, labels=None)
            if closest_fraction(candidate) >= min_distance:
                found.append(candidate)
                break
    return found
