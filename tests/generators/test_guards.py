import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase_potential import AsePotential
from pydantic import ValidationError
from scipy.stats import norm

from pyacemaker.generators.bonds import fragment_formulas
from pyacemaker.generators.guards import GuardEvent, MdGuards, robust_deviation, temperature_limit
from pyacemaker.generators.langevin import Langevin, TrajectoryPlan
from pyacemaker.structures import AtomStructure, Labels


def argon(distance):
    return AtomStructure.from_atoms(Atoms("Ar2", [[0, 0, 0], [0, 0, distance]]))


def at_rest(energy=0.0, force=0.0):
    return Labels(energy, np.array([[force, 0.0, 0.0], [-force, 0.0, 0.0]]))


def event(structure=None, labels=None, target=300.0, guards=None, **keywords):
    """What the guards see, as `kind: message`; None for nothing."""
    guards = guards or MdGuards()
    found = guards.event(structure or argon(3.8), labels or at_rest(), target=target, **keywords)
    return None if found is None else f"{found.kind}: {found}"


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
    assert event(argon(0.54 * 2.12)) == "distance: two atoms at 0.54 of the sum of their covalent radii"
    assert event(labels=at_rest(force=29.0)) is None
    assert event(labels=at_rest(force=31.0)) == "force: a force of 31.0 eV/Å"


def test_hot_means_three_times_the_target_and_more_for_few_atoms():
    assert temperature_limit(300.0, 3.0, 10**9) == pytest.approx(900.0, rel=1e-3)
    assert temperature_limit(300.0, 3.0, 6) == pytest.approx(300.0 * (3.0 + 5.0 / 3.0))
    assert event(temperature=1800.0).startswith("temperature: a kinetic temperature of 1800 K")
    assert event(temperature=1500.0) is None


def test_the_allowance_lets_equilibrium_fluctuations_of_six_atoms_pass():
    kinetic = 300.0 * np.random.default_rng(1).chisquare(18, 1_000_000) / 18
    assert kinetic.max() > 3.0 * 300.0
    assert kinetic.max() < temperature_limit(300.0, 3.0, 6)


def test_energy_leaves_the_trailing_window():
    window = 7.0 + np.random.default_rng(2).permutation(norm.ppf(np.linspace(0.001, 0.999, 100)))
    assert event(labels=at_rest(7.0 + 7.0), energies=window) is None
    assert "energy: an energy +9.1" in event(labels=at_rest(7.0 + 9.1), energies=window)
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
    assert event(cell, labels, volume=volume * 1.3) is None
    assert event(cell, labels, volume=volume / 2) == "volume: a volume of 2.00 times the first"
    assert event(cell, labels, volume=volume * 2) == "volume: a volume of 0.50 times the first"
    lax = MdGuards(max_volume_change=1.5)
    assert event(cell, labels, volume=volume / 2, guards=lax) is None


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
    assert found.event.kind == "distance"
    assert "two atoms at 0.47" in str(found.event)
    assert found.last_safe is None


def test_the_ten_frames_before_the_event_are_dropped_and_the_last_safe_one_is_offered():
    lj = AsePotential(lambda: LennardJones(sigma=2.6, epsilon=0.0104, rc=12.0), ["Ar"])
    start = AtomStructure.from_atoms(Atoms("Ar2", [[0, 0, 0], [0, 0, 3.1]], info={"charge": 0}), tag="grid")
    guards = MdGuards(min_distance=2.75 / 2.12)  # trips when the pair swings inwards
    kept = Langevin(timestep=5.0, guards=guards).run([plan(start, 40.0, 300, 5)], lj)[0]
    all_of_them = Langevin(timestep=5.0, guards=guards.model_copy(update={"drop_frames": 0})).run(
        [plan(start, 40.0, 300, 5)], lj
    )[0]
    assert kept.event.kind == "distance"
    assert kept.event == all_of_them.event
    assert len(all_of_them.frames) > 10
    assert kept.frames.ids == all_of_them.frames.ids[:-10]
    assert kept.last_safe.id == all_of_them.frames.ids[-1]
    assert np.linalg.norm(kept.last_safe.positions[1] - kept.last_safe.positions[0]) >= 2.75


def water_gas(n_apart):
    """Two water molecules and, from the second on, hydrogen molecules, far from each other."""
    water = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
    hydrogen = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.74]])
    parts = [water, water + 6.0] + [hydrogen + 12.0 + 6.0 * k for k in range(n_apart)]
    numbers = [8, 1, 1, 8, 1, 1] + [1, 1] * n_apart
    return AtomStructure(np.array(numbers), np.concatenate(parts))


