"""Baselines against LAMMPS on random cells of three elements, smaller than the cutoff: images decide."""

import math

import numpy as np
import pytest
from lammps_reference import lammps_labels

from pyacemaker.baselines import LennardJones, LennardJonesAtom, Zbl
from pyacemaker.structures import AtomStructure

NUMBERS = (8, 13, 29)
"""O, Al, Cu: the types of LAMMPS in this order."""


def random_cell(seed):
    """4 to 9 atoms at least 1.4 Å apart in a triclinic cell with edges of 3 to 5 Å."""
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(3.0, 5.0, 3))
    cell[1, 0], cell[2, 0], cell[2, 1] = rng.uniform(-1.2, 1.2, 3)
    images = np.stack(np.meshgrid(*[(-1, 0, 1)] * 3), -1).reshape(-1, 3) @ cell
    positions = []
    for _ in range(2000):
        x = rng.uniform(0.01, 0.99, 3) @ cell
        if all(np.linalg.norm(images + x - y, axis=1).min() > 1.4 for y in positions):
            positions.append(x)
        if len(positions) == 4 + seed % 6:
            break
    numbers = np.concatenate([NUMBERS, rng.choice(NUMBERS, len(positions))])[: len(positions)]
    return AtomStructure(numbers, np.array(positions), cell, np.ones(3, dtype=bool))


def agree(structure, found, expected):
    energy, forces, stress = expected
    assert found.energy == pytest.approx(energy, rel=1e-9)
    assert np.abs(found.forces - forces).max() < 1e-9 * np.abs(forces).max()
    assert np.abs(found.stress - stress).max() < 1e-6 * np.abs(stress).max()  # the bar of LAMMPS is rounded


@pytest.mark.lammps
@pytest.mark.parametrize("seed", range(6))
def test_zbl(seed):
    structure = random_cell(seed)
    assert set(structure.numbers) == set(NUMBERS)
    pairs = [f"{i + 1} {j + 1} {NUMBERS[i]} {NUMBERS[j]}" for i in range(3) for j in range(i, 3)]
    expected = lammps_labels(structure, "zbl 2.2 6.0", pairs)
    agree(structure, Zbl(window=(2.2, 6.0), unit="angstrom").evaluate([structure])[0], expected)


@pytest.mark.lammps
@pytest.mark.parametrize("shift", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_lennard_jones(seed, shift):
    structure = random_cell(seed)
    parameters = {"O": (0.01, 2.1), "Al": (0.05, 2.5), "Cu": (0.03, 2.3)}
    atoms = {s: LennardJonesAtom(epsilon=e, sigma=d) for s, (e, d) in parameters.items()}
    listed = list(parameters.values())
    pairs = [
        f"{i + 1} {j + 1} {math.sqrt(listed[i][0] * listed[j][0])!r} {(listed[i][1] + listed[j][1]) / 2!r}"
        for i in range(3)
        for j in range(i, 3)
    ]
    expected = lammps_labels(structure, "lj/cut 7.0", pairs, shift=shift)
    agree(structure, LennardJones(atoms=atoms, cutoff=7.0, shift=shift).evaluate([structure])[0], expected)
