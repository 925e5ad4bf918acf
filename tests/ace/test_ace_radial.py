from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyacemaker.ace.model import RADIAL_BASES, Bond
from pyacemaker.ace.radial import (
    cut_radial_functions,
    inner_factor,
    interpolated_from,
    polynomial_switch,
    radial_functions,
)


def bond_of(basis, rcut=5.0, dcut=0.6, lam=2.5, count=7, **core):
    return Bond(rcut, dcut, basis, (lam,), np.zeros((1, 1, count)), **core)


@pytest.mark.parametrize("basis", RADIAL_BASES)
@settings(max_examples=30, deadline=None)
@given(r=st.floats(0.05, 4.95), rcut=st.floats(4.0, 8.0), lam=st.floats(2.0, 6.0))
def test_slopes_are_the_derivatives(basis, r, rcut, lam):
    bond = bond_of(basis, rcut, lam=lam)
    step = 1e-5
    points = np.array([r - step, r, r + step])
    if np.any(np.abs(points - rcut) < 1e-4) or np.any(np.abs(points - rcut + 0.6) < 1e-4):
        return
    values, slopes = radial_functions(bond, points)
    numeric = (values[2] - values[0]) / (2 * step)
    assert slopes[1] == pytest.approx(numeric, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("basis", RADIAL_BASES)
def test_zero_from_the_cutoff_on(basis):
    values, slopes = radial_functions(bond_of(basis), np.array([5.0, 5.1, 50.0]))
    assert not values.any()
    assert not slopes.any()


@pytest.mark.parametrize("basis", ["ChebExpCos", "ChebPow", "SBessel"])
def test_value_and_slope_vanish_smoothly_at_the_cutoff(basis):
    # ChebLinear does not: its odd functions are ½ at the cutoff
    values, slopes = radial_functions(bond_of(basis), np.array([5.0 - 1e-6]))
    assert np.abs(values).max() < 1e-9
    assert np.abs(slopes).max() < 1e-3


def test_cheb_exp_cos_against_its_definition():
    r = np.linspace(0.1, 4.99, 40)
    span = 1 - np.exp(-2.5)
    x = 1 - 2 * (np.exp(-2.5 * r / 5) - np.exp(-2.5)) / span
    v = 0.5 * (1 + np.cos(np.pi * r / 5))
    v = np.where(r > 4.4, v * 0.5 * (1 + np.cos(np.pi * (r - 4.4) / 0.6)), v)
    expected = [v] + [0.5 * v * (1 - np.cos(k * np.arccos(x))) for k in range(1, 7)]
    assert radial_functions(bond_of("ChebExpCos"), r)[0] == pytest.approx(np.array(expected).T, abs=1e-12)


@pytest.mark.parametrize(
    ("basis", "argument"),
    [("ChebPow", lambda s: 1 - 2 * (1 - s) ** 2.5), ("ChebLinear", lambda s: 1 - s)],
)
def test_chebyshev_bases_against_their_definition(basis, argument):
    r = np.linspace(0.1, 4.99, 40)
    angle = np.arccos(argument(r / 5))
    expected = [0.5 * (1 - np.cos(k * angle)) for k in range(1, 8)]
    assert radial_functions(bond_of(basis), r)[0] == pytest.approx(np.array(expected).T, abs=1e-12)


def test_spherical_bessel_functions_are_orthonormal_in_the_ball():
    nodes, weights = np.polynomial.legendre.leggauss(200)
    r = 2.5 * (nodes + 1)
    values, _ = radial_functions(bond_of("SBessel"), r)
    overlap = np.einsum("pk,pl,p->kl", values, values, 2.5 * weights * r**2)
    assert overlap == pytest.approx(np.eye(7), abs=1e-10)


def test_switch_falls_from_one_to_zero_with_smooth_ends():
    r = np.linspace(0.5, 2.5, 2001)
    value, slope = polynomial_switch(r, 2.0, 0.8)
    assert value[r < 1.2].min() == 1.0
    assert value[r > 2.0].max() == 0.0
    assert polynomial_switch(np.array(1.6), 2.0, 0.8)[0] == pytest.approx(0.5)
    assert (np.diff(value) <= 0).all()
    assert slope == pytest.approx(np.gradient(value, r), abs=1e-4)
    assert np.abs(np.diff(slope)).max() < 0.02


def test_a_switch_without_width_is_a_step():
    value, slope = polynomial_switch(np.array([0.0, 1.0, 1.1]), 1.0, 0.0)
    assert value.tolist() == [1.0, 1.0, 0.0]
    assert not slope.any()


def test_only_a_distance_core_cuts_the_radial_functions():
    r = np.array([1.0, 1.8, 2.5])
    cut = bond_of("ChebExpCos", inner_cutoff="distance", rcut_in=2.0, dcut_in=0.5)
    values, slopes = cut_radial_functions(cut, r)
    bare, bare_slopes = radial_functions(cut, r)
    assert not values[0].any()
    assert (values[2] == bare[2]).all()
    step = 1e-6
    numeric = (cut_radial_functions(cut, r + step)[0] - cut_radial_functions(cut, r - step)[0]) / (2 * step)
    assert slopes == pytest.approx(numeric, abs=1e-7)
    density = bond_of("ChebExpCos", inner_cutoff="density")
    assert (inner_factor(density, r)[0] == 1.0).all()
    assert (cut_radial_functions(density, r)[1] == bare_slopes).all()


def test_where_other_cores_end_the_radial_functions():
    r = np.array([0.9, 1.1, 1.6, 2.5])
    density = bond_of("SBessel", inner_cutoff="density", rcut_in=2.0, dcut_in=0.5)
    assert inner_factor(density, r)[0].tolist() == [0.0, 0.0, 1.0, 1.0]
    zbl = bond_of("SBessel", inner_cutoff="zbl", rcut_in=2.0, dcut_in=0.5)
    assert inner_factor(zbl, r)[0].tolist() == [1.0, 1.0, 1.0, 1.0]
    assert inner_factor(replace(zbl, dcut_in=0.0), r)[0].tolist() == [0.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("basis", "dcut", "lam"),
    [("ChebLinear", 0.0, 1.0), ("ChebPow", 0.0, 1.0), ("ChebPow", 0.0, 1.5), ("ChebExpCos", 0.01, 5.25)],
)
def test_the_last_knots_are_joined_by_cubics(basis, dcut, lam):
    bond = bond_of(basis, dcut=dcut, lam=lam)
    r = np.linspace(4.985, 5.0, 15001)
    values, slopes = radial_functions(bond, r)
    # continuous, down to zero at the cutoff, and the slope is the derivative
    assert np.abs(values[-1]).max() == 0.0
    steepest = np.abs(slopes).max()
    assert np.abs(np.diff(values, axis=0)).max() <= steepest * 1.01e-6
    inner = np.arange(20, 14980)
    numeric = (values[inner + 1] - values[inner - 1]) / 2e-6
    assert slopes[inner] == pytest.approx(numeric, abs=1e-3 * steepest + 1e-8)
    # what is joined are the exact values: on a knot nothing is changed
    s = np.array([4.989, 4.995]) / 5.0
    if basis == "ChebLinear":
        expected = 0.5 * (1 - np.cos(np.arange(1, 8) * np.arccos(1 - s)[:, None]))
        assert radial_functions(bond, 5.0 * s)[0] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("dcut", "width"), [(0.01, 0.012), (0.05, 0.052), (0.6, 0.0), (0.0, 0.0)])
def test_where_the_narrow_switch_begins(dcut, width):
    assert interpolated_from(bond_of("ChebExpCos", dcut=dcut)) == pytest.approx(5.0 - width)
