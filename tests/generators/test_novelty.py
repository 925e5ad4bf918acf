"""The uncertainty guard: calibrated on what is known, trips on what is not."""

from pathlib import Path

import numpy as np
import pytest

from pyacemaker.errors import InsufficientDataError
from pyacemaker.generators.guards import MdGuards
from pyacemaker.generators.langevin import Langevin, TrajectoryPlan
from pyacemaker.generators.novelty import NoveltyGuard
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.structures import Dataset
from pyacemaker.structures.formats import read_structures

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def mace():
    return MacePotential(DATA / "sn2_foundation.model")


@pytest.fixture(scope="module")
def known():
    """Small distortions of one structure."""
    start = read_structures(DATA / "sn2_small.xyz")[6].replace(labels=None)
    rng = np.random.default_rng(0)
    return Dataset(
        start.replace(positions=start.positions + rng.normal(scale=0.05, size=start.positions.shape))
        for _ in range(200)
    )


def test_the_limit_lets_what_is_known_pass_and_stops_what_is_far(mace, known):
    guard = NoveltyGuard(mace, known[:150], 1.0)
    assert np.mean(guard.rate(known[:150]) <= guard.limit) == pytest.approx(0.99, abs=0.01)
    assert np.mean(guard.rate(known[150:]) <= guard.limit) > 0.8  # fresh ones, like the known
    far = [s.replace(positions=s.positions * 1.25) for s in known[:10]]
    events = guard(far)
    assert {event.kind for event in events} == {"uncertainty"}
    assert f"above the limit of {guard.limit:.1f}" in events[0].message
    assert NoveltyGuard(mace, known[:150], 2.5).limit == pytest.approx(2.5 * guard.limit)


def test_it_ends_a_trajectory_that_nothing_else_ends(mace, known):
    plan = TrajectoryPlan(known[0], 1500.0, 1, 30, 4, 0, "md")
    dynamics = Langevin(guards=MdGuards(drop_frames=0))
    free = dynamics.run([plan], mace)[0]
    assert free.event is None
    guard = NoveltyGuard(mace, known, 1.0)
    cut = dynamics.run([plan], mace, guard)[0]
    assert cut.event.kind == "uncertainty"
    assert 0 < len(cut.frames) < len(free.frames)
    assert cut.frames.ids == free.frames.ids[: len(cut.frames)]
    assert (guard.rate(cut.frames) <= guard.limit).all()
    assert guard.rate(free.frames[len(cut.frames) : len(cut.frames) + 1])[0] > guard.limit
    assert cut.last_safe.id == cut.frames[-1].id


def test_nothing_known_is_an_error(mace):
    with pytest.raises(InsufficientDataError, match="no known structures"):
        NoveltyGuard(mace, [], 3.0)
