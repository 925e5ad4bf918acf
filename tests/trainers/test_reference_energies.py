"""Reconciling levels of theory: what per-element shifts can and cannot explain."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyacemaker.errors import DataError, InsufficientDataError, LevelOfTheoryError
from pyacemaker.structures import AtomStructure, Dataset, Labels
from pyacemaker.trainers.reference_energies import (
    align_reference_energies,
    check_alignment,
    force_ratio,
    is_lone_atom,
)

ELEMENTS = {"H": 1, "C": 6, "F": 9}
TEACHER = {"H": -10.0, "C": -40.0, "F": -100.0, "Br": -3.0}
ISOLATED = {"H": -12.5, "C": -37.0, "F": -2700.0}


def labels(energy: float, n: int) -> Labels:
    return Labels(energy, np.zeros((n, 3)))


def problem(compositions: list[tuple[int, int, int]], error) -> tuple[Dataset, list[Labels]]:
    """Structures with DFT labels, the teacher's labels; `error(h, c, f)`: DFT − teacher."""
    structures, teacher = [], []
    for k, counts in enumerate(compositions):
        numbers = np.repeat(list(ELEMENTS.values()), counts)
        bound = -3.0 * sum(counts) + 0.1 * k
        total = sum(n * ISOLATED[s] for n, s in zip(counts, ELEMENTS, strict=True)) + bound + error(*counts)
        guess = sum(n * TEACHER[s] for n, s in zip(counts, ELEMENTS, strict=True)) + bound
        positions = np.arange(3.0 * len(numbers)).reshape(-1, 3)
        structures.append(AtomStructure(numbers, positions, labels=labels(total, len(numbers))))
        teacher.append(labels(guess, len(numbers)))
    return Dataset(structures), teacher


@settings(max_examples=25)
@given(shift=st.tuples(*[st.floats(-20, 20)] * 3))
def test_shifts_per_element_are_found_exactly(shift: tuple[float, float, float]) -> None:
    dataset, teacher = problem(
        [(4, 1, 0), (3, 1, 1), (2, 2, 0), (0, 1, 4), (1, 0, 1)], lambda *n: float(np.dot(n, shift))
    )
    found = align_reference_energies(dataset, teacher, TEACHER, ISOLATED)
    for symbol, expected in zip(ELEMENTS, shift, strict=True):
        assert found.shift[symbol] == pytest.approx(expected, abs=1e-8)
        assert found.energies[symbol] == pytest.approx(ISOLATED[symbol] + expected, abs=1e-8)
    assert found.residual_mev_per_atom < 1e-6


def test_energies_make_the_teacher_agree_in_total_energy() -> None:
    dataset, teacher = problem([(4, 1, 0), (3, 1, 1), (0, 1, 4)], lambda h, c, f: 0.2 * h - 1.0 * c + 2 * f)
    energies = align_reference_energies(dataset, teacher, TEACHER, ISOLATED).energies
    moved = np.array([label.energy for label in teacher]) + dataset.reference_energies(
        {symbol: energies[symbol] - TEACHER[symbol] for symbol in ELEMENTS}
    )
    np.testing.assert_allclose(moved, [label.energy for label in dataset.labels], atol=1e-8)


def test_one_stoichiometry_takes_the_smallest_shifts() -> None:
    constant = -3.6  # an electron affinity, say: the same for every structure of CH3F
    dataset, teacher = problem([(3, 1, 1)] * 6, lambda *n: constant)
    found = align_reference_energies(dataset, teacher, TEACHER, ISOLATED)
    counts = np.array([3, 1, 1])
    np.testing.assert_allclose(
        [found.shift[s] for s in ELEMENTS], constant * counts / (counts @ counts), atol=1e-9
    )
    assert found.residual_mev_per_atom < 1e-6
    assert found.unaligned_mev_per_atom == pytest.approx(3600 / 5)


def test_what_remains_is_reported() -> None:
    signs = iter([0.5, -0.5] * 4)
    dataset, teacher = problem([(3, 1, 1)] * 8, lambda *n: 1.0 + next(signs))
    found = align_reference_energies(dataset, teacher, TEACHER, ISOLATED)
    assert found.residual_mev_per_atom == pytest.approx(500 / 5)
    assert found.residual_mev_per_atom < found.unaligned_mev_per_atom