def test_forbidden_fragments_are_found_by_their_formula():
    guards = MdGuards(forbidden_fragments=("H2", "OH"))
    assert guards.forbidden_fragments == ("H2", "HO")
    assert guards.frame_event(water_gas(0)) is None
    found = guards.frame_event(water_gas(1))
    assert found == GuardEvent("fragment", "a fragment H2, which is forbidden")
    assert MdGuards().frame_event(water_gas(1)) is None
    with pytest.raises(ValidationError, match="no chemical formula"):
        MdGuards(forbidden_fragments=("H2", "Foo"))


def test_fragments_hold_together_across_the_cell():
    cell = water_gas(1)
    box = cell.replace(cell=30.0 * np.eye(3), pbc=np.ones(3, dtype=bool))
    shifted = box.replace(positions=(box.positions - box.positions[6] - [0.0, 0.0, 0.4]) % 30.0)
    assert np.ptp(shifted.positions[6:, 2]) > 20.0  # the hydrogen molecule is cut in two by the wall
    guards = MdGuards(forbidden_fragments=("H2",))
    assert guards.frame_event(shifted).kind == "fragment"
    assert MdGuards(forbidden_fragments=("H",)).frame_event(shifted) is None
    open_box = shifted.replace(pbc=np.zeros(3, dtype=bool))
    assert MdGuards(forbidden_fragments=("H",)).frame_event(open_box).kind == "fragment"


def run_argon(guards, watch=None, n_frames=40, temperature=40.0, distance=3.1):
    lj = AsePotential(lambda: LennardJones(sigma=2.6, epsilon=0.0104, rc=12.0), ["Ar"])
    start = argon(distance)
    dynamics = Langevin(timestep=5.0, guards=guards)
    return dynamics.run([plan(start, temperature, n_frames, 5)], lj, watch)[0]


def test_a_fragment_cuts_a_trajectory_when_it_appears():
    free = run_argon(MdGuards(), n_frames=300)
    apart = [k for k, frame in enumerate(free.frames) if "Ar" in fragment_formulas(frame)]
    assert free.event is None
    assert apart
    cut = run_argon(MdGuards(forbidden_fragments=("Ar",), drop_frames=0), n_frames=300, distance=2.6)
    assert cut.event.kind == "fragment"
    assert all(fragment_formulas(frame) == ["Ar2"] for frame in cut.frames)


def test_a_watch_sees_every_frame_and_cuts_the_trajectory():
    seen = []

    def watch(frames):
        seen.extend(frames)
        return [GuardEvent("uncertainty", "too far")] if len(seen) == 26 else [None]

    cut = run_argon(MdGuards(), watch)
    assert (cut.event.kind, cut.steps, len(seen)) == ("uncertainty", 26 * 5, 26)
    assert cut.frames.ids == [frame.id for frame in seen[:15]]
    assert cut.last_safe.id == seen[24].id


def test_near_atoms_are_counted_and_kept():
    calm = run_argon(MdGuards())
    warned = run_argon(MdGuards(warn_distance=1.48))
    assert calm.frames.ids == warned.frames.ids
    assert calm.near == 0
    near = [np.linalg.norm(f.positions[1] - f.positions[0]) < 1.48 * 2.12 for f in calm.frames]
    assert warned.near == sum(near) > 0


@pytest.mark.parametrize(
    ("kind", "lax"),
    [
        ("distance", {"min_distance": 0.01}),
        ("force", {"max_force": 1e9}),
        ("temperature", {"max_temperature": 1e6}),
        ("energy", {"min_energy_jump": 1e9}),
        ("volume", {"max_volume_change": 100.0}),
    ],
)
def test_each_guard_alone_ends_what_only_it_sees(kind, lax):
    """The same step is an event with the guard as it is, and none without it."""
    cell = AtomStructure.from_atoms(bulk("Cu", cubic=True))
    quiet = {"target": 300.0, "temperature": 300.0, "volume": float(np.linalg.det(cell.cell))}
    labels = Labels(0.0, np.zeros((4, 3)))
    squeezed = cell.replace(positions=cell.positions + np.array([[0, 0, 0]] * 3 + [[-1.0, -0.6, 0.0]]))
    strong = Labels(0.0, 40.0 * np.eye(4, 3))
    case = {
        "distance": (squeezed, labels, quiet),
        "force": (cell, strong, quiet),
        "temperature": (cell, labels, quiet | {"temperature": 3000.0}),
        "energy": (cell, Labels(50.0, labels.forces), quiet | {"energies": np.zeros(100)}),
        "volume": (cell, labels, quiet | {"volume": quiet["volume"] / 1.5}),
    }[kind]
    structure, given, facts = case
    assert MdGuards().event(structure, given, **facts).kind == kind
    assert MdGuards(**lax).event(structure, given, **facts) is None
    assert MdGuards().event(cell, labels, **quiet) is None
