"""Fragments in random poses at a given distance from each other."""

import numpy as np

from pyacemaker.structures import FloatArray, IntArray


def posed(
    positions: FloatArray, parts: list[IntArray], separation: float, rng: np.random.Generator
) -> FloatArray:
    """(n, 3): every part turned at random; each after the first at `separation` (Å) from those before it.

    The separation is that of the two nearest atoms, along a random direction.
    """
    moved = positions.copy()
    for part in parts:
        moved[part] = _random_rotation(moved[part] - moved[part].mean(axis=0), rng)
    placed = parts[0]
    for part in parts[1:]:
        direction = rng.standard_normal(3)
        direction /= np.linalg.norm(direction)
        moved[part] += _approach(moved[placed], moved[part], direction, separation) * direction
        placed = np.concatenate([placed, part])
    return moved


def _random_rotation(positions: FloatArray, rng: np.random.Generator) -> FloatArray:
    from scipy.spatial.transform import Rotation

    return np.asarray(positions @ Rotation.random(rng=rng).as_matrix().T)


def _approach(fixed: FloatArray, moving: FloatArray, direction: FloatArray, separation: float) -> float:
    """Å along `direction` at which the nearest atoms of two groups are `separation` apart, by bisection."""

    def gap(shift: float) -> float:
        return float(np.linalg.norm(fixed[:, None] - (moving + shift * direction)[None], axis=2).min())

    extent = np.linalg.norm(fixed, axis=1).max() + np.linalg.norm(moving, axis=1).max()
    near, far = 0.0, float(extent) + separation
    for _ in range(60):
        middle = 0.5 * (near + far)
        near, far = (near, middle) if gap(middle) > separation else (middle, far)
    return far
