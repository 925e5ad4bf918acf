"""`pyacemaker run`, `status` and `validate`."""

import json
import shutil

import pytest

from pyacemaker.cli.display import Display, shown
from pyacemaker.errors import UserError, VerdictError
from pyacemaker.structures.store import Ledger
from pyacemaker.workflow.state import WorkflowState, locked


def calls(directory) -> int:
    return len(Ledger(directory / "ledger.csv"))


def test_dry_run_says_what_would_be_done_and_does_nothing(cli, tiny, tmp_path):
    answer = cli("run", tiny(), "--run-dir", tmp_path / "run", "--dry-run")
    assert answer.code == 0
    assert not (tmp_path / "run").exists()
    lines = answer.out.splitlines()
    assert [line.split()[:2] for line in lines[1:8]] == [
        [name, "run"]
        for name in (
            "01_sample",
            "02_label",
            "03_finetune",
            "04_explore",
            "05_pseudo_label",
            "06_base",
            "07_delta",
        )
    ]
    assert "at most 12 to train on, 20 to test on" in answer.out
    assert "0 labels by these dft settings are in the store already" in answer.out


def test_dry_run_of_a_finished_run(cli, finished):
    answer = cli("run", finished.config, "--run-dir", finished.directory, "--dry-run", "--from", "6")
    assert [line.split()[1] for line in answer.out.splitlines()[1:8]] == ["done"] * 5 + ["run"] * 2
    assert "Reference labels: none needed (02_label: up to date)" in answer.out


def test_dry_run_counts_the_labels_of_the_present_method_only(cli, finished, run_copy, tiny):
    known = sum(row.outcome == "ok" for row in Ledger(finished.directory / "ledger.csv").rows)
    assert known > 30
    command = ["--run-dir", run_copy, "--dry-run", "--from", "2"]
    answer = cli("run", finished.config, *command)
    assert f"{known} labels by these dft settings are in the store already" in answer.out
    answer = cli("run", tiny(("method: GFN1-xTB", "method: GFN2-xTB")), *command)
    assert "; 0 labels by these dft settings are in the store already" in answer.out


def test_a_rehearsal_that_fails_its_verdict_still_predicts_the_calls(cli, finished, run_copy, monkeypatch):
    from pyacemaker.workflow import orchestrator

    def judged(metrics):
        raise VerdictError("the base is better")

    monkeypatch.setattr(orchestrator, "_judged", judged)
    answer = cli("run", finished.config, "--run-dir", run_copy, "--rehearse")
    assert answer.code == 1
    assert f"The full run will make about {calls(run_copy)} DFT calls" in answer.out
    assert "the base is better" in answer.complaint()


def test_dry_run_of_a_rehearsal_has_its_own_directory(cli, tiny):
    answer = cli("run", tiny(), "--rehearse", "--dry-run")
    assert "Run directory: runs/tiny-rehearsal" in answer.out


def test_the_default_directory_is_named_after_the_run(cli, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answer = cli("run", tiny(("n_pool: 60", "n_pool: 32")), "--until", "sample", "--quiet")
    assert answer.code == 0
    assert answer.err == ""
    assert (tmp_path / "runs" / "tiny" / "01_sample" / "pool.extxyz").is_file()


def test_a_rehearsal_says_what_it_is(cli, finished, run_copy):
    answer = cli("run", finished.config, "--run-dir", run_copy, "--rehearse", "--dry-run")
    steps = [line.split()[1] for line in answer.out.splitlines()[1:8]]
    assert steps == ["done"] * 7  # the tiny run has GFN1-xTB already, and few epochs and frames


def test_until_and_from_go_together(cli, finished, run_copy):
    answer = cli("run", finished.config, "--run-dir", run_copy, "--from", "base", "--until", "6")
    assert answer.code == 0
    assert "06_base: done" in answer.err
    assert "stopped after 06_base as asked" in answer.err
    assert "07_delta" not in answer.err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--from", "9"], "--from 9: no such step; expected one of 01_sample"),
        (["--until", "fine-tune"], "--until fine-tune: no such step"),
        (["--from", "5", "--until", "2"], "comes after --until"),
    ],
)
def test_unknown_steps_are_refused_before_anything(cli, tiny, tmp_path, options, expected):
    answer = cli("run", tiny(), "--run-dir", tmp_path / "run", *options)
    assert answer.code == 2
    assert expected in answer.complaint()
    assert not (tmp_path / "run").exists()


def test_from_a_step_that_cannot_start_yet(cli, tiny, tmp_path):
    for dry in ([], ["--dry-run"]):
        answer = cli("run", tiny(), "--run-dir", tmp_path / "run", "--from", "base", *dry)
        assert answer.code == 2
        assert "--from 06_base needs 01_sample, which has to run first" in answer.complaint()


def test_two_runs_in_one_directory(cli, finished, run_copy):
    with locked(run_copy):
        answer = cli("run", finished.config, "--run-dir", run_copy)
        assert answer.code == 2
        assert "another process is running in" in answer.complaint()
        assert "running" in cli("status", run_copy).out.splitlines()[0]


