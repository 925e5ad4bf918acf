"""How far structures are from a reference set, in a model's own descriptors."""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from pyacemaker.base import Spec
from pyacemaker.errors import InsufficientDataError
from pyacemaker.structures import FloatArray

Species = Sequence[Sequence[str]]
"""Chemical symbols of each structure's atoms."""


class MahalanobisUncertainty(Spec):
    """Mahalanobis distance of the most unusual atom, element by element.

    For an atom with descriptor x, of an element whose reference atoms have the mean μ and the principal
    components v_k with variances λ_k,

        u² = 1/K Σ_k ((x − μ)·v_k)² / (λ_k + ε λ_1),    k = 1 … K,

    so that u is about 1 for a typical reference atom; a structure's uncertainty is the largest u of its
    atoms (Lee et al., NeurIPS 2018, for the distance of deep features as a sign of novelty). It has no unit,
    ranks structures within one set, and sees nothing of a shift between levels of theory.

    An element with few reference atoms gets fewer components (at most half as many as atoms); one with fewer
    than `min_atoms` is measured against the reference atoms of all elements.
    """

    kind: Literal["mahalanobis"] = "mahalanobis"
    components: Annotated[int, Field(ge=1)] = 16
    """K, principal components per element."""
    regularisation: Annotated[float, Field(ge=0)] = 1e-6
    """ε, added to every variance as a fraction of the largest one."""
    min_atoms: Annotated[int, Field(ge=2)] = 8
    """Reference atoms below which an element has no statistics of its own."""

    def score(
        self,
        reference_species: Species,
        reference: Sequence[FloatArray],
        pool_species: Species | None = None,
        pool: Sequence[FloatArray] | None = None,
    ) -> FloatArray:
        """(structures,) uncertainty of each structure of the pool, larger = less like the reference.

        reference, pool: per structure the descriptors (n_atoms, d) of its atoms, whose symbols are in
        reference_species, pool_species. Without a pool the reference is scored against itself. The best
        reference is what the model was trained on. Raises `InsufficientDataError` for fewer than two
        reference atoms.
        """
        if pool_species is None or pool is None:
            pool_species, pool = reference_species, reference
        known_symbols, known = _flattened(reference_species, reference)
        if len(known) < 2:
            raise InsufficientDataError(
                f"the uncertainty needs at least 2 reference atoms, got {len(known)}: give a reference set"
            )
        if not len(pool):
            return np.zeros(0)
        symbols, descriptors = _flattened(pool_species, pool)
        distance = np.empty(len(symbols))
        for symbol in np.unique(symbols):
            own = known[known_symbols == symbol]
            metric = self._metric(own if len(own) >= self.min_atoms else known)
            chosen = symbols == symbol
            distance[chosen] = _distance(descriptors[chosen], *metric)
        starts = np.cumsum([0, *(len(array) for array in pool)])[:-1]
        return np.asarray(np.maximum.reduceat(distance, starts))

    def _metric(self, atoms: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The mean (d,) of `atoms` (m, d), and the whitening directions (d, K), divided by √K."""
        mean = atoms.mean(axis=0)
        centred = atoms - mean
        variances, directions = np.linalg.eigh(centred.T @ centred / (len(atoms) - 1))
        count = min(self.components, max(1, len(atoms) // 2), len(variances))
        variances, directions = variances[::-1][:count], directions[:, ::-1][:, :count]
        floor = self.regularisation * variances[0] + np.finfo(np.float64).tiny
        return mean, directions / np.sqrt(count * (np.maximum(variances, 0.0) + floor))


def _flattened(species: Species, descriptors: Sequence[FloatArray]) -> tuple[np.ndarray, FloatArray]:
    """The symbols (atoms,) and descriptors (atoms, d) of all structures."""
    if [len(symbols) for symbols in species] != [len(array) for array in descriptors]:
        raise ValueError("every structure needs one symbol and one descriptor per atom")
    if not len(descriptors):
        return np.array([], dtype=str), np.zeros((0, 0))
    return np.concatenate([np.asarray(symbols, dtype=str) for symbols in species]), np.concatenate(
        descriptors
    )


def _distance(atoms: FloatArray, mean: FloatArray, whitening: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.norm((atoms - mean) @ whitening, axis=1))
