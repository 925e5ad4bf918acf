"""Reconciling two levels of theory: per-element reference energies and what they cannot explain."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pyacemaker.errors import DataError, InsufficientDataError, LevelOfTheoryError
from pyacemaker.structures import AtomStructure, Dataset, FloatArray, Labels
from pyacemaker.units import MEV_PER_EV

_RANK_TOLERANCE = 1e-6
"""Relative singular value below which a combination of elements counts as undetermined by the data."""


_VACUUM = 8.0
"""Å: a single atom with its images this far away is an isolated atom."""


_OTHER_UNITS = 6.0
"""Ratio of the forces of two levels of theory (or its inverse) beyond which one has other units: Rydberg and
eV differ by 13.6, kcal/mol by 23."""
_MANY = 10
"""Force components below which their ratio says nothing."""


@dataclass(frozen=True)
class ReferenceAlignment:
    """Reference energies that bring a teacher to the level of theory of a labelled set.

    energies: the E0 to give the teacher, eV, by element. shift: energies − isolated-atom energies, eV: the
    part that is no property of the isolated atoms (the teacher's error in atomisation energies; the electron
    affinity in a charged system). unaligned_mev_per_atom: RMSE of the teacher with the isolated-atom energies
    alone. residual_mev_per_atom: RMSE that remains with `energies`, for training to remove.
    """

    energies: Mapping[str, float]
    shift: Mapping[str, float]
    unaligned_mev_per_atom: float
    residual_mev_per_atom: float


def align_reference_energies(
    dataset: Dataset,
    teacher: Sequence[Labels],
    teacher_energies: Mapping[str, float],
    isolated: Mapping[str, float],
) -> ReferenceAlignment:
    """The reference energies E0 + δ that make the teacher agree best with the labels of `dataset`.

    With the energies relative to each side's own reference atoms, r_s = (E_s − Σ_el n_sel E0_el) −
    (T_s − Σ_el n_sel T0_el), the shifts minimise Σ_s ((r_s − Σ_el n_sel δ_el) / N_s)². Where the
    compositions leave combinations of δ undetermined (one stoichiometry: all but one), the solution of least
    norm is taken. Lone atoms take no part: their energy is E0 by definition. Neither do dimers where there is
    anything else: what a teacher misses on the walls of their curves is no shift of the level.

    dataset: labelled structures. teacher: its labels of the same structures. teacher_energies: its E0 in eV.
    isolated: energies in eV of the isolated atoms, computed like the labels. Raises `DataError` for an
    element without an isolated atom, `InsufficientDataError` when all structures are lone atoms.
    """
    if len(dataset) != len(teacher):
        raise ValueError(f"{len(dataset)} structures but {len(teacher)} teacher labels")
    several = np.array([_tells_a_shift(structure) for structure in dataset], dtype=bool)
    if not several.any():
        several = np.array([not is_lone_atom(structure) for structure in dataset], dtype=bool)
    if not several.any():
        raise InsufficientDataError(
            "the levels of theory cannot be reconciled: all labelled structures are lone atoms; label others"
        )
    missing = [symbol for symbol in dataset.elements if symbol not in isolated]
    if missing:
        raise DataError(
            f"isolated-atom energies are missing for {', '.join(missing)}; label the isolated atoms with the "
            "settings of the other labels"
        )
    molecules = dataset[several]
    labels = np.array([label.energy for label in molecules.labels])
    predicted = np.array([label.energy for label in teacher])[several]
    difference = (labels - molecules.reference_energies(isolated)) - (
        predicted - molecules.reference_energies(teacher_energies)
    )
    counts = molecules.composition(molecules.elements)
    shift = _least_shift(counts, difference)
    atoms = counts.sum(axis=1)
    shifts = dict.fromkeys(isolated, 0.0) | dict(zip(molecules.elements, shift.tolist(), strict=True))
    return ReferenceAlignment(
        energies={symbol: float(energy) + shifts[symbol] for symbol, energy in isolated.items()},
        shift=shifts,
        unaligned_mev_per_atom=_rms(difference / atoms) * MEV_PER_EV,
        residual_mev_per_atom=_rms((difference - counts @ shift) / atoms) * MEV_PER_EV,
    )


def estimate_reference_energies(
    dataset: Dataset, teacher: Sequence[Labels], teacher_energies: Mapping[str, float]
) -> ReferenceAlignment:
    """`align_reference_energies` with what the dataset itself says of isolated atoms.

    Of an element with a labelled lone atom that energy is taken. The others start from the teacher's own E0
    plus one share per atom of what the labels lie off: energies of another level differ by thousands of eV
    per atom, which a plain least-squares fit at one stoichiometry divides evenly among all elements.

    teacher: labels of all of `dataset`, lone atoms included. Raises as `align_reference_energies`.
    """
    explicit = {
        structure.symbols[0]: labels.energy
        for structure, labels in zip(dataset, dataset.labels, strict=True)
        if is_lone_atom(structure)
    }
    isolated = {
        symbol: explicit.get(symbol, teacher_energies.get(symbol, 0.0)) for symbol in dataset.elements
    }
    return align_reference_energies(dataset, teacher, teacher_energies, isolated)


def check_alignment(
    aligned: ReferenceAlignment, dataset: Dataset, teacher: Sequence[Labels], limit: float | None
) -> None:
    """Raise `LevelOfTheoryError` where more than `limit` meV/atom remain after alignment (None: no limit).

    The message names the cause that the forces point to: their least-squares ratio DFT / teacher is near 1
    when the units agree. A ratio that only other units explain is refused whatever remains. dataset, teacher:
    as in `align_reference_energies`.
    """
    if limit is None:
        return
    ratio = force_ratio(dataset, teacher)
    if ratio is not None and not 1.0 / _OTHER_UNITS < ratio < _OTHER_UNITS:
        raise LevelOfTheoryError(
            f"the teacher and the labels do not speak of the same forces: {_likely_cause(dataset, teacher)}; "
            "correct the dft settings (label.max_reference_residual_mev_per_atom: null turns this check off)"
        )
    if aligned.residual_mev_per_atom <= limit:
        return
    raise LevelOfTheoryError(
        f"after the energy references of the teacher and the labels were aligned, "
        f"{aligned.residual_mev_per_atom:.0f} meV/atom remain between them, more than "
        f"label.max_reference_residual_mev_per_atom = {limit:g}; {_likely_cause(dataset, teacher)}; correct "
        "the dft settings, or raise the limit where the teacher is known to be that poor"
    )


def force_ratio(dataset: Dataset, teacher: Sequence[Labels]) -> float | None:
    """Σ F_teacher·F_label / Σ F_teacher²; None where there are hardly any forces to compare."""
    ours = np.concatenate([labels.forces.ravel() for labels in dataset.labels])
    theirs = np.concatenate([labels.forces.ravel() for labels in teacher])
    if np.sum(np.abs(theirs) > 1e-3) < _MANY:
        return None
    return float(theirs @ ours / (theirs @ theirs))


def _likely_cause(dataset: Dataset, teacher: Sequence[Labels]) -> str:
    ratio = force_ratio(dataset, teacher)
    if ratio is None:
        return "likely causes: another functional or basis, other units, or a wrong charge or multiplicity"
    if 0.5 < ratio < 2.0:
        return (
            f"the forces agree in size (ratio {ratio:.2f}), so that the units are right: likely causes are a "
            "wrong charge or multiplicity, a much different functional, or isolated atoms in another state"
        )
    return (
        f"the forces of the labels are {ratio:.3g} times the teacher's: likely causes are wrong units "
        "(expected eV and eV/Å), a wrong charge or multiplicity, or a teacher that does not know this system"
    )


def is_lone_atom(structure: AtomStructure) -> bool:
    """Whether it is one atom in a vacuum: no periodicity, or lattice vectors of at least `_VACUUM`."""
    lengths = np.linalg.norm(structure.cell[structure.pbc], axis=1)
    return len(structure) == 1 and bool(np.all(lengths >= _VACUUM))


def _tells_a_shift(structure: AtomStructure) -> bool:
    return not is_lone_atom(structure) and (len(structure) != 2 or structure.is_periodic)


def _least_shift(counts: FloatArray, difference: FloatArray) -> FloatArray:
    """(elements,) the δ of least norm that minimises the per-atom error; counts: (structures, elements)."""
    atoms = counts.sum(axis=1)
    solution, *_ = np.linalg.lstsq(counts / atoms[:, None], difference / atoms, rcond=_RANK_TOLERANCE)
    return np.asarray(solution, dtype=np.float64)


def _rms(values: FloatArray) -> float:
    return float(np.sqrt(np.mean(values**2)))
