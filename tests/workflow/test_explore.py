"""Step 4 on the tiny run: what it leaves, and whether an independent engine finds it physical."""

import json

import numpy as np
import pytest
from ase.data import covalent_radii
from tblite.ase import TBLite

from pyacemaker.config import load_config
from pyacemaker.structures.formats import read_structures
from pyacemaker.workflow.orchestrator import Orchestrator


def report_of(directory):
    return json.loads((directory / "04_explore" / "trajectories.json").read_text())


def test_the_report_accounts_for_every_trajectory(finished):
    report = report_of(finished.directory)
    frames = read_structures(finished.directory / "04_explore" / "frames.extxyz")
    assert report["frames"] == len(frames) == len({*frames.ids}) == report["asked"] == 40
    assert report["why_fewer"] == ""
    assert sum(report["events"].values()) == sum(bool(one["event"]) for one in report["trajectories"])
    assert {one["tag"] for one in report["trajectories"]} == {"md200", "md300"}
    assert report["uncertainty_guard"].startswith("5 times the distance")
    safe = read_structures(finished.directory / "04_explore" / "last_safe.extxyz", allow_empty=True)
    assert len(safe) == report["last_safe"]


def test_no_frame_is_unphysical_by_an_independent_engine(finished):
    """Distances by hand, forces by GFN2-xTB: nothing here uses the guards."""
    frames = read_structures(finished.directory / "04_explore" / "frames.extxyz")
    for frame in frames:
        radii = covalent_radii[frame.numbers]
        distance = np.linalg.norm(frame.positions[:, None] - frame.positions[None], axis=2)
        fraction = (distance / (radii[:, None] + radii[None]))[np.triu_indices(len(frame), 1)]
        assert fraction.min() > 0.55
        atoms = frame.to_atoms()
        atoms.calc = TBLite(method="GFN2-xTB", charge=frame.charge, verbosity=0)
        assert np.linalg.norm(atoms.get_forces(), axis=1).max() < 30.0


def explored(tiny, run_copy, *lines):
    """The run's step 4 again, smaller and with more settings."""
    more = "  interval: 5\n" + "".join(f"  {line}\n" for line in lines)
    fewer = [("n_structures: 40", "n_structures: 16"), ("n_trajectories: 8", "n_trajectories: 4")]
    config = tiny(("  interval: 5\n", more), ("equilibration: 20", "equilibration: 4"), *fewer)
    Orchestrator(load_config(config), run_copy).run(until="explore")
    return report_of(run_copy)


def test_guard_events_are_counted_with_their_reason_and_the_last_safe_frame_is_offered(tiny, run_copy):
    report = explored(
        tiny, run_copy, "dynamics:", "  friction: 0.05", "  guards: {max_force: 3.0, drop_frames: 2}"
    )
    assert report["events"]["force"] == sum(one["event"] == "force" for one in report["trajectories"]) > 0
    cut = [one for one in report["trajectories"] if one["event"]]
    assert all("eV/Å" in one["message"] for one in cut if one["event"] == "force")
    safe = read_structures(run_copy / "04_explore" / "last_safe.extxyz")
    assert len(safe) == report["last_safe"] > 0
    frames = read_structures(run_copy / "04_explore" / "frames.extxyz")
    if report["frames"] < report["asked"]:
        assert f"only {len(frames)} of 16 frames" in report["why_fewer"]


def test_a_strict_uncertainty_guard_cuts_and_none_is_told(tiny, run_copy):
    strict = explored(tiny, run_copy, "max_uncertainty: 0.4")
    assert strict["events"].get("uncertainty", 0) > 0
    assert any("above the limit" in (one["message"] or "") for one in strict["trajectories"])


def test_without_the_uncertainty_guard(tiny, run_copy):
    report = explored(tiny, run_copy, "max_uncertainty: null", "pick: direct")
    assert report["uncertainty_guard"] == "off"
    assert "uncertainty" not in report["events"]
    assert report["frames"] == 16


@pytest.mark.parametrize("line", ["temperatures: [[200]]", "pressures: [[1, 2, 3]]", "pick: best"])
def test_settings_that_make_no_sense_are_refused(tiny, line):
    from pyacemaker.errors import UserError

    old = "  temperatures: [200, 300]\n" if "temperatures" in line else "  interval: 5\n"
    with pytest.raises(UserError, match="explore"):
        load_config(tiny((old, f"  {line}\n")))
