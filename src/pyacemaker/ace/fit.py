"""The linear fit: labelled structures to coefficients, by accumulated normal equations."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from pyacemaker.ace.design import Design, species_of
from pyacemaker.ace.gram import NormalEquations
from pyacemaker.ace.neighbours import neighbour_list
from pyacemaker.errors import DataError
from pyacemaker.structures import AtomStructure, BoolArray, FloatArray, IntArray

ALONE = 7.0
"""Å: a single atom whose periodic images are farther is isolated."""

ROWS_PER_BATCH = 1024
"""Rows of the design matrix that are held at once, unless one structure has more."""


@dataclass(frozen=True)
class RowWeights:
    """Row weights: a structure of n atoms has the rows w_E √N E/n, w_F F and w_S V σ/√n.

    Energies count per atom, as they are judged, whatever the size of the structure; with N = `size`, about
    the mean number of atoms, the balance between one energy and 3n forces is the same for data of small and
    of large structures.
    Weights of single labels (`LabelWeights`) multiply the squared errors on top.
    """

    energy: float
    forces: float
    stress: float
    size: float


def normal_equations(
    design: Design,
    structures: Sequence[AtomStructure],
    e0: FloatArray,
    weights: RowWeights,
    importance: FloatArray,
    progress: Callable[[int], None] | None = None,
    shifts: FloatArray | None = None,
) -> NormalEquations:
    """The state of the weighted least-squares problem of labelled structures, in their order.

    e0: (N,), eV. importance: (S,), multiplies each structure's squared errors. progress: called with the
    number of structures done since the last call. shifts: (N, M), M directions along which E0 is fitted too,
    eV per unit: M further unknowns after the K coefficients. Rows of weight zero do not count as rows.
    """
    shifts = np.zeros((len(e0), 0)) if shifts is None else shifts
    state = NormalEquations.empty(len(design.basis) + shifts.shape[1])
    for part in batches(structures):
        chosen = [structures[k] for k in part]
        rows = design.rows(chosen)
        target, weight = np.zeros(len(rows.core)), np.zeros(len(rows.core))
        moved = np.zeros((shifts.shape[1], len(rows.core)))
        for structure, factor, first, last in zip(
            chosen, importance[part], rows.starts, rows.starts[1:], strict=False
        ):
            species = species_of(design.basis.elements, structure)
            target[first:last], weight[first:last] = row_targets(structure, float(e0[species].sum()), weights)
            weight[first:last] *= np.sqrt(factor)
            moved[:, first] = shifts[species].sum(axis=0)
        _require_finite(target, weight)
        rows.matrix[...] *= weight
        matrix = rows.matrix if not len(moved) else np.concatenate([rows.matrix, moved * weight])
        residual = (target - rows.core) * weight
        state = state.add_rows(matrix, residual, len(chosen), int(np.count_nonzero(weight)))
        if progress is not None:
            progress(len(chosen))
    return state


def _require_finite(target: FloatArray, weight: FloatArray) -> None:
    if not (np.isfinite(target).all() and np.isfinite(weight).all()):
        raise DataError("a label or a weight is NaN or infinite; correct it, or give it the weight 0")


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


def row_targets(structure: AtomStructure, shift: float, weights: RowWeights) -> tuple[FloatArray, FloatArray]:
    """Labels and square roots of the weights of one structure's rows.

    Rows: energy − `shift` (eV), 3n forces (eV/Å) and, where the structure has a volume, 6 stresses (eV/Å³). A
    missing stress has the weight and the value zero, and so has a label of weight zero, whatever it was.
    """
    labels, single = structure.labels, structure.label_weights
    if labels is None:
        raise ValueError(f"structure {structure.id} has no labels")
    atoms, volume = len(structure), structure.volume
    target = [np.array([labels.energy - shift]), labels.forces.ravel()]
    weight = [np.array([weights.energy * np.sqrt(weights.size) / atoms]), np.full(3 * atoms, weights.forces)]
    if single is not None:
        weight[0] = weight[0] * np.sqrt(single.energy)
        weight[1] = weight[1] * np.sqrt(single.forces.ravel())
    if volume is not None:
        known = labels.stress is not None
        target.append(np.asarray(labels.stress) if known else np.zeros(6))
        weight.append(np.full(6, weights.stress * volume / np.sqrt(atoms) if known else 0.0))
        if single is not None:
            weight[2] = weight[2] * np.sqrt(single.stress)
    factors = np.concatenate(weight)
    return np.where(factors > 0.0, np.concatenate(target), 0.0), factors


def folds(structures: int, count: int, seed: int) -> list[IntArray]:
    """A random partition of structure numbers into `count` folds, each in ascending order."""
    order = np.random.default_rng(seed).permutation(structures)
    return [np.sort(order[k::count]) for k in range(count)]


def reference_energies(structures: Sequence[AtomStructure], elements: Sequence[str]) -> FloatArray:
    """(N,) eV: the energies of isolated atoms where the data holds them, else least squares on the
    compositions.

    Where the compositions do not tell the elements apart, the solution closest to equal energies per atom is
    taken. Energies of weight zero take no part.
    """
    used = [structure for structure in structures if structure.energy_counts]
    composition = _composition(used, elements)
    energies = np.array([s.labels.energy for s in used if s.labels is not None])
    e0, known = isolated_energies(used, elements)
    alone = np.array([is_isolated(structure) for structure in used], dtype=bool)
    if known.all() or alone.all():
        return e0
    rest, sizes = composition[~alone], composition[~alone].sum(axis=1)
    target = (energies[~alone] - rest @ e0) / sizes
    share = rest[:, ~known] / sizes[:, None]
    mean = float(target @ share.sum(axis=1) / (share.sum(axis=1) @ share.sum(axis=1)))
    solution = np.linalg.lstsq(share, target - share.sum(axis=1) * mean, rcond=1e-8)[0]
    e0[~known] = mean + solution
    return e0


def is_isolated(structure: AtomStructure) -> bool:
    """Whether it is a single atom, its own periodic images farther than `ALONE`."""
    if len(structure) != 1:
        return False
    return len(neighbour_list(structure.positions, structure.cell, structure.pbc, ALONE)) == 0


def isolated_energies(
    structures: Sequence[AtomStructure], elements: Sequence[str]
) -> tuple[FloatArray, BoolArray]:
    """(N,) eV: the (median) energies of single atoms, 0 where there is none, and (N,) where there is one."""
    found: list[list[float]] = [[] for _ in elements]
    for structure in structures:
        if is_isolated(structure) and structure.labels is not None and structure.energy_counts:
            found[int(species_of(elements, structure)[0])].append(structure.labels.energy)
    known = np.array([bool(values) for values in found])
    return np.array([float(np.median(values)) if values else 0.0 for values in found]), known


def fitted_directions(
    structures: Sequence[AtomStructure], elements: Sequence[str], tolerance: float = 1e-6
) -> FloatArray:
    """(N, M): orthonormal directions in E0 that the energies can determine; isolated atoms' E0 are fixed.

    M is the number of independent compositions of the other elements: with one stoichiometry only its
    own mixture of E0 is a direction, and the rest of E0 stays what it was.
    """
    used = [structure for structure in structures if structure.energy_counts]
    free = np.flatnonzero(~isolated_energies(structures, elements)[1])
    composition = _composition(used, elements)
    share = composition[:, free] / np.maximum(composition.sum(axis=1), 1.0)[:, None]
    if not share.size:
        return np.zeros((len(elements), 0))
    _, values, rows = np.linalg.svd(share, full_matrices=False)
    kept = rows[values > tolerance * max(values[0], 1e-300)]
    # the sign of a singular vector is arbitrary
    kept = kept * np.sign(kept[np.arange(len(kept)), np.argmax(np.abs(kept), axis=1)])[:, None]
    directions = np.zeros((len(elements), len(kept)))
    directions[free] = kept.T
    return directions


def _composition(structures: Sequence[AtomStructure], elements: Sequence[str]) -> FloatArray:
    counts = [np.bincount(species_of(elements, s), minlength=len(elements)) for s in structures]
    return np.array(counts, dtype=float).reshape(-1, len(elements))
