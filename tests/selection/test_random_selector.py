import numpy as np

from pyacemaker.selection import RandomSelector


def test_every_structure_is_equally_likely():
    rng = np.random.default_rng(0)
    counts = np.zeros(10)
    for _ in range(4000):
        counts[RandomSelector().select(np.zeros((10, 1)), 3, rng)] += 1
    # binomial(4000, 0.3): mean 1200, standard deviation 29
    assert np.abs(counts - 1200).max() < 5 * 29


def test_the_generator_state_decides():
    features = np.zeros((50, 2))
    first, again, other = (
        RandomSelector().select(features, 20, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
