import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase_potential import AsePotential, Springs

from pyacemaker.errors import ConfigError, InsufficientDataError
from pyacemaker.generators.langevin import Langevin, TrajectoryPlan, wall_forces
from pyacemaker.generators.md import MdGenerator
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.structures import AtomStructure, Dataset, Labels
from pyacemaker.structures.formats import write_structures

COPPER = AtomStructure.from_atoms(bulk("Cu", cubic=True), tag="bulk")
EMT_COPPER = AsePotential(EMT, ["Cu"])


def plan(start, temperature=300.0, n_frames=40, interval=5, equilibration=0, seed=1):
    return TrajectoryPlan(start, temperature, seed, n_frames, interval, equilibration, "md300")


def hydrogens(n):
    lattice = 10.0 * np.arange(n)[:, None] * np.array([1.0, 0.0, 0.0])
    return AtomStructure(np.ones(n, dtype=int), lattice)


def test_positions_and_velocities_have_the_canonical_variance():
    rest, stiffness, temperature = hydrogens(50), 2.0, 500.0
    found = Langevin(friction=0.05, confine=None).run(
        [plan(rest, temperature, n_frames=400, interval=10, equilibration=400)],
        Springs(rest.positions, stiffness),
    )[0]
    offsets = np.array([frame.positions - rest.positions for frame in found.frames])
    expected = units.kB * temperature / stiffness
    # 150 coordinates, decorrelating within four frames: standard errors near 1.2 % and 3 %
    assert np.mean(offsets**2) == pytest.approx(expected, rel=0.05)
    assert np.mean(offsets**4) == pytest.approx(3 * expected**2, rel=0.12)


def test_without_friction_the_energy_is_conserved():
    cluster = AtomStructure.from_atoms(
        Atoms("Ar4", 3.8 * np.array([[0, 0, 0], [1, 0, 0], [0.5, 0.87, 0], [0.5, 0.29, 0.82]]))
    )
    lj = AsePotential(lambda: LennardJones(sigma=3.4, epsilon=0.0104, rc=20.0), ["Ar"])
    found = Langevin(friction=1e-12, timestep=2.0).run([plan(cluster, 20.0, 400, 1)], lj)[0]
    positions = np.array([frame.positions for frame in found.frames])
    velocities = (positions[2:] - positions[:-2]) / (4.0 * units.fs)
    kinetic = 0.5 * 39.948 * (velocities**2).sum(axis=(1, 2))
    total = kinetic + np.array([labels.energy for labels in lj.evaluate(found.frames)])[1:-1]
    assert np.ptp(total) < 0.02 * np.ptp(kinetic)
    assert np.ptp(kinetic) > 0.001  # and something moved


def test_the_centre_of_mass_does_not_start_to_drift():
    rest = hydrogens(5)
    found = Langevin(friction=1e-12, confine=None).run(
        [plan(rest, 300.0, 50, 1)], Springs(rest.positions, 0.0)
    )
    assert np.allclose(found[0].frames[-1].positions.mean(axis=0), rest.positions.mean(axis=0), atol=1e-4)
    assert np.abs(found[0].frames[-1].positions - rest.positions).max() > 0.1


def test_same_seed_same_bits_alone_or_in_company():
    generator = MdGenerator(n_structures=12, n_trajectories=3, interval=2, equilibration=4)
    plans = generator.trajectories(Dataset([COPPER]), seed=5)
    together = generator.run_group(plans, EMT_COPPER)
    for one, trajectory in zip(plans, together, strict=True):
        alone = generator.run(one, EMT_COPPER)
        assert all(
            np.array_equal(a.positions, b.positions)
            for a, b in zip(alone.frames, trajectory.frames, strict=True)
        )
    other = generator.run_group(generator.trajectories(Dataset([COPPER]), seed=6), EMT_COPPER)
    assert together[0].frames.ids[0] != other[0].frames.ids[0]


