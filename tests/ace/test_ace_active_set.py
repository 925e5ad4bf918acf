"""Active sets of atomic environments: bounds on γ, batches, processes, what is too little data."""

import numpy as np
import pytest
from ace_bases import make_basis

from pyacemaker.ace import active_set as module
from pyacemaker.ace.active_set import active_sets, grades
from pyacemaker.ace.design import Design
from pyacemaker.errors import InsufficientDataError, UnsupportedElementError
from pyacemaker.structures import AtomStructure

BASIS = make_basis(functions=25, max_rank=3, core=False)


def disordered(rng, count, atoms=8, symbols=(13, 29)):
    """Periodic cells of random density and order."""
    found = []
    for _ in range(count):
        edge = rng.uniform(4.5, 6.0)
        sites = np.stack(np.meshgrid(*[np.arange(2)] * 3), axis=-1).reshape(-1, 3)[:atoms] / 2
        positions = edge * sites + rng.normal(scale=0.35, size=(atoms, 3))
        found.append(AtomStructure(rng.choice(symbols, atoms), positions, edge * np.eye(3), np.ones(3, bool)))
    return found


@pytest.fixture(scope="module")
def structures():
    return disordered(np.random.default_rng(8), 40)


@pytest.fixture(scope="module")
def chosen(structures):
    return active_sets(BASIS, structures)


def all_grades(parts, structures, basis=BASIS):
    """(atoms,) γ of all atoms, in order."""
    invariants = Design(basis).invariants(structures)
    symbols = np.array([symbol for s in structures for symbol in s.symbols])
    found = np.zeros(len(symbols))
    for mu, part in enumerate(parts):
        mine = symbols == part.element
        found[mine] = grades(invariants[mine, basis.offsets[mu] : basis.offsets[mu + 1]], part.inverse)
    return found


def test_no_environment_of_the_data_is_outside(structures, chosen):
    found = all_grades(chosen, structures)
    assert found.max() <= 1.01 + 1e-6
    assert max(part.largest for part in chosen) == pytest.approx(found.max(), rel=1e-6)


def test_members_have_grade_one(structures, chosen):
    for part in chosen:
        assert part.rank == part.functions == len(np.unique(part.members, axis=0))
        for number, atom in part.members:
            assert structures[number].symbols[atom] == part.element
            first = sum(len(s) for s in structures[:number])
            assert all_grades(chosen, structures)[first + atom] == pytest.approx(1.0, abs=1e-6)
            break


def test_the_inverse_is_that_of_the_members_invariants(structures, chosen):
    for mu, part in enumerate(chosen):
        rows = np.array(
            [Design(BASIS).invariants([structures[number]])[atom] for number, atom in part.members]
        )[:, BASIS.offsets[mu] : BASIS.offsets[mu + 1]]
        assert rows @ part.inverse == pytest.approx(np.eye(len(rows)), abs=1e-6)


def test_the_volume_is_at_least_that_of_the_pivots_of_a_factorisation(structures, chosen):
    from scipy.linalg import lu

    invariants = Design(BASIS).invariants(structures)
    symbols = np.array([symbol for s in structures for symbol in s.symbols])
    for mu, part in enumerate(chosen):
        rows = invariants[symbols == part.element, BASIS.offsets[mu] : BASIS.offsets[mu + 1]]
        upper = lu(rows, permute_l=True)[1]
        reference = np.log(np.abs(np.diag(upper))).sum()
        assert -np.linalg.slogdet(part.inverse)[1] >= reference - 1e-6


def test_batches_give_a_set_as_good(structures, monkeypatch):
    monkeypatch.setattr(module, "ATOMS_PER_CHUNK", 24)
    monkeypatch.setattr(module, "KEPT_BYTES", 20_000)
    seen = []
    parts = active_sets(BASIS, structures, progress=lambda done, total: seen.append((done, total)))
    assert all_grades(parts, structures).max() <= 1.01 + 1e-6
    assert len(seen) > 2 * len(structures) * 8 / 24  # computed again for each pass over the data
    assert seen[0] == (3, len(structures))


def test_processes_do_not_change_a_bit(structures, chosen, monkeypatch):
    monkeypatch.setattr(module, "ATOMS_PER_CHUNK", 100)
    one, two = (active_sets(BASIS, structures, processes=n) for n in (1, 2))
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a.inverse, b.inverse)
        assert np.array_equal(a.members, b.members)


def test_combinations_without_data_are_left_out_until_an_atom_has_them():
    """One copper atom at most beside each aluminium: what two copper neighbours do is unknown."""
    rng = np.random.default_rng(3)
    basis = make_basis(functions=60, max_rank=3, core=False)
    known = [
        AtomStructure(np.array([13, 29, 13, 13]), rng.uniform(-0.3, 0.3, (4, 3)) + 2.2 * np.eye(4, 3))
        for _ in range(150)
    ]
    known += disordered(rng, 40, symbols=(29,))
    parts = active_sets(basis, known)
    aluminium = parts[0]
    assert aluminium.rank < aluminium.functions
    assert aluminium.inverse.shape == (aluminium.functions, aluminium.functions)
    assert np.linalg.matrix_rank(aluminium.inverse) == aluminium.functions
    assert aluminium.largest <= 1.01 + 1e-6
    new = AtomStructure(np.array([13, 29, 29, 13]), known[0].positions)
    assert all_grades(parts, [new], basis)[0] > 100


def test_an_element_without_functions_has_an_empty_set():
    rng = np.random.default_rng(3)
    basis = type(BASIS)(BASIS.elements, BASIS.bonds, (BASIS.blocks[0], ()))
    parts = active_sets(basis, disordered(rng, 40))
    assert parts[1].inverse.shape == (0, 0)
    assert grades(np.zeros((3, 0)), parts[1].inverse).tolist() == [0.0, 0.0, 0.0]


def test_fewer_environments_than_functions(structures):
    with pytest.raises(InsufficientDataError, match=r"holds \d+ environments of Al.*needs \d+"):
        active_sets(BASIS, structures[:3])


def test_no_environment_of_an_element():
    rng = np.random.default_rng(1)
    with pytest.raises(InsufficientDataError, match="holds no environment of Cu"):
        active_sets(BASIS, disordered(rng, 20, symbols=(13,)))


def test_perfect_crystals_are_not_enough():
    """Every atom of a perfect crystal has the same environment."""
    cells = [
        AtomStructure(
            np.array([number] * 4),
            a * np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]),
            a * np.eye(3),
            np.ones(3, bool),
        )
        for a in np.linspace(3.5, 4.5, 12)
        for number in (13, 29)
    ]
    with pytest.raises(InsufficientDataError, match="environments of Al"):
        active_sets(BASIS, cells)


def test_environments_of_low_rank():
    """Dimers: all that varies is one distance."""
    dimers = [
        AtomStructure(np.array(pair), np.array([[0, 0, 0], [0, 0, r]]))
        for r in np.linspace(1.5, 3.9, 60)
        for pair in ([13, 13], [29, 29])
    ]
    with pytest.raises(InsufficientDataError, match=r"environments of Al .* span \d+ of its \d+ functions"):
        active_sets(BASIS, dimers)


def test_an_element_outside_the_basis(structures):
    with pytest.raises(UnsupportedElementError, match="holds Ni"):
        active_sets(BASIS, [*structures, AtomStructure(np.array([28]), np.zeros((1, 3)))])
