import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase_potential import AsePotential
from scipy.stats import norm

from pyacemaker.generators.guards import MdGuards, robust_deviation, temperature_limit
from pyacemaker.generators.langevin import Langevin, TrajectoryPlan
from pyacemaker.structures import AtomStructure, Labels


def argon(distance):
    return AtomStructure.from_atoms(Atoms("Ar2", [[0, 0, 0], [0, 0, distance]]))


def at_rest(energy=0.0, force=0.0):
    return Labels(energy, np.array([[force, 0.0, 0.0], [-force, 0.0, 0.0]]))


def event(structure=None, labels=None, target=300.0, **keywords):
    return MdGuards().event(structure or argon(3.8), labels or at_rest(), target=target, **keywords)


def plan(start, temperature=300.0, n_frames=40, interval=5, equilibration=0):
    return TrajectoryPlan(start, temperature, 1, n_frames, interval, equilibration, "md")


def test_ordinary_steps_are_no_event():
    window = np.random.default_rng(0).normal(0.0, 0.1, 100)
    assert event(labels=at_rest(0.2, 2.0), temperature=600.0, energies=window) is None


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_numbers_that_are_none(broken):
    assert "not finite" in event(argon(broken))
    assert "not finite" in event(labels=at_rest(energy=broken))
    assert "not finite" in event(labels=at_rest(force=broken))
    assert "not finite" in event(temperature=broken)


def test_atoms_too_close_and_forces_too_large():
    assert event(argon(0.56 * 2.12)) is None
    assert "0.54" in event(argon(0.54 * 2.12))
    assert event(labels=at_rest(force=29.0)) is None
    assert "31.0 eV/Å" in event(labels=at_rest(force=31.0))


def test_hot_means_three_times_the_target_and_more_for_few_atoms():
    assert temperature_limit(300.0, 3.0, 10**9) == pytest.approx(900.0, rel=1e-3)
    assert temperature_limit(300.0, 3.0, 6) == pytest.approx(300.0 * (3.0 + 5.0 / 3.0))
    assert "target of 300 K" in event(temperature=1800.0)
    assert event(temperature=1500.0) is None


def test_the_allowance_lets_equilibrium_fluctuations_of_six_atoms_pass():
    kinetic = 300.0 * np.random.default_rng(1).chisquare(18, 1_000_000) / 18
    assert kinetic.max() > 3.0 * 300.0
    assert kinetic.max() < temperature_limit(300.0, 3.0, 6)


def test_energy_leaves_the_trailing_window():
    window = 7.0 + np.random.default_rng(2).permutation(norm.ppf(np.linspace(0.001, 0.999, 100)))
    assert event(labels=at_rest(7.0 + 7.0), energies=window) is None
    assert "+9.1" in event(labels=at_rest(7.0 + 9.1), energies=window)
    assert "-9.1" in event(labels=at_rest(7.0 - 9.1), energies=window)
    assert event(labels=at_rest(7.0 + 9.1), energies=window[:99]) is None  # too little to judge by


def test_the_heat_of_a_reaction_is_no_event():
    quiet = np.random.default_rng(3).normal(0.0, 0.01, 200)
    assert event(labels=at_rest(-1.4), energies=quiet) is None
    assert event(labels=at_rest(-3.0), energies=quiet) is not None


def test_outliers_do_not_move_the_robust_deviation():
    values = np.random.default_rng(4).normal(0.0, 2.0, 20_000)
    values[:100] = 1e6
    assert robust_deviation(values) == pytest.approx(2.0, rel=0.05)


def test_volume():
    cell = AtomStructure.from_atoms(bulk("Cu", cubic=True))
    labels = Labels(0.0, np.zeros((4, 3)))
    volume = np.linalg.det(cell.cell)
    assert MdGuards().event(cell, labels, target=300.0, volume=volume * 1.3) is None
    assert "volume of 2.00" in MdGuards().event(cell, labels, target=300.0, volume=volume / 2)
    assert "volume of 0.50" in MdGuards().event(cell, labels, target=300.0, volume=volume * 2)


def test_a_time_step_far_too_long_blows_copper_up_and_is_caught():
    copper = AtomStructure.from_atoms(bulk("Cu", cubic=True))
    emt = AsePotential(EMT, ["Cu"])
    sound, broken = (
        Langevin(timestep=step).run([plan(copper, 600.0, n_frames=20, interval=3)], emt)[0]
        for step in (2.0, 60.0)
    )
    assert sound.event is None
    assert len(sound.frames) == 20
    assert broken.event is not None
    assert broken.steps < 60
    assert len(broken.frames) <= max(0, broken.steps // 3 - 10)


def test_overlapping_atoms_are_refused_before_the_first_step():
    lj = AsePotential(lambda: LennardJones(sigma=2.6, epsilon=0.0104, rc=12.0), ["Ar"])
    found = Langevin().run([plan(argon(1.0))], lj)[0]
    assert found.steps == 0
    assert not found.frames
    assert "two atoms at 0.47" in found.event
    assert found.last_safe is None


def test_the_ten_frames_before_the_event_are_dropped_and_the_last_safe_one_is_offered():
    lj = AsePotential(lambda: LennardJones(sigma=2.6, epsilon=0.0104, rc=12.0), ["Ar"])
    start = AtomStructure.from_atoms(Atoms("Ar2", [[0, 0, 0], [0, 0, 3.1]], info={"charge": 0}), tag="grid")
    guards = MdGuards(min_distance=2.75 / 2.12)  # trips when the pair swings inwards
    kept = Langevin(timestep=5.0, guards=guards).run([plan(start, 40.0, 300, 5)], lj)[0]
    all_of_them = Langevin(timestep=5.0, guards=guards.model_copy(update={"drop_frames": 0})).run(
        [plan(start, 40.0, 300, 5)], lj
    )[0]
    assert "two atoms" in kept.event
    assert kept.event == all_of_them.event
    assert len(all_of_them.frames) > 10
    assert kept.frames.ids == all_of_them.frames.ids[:-10]
    assert kept.last_safe.id == all_of_them.frames.ids[-1]
    assert np.linalg.norm(kept.last_safe.positions[1] - kept.last_safe.positions[0]) >= 2.75