def test_plans_hold_more_frames_than_wanted_and_use_every_start_and_temperature():
    starts = Dataset([COPPER.replace(positions=COPPER.positions + i) for i in range(6)])
    generator = MdGenerator(n_structures=100, n_trajectories=18)
    plans = generator.trajectories(starts, seed=1)
    assert sum(one.n_frames for one in plans) >= 1.2 * 100
    pairs = {(one.start.id, one.temperature) for one in plans}
    assert len(pairs) == 18  # six starts at each of three temperatures
    assert len({one.seed for one in plans}) == 18
    assert {one.tag for one in plans} == {"md300", "md600", "md1000"}
    assert plans[0].steps == 200 + plans[0].n_frames * 20


def test_plans_travel_to_workers_and_into_keys():
    one = MdGenerator().trajectories(Dataset([COPPER]), seed=1)[0]
    copy = pickle.loads(pickle.dumps(one))
    facts = {name: value for name, value in vars(one).items() if name != "start"}
    assert copy.start.id == one.start.id
    assert json.loads(json.dumps(facts)) == facts


def test_frames_are_unlabelled_and_keep_charge_and_spin():
    start = COPPER.replace(
        charge=1, multiplicity=2, labels=Labels(1.0, np.zeros((4, 3))), source="dft", tag="grid"
    )
    found = MdGenerator().run(plan(start, n_frames=3), EMT_COPPER)
    assert len(found.frames) == 3
    for frame in found.frames:
        assert (frame.charge, frame.multiplicity, frame.tag) == (1, 2, "md300")
        assert frame.labels is None
        assert frame.source == ""
        assert frame.is_periodic


def test_wall_forces_are_the_gradient_of_the_wall_and_sum_to_zero():
    rng = np.random.default_rng(0)
    positions = 3.0 * rng.standard_normal((7, 3))

    def energy(x):
        distance = np.linalg.norm(x - x.mean(axis=0), axis=1)
        return 0.5 * 2.0 * np.sum(np.maximum(distance - 3.0, 0.0) ** 2)

    forces = wall_forces(positions, 3.0)
    assert np.allclose(forces.sum(axis=0), 0.0)
    assert np.abs(forces).max() > 0.1
    for atom, axis in np.ndindex(7, 3):
        shift = np.zeros((7, 3))
        shift[atom, axis] = 1e-5
        slope = (energy(positions + shift) - energy(positions - shift)) / 2e-5
        assert forces[atom, axis] == pytest.approx(-slope, abs=1e-6)
    assert not wall_forces(positions, 100.0).any()


def test_the_wall_keeps_fragments_together_and_stays_out_of_periodic_cells():
    pair = AtomStructure.from_atoms(Atoms("H2", [[0, 0, 0], [0, 0, 3.0]]))
    free_flight = Springs(pair.positions, 0.0)

    def largest_distance(confine):
        found = Langevin(confine=confine, friction=0.001).run([plan(pair, 1000.0, 100, 20)], free_flight)[0]
        return max(np.linalg.norm(frame.positions[1] - frame.positions[0]) for frame in found.frames)

    assert largest_distance(None) > 15.0
    assert 3.0 < largest_distance(1.0) < 2 * (1.5 + 1.0 + 0.7)  # turned back within √(2 kT/k) of the wall
    in_cell = pair.replace(cell=20.0 * np.eye(3), pbc=np.ones(3, dtype=bool))
    walled, unwalled = (
        Langevin(confine=confine).run([plan(in_cell, 1000.0, 100, 5)], free_flight)[0]
        for confine in (0.0, None)
    )
    assert walled.frames.ids == unwalled.frames.ids


def test_a_strained_start_settles_while_equilibrating():
    rest = hydrogens(6)
    strained = rest.replace(positions=rest.positions + np.array([0.0, 0.0, 0.9]))
    springs = Springs(rest.positions, 3.0)  # 1.2 eV on every atom
    unsettled, settled = (
        Langevin(friction=0.02).run([plan(strained, 300.0, 20, 5, equilibration=steps)], springs)[0]
        for steps in (0, 400)
    )
    assert unsettled.event.kind == "temperature"
    assert settled.event is None
    assert len(settled.frames) == 20