def test_a_run_directory_that_is_a_file(cli, tiny, tmp_path):
    (tmp_path / "file").touch()
    for place in ("file", "file/run"):
        answer = cli("run", tiny(), "--run-dir", tmp_path / place)
        assert answer.code == 2
        assert "is a file, not a directory" in answer.complaint()


def test_a_bug_leaves_one_line_a_traceback_in_the_log_and_a_failed_step(cli, finished, run_copy):
    """A directory where a file should be, which no step foresees."""
    shutil.rmtree(run_copy / "02_label")
    (run_copy / "02_label" / "test.extxyz" / "in the way").mkdir(parents=True)
    answer = cli("run", finished.config, "--run-dir", run_copy)
    assert answer.code == 1
    assert answer.complaint().splitlines()[-1].startswith("Error: ")
    assert "Traceback" in (run_copy / "run.log").read_text()
    assert WorkflowState.read(run_copy).steps["02_label"].status == "failed"
    assert "02_label         failed" in cli("status", run_copy).out


def test_an_unforeseen_error_says_where_its_traceback_is(cli, finished, run_copy):
    (run_copy / "output" / "metrics.json").unlink()
    (run_copy / "output" / "metrics.json").mkdir()
    answer = cli("run", finished.config, "--run-dir", run_copy)
    assert answer.code == 1
    last = answer.complaint().splitlines()[-1]
    assert last.startswith("Error: IsADirectoryError: ")
    assert last.endswith(f"the traceback is in {run_copy / 'run.log'}")
    assert "Traceback" in (run_copy / "run.log").read_text()


def test_user_errors_leave_no_traceback_in_the_log(cli, tiny, tmp_path):
    """Those that only the run itself can find."""
    config = tiny(("label:", "label:\n  filters:\n    min_distance: 1.2"))
    answer = cli("run", config, "--run-dir", tmp_path / "run")
    assert answer.code == 2
    log = (tmp_path / "run" / "run.log").read_text()
    assert "ERROR" in log
    assert "Traceback" not in log


def test_status_of_a_finished_run(cli, finished):
    answer = cli("status", finished.directory)
    assert answer.code == 0
    assert answer.out.startswith("tiny, seed 7: not running\n")
    assert answer.out.count("done") == 8
    assert f"calls {calls(finished.directory)}, " in answer.out


def test_status_as_json(cli, finished):
    found = json.loads(cli("status", finished.directory, "--json").out)
    assert found["running"] is False
    assert {step["status"] for step in found["steps"].values()} == {"done"}
    assert found["dft"]["calls"] == calls(finished.directory)
    assert all(step["seconds"] > 0 for step in found["steps"].values())


def test_status_of_a_run_that_was_killed(cli, run_copy):
    state = WorkflowState.read(run_copy)
    state.begin("07_delta", "")
    state.write(run_copy)
    answer = cli("status", run_copy)
    assert "07_delta         failed" in answer.out
    assert "the same run command resumes it" in answer.out


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_status_of_something_else(cli, tmp_path, content):
    if content is not None:
        (tmp_path / "state.json").write_text(content)
    answer = cli("status", tmp_path)
    assert answer.code == 2
    assert "state.json" in answer.complaint()
    assert ("the next run rewrites it" in answer.err) == (content is not None)
    assert cli("status", tmp_path / "nowhere").code == 2


def test_validate_says_what_it_found(cli, tiny, tmp_path):
    answer = cli("validate", tiny())
    assert answer.code == 0
    assert "12 + 20 labels by tblite" in answer.out
    assert "runs/tiny" in answer.out
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.yaml",
        "foundation.model",
        "product.xyz",
        "reactant.xyz",
    ]


def test_bars_on_a_terminal_and_lines_elsewhere(capsys):
    from rich.console import Console

    with Display(Console(force_terminal=True, width=100)) as display:
        display("labels", 1, 4)
        display("labels", 4, 4)
    assert "4/4" in capsys.readouterr().out
    with Display(Console(width=100)) as display:
        for done in range(5):
            display("labels", done, 4)
    assert capsys.readouterr().out.splitlines() == ["labels: 0/4", "labels: 4/4"]


def test_the_log_file_gets_what_the_terminal_gets(tmp_path, capsys):
    import logging

    log = logging.getLogger("pyacemaker.test")
    with shown(tmp_path):
        log.info("a message that is longer than any terminal is wide, " * 5)
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1
    assert error.rstrip().endswith((tmp_path / "run.log").read_text().split("pyacemaker.test: ")[1].rstrip())
    with pytest.raises(UserError), shown(tmp_path, quiet=True):  # noqa: PT012 - both go to the file
        log.warning("quiet")
        raise UserError("one sentence")
    assert capsys.readouterr().err == ""
    assert (tmp_path / "run.log").read_text().splitlines()[-1].endswith("ERROR   pyacemaker: one sentence")
    assert not logging.getLogger("pyacemaker").handlers
