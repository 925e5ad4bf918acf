"""The student drives: rounds on the tiny run, their windows, their ends, and their resumption."""

import json
import shutil

import numpy as np
import pytest

from conftest import write_tiny
from pyacemaker.config import StudentSettings, load_config
from pyacemaker.generators.guards import GuardEvent
from pyacemaker.generators.langevin import Trajectory
from pyacemaker.potentials.ace import ACEPotential
from pyacemaker.potentials.loading import load_potential
from pyacemaker.selection.filters import largest_force
from pyacemaker.structures import Dataset
from pyacemaker.structures.formats import read_structures
from pyacemaker.workflow import student_loop
from pyacemaker.workflow.orchestrator import Orchestrator
from pyacemaker.workflow.student_loop import StudentLoop, StudentRound, in_windows

STUDENT = """\
student:
  rounds: {rounds}
  n_structures: 30
  n_trajectories: 6
  force_error: [0.05, 20.0]
  improvement: {improvement}
delta:
"""


def with_student(folder, rounds=2, improvement=0.0, **changes):
    text = STUDENT.format(rounds=rounds, improvement=improvement)
    for old, new in changes.items():
        text = text.replace("  rounds", f"  {old}: {new}\n  rounds")
    return write_tiny(folder, ("delta:\n", text), ("functions: 80", "functions: 150"))


@pytest.fixture(scope="module")
def driven(finished, tmp_path_factory):
    """The tiny run, of which step 6 has two rounds of the student."""
    folder = tmp_path_factory.mktemp("student")
    directory = folder / "run"
    shutil.copytree(finished.directory, directory)
    orchestrator = Orchestrator(load_config(with_student(folder)), directory)
    planned = [step.action for step in orchestrator.plan()]
    assert planned == ["done"] * 5 + ["run"] * 3
    orchestrator.run(until="base")
    return folder, directory


def test_frames_that_the_student_has_wrong_join_the_pool_with_the_teachers_labels(driven, finished):
    _, directory = driven
    found = read_structures(directory / "06_base" / "student_pool.extxyz")
    surrogate = read_structures(directory / "05_pseudo_label" / "surrogate.extxyz")
    test = read_structures(directory / "02_label" / "test.extxyz")
    assert len(found) > 10
    assert len({*found.ids}) == len(found)
    assert not {*found.ids} & ({*surrogate.ids} | {*test.ids})
    teacher = load_potential(directory / "03_finetune" / "teacher.model")
    for structure, label in zip(found, teacher.evaluate(found), strict=True):
        assert structure.labels.energy == pytest.approx(label.energy, abs=1e-8)
        np.testing.assert_allclose(structure.labels.forces, label.forces, atol=1e-8)
        assert structure.tag.startswith(("student/md", "fallback/md"))


def test_the_first_student_has_those_frames_wrong_and_the_last_one_less(driven):
    _, directory = driven
    facts = json.loads((directory / "06_base" / "student.json").read_text())
    found = read_structures(directory / "06_base" / "student_pool.extxyz")
    before = ACEPotential.from_yace(next((directory / "06_base" / "rounds").glob("*/first.yace")))
    after = ACEPotential.from_yace(directory / "06_base" / "base.yace")
    first = found[: facts["rounds"][0]["learned"]]
    wrong, better = (
        [
            largest_force((mine - its).forces)
            for mine, its in zip(p.evaluate(first), first.labels, strict=True)
        ]
        for p in (before, after)
    )
    assert sum(one["learned"] for one in facts["rounds"]) == len(found)
    assert min(wrong) >= 0.05 or facts["rounds"][0]["largest_grade"] >= 1.5
    assert np.mean(better) < np.mean(wrong)
    assert facts["rounds"][0]["force_rmse"] > 0.0


def test_the_base_is_fitted_to_the_students_pool_too(driven, finished):
    _, directory = driven
    report = json.loads((directory / "06_base" / "training.json").read_text())
    without = json.loads((finished.directory / "06_base" / "training.json").read_text())
    pool = len(read_structures(directory / "06_base" / "student_pool.extxyz"))
    assert report["counts"]["train"]["structures"] == without["counts"]["train"]["structures"] + pool


