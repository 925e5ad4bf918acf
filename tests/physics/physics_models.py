"""Small ACE potentials of every kind with made-up coefficients, and structures for them."""

import itertools
from dataclasses import dataclass

import numpy as np
from ase.data import atomic_numbers

from pyacemaker.ace.basis import rectangular_blocks
from pyacemaker.ace.model import EMBEDDINGS, RADIAL_BASES, ACEModel, BasisFunction, Bond, Embedding

CORES = {
    "none": {"inner_cutoff": "distance"},
    "density": {"inner_cutoff": "density", "prehc": 40.0, "lambdahc": 0.3},
    "distance": {"inner_cutoff": "distance", "prehc": 90.0, "lambdahc": 0.2, "rcut_in": 2.7, "dcut_in": 0.5},
    "zbl": {"inner_cutoff": "zbl", "prehc": 1.0, "rcut_in": 2.7, "dcut_in": 0.6},
}
SIZES = list(itertools.product((1, 2, 3), (1, 2, 5)))
"""Number of densities, number of species."""

ELEMENTS = ("Al", "Cu", "Mo", "Ni", "Ti")


@dataclass(frozen=True)
class Kind:
    """One kind of potential."""

    radial_basis: str
    embedding: str
    core: str
    densities: int
    species: int

    def __str__(self) -> str:
        return f"{self.radial_basis}-{self.embedding}-{self.core}-{self.densities}-{self.species}"


KINDS = [
    Kind(*kind, *SIZES[number % len(SIZES)])
    for number, kind in enumerate(itertools.product(RADIAL_BASES, EMBEDDINGS, CORES))
]
"""Every radial basis with every embedding and core; the numbers of densities and species go round."""


def potential(kind, seed=0):
    """A potential with ranks 1 to 3 (4 for one species), other cutoffs and sizes for every pair."""
    rng = np.random.default_rng(seed)
    species = range(kind.species)
    bonds = {}
    for pair in itertools.combinations_with_replacement(species, 2):
        bond = Bond(
            4.2 - 0.1 * sum(pair),
            0.5,
            kind.radial_basis,
            (2.5,),
            np.eye(2, 4)[:, None, :] + 0.3 * rng.normal(size=(2, 3, 4)),
            **CORES[kind.core],
        )
        bonds[pair] = bonds[pair[::-1]] = bond
    parameters = (1.0, 1.0, 0.4, 0.5, -0.3, 0.8)[: 2 * kind.densities]
    embedding = Embedding(kind.densities, parameters, kind.embedding, 8.0, 6.0)
    return ACEModel(
        ELEMENTS[: kind.species],
        rng.normal(size=kind.species),
        0.001,
        dict.fromkeys(species, embedding),
        bonds,
        {mu: tuple(functions(mu, kind, rng)) for mu in species},
    )


def functions(mu0, kind, rng):
    """Every function up to rank 3 or 4 of some of the products."""
    sizes = ((4, 2, 1), (0, 2, 2)) if kind.species > 1 else ((4, 2, 2, 1), (0, 2, 2, 1))
    blocks = rectangular_blocks(mu0, [9] * kind.species, *sizes)
    many = [block for block in blocks if block.rank > 1]
    chosen = [block for block in blocks if block.rank == 1]
    chosen += [many[i] for i in rng.permutation(len(many))[:12]]
    for block in chosen:
        mus, ns, ls = zip(*block.columns, strict=True)
        weights = 0.5 * 0.4 ** (block.rank - 1) * rng.normal(size=(kind.densities, len(block)))
        yield BasisFunction(mu0, mus, ns, ls, block.ms, (weights @ block.coupling).T.copy())


def numbers_of(model, count):
    """(count,) atomic numbers, all elements in turn."""
    return np.array([atomic_numbers[model.elements[k % len(model.elements)]] for k in range(count)])


def cluster(model, atoms=6, seed=0, closest=1.7):
    """(numbers, positions) of atoms that are not too close."""
    rng = np.random.default_rng(seed)
    positions = [np.zeros(3)]
    while len(positions) < atoms:
        trial = rng.uniform(-2.4, 2.4, 3)
        if min(np.linalg.norm(trial - other) for other in positions) > closest:
            positions.append(trial)
    return numbers_of(model, atoms), np.array(positions)


def crystal(model, seed=0):
    """(numbers, positions, cell) of a skewed periodic cell of four atoms, narrower than the cutoff."""
    rng = np.random.default_rng(seed)
    cell = np.diag([3.7, 4.0, 4.2]) + rng.normal(0, 0.2, (3, 3))
    fractions = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    return numbers_of(model, 4), (fractions + rng.normal(0, 0.02, (4, 3))) @ cell, cell
