"""Interpolation between two geometries along a geodesic of scaled interatomic distances.

Zhu, Thompson, Martínez, J. Chem. Phys. 150, 164103 (2019): atoms are described by
q_ij = exp(−α (r_ij − r_e)/r_e) + β r_e/r_ij with r_e the sum of the covalent radii, and the shortest path in
the metric dq² between two geometries comes close to the path of lowest energy, without any potential.
"""

import numpy as np
from ase.data import covalent_radii

from pyacemaker.structures import FloatArray, IntArray

_ALPHA, _BETA = 1.7, 0.01
_ITERATIONS = 400


def geodesic_path(numbers: IntArray, images: FloatArray) -> FloatArray:
    """(m, n, 3), Å: the m `images` (m, n, 3) moved, ends excepted, onto a shortest path between the ends.

    Minimises Σ_k |q(x_k+1) − q(x_k)|², whose minimum is the shortest path with equal steps, by L-BFGS from
    the images given. A mass of 10⁻⁴ on straight steps settles the overall motion, to which q is blind.
    """
    from scipy.optimize import minimize

    if len(images) < 3 or len(numbers) < 2:
        return images.copy()
    scaled = _ScaledDistances(numbers)
    first, last = images[0], images[-1]

    def value(flat: FloatArray) -> tuple[float, FloatArray]:
        path = np.concatenate([[first], flat.reshape(-1, *first.shape), [last]])
        energy, gradient = scaled.path_energy(path)
        return energy, gradient[1:-1].ravel()

    found = minimize(
        value, images[1:-1].ravel(), jac=True, method="L-BFGS-B", options={"maxiter": _ITERATIONS}
    )
    return np.concatenate([[first], found.x.reshape(-1, *first.shape), [last]])


class _ScaledDistances:
    """q of all pairs of atoms, and the energy of a path in their metric."""

    def __init__(self, numbers: IntArray) -> None:
        self.first, self.second = np.triu_indices(len(numbers), 1)
        radii = covalent_radii[numbers]
        self.scale = radii[self.first] + radii[self.second]

    def path_energy(self, path: FloatArray) -> tuple[float, FloatArray]:
        """Σ_k |q_k+1 − q_k|² + 10⁻⁴ |x_k+1 − x_k|² (Å²) and its gradient (m, n, 3)."""
        bond = path[:, self.second] - path[:, self.first]
        distance = np.maximum(np.linalg.norm(bond, axis=2), 1e-6)
        decay = np.exp(-_ALPHA * (distance / self.scale - 1.0))
        step = np.diff(decay + _BETA * self.scale / distance, axis=0)
        slope = -_ALPHA / self.scale * decay - _BETA * self.scale / distance**2
        pull = np.zeros_like(distance)
        pull[1:] += 2.0 * step
        pull[:-1] -= 2.0 * step
        along = (pull * slope / distance)[:, :, None] * bond
        gradient = np.zeros_like(path)
        for image, force in zip(gradient, along, strict=True):
            np.add.at(image, self.second, force)
            np.add.at(image, self.first, -force)
        straight = np.diff(path, axis=0)
        gradient[1:] += 2e-4 * straight
        gradient[:-1] -= 2e-4 * straight
        return float(np.sum(step**2) + 1e-4 * np.sum(straight**2)), gradient
