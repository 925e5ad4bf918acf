"""What runs, what is skipped, what is redone: with small real steps, in milliseconds."""

import json
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
import small_steps
from small_steps import STEPS, counting, small_config

from pyacemaker.errors import ConfigError, InsufficientDataError, UserError
from pyacemaker.workflow.orchestrator import Orchestrator
from pyacemaker.workflow.state import WorkflowState, is_running
from pyacemaker.workflow.step import Manifest


@pytest.fixture(autouse=True)
def _no_delivery(monkeypatch):
    """The small steps end in a sum, not in a potential: deliver that."""
    monkeypatch.setattr(
        "pyacemaker.workflow.orchestrator.publish",
        lambda config, run_dir: {
            "sum": json.loads((run_dir / "03_sum" / "sum.json").read_text()),
            "verdict": {"passed": True, "reason": ""},
        },
    )


class Bench:
    """One run directory; `run` returns the names of the steps that ran."""

    def __init__(self, folder):
        self.folder = folder
        self.directory = folder / "run"
        self.metrics = None

    def orchestrator(self, ran=None, steps=STEPS, **changes):
        counted = [counting(step, [] if ran is None else ran) for step in steps]
        return Orchestrator(small_config(self.folder, **changes), self.directory, steps=counted)

    def run(self, *bounds, steps=STEPS, **changes):
        ran = []
        self.metrics = self.orchestrator(ran, steps, **changes).run(*bounds)
        return [name[:2] for name in ran]

    def plan(self, *bounds, **changes):
        return [step.action for step in self.orchestrator(**changes).plan(*bounds)]

    def state(self):
        return WorkflowState.read(self.directory)


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def test_a_first_run_does_everything_and_a_second_nothing(bench):
    assert bench.run() == ["01", "02", "03"]
    first = bench.metrics
    assert bench.run() == []
    assert bench.metrics == first
    assert {step.status for step in bench.state().steps.values()} == {"done"}


def test_a_skipped_step_keeps_its_time(bench):
    bench.run()
    before = bench.state().steps["01_draw"]
    bench.run()
    assert bench.state().steps["01_draw"] == before


@pytest.mark.parametrize(
    ("changes", "redone"),
    [
        ({"sample_n": 7}, ["01", "02", "03"]),
        ({"seed": 2}, ["01", "02", "03"]),
        ({"base": {"functions": 50}}, ["02"]),  # its output is the same, so nothing follows
        ({"delta": {"dft_emphasis": 3.0}}, ["03"]),
        ({"name": "other"}, []),
        ({"execution": {"kind": "local", "workers": 3}}, []),
        ({"label": {"n_train": 9}}, []),  # no small step looks at it
    ],
)
def test_changed_settings_redo_what_depends_on_them(bench, changes, redone):
    bench.run()
    if "sample_n" in changes:
        sample = small_config(bench.folder).sample
        changes = {"sample": sample.model_copy(update={"n_pool": changes["sample_n"]})}
    assert bench.run(**changes) == redone


def test_going_back_to_the_old_settings_redoes_the_step(bench):
    bench.run()
    bench.run(delta={"dft_emphasis": 3.0})
    assert bench.run() == ["03"]


@pytest.mark.parametrize("change", ["changed", "removed"])
def test_an_output_that_is_not_what_the_step_wrote_is_made_again(bench, change):
    bench.run()
    path = bench.directory / "02_double" / "parity.json"
    original = path.read_bytes()
    path.write_text("[]") if change == "changed" else path.unlink()
    assert bench.plan() == ["done", "run", "run"]
    assert bench.run() == ["02"]
    assert path.read_bytes() == original


@pytest.mark.parametrize("content", ["", "{", "[]", '{"key": 1}', '{"key": "0", "outputs": 3}', "\0"])
def test_a_damaged_manifest_means_not_done(bench, content):
    bench.run()
    (bench.directory / "01_draw" / "manifest.json").write_text(content)
    assert bench.run() == ["01"]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '"text"', '{"steps": []}', '{"steps": {"01_draw": {"x": 1}}}']
)
def test_a_damaged_state_costs_nothing(bench, content):
    bench.run()
    (bench.directory / "state.json").write_text(content)
    assert bench.run() == []
    assert [step.status for step in bench.state().steps.values()] == ["done"] * 3


def test_another_version_of_a_package_that_matters_redoes_the_step(bench, monkeypatch):
    steps = (STEPS[0], replace(STEPS[1], versions=("numpy",)), STEPS[2])
    bench.run(steps=steps)
    assert bench.run(steps=steps) == []
    monkeypatch.setattr("pyacemaker.workflow.orchestrator._version", lambda name: "99.0")
    assert bench.run(steps=steps) == ["02"]
    assert bench.state().versions == {"numpy": "99.0", "pyacemaker": "99.0"}


def test_from_runs_a_step_and_all_that_follow_anew(bench):
    bench.run()
    assert bench.run("02_double") == ["02", "03"]
    assert bench.plan("02_double") == ["done", "run", "run"]


@pytest.mark.parametrize("name", ["02_double", "double", "02", "2"])
def test_a_step_has_a_name_a_verb_and_a_number(bench, name):
    bench.run()
    assert bench.run(name, name) == ["02"]
    assert bench.metrics is None


