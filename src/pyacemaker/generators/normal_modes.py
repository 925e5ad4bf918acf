"""Normal modes of a molecule, and displacements along them."""

from dataclasses import dataclass

import numpy as np
from ase.data import atomic_masses

from pyacemaker.potentials.base import Potential
from pyacemaker.structures import AtomStructure, FloatArray

_STEP = 0.01  # Å, of the finite differences of the forces
_SOFTEST = 0.05  # eV/Å²/u (about 115 cm⁻¹): softer modes are displaced as if they were so stiff
_LONGEST = 0.6  # Å, largest displacement of an atom


@dataclass(frozen=True)
class NormalModes:
    """The vibrations of `structure`, in order of increasing stiffness.

    stiffness: (modes,), eV/Å²/u, the eigenvalue ω² of the mass-weighted Hessian, negative where the structure
    is no minimum along the mode. directions: (modes, n, 3), displacement per mass-weighted length, Å/(Å √u).
    """

    structure: AtomStructure
    stiffness: FloatArray
    directions: FloatArray

    def __len__(self) -> int:
        return len(self.stiffness)

    def displaced(self, amplitudes: FloatArray) -> FloatArray:
        """(n, 3), Å: the positions moved by `amplitudes` (modes,), Å √u; no atom by more than 0.6 Å."""
        shift = np.tensordot(amplitudes, self.directions, axes=1)
        farthest = float(np.linalg.norm(shift, axis=1).max(initial=0.0))
        return np.asarray(self.structure.positions + shift * min(1.0, _LONGEST / max(farthest, 1e-12)))

    def turning_points(self, energy: float) -> list[FloatArray]:
        """Positions (n, 3) where each mode alone, in both directions, has the potential energy `energy` (eV).

        ½ ω² Q² = energy in the harmonic approximation; soft and unstable modes are taken to be stiffer.
        """
        found = []
        for mode, scale in enumerate(self._scales()):
            for sign in (1.0, -1.0):
                amplitudes = np.zeros(len(self))
                amplitudes[mode] = sign * np.sqrt(2.0 * energy) * scale
                found.append(self.displaced(amplitudes))
        return found

    def thermal(self, thermal_energy: float, rng: np.random.Generator) -> FloatArray:
        """Positions (n, 3) with all modes at random: normal amplitudes of variance k_B T / ω².

        thermal_energy: k_B T, eV. Classical normal-mode sampling.
        """
        return self.displaced(np.sqrt(thermal_energy) * self._scales() * rng.standard_normal(len(self)))

    def _scales(self) -> FloatArray:
        return np.asarray(1.0 / np.sqrt(np.maximum(np.abs(self.stiffness), _SOFTEST)))


def normal_modes(structure: AtomStructure, teacher: Potential) -> NormalModes:
    """The normal modes of a molecule of n atoms: 3n − 6, or 3n − 5 where it is linear, none for an atom.

    The Hessian comes from central differences of the teacher's forces, 6n evaluations in one batch;
    translations and rotations are projected out.
    """
    size = 3 * len(structure)
    moved = []
    for coordinate in range(size):
        for sign in (1.0, -1.0):
            shift = np.zeros(size)
            shift[coordinate] = sign * _STEP
            moved.append(structure.replace(positions=structure.positions + shift.reshape(-1, 3), labels=None))
    forces = np.array([labels.forces.ravel() for labels in teacher.evaluate(moved)])
    hessian = -(forces[::2] - forces[1::2]) / (2.0 * _STEP)
    inverse_root = np.repeat(atomic_masses[structure.numbers] ** -0.5, 3)
    weighted = inverse_root[:, None] * 0.5 * (hessian + hessian.T) * inverse_root
    inner = _vibrations(structure.positions, 1.0 / inverse_root)
    stiffness, vectors = np.linalg.eigh(inner.T @ weighted @ inner)
    directions = (inner @ vectors).T * inverse_root
    return NormalModes(structure, stiffness, directions.reshape(-1, len(structure), 3))


def _vibrations(positions: FloatArray, roots: FloatArray) -> FloatArray:
    """(3n, m) orthonormal mass-weighted displacements without translation and rotation; roots: √mass."""
    masses = roots[::3] ** 2
    centred = positions - masses @ positions / masses.sum()
    rigid = [np.tile(axis, (len(positions), 1)) for axis in np.eye(3)]
    rigid += [np.cross(axis, centred) for axis in np.eye(3)]
    weighted = np.array([motion.ravel() * roots for motion in rigid]).T
    vectors, values, _ = np.linalg.svd(weighted, full_matrices=True)
    rank = int(np.sum(values > 1e-6 * values[0]))
    return np.asarray(vectors[:, rank:])
