"""The linear fit: labelled structures to coefficients, by accumulated normal equations."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pyacemaker.ace.design import Design, species_of
from pyacemaker.ace.gram import NormalEquations
from pyacemaker.structures import AtomStructure, FloatArray, IntArray

ROWS_PER_BATCH = 1024
"""Rows of the design matrix that are held at once, unless one structure has more."""


@dataclass(frozen=True)
class RowWeights:
    """Row weights: a structure of n atoms has the rows w_E E/√n, w_F F and w_S V σ/√n.

    The √n keeps the balance between one energy and 3n forces the same for molecules and for large cells.
    """

    energy: float
    forces: float
    stress: float


def normal_equations(
    design: Design,
    structures: Sequence[AtomStructure],
    e0: FloatArray,
    weights: RowWeights,
    importance: FloatArray,
    progress: Callable[[int], None] | None = None,
) -> NormalEquations:
    """The state of the weighted least-squares problem of labelled structures, in their order.

    e0: (N,), eV. importance: (S,), multiplies each structure's squared errors. progress: called with the
    number of structures done since the last call.
    """
    state = NormalEquations.empty(len(design.basis))
    for part in batches(structures):
        chosen = [structures[k] for k in part]
        rows = design.rows(chosen)
        target, weight = np.zeros(len(rows.core)), np.zeros(len(rows.core))
        for structure, factor, first, last in zip(
            chosen, importance[part], rows.starts, rows.starts[1:], strict=False
        ):
            shift = float(e0[species_of(design.basis.elements, structure)].sum())
            target[first:last], weight[first:last] = _targets(structure, shift, weights)
            weight[first:last] *= np.sqrt(factor)
        rows.matrix[...] *= weight
        state = state.add_rows(rows.matrix, (target - rows.core) * weight, len(chosen))
        if progress is not None:
            progress(len(chosen))
    return state


def batches(structures: Sequence[AtomStructure]) -> Iterator[IntArray]:
    """Index ranges of structures that together have at most `ROWS_PER_BATCH` rows (or are one structure)."""
    first, rows = 0, 0
    for number, structure in enumerate(structures):
        size = 7 + 3 * len(structure)
        if rows and rows + size > ROWS_PER_BATCH:
            yield np.arange(first, number)
            first, rows = number, 0
        rows += size
    if rows:
        yield np.arange(first, len(structures))


def _targets(structure: AtomStructure, shift: float, weights: RowWeights) -> tuple[FloatArray, FloatArray]:
    """Labels and square roots of the weights of one structure's rows; a missing stress has weight zero."""
    labels = structure.labels
    if labels is None:
        raise ValueError(f"structure {structure.id} has no labels")
    atoms = len(structure)
    target = [np.array([labels.energy - shift]), labels.forces.ravel()]
    weight = [np.array([weights.energy / np.sqrt(atoms)]), np.full(3 * atoms, weights.forces)]
    volume = structure.volume
    if volume is not None:
        known = labels.stress is not None
        target.append(np.asarray(labels.stress) if known else np.zeros(6))
        weight.append(np.full(6, weights.stress * volume / np.sqrt(atoms) if known else 0.0))
    return np.concatenate(target), np.concatenate(weight)


def folds(structures: int, count: int, seed: int) -> list[IntArray]:
    """A random partition of structure numbers into `count` folds, each in ascending order."""
    order = np.random.default_rng(seed).permutation(structures)
    return [np.sort(order[k::count]) for k in range(count)]


def reference_energies(structures: Sequence[AtomStructure], elements: Sequence[str]) -> FloatArray:
    """(N,) eV: the energies of isolated atoms where the data holds them, else least squares on the
    compositions.

    Where the compositions do not tell the elements apart, the solution closest to equal energies per atom is
    taken.
    """
    composition = np.array(
        [np.bincount(species_of(elements, s), minlength=len(elements)) for s in structures], float
    )
    energies = np.array([s.labels.energy for s in structures if s.labels is not None])
    e0, known = np.zeros(len(elements)), np.zeros(len(elements), dtype=bool)
    alone = composition.sum(axis=1) == 1
    for mu in range(len(elements)):
        mine = alone & (composition[:, mu] == 1)
        if mine.any():
            e0[mu], known[mu] = float(np.median(energies[mine])), True
    if known.all() or alone.all():
        return e0
    rest, sizes = composition[~alone], composition[~alone].sum(axis=1)
    target = (energies[~alone] - rest @ e0) / sizes
    share = rest[:, ~known] / sizes[:, None]
    mean = float(target @ share.sum(axis=1) / (share.sum(axis=1) @ share.sum(axis=1)))
    solution = np.linalg.lstsq(share, target - share.sum(axis=1) * mean, rcond=1e-8)[0]
    e0[~known] = mean + solution
    return e0
