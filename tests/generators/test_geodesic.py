import numpy as np
import pytest
from scipy.optimize import check_grad

from pyacemaker.generators.geodesic import _ScaledDistances, geodesic_path

CH3 = np.array([[1.03 * np.cos(a), 1.03 * np.sin(a), 0.0] for a in 2 * np.pi * np.arange(3) / 3])
NUMBERS = np.array([9, 6, 1, 1, 1, 17])


def sn2(x_c, c_y, lean):
    return np.array([[0, 0, -x_c], [0, 0, 0], *(CH3 + np.array([0, 0, lean])), [0, 0, c_y]])


ENDS = sn2(2.46, 1.85, -0.33), sn2(1.384, 3.06, 0.35)


def straight(first, last, count=9):
    return first + np.linspace(0, 1, count)[:, None, None] * (last - first)


def test_the_gradient_is_that_of_the_energy():
    scaled, rng = _ScaledDistances(NUMBERS), np.random.default_rng(1)
    path = straight(*ENDS, 4) + 0.1 * rng.standard_normal((4, 6, 3))

    def energy(flat):
        return scaled.path_energy(flat.reshape(path.shape))[0]

    def gradient(flat):
        return scaled.path_energy(flat.reshape(path.shape))[1].ravel()

    assert check_grad(energy, gradient, path.ravel()) < 1e-5


def test_shorter_than_the_straight_path_with_even_steps_between_the_same_ends():
    before = straight(*ENDS)
    after = geodesic_path(NUMBERS, before)
    scaled = _ScaledDistances(NUMBERS)
    assert np.array_equal(after[[0, -1]], before[[0, -1]])
    assert scaled.path_energy(after)[0] < scaled.path_energy(before)[0]
    step = np.array([scaled.path_energy(after[k : k + 2])[0] for k in range(8)])
    assert step.max() < 1.2 * step.min()


def test_an_atom_passes_another_at_a_distance():
    first = np.array([[0.0, 0.05, -2.0], [0.0, 0.0, 0.0]])
    last = np.array([[0.0, 0.05, 2.0], [0.0, 0.0, 0.0]])
    numbers = np.array([8, 8])
    collision, avoided = straight(first, last), geodesic_path(numbers, straight(first, last))

    def nearest(path):
        return np.linalg.norm(path[:, 0] - path[:, 1], axis=1).min()

    assert nearest(collision) < 0.1
    assert nearest(avoided) > 1.0


@pytest.mark.parametrize("count", [2, 3])
def test_few_images(count):
    assert geodesic_path(NUMBERS, straight(*ENDS, count)).shape == (count, 6, 3)
