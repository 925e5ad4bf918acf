import numpy as np
import pytest
from ace_models import CORES, crystal, make_model

from pyacemaker.ace.cores import core_pair, core_terms, has_core
from pyacemaker.ace.neighbours import Edges, neighbour_list
from pyacemaker.units import COULOMB_EV_ANGSTROM

WITH_CORE = ["density", "distance", "zbl"]


def dimer_edges(r):
    return Edges(
        np.array([0, 1]), np.array([1, 0]), np.array([[r, 0, 0], [-r, 0, 0]], float), np.array([r, r])
    )


def test_a_potential_knows_whether_it_has_a_core():
    assert [has_core(make_model(core=core)) for core in CORES] == [False, True, True, True]


def test_no_core_changes_nothing():
    model = make_model(core="none")
    terms = core_terms(model, np.array([0, 1]), dimer_edges(0.5))
    assert terms.f.tolist() == [1.0, 1.0]
    assert not terms.energy.any()
    assert not terms.denergy_dr.any()


@pytest.mark.parametrize("core", WITH_CORE)
@pytest.mark.parametrize("r", [0.4, 1.0, 1.7, 2.1, 2.4, 2.6, 3.5])
def test_slopes_are_the_derivatives(core, r):
    model = make_model(core=core)
    species = np.array([0, 1])
    step = 1e-6
    behind, here, ahead = (core_terms(model, species, dimer_edges(x)) for x in (r - step, r, r + step))
    for value, slope in (("f", "df_dr"), ("rho", "drho_dr"), ("energy", "denergy_dr")):
        numeric = (getattr(ahead, value) - getattr(behind, value)) / (2 * step)
        assert getattr(here, slope) == pytest.approx(numeric, rel=1e-6, abs=1e-7), value


@pytest.mark.parametrize("core", WITH_CORE)
def test_the_core_takes_over_at_short_range_and_ends_smoothly(core):
    model = make_model(core=core)
    species = np.array([0, 0])
    near = core_terms(model, species, dimer_edges(0.3))
    assert near.f.tolist() == [0.0, 0.0]
    assert (near.energy > 8.0).all()
    end = model.bonds[0, 0].rcut
    far = core_terms(model, species, dimer_edges(end - 1e-4))
    assert far.f.tolist() == [1.0, 1.0]
    assert np.abs(far.energy).max() < 1e-7
    assert np.abs(far.denergy_dr).max() < 1e-5
    outside = core_terms(model, species, dimer_edges(end + 0.1))
    assert not outside.rho.any()


def test_zbl_is_the_universal_potential_up_to_a_constant():
    model = make_model(core="zbl")
    bond = model.bonds[0, 1]
    r = np.array([0.2, 0.7, 1.5])
    x = r * (13**0.23 + 28**0.23) / 0.4685
    weights, decays = (0.18175, 0.50986, 0.28022, 0.02817), (3.1998, 0.94229, 0.4029, 0.20162)
    screening = sum(w * np.exp(-d * x) for w, d in zip(weights, decays, strict=True))
    universal = COULOMB_EV_ANGSTROM * 13 * 28 * screening / r
    # both atoms count half of the pair
    difference = 2 * core_pair(bond, (13, 28), r)[0] - universal
    assert difference == pytest.approx(difference[0], rel=1e-9)
    assert abs(difference[0]) < 0.2


def test_only_the_nearest_neighbour_moves_the_zbl_switch():
    model = make_model(core="zbl")
    positions = np.array([[0, 0, 0], [2.4, 0, 0], [0, 2.55, 0]])
    edges = neighbour_list(positions, np.zeros((3, 3)), False, model.cutoff)
    terms = core_terms(model, np.array([0, 0, 0]), edges)
    moving = (edges.i == 0) & (terms.df_dr != 0.0)
    assert edges.j[moving].tolist() == [1]
    assert 0.0 < terms.f[0] < 1.0


@pytest.mark.parametrize("core", WITH_CORE)
def test_a_lone_atom_feels_no_core(core):
    empty = Edges(np.zeros(0, int), np.zeros(0, int), np.zeros((0, 3)), np.zeros(0))
    terms = core_terms(make_model(core=core), np.array([0]), empty)
    assert (terms.f[0], terms.energy[0]) == (1.0, 0.0)


@pytest.mark.parametrize("core", WITH_CORE)
def test_the_cores_act_in_the_crystal_of_the_other_tests(core):
    model = make_model(core=core)
    _, positions, cell = crystal(model)
    f = core_terms(model, np.array([0, 1, 0]), neighbour_list(positions, cell, True, model.cutoff)).f
    assert np.any((f > 0.05) & (f < 0.95)), f
