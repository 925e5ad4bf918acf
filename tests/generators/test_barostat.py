"""Constant pressure: exact distributions of volumes, equipartition, an equation of state, ramps."""

from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk, fcc111, molecule
from ase_potential import AsePotential, Springs
from scipy.stats import gamma as gamma_distribution
from scipy.stats import kstest

from pyacemaker.errors import ConfigError
from pyacemaker.generators.barostat import fills_space, pressure_of
from pyacemaker.generators.guards import MdGuards
from pyacemaker.generators.langevin import Langevin, TrajectoryPlan
from pyacemaker.potentials.base import Potential
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.structures import AtomStructure, Labels
from pyacemaker.units import BOLTZMANN_EV_PER_KELVIN, GPA_PER_EV_PER_CUBIC_ANGSTROM

NO_GUARDS = MdGuards(
    min_distance=1e-9, max_force=1e9, max_temperature=1e3, max_volume_change=1e9, min_energy_jump=1e9
)


class IdealGas(Potential):
    """No interaction at all."""

    name = "ideal gas"
    elements = ("He",)

    def evaluate(self, structures):
        return [Labels(0.0, np.zeros((len(s), 3)), np.zeros(6)) for s in structures]

    def calculator(self):
        raise NotImplementedError


def gas(n, edge, number=2):
    rng = np.random.default_rng(1)
    return AtomStructure(
        np.full(n, number), edge * rng.random((n, 3)), edge * np.eye(3), np.ones(3, dtype=bool)
    )


def plan(start, temperature, pressure, n_frames, interval, equilibration=0, seed=1, **ramps):
    return TrajectoryPlan(
        start, temperature, seed, n_frames, interval, equilibration, "md", pressure=pressure, **ramps
    )


def volumes(trajectory):
    return np.array([frame.volume for frame in trajectory.frames])


@pytest.mark.parametrize(("bulk_modulus", "barostat_time"), [(0.05, 100.0), (0.02, 60.0)])
def test_the_volumes_of_an_ideal_gas_have_the_exact_distribution(bulk_modulus, barostat_time):
    """p(V) ∝ V^N exp(−P V / k_B T), a gamma distribution of shape N + 1, whatever the pace."""
    n, temperature, pressure = 6, 600.0, 0.05
    start = gas(n, 10.5)
    dynamics = Langevin(
        timestep=2.0, friction=0.02, bulk_modulus=bulk_modulus, barostat_time=barostat_time, guards=NO_GUARDS
    )
    plans = [plan(start, temperature, pressure, 90, 30, 600, seed) for seed in range(6)]
    found = np.concatenate([volumes(one) for one in dynamics.run(plans, IdealGas())])
    scale = BOLTZMANN_EV_PER_KELVIN * temperature / (pressure / GPA_PER_EV_PER_CUBIC_ANGSTROM)
    assert found.mean() == pytest.approx((n + 1) * scale, rel=0.08)
    assert found.std() == pytest.approx(np.sqrt(n + 1) * scale, rel=0.15)
    assert kstest(found, gamma_distribution(n + 1, scale=scale).cdf).statistic < 0.08


def test_velocities_stay_thermal_at_constant_pressure():
    """Equipartition: m ⟨v²⟩ = 3 k_B T per atom, from displacements of free flight between stored frames."""
    start, temperature = gas(40, 30.0), 300.0
    dynamics = Langevin(timestep=1.0, friction=0.05, bulk_modulus=0.1, barostat_time=100.0, guards=NO_GUARDS)
    found = dynamics.run([plan(start, temperature, 0.05, 2000, 1, 500)], IdealGas())[0]
    fractional = np.array([f.positions @ np.linalg.inv(f.cell) for f in found.frames])
    edges = np.array([f.cell for f in found.frames])
    velocity = np.diff(fractional, axis=0) @ edges[:-1]  # Å/fs
    masses = 4.002602 * 103.642697  # eV fs²/Å²
    kinetic = masses * (velocity**2).sum(axis=2).mean()
    # of each step one half is flown before the thermostat acts and one after
    expected = 3.0 * BOLTZMANN_EV_PER_KELVIN * temperature * (1.0 + np.exp(-0.05)) / 2.0
    assert kinetic == pytest.approx(expected, rel=0.05)
    assert volumes(found).std() > 0.02 * volumes(found).mean()


def make_lj():
    from ase.calculators.lj import LennardJones

    return LennardJones(sigma=3.405, epsilon=0.0104, rc=8.0, smooth=True)


class LjWithStress(AsePotential):
    def evaluate(self, structures):
        found = []
        for structure in structures:
            atoms = structure.to_atoms()
            atoms.calc = self.make()
            stress = atoms.get_stress()
            found.append(Labels(atoms.get_potential_energy(), atoms.get_forces(), stress))
        return found


def test_constant_pressure_finds_the_volume_that_has_this_pressure_at_constant_volume():
    """The equation of state of an fcc Lennard-Jones crystal, once along each axis."""
    temperature = 40.0
    start = AtomStructure.from_atoms(bulk("Ar", "fcc", a=5.5, cubic=True) * 2)
    lj = LjWithStress(make_lj, ["Ar"])
    dynamics = Langevin(timestep=6.0, friction=0.01, bulk_modulus=2.0, barostat_time=300.0, guards=NO_GUARDS)
    squeezed = dynamics.run([plan(start, temperature, 0.2, 70, 5, 150)], lj)[0]
    mean = volumes(squeezed).mean()
    scale = (mean / start.volume) ** (1 / 3)
    fixed = start.replace(cell=start.cell * scale, positions=start.positions * scale)
    at_rest = dynamics.run([plan(fixed, temperature, None, 50, 5, 100)], lj)[0]
    thermal = 3.0 * len(start) * BOLTZMANN_EV_PER_KELVIN * temperature
    pressures = [
        pressure_of(labels.stress, thermal, mean) * GPA_PER_EV_PER_CUBIC_ANGSTROM
        for labels in lj.evaluate(at_rest.frames)
    ]
    assert volumes(at_rest).std() < 1e-6
    assert np.mean(pressures) == pytest.approx(0.2, abs=0.03)
    assert mean < 0.97 * start.volume


