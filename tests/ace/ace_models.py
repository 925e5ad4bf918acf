"""Small ACE potentials with made-up coefficients, and structures on which their cores act."""

import itertools

import numpy as np
from ase.data import atomic_numbers
from scipy.special import sph_harm_y

from pyacemaker.ace.coupling import invariants
from pyacemaker.ace.model import ACEModel, BasisFunction, Bond, Embedding

CORES = {
    "none": {"inner_cutoff": "distance"},
    "density": {"inner_cutoff": "density", "prehc": 40.0, "lambdahc": 0.3},
    "distance": {
        "inner_cutoff": "distance",
        "prehc": 90.0,
        "lambdahc": 0.2,
        "rcut_in": 2.8,
        "dcut_in": 0.5,
    },
    "zbl": {"inner_cutoff": "zbl", "prehc": 1.0, "rcut_in": 2.8, "dcut_in": 0.6},
}


def make_model(
    radial_basis="ChebExpCos",
    embedding="FinnisSinclairShiftedScaled",
    core="none",
    elements=("Al", "Ni"),
    ndensity=2,
    max_rank=4,
    seed=0,
):
    rng = np.random.default_rng(seed)
    species = range(len(elements))
    bonds = {}
    for pair in itertools.combinations_with_replacement(species, 2):
        bond = Bond(
            4.0 - 0.3 * sum(pair),
            0.4,
            radial_basis,
            (3.0 if radial_basis == "ChebPow" else 2.5,),
            0.4 * rng.normal(size=(2, 3, 4)),
            **CORES[core],
        )
        bonds[pair] = bonds[pair[::-1]] = bond
    return ACEModel(
        tuple(elements),
        rng.normal(size=len(elements)),
        0.001,
        {
            mu: Embedding(ndensity, (1.0, 1.0, 0.3, 0.5)[: 2 * ndensity], embedding, 8.0, 6.0)
            for mu in species
        },
        bonds,
        {mu: _functions(mu, len(elements), ndensity, max_rank, rng) for mu in species},
    )


def _functions(mu0, count, ndensity, max_rank, rng):
    pairs = [
        BasisFunction(mu0, (nu,), (n,), (0,), np.zeros((1, 1), int), rng.normal(size=(1, ndensity)))
        for nu in range(count)
        for n in range(1, 5)
    ]
    return (*pairs, *(_function(mu0, count, ls, ndensity, rng) for ls in _angular(max_rank)))


def _angular(max_rank):
    chosen = [(0, 0), (1, 1), (2, 2), (0, 1, 1), (1, 1, 2), (2, 2, 2), (1, 1, 1, 1), (0, 1, 1, 2)]
    chosen += [(1, 1, 2, 2), (0, 0, 1, 1, 2), (1, 1, 1, 1, 2), (0, 1, 1, 1, 1, 0), (1, 1, 1, 1, 1, 1)]
    return [ls for ls in chosen if len(ls) <= max_rank]


def _function(mu0, count, ls, ndensity, rng):
    found = invariants(ls, tuple(range(len(ls))))
    size = 0.3 ** (len(ls) - 1)
    weights = size * rng.normal(size=(ndensity, len(found.coefficients)))
    mus = tuple(int(mu) for mu in rng.integers(count, size=len(ls)))
    ns = tuple(int(n) for n in rng.integers(1, 3, size=len(ls)))
    return BasisFunction(mu0, mus, ns, ls, found.ms, (weights @ found.coefficients).T.copy())


def cluster(model, atoms=5, seed=0, spread=2.2, closest=1.5):
    """(numbers, positions) of atoms that are not too close."""
    rng = np.random.default_rng(seed)
    positions = [np.zeros(3)]
    while len(positions) < atoms:
        trial = rng.uniform(-spread, spread, 3)
        if min(np.linalg.norm(trial - other) for other in positions) > closest:
            positions.append(trial)
    numbers = [atomic_numbers[model.elements[k % len(model.elements)]] for k in range(atoms)]
    return np.array(numbers), np.array(positions)


def crystal(model, seed=0):
    """(numbers, positions, cell) of a small skewed periodic cell, narrower than the cutoff."""
    rng = np.random.default_rng(seed)
    cell = np.diag([3.6, 3.9, 4.1]) + rng.normal(0, 0.25, (3, 3))
    fractions = np.array([[0, 0, 0], [0.5, 0.5, 0.03], [0.48, 0, 0.5]]) + rng.normal(0, 0.02, (3, 3))
    numbers = [atomic_numbers[model.elements[k % len(model.elements)]] for k in range(3)]
    return np.array(numbers), fractions @ cell, cell


def angular_part(unit, ell, m):
    """√(4π) Y_lm with the Condon–Shortley phase, from scipy."""
    theta, phi = np.arccos(np.clip(unit[..., 2], -1, 1)), np.arctan2(unit[..., 1], unit[..., 0])
    return np.sqrt(4 * np.pi) * sph_harm_y(ell, m, theta, phi)