def test_generate_from_a_file(tmp_path):
    path = tmp_path / "starts.extxyz"
    write_structures(path, Dataset([COPPER]))
    generator = MdGenerator(
        starts=path, n_structures=8, n_trajectories=2, interval=2, equilibration=4, temperatures=(300.0,)
    )
    frames = generator.generate(EMT_COPPER, np.random.default_rng(0))
    assert frames.tag_counts() == {"md300": 8}
    assert frames.ids == generator.generate(EMT_COPPER, np.random.default_rng(0)).ids


def test_without_starts():
    with pytest.raises(ConfigError, match="starts"):
        MdGenerator().generate(EMT_COPPER, np.random.default_rng(0))
    with pytest.raises(InsufficientDataError, match="no structure to start from"):
        MdGenerator().trajectories(Dataset(), seed=0)


def test_a_rehearsal_explores_less():
    assert MdGenerator(n_structures=900).rehearsed().n_structures == 300
    assert MdGenerator(n_structures=120).rehearsed().n_structures == 100
    assert MdGenerator(n_structures=30).rehearsed().n_structures == 30


def test_the_structures_to_start_from_are_its_inputs(tmp_path):
    write_structures(tmp_path / "starts.extxyz", [COPPER])
    assert MdGenerator(starts=tmp_path / "starts.extxyz").inputs().ids == [COPPER.id]
    with pytest.raises(ConfigError, match="set its `starts` to a file"):
        MdGenerator().inputs()


@pytest.mark.parametrize("n_starts", [1, 2, 3, 5])
@pytest.mark.parametrize("temperatures", [(300.0, 600.0), (300.0, 600.0, 1000.0), (1.0, 2.0, 3.0, 4.0)])
def test_every_start_meets_every_temperature(n_starts, temperatures):
    starts = Dataset([COPPER.replace(positions=COPPER.positions + 0.1 * i) for i in range(n_starts)])
    wanted = n_starts * len(temperatures)
    generator = MdGenerator(n_trajectories=wanted, temperatures=temperatures)
    pairs = {(one.start.id, one.temperature) for one in generator.trajectories(starts, seed=1)}
    assert len(pairs) == wanted


@pytest.fixture
def copper_file(tmp_path):
    write_structures(tmp_path / "copper.extxyz", Dataset([COPPER]))
    return tmp_path / "copper.extxyz"


def small(starts, **settings):
    few = {"n_structures": 21, "n_trajectories": 4, "interval": 2, "equilibration": 4}
    return MdGenerator(starts=starts, **{**few, **settings})


def test_exactly_as_many_frames_as_wanted_from_a_crystal(copper_file):
    found = small(copper_file).generate(EMT_COPPER, np.random.default_rng(1))
    assert len(found) == len(set(found.ids)) == 21
    assert set(found.tag_counts()) == {"md300", "md600", "md1000"}
    for frame in found:
        assert np.array_equal(frame.cell, COPPER.cell)  # constant volume
        assert frame.is_periodic


def test_frames_that_guards_cut_are_made_up_for(copper_file):
    fragile = Langevin(guards=Langevin().guards.model_copy(update={"max_force": 0.6, "drop_frames": 0}))
    generator = small(copper_file, n_structures=8, temperatures=(900.0,), interval=8, dynamics=fragile)
    once = generator.run_group(generator.trajectories(Dataset([COPPER]), 1), EMT_COPPER)
    assert sum(len(found.frames) for found in once) < 8
    assert len(generator.generate(EMT_COPPER, np.random.default_rng(1))) == 8


def test_trajectories_that_end_at_once_are_told(copper_file):
    hopeless = Langevin(guards=Langevin().guards.model_copy(update={"min_distance": 1.2}))
    with pytest.raises(InsufficientDataError, match="guards cut all trajectories"):
        small(copper_file, dynamics=hopeless).generate(EMT_COPPER, np.random.default_rng(1))


