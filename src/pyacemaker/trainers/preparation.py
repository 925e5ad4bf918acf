"""From labelled structures to a training set: what is left out, what counts how much, what is kept aside."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from pyacemaker.base import Spec
from pyacemaker.structures import AtomStructure, Dataset, FloatArray

logger = logging.getLogger(__name__)

Provenance = Literal["dft", "pseudo"]
PSEUDO = ("teacher", "mace", "ace")
"""Labels whose source begins with one of these come from a potential."""


@dataclass(frozen=True)
class PreparationCounts:
    """How many structures came in, had no labels, held NaN or Inf, came twice; how many stay to train and to
    validate on."""

    given: int
    unlabelled: int
    not_finite: int
    repeated: int
    train: int
    validation: int

    def as_dict(self) -> dict[str, int]:
        """The counts by name."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class PreparedData:
    """The structures to train and to validate on, with their weights, and what was left out."""

    train: Dataset
    validation: Dataset
    counts: PreparationCounts


class Preparation(Spec):
    """How labelled structures become a training set.

    Structures whose labels hold NaN or Inf are left out and counted; labels of weight zero (`force_mask`) may
    hold anything. Of structures that occur twice one stays: that with DFT labels, else the first.
    """

    energy_window: Annotated[float, Field(gt=0)] | None = None
    """ΔE in eV/atom: a structure whose energy is E above the convex hull of the data counts (ΔE/(E + ΔE))²;
    null: all alike."""
    weights: Mapping[Provenance, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    """Factors on the weights by where labels come from: `dft`, or `pseudo` for those of a potential."""
    validation_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the structures that the base fit is not trained on, drawn at random within each tag; its
    errors are in the step's `training.json`."""

    def prepare(self, datasets: Sequence[Dataset], rng: np.random.Generator) -> PreparedData:
        """Merge datasets into one to train on and one to validate on."""
        given = [structure for dataset in datasets for structure in dataset]
        labelled = [structure for structure in given if structure.labels is not None]
        finite = [structure for structure in labelled if _is_finite(structure)]
        kept = merged(finite)
        weighted = Dataset(
            structure if factor == 1.0 else structure.replace(weight=structure.weight * factor)
            for structure, factor in zip(kept, self._factors(kept), strict=True)
        )
        train, validation = split_by_tag(weighted, self.validation_share, rng)
        counts = PreparationCounts(
            given=len(given),
            unlabelled=len(given) - len(labelled),
            not_finite=len(labelled) - len(finite),
            repeated=len(finite) - len(kept),
            train=len(train),
            validation=len(validation),
        )
        if counts.not_finite:
            logger.warning(
                "%d of %d labelled structures hold NaN or Inf and are left out",
                counts.not_finite,
                len(labelled),
            )
        return PreparedData(train, validation, counts)

    def _factors(self, dataset: Dataset) -> FloatArray:
        factors = np.array([self.weights.get(provenance(structure), 1.0) for structure in dataset])
        if self.energy_window is not None and len(dataset):
            above = energies_above_hull(dataset)
            factors = factors * (self.energy_window / (above + self.energy_window)) ** 2
        return factors


def provenance(structure: AtomStructure) -> Provenance:
    """Where a structure's labels come from, by their source: a potential, or an oracle."""
    return "pseudo" if structure.source.lower().startswith(PSEUDO) else "dft"


def merged(structures: Iterable[AtomStructure]) -> Dataset:
    """One structure of each id, in order of first appearance: with DFT labels where one has them."""
    chosen: dict[str, AtomStructure] = {}
    for structure in structures:
        known = chosen.get(structure.id)
        if known is None or (provenance(known) == "pseudo" and provenance(structure) == "dft"):
            chosen[structure.id] = structure
    return Dataset(chosen.values())


def split_by_tag(dataset: Dataset, share: float, rng: np.random.Generator) -> tuple[Dataset, Dataset]:
    """The structures outside and inside of a random share of every tag; order is kept.

    From a tag of n structures n · share are drawn, rounded so that the total is right; at least one of every
    tag stays outside.
    """
    drawn: list[int] = []
    owed = 0.0
    for tag in sorted(dataset.tag_counts()):
        members = [index for index, structure in enumerate(dataset) if structure.tag == tag]
        owed += len(members) * share
        count = min(int(owed + 0.5), len(members) - 1)
        owed -= count
        drawn += rng.permutation(members)[:count].tolist()
    inside = np.zeros(len(dataset), dtype=bool)
    inside[drawn] = True
    return dataset[~inside], dataset[inside]


def energies_above_hull(dataset: Dataset) -> FloatArray:
    """(structures,) eV/atom: how far each energy lies above the lower convex hull of all of them.

    The hull at composition x is the lowest Σ_k λ_k E_k/n_k over mixtures of the structures with
    Σ_k λ_k x_k = x, λ_k ≥ 0, Σ_k λ_k = 1: a linear programme for each composition. Lone atoms, and structures
    whose energy is masked by a weight of zero, take no part; they count 0.
    """
    counts = dataset.composition(dataset.elements)
    fractions = counts / counts.sum(axis=1, keepdims=True)
    energies = np.array([s.labels.energy / len(s) if s.labels else np.nan for s in dataset])
    taking_part = np.array([s.energy_counts and (len(s) > 1 or s.is_periodic) for s in dataset])
    above = np.zeros(len(dataset))
    if taking_part.any():
        corners = _lowest_of_each(fractions[taking_part], energies[taking_part])
        for composition in np.unique(fractions[taking_part], axis=0):
            same = taking_part & (fractions == composition).all(axis=1)
            above[same] = energies[same] - _hull(composition, *corners)
    return np.maximum(above, 0.0)


def _lowest_of_each(fractions: FloatArray, energies: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The distinct compositions and the lowest energy of each."""
    distinct, which = np.unique(fractions, axis=0, return_inverse=True)
    lowest = np.full(len(distinct), np.inf)
    np.minimum.at(lowest, which.ravel(), energies)
    return distinct, lowest


def _hull(composition: FloatArray, corners: FloatArray, energies: FloatArray) -> float:
    from scipy.optimize import linprog

    conditions = np.vstack([corners.T, np.ones(len(corners))])
    found = linprog(energies, A_eq=conditions, b_eq=np.append(composition, 1.0), bounds=(0, None))
    return float(found.fun)


def _is_finite(structure: AtomStructure) -> bool:
    labels, weights = structure.labels, structure.label_weights
    if labels is None:
        return False
    return (labels if weights is None else weights.masked(labels)).is_finite()
