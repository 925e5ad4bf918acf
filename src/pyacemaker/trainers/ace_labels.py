"""The labels of an ACE fit: which are usable, their reference energies, and how well they are met."""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from pyacemaker.errors import (
    DataError,
    InsufficientDataError,
    TrainingDivergenceError,
    UnsupportedElementError,
)
from pyacemaker.structures import Accuracy, AtomStructure, Dataset, FloatArray, Labels
from pyacemaker.structures.accuracy import LabelCounts
from pyacemaker.structures.dataset import locating

if TYPE_CHECKING:
    from pyacemaker.ace.model import ACEModel
    from pyacemaker.baselines import Baseline
    from pyacemaker.potentials.ace import ACEPotential

logger = logging.getLogger(__name__)

NamedReference = Literal["auto", "composition", "fitted"]
ReferenceEnergies = Mapping[str, float] | NamedReference


def usable(dataset: Dataset) -> Dataset:
    """The structures with finite labels and a weight; masked labels (weight zero) are 0 in them.

    Raises `DataError` where no structure has labels or all hold NaN, `InsufficientDataError` where fewer than
    two with several atoms remain.
    """
    labelled = Dataset(_masked(structure) for structure in dataset.labelled())
    finite = labelled.filter(lambda s: s.labels is not None and s.labels.is_finite())
    if len(labelled) and not len(finite):
        raise DataError(
            f"the labels of all {len(labelled)} labelled structures hold NaN or Inf; recompute them, or mask "
            "single ones by the weight 0"
        )
    if len(finite) < len(labelled):
        logger.warning(
            "%d of %d labelled structures hold NaN or Inf and are left out",
            len(labelled) - len(finite),
            len(labelled),
        )
    for index, structure in enumerate(finite):
        if not (np.isfinite(structure.weight) and structure.weight >= 0.0):
            with locating(index, structure):
                raise DataError(f"the weight is {structure.weight}; expected a number from 0 on")
    counted = finite.filter(lambda structure: structure.weight > 0)
    many = counted.filter(lambda structure: len(structure) > 1 or structure.is_periodic)
    if len(many) < 2:
        raise InsufficientDataError(
            f"{len(many)} of {len(dataset)} structures have finite labels, a weight and more than one "
            "atom; an ACE fit needs at least 2"
        )
    return counted


def _masked(structure: AtomStructure) -> AtomStructure:
    if structure.label_weights is None or structure.labels is None:
        return structure
    return structure.replace(labels=structure.label_weights.masked(structure.labels))


def without_baseline(dataset: Dataset, baseline: "Baseline | None") -> Dataset:
    """The structures with the baseline's energies, forces and stress subtracted from their labels."""
    if baseline is None:
        return dataset
    pairs = zip(dataset.labels, baseline_labels(dataset, baseline), strict=True)
    remaining = [labels - of_baseline for labels, of_baseline in pairs]
    return Dataset(
        _masked(structure.replace(labels=labels))
        for structure, labels in zip(dataset, remaining, strict=True)
    )


def baseline_labels(dataset: Dataset, baseline: "Baseline") -> list[Labels]:
    """The baseline's answers; `DataError` and `UnsupportedElementError` name the structure."""
    found = []
    for index, structure in enumerate(dataset):
        with locating(index, structure):
            found += baseline.evaluate([structure])
    return found


def baseline_facts(baseline: "Baseline | None") -> dict[str, Any]:
    """What has to be said of a potential with an additive baseline under it; empty without one."""
    if baseline is None:
        return {}
    use = (
        "the potential names its additive baseline, which this package adds; LAMMPS takes it as a pair style "
        "of its own, in a hybrid/overlay with pace"
    )
    return {"baseline": baseline.model_dump(mode="json"), "use": use}


def choose_reference(
    training: Dataset,
    elements: tuple[str, ...],
    wanted: ReferenceEnergies,
    prior: "ACEModel | None",
) -> tuple[FloatArray, FloatArray]:
    """(N,) E0 in eV, and (N, M) directions in which the fit may still move it.

    wanted: energies by element; `composition`: isolated atoms in the data, else those of the prior potential,
    else least squares on the compositions; `auto`: the last plus the cohesive energy; `fitted`: unknowns of
    the fit, but for elements with isolated atoms.
    Raises `UnsupportedElementError` for an element that a mapping lacks.
    """
    from pyacemaker.ace import fit
    from pyacemaker.trainers.cohesive_energies import cohesive_energy

    none = np.zeros((len(elements), 0))
    if isinstance(wanted, Mapping):
        missing = [symbol for symbol in elements if symbol not in wanted]
        if missing:
            raise UnsupportedElementError(
                f"the data holds {', '.join(missing)}, but reference energies are given for "
                f"{', '.join(sorted(wanted))} only; add the missing ones"
            )
        return np.array([float(wanted[symbol]) for symbol in elements]), none
    alone, known = fit.isolated_energies(training, elements)
    if prior is not None:
        e0 = np.where(known, alone, prior.e0)
    else:
        e0 = fit.reference_energies(training, elements)
        if wanted == "auto":
            e0 = e0 + np.where(known, 0.0, [cohesive_energy(symbol) for symbol in elements])
    return e0, fit.fitted_directions(training, elements) if wanted == "fitted" else none


def softened(training: Sequence[AtomStructure], soft_force: float | None) -> FloatArray:
    """(S,) factors on squared errors: each structure's weight, times 1/(1 + (F/soft_force)²) with F its
    largest force in eV/Å."""
    weights = np.array([structure.weight for structure in training], dtype=float)
    if soft_force is None:
        return weights
    forces = [structure.labels.forces for structure in training if structure.labels is not None]
    largest = np.array([float(np.linalg.norm(of_one, axis=1).max()) for of_one in forces])
    return weights / (1.0 + (largest / soft_force) ** 2)


def accuracy(potential: "ACEPotential", dataset: Dataset) -> Accuracy:
    """The errors of the potential, its baseline included, on the structures' labels."""
    return Accuracy.on(dataset, potential.evaluate(dataset))


def check_accuracy(found: Accuracy, training: Dataset) -> None:
    """`TrainingDivergenceError` for a potential far worse than predicting no forces, or the mean energy."""
    forces = np.concatenate([labels.forces.ravel() for labels in training.labels])
    rms = 1000.0 * float(np.sqrt(np.mean(forces**2)))
    error, counts = found.forces_rmse_mev_per_angstrom, LabelCounts.of(training)
    wild = counts.forces > 0 and not error <= 3.0 * rms + 100.0
    _check_energies(found, training)
    if wild:
        raise TrainingDivergenceError(
            f"the fitted potential's force error on its own training data is {error:.0f} meV/Å, and the "
            f"forces themselves are {rms:.0f} meV/Å; use fewer functions or a larger ridge, and look for "
            "wrong labels"
        )


def _check_energies(found: Accuracy, training: Dataset) -> None:
    counts, error = LabelCounts.of(training), found.energy_rmse_mev_per_atom
    energies = [s.labels.energy / len(s) for s in training if s.labels is not None and s.energy_counts]
    spread = 1000.0 * float(np.std(energies)) if energies else 0.0
    if counts.energies > 0 and not error <= 3.0 * spread + 100.0:
        raise TrainingDivergenceError(
            f"the fitted potential's energy error on its own training data is {error:.0f} meV/atom, and the "
            f"energies themselves spread by {spread:.0f} meV/atom; check reference_energies and windows, and "
            "look for wrong labels"
        )
