"""An embedded-atom-like potential and structures that it labels, for the tests of the refinement."""

from dataclasses import replace

import numpy as np

from pyacemaker.ace.basis import Basis, orthonormal_bond, rectangular_blocks
from pyacemaker.ace.densities import pair_density
from pyacemaker.ace.evaluator import CompiledModel
from pyacemaker.ace.fit import RowWeights
from pyacemaker.ace.model import Embedding
from pyacemaker.ace.nonlinear import DensityModel
from pyacemaker.ace.residuals import LabelledRows, RowLoss
from pyacemaker.ace.stages import LinearStart
from pyacemaker.structures import AtomStructure, Labels

VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])
WEIGHTS = RowWeights(3.0, 1.0, 1.0, 4.0)
E0 = np.array([-1.5])


def make_pair_basis(nradmax=(5, 2), lmax=(0, 1), cutoff=4.5, elements=("Cu",)):
    bond = orthonormal_bond(cutoff, "SBessel", 1.0, (nradmax[-1], max(lmax), nradmax[0]), 1.5)
    species = range(len(elements))
    blocks = tuple(rectangular_blocks(mu, np.full(len(elements), 99), nradmax, lmax) for mu in species)
    return Basis(elements, {(a, b): bond for a in species for b in species}, blocks)


def embedded_atoms():
    """E_i = Σ_j φ₁(r_ij) − √(Σ_j φ₂(r_ij)), with the plain Finnis–Sinclair embedding and other radial
    functions than those of the fits.
    """
    bond = orthonormal_bond(4.5, "ChebPow", 2.0, (1, 0, 8), 1.5)
    basis = Basis(("Cu",), {(0, 0): bond}, (rectangular_blocks(0, [99], (8,), (0,)),))
    near, typical = np.array([[1.8]]), np.array([[2.5]])
    repulsion, density = (pair_density(basis, decay, near, typical) for decay in (9.0, 4.0))
    embedding = Embedding(2, (1.0, 1.0, -1.0, 0.5), "FinnisSinclair")
    return DensityModel(basis, np.stack([0.3 * repulsion, 2.0 * density]), {0: embedding}, E0).to_model()


def make_structure(rng, atoms):
    """A distorted, dilated or compressed piece of fcc copper: a crystal, or a cluster without a cell."""
    cell = 3.6 * np.eye(3) * rng.uniform(0.92, 1.25) + rng.normal(scale=0.08, size=(3, 3))
    sites = np.array([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])[:atoms]
    positions = sites @ cell + rng.normal(scale=0.1, size=(atoms, 3))
    periodic = rng.uniform() < 0.8
    return AtomStructure(np.full(atoms, 29), positions, cell * periodic, np.full(3, periodic))


def label(model, structures):
    """The structures with the labels that a potential gives them."""
    compiled, found = CompiledModel(model), []
    for structure in structures:
        value = compiled.evaluate(structure.numbers, structure.positions, structure.cell, structure.pbc)
        stress = None if structure.volume is None else value.virial[VOIGT] / structure.volume
        found.append(structure.replace(labels=Labels(value.energy, value.forces, stress)))
    return found


def make_data(count, seed=0):
    rng = np.random.default_rng(seed)
    return label(embedded_atoms(), [make_structure(rng, int(rng.integers(2, 5))) for _ in range(count)])


def rows_of(structures, elements=("Cu",), weights=WEIGHTS):
    return LabelledRows.of(
        structures, elements, np.zeros(len(elements)) + E0[0], weights, np.ones(len(structures))
    )


def linear_fit(basis, data, strength=1e-9):
    """The ridge solution, from one linearisation at zero."""
    count = len(basis)
    start = LinearStart(basis, np.zeros(count), E0, strength, np.ones(count))
    problem = RowLoss(start.model(), data)
    state = problem.linearise(np.zeros(count))
    gram = np.tril(state.gram) + np.tril(state.gram, -1).T
    coefficients = np.linalg.solve(gram + strength * np.diag(np.diag(gram)), state.projection)
    return replace(start, coefficients=coefficients)