@pytest.mark.parametrize(
    ("n_frames", "events", "said"), [(21, [], ""), (5, ["force", None, "force"], "force 2")]
)
def test_too_few_frames_are_explained(n_frames, events, said):
    reason = MdGenerator(n_structures=21).why_fewer(n_frames, events)
    assert said in reason
    assert bool(reason) == bool(said)
    if said:
        assert "only 5 of 21 frames: guards ended 2 of 3 trajectories" in reason


def test_fewer_frames_come_with_a_warning_that_says_why(copper_file, caplog):
    fragile = Langevin(guards=Langevin().guards.model_copy(update={"max_force": 0.5, "drop_frames": 0}))
    generator = small(copper_file, n_structures=60, temperatures=(900.0,), interval=4, dynamics=fragile)
    found = generator.generate(EMT_COPPER, np.random.default_rng(1))
    assert 0 < len(found) < 60
    assert f"only {len(found)} of 60 frames" in caplog.text
    assert "force" in caplog.text


def test_ramps_and_pressures_in_plans():
    molecule = AtomStructure.from_atoms(Atoms("Cu2", [[0, 0, 0], [0, 0, 2.2]]))
    generator = MdGenerator(
        temperatures=(300.0, (300.0, 900.0)), pressures=(0.0, (0.0, 10.0)), n_trajectories=8, n_structures=80
    )
    plans = generator.trajectories(Dataset([COPPER, molecule]), seed=1)
    crystal = {one.tag: one for one in plans if one.start.id == COPPER.id}
    assert set(crystal) == {"md300/0GPa", "md300-900/0GPa", "md300/0-10GPa", "md300-900/0-10GPa"}
    ramp = crystal["md300-900/0-10GPa"]
    assert ramp.temperature_at(0) == ramp.temperature_at(200) == 300.0
    assert ramp.temperature_at(ramp.steps) == ramp.highest_temperature == 900.0
    assert ramp.temperature_at(200 + (ramp.steps - 200) // 2) == pytest.approx(600.0)
    assert ramp.pressure_at(ramp.steps) == 10.0
    assert crystal["md300/0GPa"].pressure_at(1000) == 0.0
    assert {one.pressure for one in plans if one.start.id == molecule.id} == {None}
    assert {one.tag for one in plans if one.start.id == molecule.id} <= {"md300", "md300-900"}


def test_pressures_that_no_start_can_have_are_told(caplog):
    molecule = AtomStructure.from_atoms(Atoms("Cu2", [[0, 0, 0], [0, 0, 2.2]]))
    MdGenerator(pressures=(1.0,)).trajectories(Dataset([COPPER, molecule]), seed=1)
    assert not caplog.text
    MdGenerator(pressures=(1.0,)).trajectories(Dataset([molecule]), seed=1)
    assert "no structure to start from fills space" in caplog.text


def test_a_surplus_is_thinned_by_direct_only_with_a_models_features(copper_file):
    with pytest.raises(ConfigError, match="features of a MACE model"):
        small(copper_file, pick="direct").generate(EMT_COPPER, np.random.default_rng(1))


def test_direct_keeps_the_most_different_frames():
    mace = MacePotential(Path(__file__).parents[1] / "data" / "cual_foundation.model")
    crystals = [
        COPPER.replace(positions=COPPER.positions * scale, cell=COPPER.cell * scale)
        for scale in np.concatenate([1.0 + 1e-4 * np.arange(40), [0.9, 0.95, 1.05, 1.1]])
    ]
    found = {
        pick: MdGenerator(n_structures=8, pick=pick).picked(Dataset(crystals), mace, np.random.default_rng(0))
        for pick in ("stride", "direct")
    }
    strained = set(Dataset(crystals[40:]).ids)
    assert strained <= set(found["direct"].ids)
    assert not strained <= set(found["stride"].ids)
    assert len(set(found["direct"].ids)) == len(set(found["stride"].ids)) == 8