def test_the_pressure_counts_both_parts():
    n, temperature, volume = 100, 300.0, 2000.0
    twice_kinetic = 3 * n * BOLTZMANN_EV_PER_KELVIN * temperature
    ideal = n * BOLTZMANN_EV_PER_KELVIN * temperature / volume
    assert pressure_of(np.zeros(6), twice_kinetic, volume) == pytest.approx(ideal)
    tension = np.array([0.01, 0.02, 0.03, 5.0, 5.0, 5.0])
    assert pressure_of(tension, 0.0, volume) == pytest.approx(-0.02)


def test_pressure_and_temperature_follow_their_ramps():
    n, start = 60, gas(60, 24.0)
    dynamics = Langevin(timestep=2.0, friction=0.05, bulk_modulus=0.05, barostat_time=60.0, guards=NO_GUARDS)
    ramp = plan(start, 300.0, 0.02, 400, 10, 1000, final_temperature=900.0, final_pressure=0.02)
    found = volumes(dynamics.run([ramp], IdealGas())[0])
    expected = n * BOLTZMANN_EV_PER_KELVIN * 0.02**-1 * GPA_PER_EV_PER_CUBIC_ANGSTROM
    assert found[:40].mean() == pytest.approx(expected * 330.0, rel=0.15)
    assert found[-40:].mean() == pytest.approx(expected * 870.0, rel=0.15)
    squeeze = plan(start, 300.0, 0.02, 400, 10, 1000, final_pressure=0.06)
    found = volumes(dynamics.run([squeeze], IdealGas())[0])
    assert found[-40:].mean() == pytest.approx(expected * 300.0 / 2.9, rel=0.15)


def test_the_temperature_of_springs_follows_its_ramp():
    rest = AtomStructure(np.ones(60), 8.0 * np.arange(60)[:, None] * np.array([1.0, 0.0, 0.0]))
    ramp = plan(rest, 200.0, None, 300, 10, 300, final_temperature=800.0)
    found = Langevin(friction=0.05, confine=None).run([ramp], Springs(rest.positions, 2.0))[0]
    square = np.array([((f.positions - rest.positions) ** 2).mean() for f in found.frames])
    temperature = 2.0 * square / BOLTZMANN_EV_PER_KELVIN
    assert temperature[:60].mean() == pytest.approx(260.0, rel=0.15)
    assert temperature[-60:].mean() == pytest.approx(740.0, rel=0.15)


def test_a_cell_that_explodes_is_caught_by_the_volume_guard():
    start = gas(20, 8.0)
    guards = NO_GUARDS.model_copy(update={"max_volume_change": 0.4, "drop_frames": 0})
    dynamics = Langevin(timestep=1.0, bulk_modulus=0.1, barostat_time=2000.0, guards=guards)
    found = dynamics.run([plan(start, 600.0, 0.0, 600, 1)], IdealGas())[0]
    assert found.event.kind == "volume"
    assert all(abs(frame.volume / start.volume - 1.0) <= 0.4 for frame in found.frames)
    assert found.last_safe.id == found.frames[-1].id


def test_a_potential_without_stress_is_a_mistake():
    start = gas(2, 20.0, number=1)
    with pytest.raises(ConfigError, match="no stress"):
        Langevin(guards=NO_GUARDS).run([plan(start, 300.0, 1.0, 2, 1)], Springs(start.positions, 0.0))


def test_only_what_fills_space_has_a_pressure():
    crystal = AtomStructure.from_atoms(bulk("Cu", cubic=True))
    slab = AtomStructure.from_atoms(fcc111("Cu", (2, 2, 3), vacuum=6.0, periodic=True))
    boxed = AtomStructure.from_atoms(molecule("H2O", vacuum=6.0, pbc=True))
    assert fills_space(crystal)
    assert fills_space(crystal.replace(positions=crystal.positions + 17.3))
    assert not fills_space(slab)
    assert not fills_space(boxed)
    assert not fills_space(AtomStructure.from_atoms(molecule("H2O")))
    assert not fills_space(crystal.replace(pbc=np.array([True, True, False])))


def test_constant_volume_is_unchanged_by_the_barostats_settings():
    start = gas(3, 20.0)
    one, other = (
        Langevin(bulk_modulus=modulus, guards=NO_GUARDS).run([plan(start, 300.0, None, 5, 5)], IdealGas())[0]
        for modulus in (1.0, 100.0)
    )
    assert one.frames.ids == other.frames.ids
    assert one.frames[-1].volume == pytest.approx(start.volume)


def test_a_crystal_of_mace_shrinks_under_pressure():
    mace = MacePotential(Path(__file__).parents[1] / "data" / "cual_foundation.model")
    start = AtomStructure.from_atoms(bulk("Al", cubic=True))
    dynamics = Langevin(timestep=2.0, friction=0.05, bulk_modulus=80.0, barostat_time=30.0)
    plans = [plan(start, 300.0, pressure, 25, 2, 30) for pressure in (0.0, 20.0)]
    free, squeezed = dynamics.run(plans, mace)
    assert free.event is squeezed.event is None
    assert volumes(squeezed).mean() < 0.95 * volumes(free).mean()
    assert volumes(free).mean() == pytest.approx(start.volume, rel=0.1)
