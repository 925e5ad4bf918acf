"""LLPR: the prediction rigidity of a model's last layer, with sampled forces.

Bigi, Chong, Ceriotti, Grasselli, Mach. Learn.: Sci. Technol. 5, 045018 (2024). A trained network is taken as
linear regression on the inputs g of its last layer; with the rows G of all training targets the weights have
the posterior covariance α² (GᵀG + ε)⁻¹, and a prediction g* the variance α² g*ᵀ (GᵀG + ε)⁻¹ g*. Forces come
from samples of the posterior (Kellner, Ceriotti, Mach. Learn.: Sci. Technol. 5, 035006 (2024)).
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from pyacemaker.errors import InsufficientDataError
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.potentials.mace_last_layer import LastLayer, SampledForces
from pyacemaker.selection.uncertainty_base import Uncertainties, Uncertainty
from pyacemaker.structures import AtomStructure, FloatArray

_STEP = 1e-3
"""Å: displacement of the central differences that give the force rows."""


class LlprUncertainty(Uncertainty):
    """Standard deviations of the forces under the posterior of the last layer's weights.

    The rows of the reference are its energies per atom and its forces. These are sampled: with a random
    displacement v (independent, unit variance per coordinate) the row ∂G/∂r · v has, in the mean, the outer
    product of all force rows of a structure; it is a central difference and needs no gradients.

    A structure's uncertainty is the largest |σ_F| of its atoms (eV/Å, up to the factor α that calibration
    finds), or, where it is larger, σ of the stress times the area (V/N)^⅔ of an atom's share of the cell:
    forces vanish by symmetry in perfect crystals, stresses do not.
    """

    kind: Literal["llpr"] = "llpr"
    samples: Annotated[int, Field(ge=2)] = 16
    """Posterior samples; σ has a relative error of 1/√(2 · samples)."""
    probes: NonNegativeInt = 1
    """Random displacements per reference structure; 0 = energies only."""
    max_reference: PositiveInt = 1000
    """Reference structures, evenly spaced where there are more."""
    ridge: PositiveFloat = 1e-6
    """ε, relative to features scaled to the same size."""
    seed: NonNegativeInt = 0
    """Of the posterior samples and the displacements."""

    def rate(
        self, potential: MacePotential, reference: Sequence[AtomStructure], pool: Sequence[AtomStructure]
    ) -> Uncertainties:
        """σ of every force component, of the energy per atom, and of each structure as a whole."""
        layer = LastLayer(potential)
        rng = np.random.default_rng(self.seed)
        root = self.covariance_root(layer, reference, rng)
        directions = rng.standard_normal((self.samples, root.shape[1])) @ root.T
        whole, forces = [], []
        for structure, sampled in zip(pool, layer.force_samples(pool, directions), strict=True):
            forces.append(np.sqrt(np.mean(sampled.forces**2, axis=0)))
            whole.append(_of_structure(structure, forces[-1], sampled))
        sums = np.array(list(layer.features(pool))).reshape(len(pool), len(root))
        sizes = np.array([len(structure) for structure in pool])
        energies = np.linalg.norm(sums @ root, axis=1) / sizes
        return Uncertainties(np.array(whole), forces, energies)

    def covariance_root(
        self, layer: LastLayer, reference: Sequence[AtomStructure], rng: np.random.Generator
    ) -> FloatArray:
        """(d, d) R with R Rᵀ = (GᵀG + ε)⁻¹, G the rows of `reference`, per atom for energies.

        Raises `InsufficientDataError` when the reference holds no structure, or no interaction.
        """
        chosen = _evenly(reference, self.max_reference)
        gram = np.zeros((len(layer.weights),) * 2)
        for rows in self._rows(layer, chosen, rng):
            gram += rows.T @ rows
        size = np.sqrt(np.diag(gram))
        if not size.any():
            raise InsufficientDataError(
                f"none of the {len(reference)} reference structures says anything about the last layer of "
                "the model (lone atoms only?): give its training data as foundation.training_data"
            )
        size[size == 0.0] = size.max()
        values, vectors = np.linalg.eigh(gram / np.outer(size, size))
        return np.asarray(vectors / np.sqrt(np.maximum(values, 0.0) + self.ridge) / size[:, None])

    def _rows(
        self, layer: LastLayer, reference: Sequence[AtomStructure], rng: np.random.Generator
    ) -> Iterator[FloatArray]:
        """Rows (m, d) of a bounded number of structures at a time: first energies per atom, then forces."""
        for part in layer.potential.batches(reference):
            sizes = np.array([[len(structure)] for structure in part])
            yield np.array(list(layer.features(part))) / sizes
            for _ in range(self.probes):
                steps = [rng.standard_normal((len(structure), 3)) for structure in part]
                ahead, behind = (
                    np.array(list(layer.features(_moved(part, steps, h)))) for h in (_STEP, -_STEP)
                )
                yield (ahead - behind) / (2.0 * _STEP)


def _of_structure(structure: AtomStructure, forces: FloatArray, sampled: SampledForces) -> float:
    largest = float(np.linalg.norm(forces, axis=1).max())
    if sampled.stress is None or structure.volume is None:
        return largest
    stress = float(np.sqrt(np.mean(sampled.stress**2, axis=0)).max())
    return max(largest, float(stress * (structure.volume / len(structure)) ** (2.0 / 3.0)))


def _evenly(structures: Sequence[AtomStructure], n: int) -> list[AtomStructure]:
    numbers = np.linspace(0, len(structures) - 1, min(n, len(structures))).round().astype(int)
    return [structures[number] for number in numbers]


def _moved(
    structures: Sequence[AtomStructure], steps: Sequence[FloatArray], length: float
) -> list[AtomStructure]:
    return [
        structure.replace(positions=structure.positions + length * step, labels=None, label_weights=None)
        for structure, step in zip(structures, steps, strict=True)
    ]
