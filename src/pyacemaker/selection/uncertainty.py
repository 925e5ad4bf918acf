"""How far structures are from a reference set, in a model's own descriptors."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from pyacemaker.errors import InsufficientDataError
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.selection.uncertainty_base import Uncertainties, Uncertainty
from pyacemaker.structures import AtomStructure, FloatArray

Species = Sequence[Sequence[str]]
"""Chemical symbols of each structure's atoms."""


_Metric = tuple[FloatArray, FloatArray]
"""The mean (d,) and the whitening directions (d, K) of some atoms."""


@dataclass(frozen=True, eq=False)
class _Moments:
    """The number, mean (d,) and scatter matrix Σ (x − μ)(x − μ)ᵀ (d, d) of some atoms; adds up."""

    count: int
    mean: FloatArray
    scatter: FloatArray

    @classmethod
    def of(cls, atoms: FloatArray) -> "_Moments":
        mean = atoms.mean(axis=0)
        return cls(len(atoms), mean, (atoms - mean).T @ (atoms - mean))

    def __add__(self, other: "_Moments") -> "_Moments":
        """Chan, Golub, LeVeque, Am. Stat. 37, 242 (1983)."""
        if not self.count:
            return other
        count = self.count + other.count
        step = other.mean - self.mean
        between = np.outer(step, step) * (self.count * other.count / count)
        mean = self.mean + step * (other.count / count)
        return _Moments(count, mean, self.scatter + other.scatter + between)


class MahalanobisUncertainty(Uncertainty):
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

    def rate(
        self, potential: MacePotential, reference: Sequence[AtomStructure], pool: Sequence[AtomStructure]
    ) -> Uncertainties:
        """The distances of `pool`; of the descriptors no more than one batch is held at a time."""
        metrics = self._metrics(
            ([s.symbols for s in part], found) for part, found in potential.descriptor_batches(reference)
        )
        distances = [
            _largest(metrics, [s.symbols for s in part], found)
            for part, found in potential.descriptor_batches(pool)
        ]
        return Uncertainties(np.concatenate([np.zeros(0), *distances]))

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
        return _largest(self._metrics([(reference_species, reference)]), pool_species, pool)

    def _metrics(self, parts: Iterable[tuple[Species, Sequence[FloatArray]]]) -> dict[str, _Metric]:
        """The metric of each element, and under "" the one of all elements together."""
        moments: dict[str, _Moments] = {}
        for species, descriptors in parts:
            symbols, atoms = _flattened(species, descriptors)
            for symbol in np.unique(symbols):
                own = _Moments.of(atoms[symbols == symbol])
                moments[symbol] = moments[symbol] + own if symbol in moments else own
        together = sum(moments.values(), start=_Moments(0, np.zeros(1), np.zeros((1, 1))))
        if together.count < 2:
            raise InsufficientDataError(
                f"the uncertainty needs at least 2 reference atoms, got {together.count}: give a "
                "reference set"
            )
        known = {symbol: found for symbol, found in moments.items() if found.count >= self.min_atoms}
        return {symbol: self._metric(found) for symbol, found in {**known, "": together}.items()}

    def _metric(self, moments: _Moments) -> _Metric:
        """The mean (d,), and the whitening directions (d, K), divided by √K."""
        variances, directions = np.linalg.eigh(moments.scatter / (moments.count - 1))
        count = min(self.components, max(1, moments.count // 2), len(variances))
        variances, directions = variances[::-1][:count], directions[:, ::-1][:, :count]
        floor = self.regularisation * variances[0] + np.finfo(np.float64).tiny
        return moments.mean, directions / np.sqrt(count * (np.maximum(variances, 0.0) + floor))


def _flattened(species: Species, descriptors: Sequence[FloatArray]) -> tuple[np.ndarray, FloatArray]:
    """The symbols (atoms,) and descriptors (atoms, d) of all structures."""
    if [len(symbols) for symbols in species] != [len(array) for array in descriptors]:
        raise ValueError("every structure needs one symbol and one descriptor per atom")
    if not len(descriptors):
        return np.array([], dtype=str), np.zeros((0, 0))
    return np.concatenate([np.asarray(symbols, dtype=str) for symbols in species]), np.concatenate(
        descriptors
    )


def _largest(
    metrics: Mapping[str, _Metric], species: Species, descriptors: Sequence[FloatArray]
) -> FloatArray:
    """(structures,) the largest distance of the atoms of each structure."""
    if not len(descriptors):
        return np.zeros(0)
    symbols, atoms = _flattened(species, descriptors)
    distance = np.empty(len(symbols))
    for symbol in np.unique(symbols):
        chosen = symbols == symbol
        distance[chosen] = _distance(atoms[chosen], *metrics.get(symbol, metrics[""]))
    starts = np.cumsum([0, *(len(array) for array in descriptors)])[:-1]
    return np.asarray(np.maximum.reduceat(distance, starts))


def _distance(atoms: FloatArray, mean: FloatArray, whitening: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.norm((atoms - mean) @ whitening, axis=1))
