"""Molecular dynamics with an ACE potential conserves what it has to."""

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.md.verlet import VelocityVerlet
from physics_models import Kind, potential

from pyacemaker.potentials.ace import ACECalculator, ACEPotential

KIND = Kind("SBessel", "FinnisSinclairShiftedScaled", "zbl", 2, 2)


def excursion(time_step):
    """Largest change of the total energy in 30 fs, eV; and the largest momentum, relative."""
    atoms = bulk("Al", "fcc", a=4.3, cubic=True) * (2, 1, 1)
    atoms.symbols[::2] = "Cu"
    atoms.rattle(0.1, seed=1)
    atoms.calc = ACECalculator(ACEPotential(potential(KIND)))
    velocities = np.random.default_rng(0).normal(0.0, 0.04, (len(atoms), 3))
    atoms.set_momenta(atoms.get_masses()[:, None] * velocities)
    atoms.set_momenta(atoms.get_momenta() - atoms.get_momenta().mean(axis=0))
    dynamics = VelocityVerlet(atoms, time_step * units.fs)
    start, changes = atoms.get_total_energy(), []
    for _ in range(round(30 / time_step)):
        dynamics.run(1)
        changes.append(abs(atoms.get_total_energy() - start))
    momenta = atoms.get_momenta()
    return max(changes), np.abs(momenta.sum(axis=0)).max() / np.abs(momenta).max()


def test_energy_and_momentum_are_conserved():
    coarse, momentum = excursion(0.5)
    fine, _ = excursion(0.25)
    # the error of the integrator, which falls with the square of the time step; nothing else
    assert 1e-6 < coarse < 2e-3
    assert fine == pytest.approx(coarse / 4, rel=0.35)
    assert momentum < 1e-12
