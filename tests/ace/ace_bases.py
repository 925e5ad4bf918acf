"""Small bases and structures for the tests of the fit."""

from dataclasses import replace

import numpy as np

from pyacemaker.ace.basis import Basis, graded_blocks, orthonormal_bond
from pyacemaker.structures import AtomStructure, Labels


def make_basis(
    elements=("Al", "Cu"), functions=40, max_rank=4, core=True, radial_basis="ChebExpCos", cutoff=4.0
):
    species = range(len(elements))
    bond = orthonormal_bond(cutoff, radial_basis, 3.0, (6, 4, 6), 1.0)
    if core:
        bond = replace(bond, prehc=1.0, rcut_in=2.5, dcut_in=0.4, inner_cutoff="zbl")
    blocks = tuple(graded_blocks(mu, np.full(len(elements), 9), functions, max_rank, 6, 4) for mu in species)
    return Basis(elements, {(a, b): bond for a in species for b in species}, blocks)


def make_crystal(rng, atoms=4):
    """A small, distorted, fully periodic cell of Al and Cu in which images and cores act."""
    cell = 3.9 * np.eye(3) + rng.normal(scale=0.15, size=(3, 3))
    sites = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])[:atoms]
    positions = sites @ cell + rng.normal(scale=0.12, size=(atoms, 3))
    return AtomStructure(np.array([13, 29, 29, 13])[:atoms], positions, cell, np.ones(3, bool))


def make_molecule(rng, numbers=(13, 29, 13, 29, 29)):
    positions = np.array([[0, 0, 0], [2.6, 0, 0], [0, 2.5, 0.4], [0.3, 0.2, 2.4], [-2.4, 0.3, 0.5]])
    return AtomStructure(
        np.array(numbers), positions[: len(numbers)] + rng.normal(scale=0.1, size=(len(numbers), 3))
    )


def labelled(structure, rng, stress=True):
    """Random labels."""
    virial = rng.normal(size=6) if stress and structure.pbc.all() else None
    return structure.replace(labels=Labels(float(rng.normal()), rng.normal(size=(len(structure), 3)), virial))
