"""Normal equations in parts: the same coefficients, the same bits, and nothing is done twice."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from ace_bases import labelled, make_basis, make_crystal, make_molecule
from hypothesis import given, settings
from hypothesis import strategies as st

from pyacemaker.ace import shards
from pyacemaker.ace.design import Design
from pyacemaker.ace.fit import RowWeights, fitted_directions, normal_equations
from pyacemaker.ace.gram import merge
from pyacemaker.ace.ridge import solve
from pyacemaker.ace.shards import LinearProblem, WeightedStructures, accumulate
from pyacemaker.errors import DataError, UnsupportedElementError
from pyacemaker.structures import AtomStructure, Labels, LabelWeights

E0 = np.array([-3.0, 1.0])
WEIGHTS = RowWeights(3.0, 0.7, 2.0, 4.0)


@cache
def some_problem():
    return LinearProblem(make_basis(functions=20, max_rank=3), E0, WEIGHTS, np.zeros((2, 0)))


@cache
def some_structures():
    rng = np.random.default_rng(1)
    makers = (make_crystal, make_molecule)
    return [labelled(makers[k % 2](rng), rng) for k in range(40)]


@pytest.fixture
def problem():
    return some_problem()


@pytest.fixture
def structures():
    return some_structures()


@pytest.fixture
def small_shards(monkeypatch):
    monkeypatch.setattr(shards, "SMALLEST_ROWS", 60)


def group(structures):
    return WeightedStructures(structures, np.linspace(0.5, 2.0, len(structures)))


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=40, max_size=40))
def test_any_partition_has_the_coefficients_of_one_pass(assigned):
    problem, structures = some_problem(), some_structures()
    design, members = Design(problem.basis), group(structures)
    whole = normal_equations(design, structures, E0, WEIGHTS, members.importance)
    parts = [np.flatnonzero(np.array(assigned) == part) for part in range(4)]
    states = [
        normal_equations(design, [structures[k] for k in part], E0, WEIGHTS, members.importance[part])
        for part in parts
    ]
    prior = np.ones(problem.unknowns)
    one, other = (solve(state, 1e-3, prior).coefficients for state in (whole, merge(states)))
    np.testing.assert_allclose(other, one, rtol=0, atol=1e-10 * np.abs(one).max())


def test_parts_are_balanced_and_complete(structures):
    parts = group(structures).parts(5)
    assert sum(len(part.structures) for part in parts) == 40
    assert [part.first for part in parts] == np.cumsum([0, *(len(p.structures) for p in parts)])[:-1].tolist()
    rows = [part.rows() for part in parts]
    assert max(rows) < 1.6 * min(rows)
    assert len(group(structures[:2]).parts(9)) == 2


@pytest.mark.usefixtures("small_shards")
def test_the_number_of_processes_changes_no_bit(problem, structures, monkeypatch):
    monkeypatch.setattr(shards, "PARALLEL_WORK", 0)
    folds = [group(structures[:17]), group(structures[17:])]
    done = []
    alone = accumulate(problem, folds, progress=done.append)
    together = accumulate(problem, folds, processes=2)
    assert sum(done) == 40
    assert len(done) > 4
    for one, other in zip(alone, together, strict=True):
        assert one.gram.tobytes() == other.gram.tobytes()
        assert one.projection.tobytes() == other.projection.tobytes()
        assert (one.square, one.rows, one.structures) == (other.square, other.rows, other.structures)


@pytest.mark.usefixtures("small_shards")
def test_a_killed_fit_goes_on_where_it_was(problem, structures, tmp_path, monkeypatch):
    whole = accumulate(problem, [group(structures)])[0]
    work, computed = normal_equations, []

    def dies_after_three(*args, **kwargs):
        if len(computed) == 3:
            raise KeyboardInterrupt
        computed.append(len(args[1]))
        return work(*args, **kwargs)

    monkeypatch.setattr(shards, "normal_equations", dies_after_three)
    with pytest.raises(KeyboardInterrupt):
        accumulate(problem, [group(structures)], directory=tmp_path)
    assert len(list(tmp_path.glob("*.npz"))) == 3
    computed[:] = [0] * 4  # no more deaths
    resumed = accumulate(problem, [group(structures)], directory=tmp_path)[0]
    assert sum(computed[4:]) < 40
    assert resumed.gram.tobytes() == whole.gram.tobytes()
    computed.clear()
    monkeypatch.setattr(shards, "normal_equations", lambda *_, **__: pytest.fail("computed again"))
    again = accumulate(problem, [group(structures)], directory=tmp_path)[0]
    assert again.gram.tobytes() == whole.gram.tobytes()


def moved(structure):
    return structure.replace(positions=structure.positions + [[1e-12, 0, 0]] * len(structure))


CHANGES = {
    "a position": moved,
    "an energy": lambda s: s.replace(
        labels=Labels(s.labels.energy + 1e-12, s.labels.forces, s.labels.stress)
    ),
    "no stress": lambda s: s.replace(labels=Labels(s.labels.energy, s.labels.forces)),
    "a label's weight": lambda s: s.replace(label_weights=LabelWeights.uniform(len(s), forces=0.5)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.usefixtures("small_shards")
def test_what_changed_is_computed_again(problem, structures, tmp_path, change):
    accumulate(problem, [group(structures)], directory=tmp_path)
    before = set(tmp_path.iterdir())
    other = [change(structures[0]), *structures[1:]]
    found = accumulate(problem, [group(other)], directory=tmp_path)[0]
    assert len(set(tmp_path.iterdir()) - before) == 1
    assert found.gram.tobytes() == accumulate(problem, [group(other)])[0].gram.tobytes()


@pytest.mark.parametrize(
    "change",
    [
        {"e0": E0 + 1e-12},
        {"weights": RowWeights(3.0, 0.7, 2.1, 4.0)},
        {"shifts": np.eye(2)},
        {"basis": make_basis(functions=20, max_rank=3, cutoff=4.1)},
        {"basis": make_basis(functions=60, max_rank=3)},
    ],
    ids=["e0", "weights", "shifts", "cutoff", "functions"],
)
def test_another_problem_has_other_names(problem, change):
    assert problem.digest() == replace(problem).digest()
    assert replace(problem, **change).digest() != problem.digest()


def test_masked_labels_do_not_count(problem):
    """A wild label of weight zero leaves the state of the other rows, and weights multiply squared errors."""
    rng = np.random.default_rng(3)
    structure = labelled(make_crystal(rng), rng)
    forces = np.ones((4, 3))
    forces[1, 2] = 0.0
    weights = LabelWeights(0.0, forces, np.array([1.0, 4.0, 1.0, 0.0, 1.0, 1.0]))
    labels = structure.labels
    wild_forces, wild_stress = labels.forces.copy(), labels.stress.copy()
    wild_forces[1, 2], wild_stress[3] = np.nan, 1e9
    wild = Labels(np.nan, wild_forces, wild_stress)
    one, other = (
        accumulate(problem, [group([structure.replace(labels=lab, label_weights=weights)])])[0]
        for lab in (labels, wild)
    )
    assert one.projection.tobytes() == other.projection.tobytes()
    assert one.square == other.square
    assert one.rows == 1 + 12 + 6 - 3
    plain = accumulate(problem, [group([structure])])[0]
    double = structure.replace(label_weights=LabelWeights.uniform(4, 2.0, 2.0, 2.0))
    np.testing.assert_allclose(
        accumulate(problem, [group([double])])[0].projection, 2.0 * plain.projection, rtol=1e-12
    )


def test_an_unmasked_nan_is_named_with_its_structure(problem, structures):
    bad = structures[3].replace(labels=Labels(np.nan, structures[3].labels.forces))
    with pytest.raises(DataError, match=r"structure 3 .*NaN or infinite"):
        accumulate(problem, [group([*structures[:3], bad])])


def test_an_element_outside_the_basis_is_named(problem, structures):
    stranger = labelled(AtomStructure(np.array([1, 1]), np.eye(3)[:2]), np.random.default_rng(0))
    with pytest.raises(UnsupportedElementError, match=r"structure 2 .*holds H, but the basis covers Al, Cu"):
        accumulate(problem, [group([*structures[:2], stranger])])


def test_fitted_reference_energies_are_found_with_the_coefficients(problem):
    """Labels from a potential of the same basis whose E0 lie elsewhere than the fit's start."""
    rng = np.random.default_rng(5)
    truth = rng.normal(size=len(problem.basis)) / (1.0 + problem.basis.degrees) ** 2
    shifted = E0 + np.array([0.3, -0.7])
    from pyacemaker.ace.evaluator import evaluate

    model, data = problem.basis.to_model(truth, shifted), []
    for number in range(60):
        numbers = rng.choice([13, 29], size=5)
        structure = make_molecule(rng, numbers) if number % 2 else make_crystal(rng)
        value = evaluate(model, structure.numbers, structure.positions, structure.cell, structure.pbc)
        data.append(structure.replace(labels=Labels(value.energy, value.forces)))
    directions = fitted_directions(data, ("Al", "Cu"))
    assert directions.shape == (2, 2)
    fitted = replace(problem, shifts=directions)
    state = accumulate(fitted, [WeightedStructures(data, np.ones(60))])[0]
    prior = np.append(np.ones(len(truth)), [1e-4, 1e-4])
    found = solve(state, 1e-12, prior).coefficients
    np.testing.assert_allclose(E0 + directions @ found[len(truth) :], shifted, atol=1e-4)


def test_directions_that_the_data_cannot_tell_apart_are_not_fitted():
    rng = np.random.default_rng(6)
    same = [labelled(make_molecule(rng), rng) for _ in range(3)]
    np.testing.assert_allclose(fitted_directions(same, ("Al", "Cu"))[:, 0], np.array([2, 3]) / np.sqrt(13))
    atom = AtomStructure(np.array([13]), np.zeros((1, 3)), labels=Labels(-2.0, np.zeros((1, 3))))
    np.testing.assert_allclose(fitted_directions([atom, *same], ("Al", "Cu")), [[0.0], [1.0]])
    assert fitted_directions([atom], ("Al",)).shape == (1, 0)
