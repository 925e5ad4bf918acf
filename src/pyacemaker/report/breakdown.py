"""Errors taken apart: by tag, by element, by the size of the force, by structure."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyacemaker.structures import Dataset, FloatArray, IntArray, Labels
from pyacemaker.units import MEV_PER_EV


@dataclass(frozen=True)
class ForceError:
    """RMSE of the force components (meV/Å) of a group of atoms, their RMS force (eV/Å) and their number."""

    group: str
    atoms: int
    rms_force: float
    rmse: float


def by_element(test: Dataset, predicted: Sequence[Labels]) -> list[ForceError]:
    """The force errors of each element's atoms, in alphabetical order."""
    symbols = np.array([symbol for structure in test for symbol in structure.symbols])
    reference, difference = _forces(test, predicted)
    return [
        _group(element, symbols == element, reference, difference)
        for element in sorted(set(symbols.tolist()))
    ]


def by_force(test: Dataset, predicted: Sequence[Labels], edges: FloatArray) -> list[ForceError]:
    """The force errors of the atoms whose DFT force lies between consecutive `edges` (eV/Å); no empty bin."""
    reference, difference = _forces(test, predicted)
    size = np.linalg.norm(reference, axis=1)
    found = []
    for low, high in itertools.pairwise(edges.tolist()):
        chosen = (size >= low) & (size < high)
        if chosen.any():
            found.append(_group(f"{low:g}–{high:g}", chosen, reference, difference))
    return found


def force_edges(test: Dataset) -> FloatArray:
    """eV/Å: 0, then ¼ doubled until the largest DFT force of `test` is below."""
    largest = max(float(np.linalg.norm(labels.forces, axis=1).max()) for labels in test.labels)
    edges = [0.0, 0.25]
    while edges[-1] <= largest:
        edges.append(2.0 * edges[-1])
    return np.array(edges)


def per_structure(test: Dataset, predicted: Sequence[Labels]) -> tuple[FloatArray, FloatArray]:
    """(n,) energy errors, signed, meV/atom; (n,) RMSE of each structure's force components, meV/Å."""
    pairs = list(zip(predicted, test.labels, strict=True))
    energy = [MEV_PER_EV * (p.energy - r.energy) / len(r.forces) for p, r in pairs]
    forces = [MEV_PER_EV * float(np.sqrt(np.mean((p.forces - r.forces) ** 2))) for p, r in pairs]
    return np.array(energy), np.array(forces)


def rows_by_tag(test: Dataset) -> dict[str, IntArray]:
    """The indices of the structures of each tag, in order of first appearance."""
    tags = np.array([structure.tag for structure in test])
    return {tag: np.flatnonzero(tags == tag) for tag in test.tag_counts()}


def _forces(test: Dataset, predicted: Sequence[Labels]) -> tuple[FloatArray, FloatArray]:
    """(atoms, 3) DFT forces in eV/Å, and (atoms, 3) errors in meV/Å."""
    reference = np.concatenate([labels.forces for labels in test.labels])
    found = np.concatenate([labels.forces for labels in predicted])
    return reference, MEV_PER_EV * (found - reference)


def _group(name: str, chosen: FloatArray, reference: FloatArray, difference: FloatArray) -> ForceError:
    return ForceError(
        name,
        int(np.sum(chosen)),
        float(np.sqrt(np.mean(reference[chosen] ** 2))),
        float(np.sqrt(np.mean(difference[chosen] ** 2))),
    )
