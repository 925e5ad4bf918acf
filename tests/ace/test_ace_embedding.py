"""Second derivatives of the embedding functions."""

import numpy as np
import pytest

from pyacemaker.ace.embedding import PLAIN, SHIFTED_SCALED, embed_curvature, embed_point


@pytest.mark.parametrize("kind", [SHIFTED_SCALED, PLAIN])
@pytest.mark.parametrize("exponent", [0.3, 0.5, 0.8, 1.0, 1.7, 2.0])
@pytest.mark.parametrize("rho", [1e-3, 0.02, 0.7, 1.0, 13.0, 900.0])
def test_curvature_is_the_derivative_of_the_slope(kind, exponent, rho):
    step = 1e-5 * rho
    for signed in (rho, -rho):
        slopes = [embed_point(kind, signed + move, exponent)[1] for move in (step, -step)]
        numeric = (slopes[0] - slopes[1]) / (2.0 * step)
        assert embed_curvature(kind, signed, exponent) == pytest.approx(
            numeric, rel=1e-7, abs=1e-8 * abs(slopes[0]) / rho
        )


@pytest.mark.parametrize("kind", [SHIFTED_SCALED, PLAIN])
def test_curvature_is_odd_and_finite_down_to_zero(kind):
    for rho in (0.0, 1e-300, 1e-30, 1e-9, 1e-6, 2e-6, 1e-4):
        found = embed_curvature(kind, rho, 0.5)
        assert np.isfinite(found)
        assert embed_curvature(kind, -rho, 0.5) == -found
    assert embed_curvature(kind, 0.0, 0.5) == 0.0


def test_the_steep_start_of_the_plain_form():
    """Around |ρ| = 1e-6, where F turns from a line to a power."""
    for rho in (3e-7, 8e-7, 1.1e-6, 1.8e-6):
        step = 1e-4 * rho
        slopes = [embed_point(PLAIN, rho + move, 0.5)[1] for move in (step, -step)]
        numeric = (slopes[0] - slopes[1]) / (2.0 * step)
        assert embed_curvature(PLAIN, rho, 0.5) == pytest.approx(numeric, rel=1e-5)
