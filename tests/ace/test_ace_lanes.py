import numpy as np
import pytest
from numba import njit

from pyacemaker.ace.lanes import LANES, aligned, load, splat, spread, store


def combine(a, b, number, out):
    left, right = load(a, (1,)), load(b, (0, 1))
    store(out, (0,), left * right + number * left - right * number)
    store(out, (1,), splat(number) - left + number)
    spread(out, 2 * LANES, LANES, 3, left)


def test_compiled_lanes_do_what_their_definition_does():
    rng = np.random.default_rng(0)
    a, b, number = rng.normal(size=(3, LANES)), rng.normal(size=(2, 2, LANES)), 0.7
    plain, compiled = np.zeros((2 + LANES, LANES)), np.zeros((2 + LANES, LANES))
    combine(a, b, number, plain)
    njit(combine)(a, b, number, compiled)
    assert plain.tobytes() == compiled.tobytes()
    assert plain[0] == pytest.approx(a[1] * b[0, 1] + number * a[1] - b[0, 1] * number)
    assert (plain[2:, 3] == a[1]).all()
    assert np.count_nonzero(plain[2:]) == LANES


def test_no_instruction_is_fused():
    """Products are rounded before they are added, so that the bits are those of every processor."""

    def square_less_one(a, out):
        store(out, (0,), load(a, (0,)) * load(a, (0,)) - splat(1.0))

    a, out = np.full((1, LANES), 1.0 + 2.0**-30), np.zeros((1, LANES))
    njit(square_less_one)(a, out)
    assert (out == a * a - 1.0).all()  # fused: 2**-60 more


@pytest.mark.parametrize("shape", [(3, LANES), (5, 2, LANES), (0, LANES)])
def test_aligned_memory(shape):
    array = aligned(shape)
    assert array.shape == shape
    assert array.ctypes.data % 64 == 0 or array.size == 0
    assert not array.any()