def test_until_stops_and_a_later_run_goes_on(bench):
    assert bench.plan(None, "double") == ["run", "run", "later"]
    assert bench.run(None, "double") == ["01", "02"]
    assert bench.metrics is None
    assert bench.state().steps["03_sum"].status == "pending"
    assert bench.run() == ["03"]


def test_from_needs_what_comes_before(bench):
    for ask in (bench.plan, bench.run):
        with pytest.raises(UserError, match="--from 03_sum needs 01_draw, which has to run first"):
            ask("03_sum")


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        (("4", None), "--from 4: no such step; expected one of 01_draw, 02_double, 03_sum"),
        ((None, "sample"), "--until sample: no such step"),
        (("3", "1"), "--from 3 comes after --until 1"),
    ],
)
def test_steps_that_are_not_there(bench, bounds, message):
    for ask in (bench.plan, bench.run):
        with pytest.raises(ConfigError, match=message):
            ask(*bounds)
    assert not bench.directory.exists()


def test_a_plan_touches_nothing_and_says_why(bench):
    assert bench.plan() == ["run"] * 3
    assert not bench.directory.exists()
    bench.run()
    before = {path: path.stat().st_mtime_ns for path in bench.directory.rglob("*")}
    planned = bench.orchestrator(base={"functions": 50}).plan()
    assert [step.reason for step in planned] == [
        "up to date",
        "its settings, inputs or package versions have changed",
        "its input 02_double will be made anew",
    ]
    assert {path: path.stat().st_mtime_ns for path in bench.directory.rglob("*")} == before


def test_a_step_that_fails_leaves_a_run_that_goes_on(bench):
    def fail(context):
        raise InsufficientDataError("three numbers are too few: draw more")

    broken = (STEPS[0], counting(STEPS[1], [], run=fail), STEPS[2])
    with pytest.raises(InsufficientDataError):
        bench.run(steps=broken)
    state = bench.state().steps
    assert [state[name].status for name in state] == ["done", "failed", "pending"]
    assert state["02_double"].message == "three numbers are too few: draw more"
    assert bench.run() == ["02", "03"]
    assert bench.state().steps["02_double"].message == ""


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyboardInterrupt(), "interrupted"),
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero"),
    ],
)
def test_interrupts_and_bugs_count_as_failures(bench, error, message):
    def fail(context):
        raise error

    with pytest.raises(type(error)):
        bench.run(steps=(counting(STEPS[0], [], run=fail), *STEPS[1:]))
    assert bench.state().steps["01_draw"].status == "failed"
    assert bench.state().steps["01_draw"].message == message
    assert not is_running(bench.directory)


def test_a_redone_step_that_fails_is_not_done(bench):
    bench.run()

    def fail(context):
        raise InsufficientDataError("no")

    with pytest.raises(InsufficientDataError):
        bench.run("2", steps=(STEPS[0], counting(STEPS[1], [], run=fail), STEPS[2]))
    assert Manifest.read(bench.directory / "02_double") is None
    assert bench.run() == ["02"]


def test_a_step_that_leaves_out_a_file_is_not_done(bench):
    forgetful = counting(STEPS[1], [], run=lambda context: None)
    with pytest.raises(FileNotFoundError):
        bench.run(steps=(STEPS[0], forgetful, STEPS[2]))
    assert bench.state().steps["02_double"].status == "failed"


def test_the_seed_of_a_step_is_its_own_and_repeats(bench, tmp_path):
    bench.run()
    again = Bench(tmp_path / "again")
    again.folder.mkdir()
    again.run()
    path = "01_draw/numbers.json"
    assert (bench.directory / path).read_bytes() == (again.directory / path).read_bytes()


def test_a_second_process_is_refused(bench):
    """While a step of this process runs, another process finds the lock held."""
    code = (
        "import sys; from pathlib import Path\n"
        "from pyacemaker.workflow.state import is_running, locked\n"
        "from pyacemaker.errors import UserError\n"
        "assert is_running(Path(sys.argv[1]))\n"
        "try:\n"
        "    with locked(Path(sys.argv[1])): print('mine')\n"
        "except UserError as error: print(error)\n"
    )
    answers = []

    def ask(context):
        command = [sys.executable, "-c", code, str(bench.directory)]
        answers.append(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        small_steps.draw(context)

    bench.run(steps=(counting(STEPS[0], [], run=ask), *STEPS[1:]))
    assert "another process is running in" in answers[0]
    assert "choose another --run-dir" in answers[0]


def test_asking_whether_it_runs_never_stops_a_run(bench):
    bench.run()
    stop = threading.Event()

    def ask():
        while not stop.is_set():
            is_running(bench.directory)

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        for _ in range(20):
            assert bench.run() == []
    finally:
        stop.set()
        asker.join()


def test_a_budget_that_is_too_small_stops_before_anything(bench):
    with pytest.raises(InsufficientDataError, match=r"label\.n_train = 5 is fewer than min_train = 8"):
        bench.run(label={"n_train": 5})
    assert not bench.directory.exists()
