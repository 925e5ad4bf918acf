"""Mahalanobis uncertainty: the formula, its invariances, and real descriptors of distorted molecules."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis

from pyacemaker.errors import InsufficientDataError
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.selection.uncertainty import MahalanobisUncertainty
from pyacemaker.structures.formats import read_structures

DATA = Path(__file__).parents[1] / "data"


def clouds(rng: np.random.Generator, n: int, d: int = 6) -> tuple[list[list[str]], list[np.ndarray]]:
    """n structures of three H and one C, the elements far apart in descriptor space."""
    mixing = {"H": rng.normal(size=(d, d)), "C": rng.normal(size=(d, d))}
    mean = {"H": np.zeros(d), "C": np.full(d, 40.0)}
    species = [["H", "C", "H", "H"]] * n
    return species, [np.array([mean[s] + rng.normal(size=d) @ mixing[s] for s in row]) for row in species]


def test_one_atom_structures_have_the_textbook_distance() -> None:
    rng = np.random.default_rng(0)
    reference = rng.normal(size=(60, 5)) @ rng.normal(size=(5, 5))
    exact = MahalanobisUncertainty(components=5, regularisation=0.0)
    score = exact.score([["C"]] * 60, list(reference[:, None]))
    inverse = np.linalg.inv(np.cov(reference.T))
    expected = [mahalanobis(row, reference.mean(axis=0), inverse) / np.sqrt(5) for row in reference]
    np.testing.assert_allclose(score, expected, rtol=1e-8)
    assert np.sqrt(np.mean(score**2)) == pytest.approx(np.sqrt(59 / 60))


def test_the_most_unusual_atom_decides() -> None:
    rng = np.random.default_rng(1)
    species, reference = clouds(rng, 100)
    pool = [array.copy() for array in reference[:10]]
    pool[3][1] += 25.0
    scorer = MahalanobisUncertainty()
    usual = scorer.score(species, reference)
    score = scorer.score(species, reference, species[:10], pool)
    assert int(np.argmax(score)) == 3
    assert score[3] > 3 * usual.max()
    np.testing.assert_allclose(np.delete(score, 3), np.delete(usual[:10], 3))


def test_elements_have_their_own_statistics() -> None:
    """A hydrogen in a carbon's place is far away, although carbon atoms live there."""
    species, reference = clouds(np.random.default_rng(2), 100)
    swapped = [reference[0][[1, 0, 2, 3]]]
    scorer = MahalanobisUncertainty()
    assert (
        scorer.score(species, reference, species[:1], swapped)[0]
        > 10 * scorer.score(species, reference).max()
    )


def test_linear_maps_of_the_descriptors_change_nothing() -> None:
    rng = np.random.default_rng(3)
    species, reference = clouds(rng, 80)
    transform, shift = rng.normal(size=(6, 6)) + 3 * np.eye(6), rng.normal(size=6)
    exact = MahalanobisUncertainty(components=6, regularisation=0.0)
    moved = [array @ transform + shift for array in reference]
    np.testing.assert_allclose(exact.score(species, moved), exact.score(species, reference), rtol=1e-6)


def test_the_order_of_the_reference_does_not_matter() -> None:
    species, reference = clouds(np.random.default_rng(4), 50)
    order = np.random.default_rng(5).permutation(50)
    scorer = MahalanobisUncertainty()
    shuffled = scorer.score(species, [reference[k] for k in order], species, reference)
    np.testing.assert_allclose(shuffled, scorer.score(species, reference), rtol=1e-9)


def test_rare_and_unknown_elements_have_finite_scores() -> None:
    species, reference = clouds(np.random.default_rng(6), 40)
    reference.append(np.full((1, 6), 15.0))
    species = [*species, ["F"]]
    pool_species, pool = (
        [["F"], ["Br"], ["H"]],
        [np.full((1, 6), 15.1), np.full((1, 6), 200.0), reference[0][:1]],
    )
    score = MahalanobisUncertainty().score(species, reference, pool_species, pool)
    assert np.isfinite(score).all()
    assert int(np.argmax(score)) == 1


def test_constant_descriptors_do_not_break_it() -> None:
    species, reference = [["H", "H"]] * 12, [np.ones((2, 4))] * 12
    score = MahalanobisUncertainty().score(species, reference)
    np.testing.assert_array_equal(score, 0)
    assert np.isfinite(MahalanobisUncertainty().score(species, reference, [["H"]], [np.zeros((1, 4))])).all()


def test_too_little_to_compare_with() -> None:
    scorer = MahalanobisUncertainty()
    with pytest.raises(InsufficientDataError, match="at least 2 reference atoms"):
        scorer.score([["H"]], [np.ones((1, 3))])
    with pytest.raises(ValueError, match="one symbol and one descriptor per atom"):
        scorer.score([["H"]], [np.ones((2, 3))])
    species, reference = clouds(np.random.default_rng(7), 10)
    assert scorer.score(species, reference, [], []).shape == (0,)


def test_distorted_molecules_stand_out() -> None:
    potential = MacePotential(DATA / "sn2_foundation.model")
    known = read_structures(DATA / "sn2_small.xyz")[5:]
    rng = np.random.default_rng(8)
    strange = [s.replace(positions=s.positions + 0.25 * rng.normal(size=s.positions.shape)) for s in known]
    reference, pool = potential.descriptors(known), potential.descriptors(strange)
    species = [s.symbols for s in known]
    scorer = MahalanobisUncertainty()
    usual, unusual = scorer.score(species, reference), scorer.score(species, reference, species, pool)
    assert np.mean(unusual[:, None] > usual[None, :]) > 0.9