def test_lone_atoms_and_unused_elements_keep_their_energies() -> None:
    dataset, teacher = problem([(4, 1, 0)] * 3, lambda *n: 0.7)
    atom = AtomStructure(np.array([9]), np.zeros((1, 3)), labels=labels(-5.0, 1))
    found = align_reference_energies(
        dataset + Dataset([atom]), [*teacher, labels(77.0, 1)], TEACHER, ISOLATED
    )
    assert found.energies["F"] == ISOLATED["F"]
    assert found.shift["F"] == 0
    assert found.residual_mev_per_atom < 1e-6


def test_a_one_atom_crystal_is_no_lone_atom() -> None:
    atom = AtomStructure(np.array([29]), np.zeros((1, 3)))
    assert is_lone_atom(atom)
    assert is_lone_atom(atom.replace(cell=np.eye(3) * 12, pbc=[True] * 3))
    assert not is_lone_atom(atom.replace(cell=np.eye(3) * 2.5, pbc=[True] * 3))
    assert not is_lone_atom(atom.replace(cell=np.diag([2.5, 20, 20]), pbc=[True, False, False]))


def test_a_missing_isolated_atom_is_named() -> None:
    dataset, teacher = problem([(3, 1, 1)], lambda *n: 0.0)
    with pytest.raises(DataError, match="missing for F"):
        align_reference_energies(dataset, teacher, TEACHER, {"H": 0.0, "C": 0.0})


def test_lone_atoms_alone_are_not_enough() -> None:
    atom = AtomStructure(np.array([9]), np.zeros((1, 3)), labels=labels(-5.0, 1))
    with pytest.raises(InsufficientDataError, match="lone atoms"):
        align_reference_energies(Dataset([atom]), [labels(1.0, 1)], TEACHER, ISOLATED)


def test_labels_must_belong_to_the_structures() -> None:
    dataset, teacher = problem([(3, 1, 1)] * 2, lambda *n: 0.0)
    with pytest.raises(ValueError, match="2 structures but 1"):
        align_reference_energies(dataset, teacher[:1], TEACHER, ISOLATED)


def with_forces(scale: float) -> tuple[Dataset, list[Labels]]:
    """Labels that no shift per element explains; forces are `scale` times the teacher's."""
    dataset, teacher = problem([(4, 1, 0)] * 4, lambda h, c, f: 0.0)
    rng = np.random.default_rng(0)
    forces = [rng.standard_normal((5, 3)) for _ in teacher]
    energies = [5.0, -5.0, 5.0, -5.0]
    truth = [
        Labels(label.energy + energy, scale * force)
        for label, energy, force in zip(dataset.labels, energies, forces, strict=True)
    ]
    guess = [Labels(label.energy, force) for label, force in zip(teacher, forces, strict=True)]
    return dataset.with_labels(truth, "dft"), guess


@pytest.mark.parametrize(("scale", "cause"), [(1.1, "wrong charge"), (1 / 51.4, "wrong units")])
def test_what_no_shift_explains_is_refused_with_its_likely_cause(scale: float, cause: str) -> None:
    dataset, teacher = with_forces(scale)
    aligned = align_reference_energies(dataset, teacher, TEACHER, ISOLATED)
    assert aligned.residual_mev_per_atom == pytest.approx(1000.0, rel=0.1)
    assert force_ratio(dataset, teacher) == pytest.approx(scale)
    with pytest.raises(LevelOfTheoryError, match=cause):
        check_alignment(aligned, dataset, teacher, 500.0)
    check_alignment(aligned, dataset, teacher, None)
    if cause == "wrong charge":
        check_alignment(aligned, dataset, teacher, 1500.0)
        return
    with pytest.raises(LevelOfTheoryError, match=r"do not speak of the same forces.*wrong units"):
        check_alignment(aligned, dataset, teacher, 1500.0)


def test_dimers_do_not_shift_the_references() -> None:
    dataset, teacher = problem(
        [(4, 1, 0), (3, 1, 1), (2, 2, 0), (2, 0, 0)], lambda h, c, f: 9.0 * (h + c + f == 2)
    )
    assert align_reference_energies(dataset, teacher, TEACHER, ISOLATED).residual_mev_per_atom < 1e-6
