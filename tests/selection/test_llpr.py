"""LLPR on a real model: the posterior's algebra, symmetry, and what it says of broken molecules."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from pyacemaker.errors import InsufficientDataError
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.potentials.mace_last_layer import LastLayer
from pyacemaker.selection import LlprUncertainty, MahalanobisUncertainty
from pyacemaker.structures import AtomStructure, Dataset
from pyacemaker.structures.formats import read_structures

DATA = Path(__file__).parents[1] / "data"
KINDS = [MahalanobisUncertainty(), LlprUncertainty(samples=8)]


@pytest.fixture(scope="module")
def potential() -> MacePotential:
    return MacePotential(DATA / "sn2_foundation.model", max_atoms_per_batch=60)


@pytest.fixture(scope="module")
def molecules() -> Dataset:
    return read_structures(DATA / "sn2_small.xyz").filter(lambda s: len(s) > 1)[:24]


def broken(molecules: Dataset) -> Dataset:
    rng = np.random.default_rng(3)
    return Dataset(
        s.replace(positions=s.positions + 0.4 * rng.standard_normal((len(s), 3))) for s in molecules
    )


@pytest.mark.parametrize("uncertainty", KINDS, ids=lambda u: u.kind)
def test_broken_molecules_are_less_certain(uncertainty, potential, molecules) -> None:
    usual = uncertainty.rate(potential, molecules, molecules).structures
    worse = uncertainty.rate(potential, molecules, broken(molecules)).structures
    assert np.median(worse) > 2.0 * np.median(usual)
    assert np.mean(worse > np.quantile(usual, 0.9)) > 0.7


@pytest.mark.parametrize("uncertainty", KINDS, ids=lambda u: u.kind)
def test_neither_order_nor_batches_matter_and_turning_does_not(uncertainty, potential, molecules) -> None:
    few = molecules[:6]
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    turned = Dataset(s.replace(positions=s.positions @ turn) for s in few)
    one_by_one = MacePotential(DATA / "sn2_foundation.model", max_atoms_per_batch=1)
    found = uncertainty.rate(potential, molecules, few).structures
    for other in (
        uncertainty.rate(potential, molecules, few[::-1]).structures[::-1],
        uncertainty.rate(potential, molecules, turned).structures,
    ):
        np.testing.assert_allclose(other, found, rtol=1e-6)
    if isinstance(uncertainty, MahalanobisUncertainty):
        alone = uncertainty.rate(one_by_one, molecules, few).structures
        np.testing.assert_allclose(alone, found, rtol=1e-6)


def test_streaming_gives_what_all_descriptors_at_once_give(potential, molecules) -> None:
    species = [s.symbols for s in molecules]
    whole = MahalanobisUncertainty().score(species, potential.descriptors(molecules))
    parts = MahalanobisUncertainty().rate(potential, molecules, molecules).structures
    np.testing.assert_allclose(parts, whole, rtol=1e-6)


def test_the_root_is_that_of_the_inverse_gram_matrix(potential, molecules) -> None:
    """With energies only and well-determined directions: R Rᵀ G is G's pseudo-inverse acting on its rows."""
    layer = LastLayer(potential)
    root = LlprUncertainty(probes=0, ridge=1e-10).covariance_root(layer, molecules, np.random.default_rng(0))
    sizes = np.array([[len(s)] for s in molecules])
    rows = np.array(list(layer.features(molecules))) / sizes
    leverage = np.einsum("ij,jk,ik->i", rows, root @ root.T, rows)
    assert np.all(leverage < 1.0 + 1e-6)
    assert leverage.sum() == pytest.approx(np.linalg.matrix_rank(rows, tol=1e-6), abs=2.0)


def test_force_deviations_are_those_of_the_exact_posterior(potential, molecules) -> None:
    """√(J C Jᵀ) from all directions agrees with many samples within the sampling error."""
    spec, few = LlprUncertainty(samples=200, probes=1), molecules[:2]
    layer = LastLayer(potential)
    root = spec.covariance_root(layer, molecules, np.random.default_rng(spec.seed))
    exact = [np.sqrt(np.sum(s.forces**2, axis=0)) for s in layer.force_samples(few, root.T)]
    sampled = spec.rate(potential, molecules, few).forces
    assert sampled is not None
    for ours, theirs in zip(sampled, exact, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0.25, atol=1e-8)


def test_perfect_crystals_are_uncertain_by_their_stress() -> None:
    potential = MacePotential(DATA / "cual_foundation.model")
    crystals = read_structures(DATA / "cual_small.xyz").filter(lambda s: s.pbc.all() and len(s) <= 4)[:8]
    one = AtomStructure.from_atoms(bulk("Cu", a=3.6))
    squeezed = one.replace(cell=0.85 * one.cell, positions=0.85 * one.positions)
    found = LlprUncertainty(samples=6).rate(potential, crystals, [one, squeezed])
    assert found.forces is not None
    assert np.abs(found.forces[0]).max() < 1e-6 * found.structures[0]
    assert found.structures[1] > found.structures[0] > 0.0


def test_lone_atoms_are_no_reference(potential) -> None:
    atoms = read_structures(DATA / "sn2_small.xyz").filter(lambda s: len(s) == 1)
    assert len(atoms)
    layer = LastLayer(potential)
    silent = [0.0 * features for features in layer.features(atoms)]
    layer.features = lambda structures: iter(silent[: len(structures)])
    with pytest.raises(InsufficientDataError, match="training_data"):
        LlprUncertainty(probes=0).covariance_root(layer, atoms, np.random.default_rng(0))