def test_a_killed_step_goes_on_with_the_same_bytes(driven, tmp_path, monkeypatch):
    folder, directory = driven
    again = tmp_path / "run"
    shutil.copytree(directory, again)
    shutil.rmtree(again / "06_base")
    config = load_config(folder / "config.yaml")
    fits = []

    def interrupted(self, number, *rest):
        if number == 2 and not fits:
            fits.append(number)
            raise KeyboardInterrupt
        return original(self, number, *rest)

    original = StudentLoop._drive
    monkeypatch.setattr(StudentLoop, "_drive", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Orchestrator(config, again).run(until="base")
    assert not (again / "06_base" / "manifest.json").exists()
    drives = []
    monkeypatch.setattr(
        StudentLoop, "_drive", lambda self, *args: (drives.append(args[0]), original(self, *args))[1]
    )
    Orchestrator(config, again).run(until="base")
    assert drives == [2]
    for name in ("base.yace", "student_pool.extxyz", "student.json"):
        assert (again / "06_base" / name).read_bytes() == (directory / "06_base" / name).read_bytes(), name


def test_without_rounds_nothing_of_the_student_counts(finished, run_copy, tiny):
    unused = tiny(("delta:\n", "student:\n  n_structures: 77\ndelta:\n"))
    assert [step.action for step in Orchestrator(load_config(unused), run_copy).plan()] == ["done"] * 8
    assert len(read_structures(run_copy / "06_base" / "student_pool.extxyz", allow_empty=True)) == 0
    assert json.loads((run_copy / "06_base" / "student.json").read_text()) == {"rounds": []}


def test_windows():
    settings = StudentSettings(force_error=(0.2, 5.0), grade=(1.5, 25.0))
    errors = np.array([0.1, 0.3, 6.0, 0.1, 0.1, 0.3])
    grades = np.array([1.0, 1.0, 1.0, 2.0, 30.0, 30.0])
    assert in_windows(errors, grades, settings).tolist() == [False, True, False, True, False, False]
    assert in_windows(errors, None, settings).tolist() == [False, True, False, False, False, True]


@pytest.mark.parametrize(
    ("errors", "falling"), [([100.0], True), ([100.0, 90.0], True), ([100.0, 96.0], False), ([50, 60], False)]
)
def test_rounds_end_when_the_error_no_longer_falls(errors, falling):
    loop = StudentLoop.__new__(StudentLoop)
    loop.settings = StudentSettings(improvement=0.05)
    loop.rounds = [StudentRound(k, 1, 0, {}, 0, 1, 1, error, 0.0, None) for k, error in enumerate(errors, 1)]
    assert loop._still_falling() is falling
    if not falling:
        assert "no longer falls" in loop.ended


def test_the_teacher_drives_on_where_the_student_derails(driven, tmp_path, monkeypatch):
    """A student with a hole in it: its trajectories end, the teacher's frames take their place."""
    _, directory = driven
    changed = tmp_path / "run"
    shutil.copytree(directory, changed)
    path = with_student(tmp_path, rounds=1, max_derailed=0.2, grade="[0.5, 1.0]")
    # the starts are strained and heat up: what is watched here is the grade
    hot = "interval: 5\n  dynamics: {guards: {max_temperature: 30}}"
    path.write_text(path.read_text(encoding="utf-8").replace("interval: 5", hot), encoding="utf-8")
    config = load_config(path)
    shutil.rmtree(changed / "06_base" / "rounds")  # of the other settings
    Orchestrator(config, changed).run(until="base")
    (first,) = json.loads((changed / "06_base" / "student.json").read_text())["rounds"]
    assert first["events"] == {"uncertainty": first["derailed"]}
    assert first["fallback"] == first["derailed"] > 0.2 * first["trajectories"]
    driven_frames = read_structures(next((changed / "06_base" / "rounds").glob("*/01/driven.extxyz")))
    fallback = [frame for frame in driven_frames if frame.tag.startswith("fallback/")]
    assert len(fallback) > 5


def test_an_event_of_the_student_counts_by_its_guard():
    found = student_loop._Driven(Dataset(), {"derailed": 0, "events": {}})
    ended = Trajectory(Dataset(), GuardEvent("force", "31 eV/Å"), 5)
    found.add([], [ended, ended, Trajectory(Dataset(), None, 9)], "student/")
    assert found.facts == {"derailed": 2, "events": {"force": 2}}
