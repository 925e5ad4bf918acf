"""`pyacemaker compare`, and `status` of runs that are under way or half written."""

import json
import shutil

from pyacemaker.structures.formats import read_structures
from pyacemaker.workflow.progress import RecordedProgress
from pyacemaker.workflow.state import locked


def test_two_runs_side_by_side(cli, finished, run_copy):
    text = (run_copy / "config.yaml").read_text()
    (run_copy / "config.yaml").write_text(text.replace("epochs: 4\n", "epochs: 9\n", 1))
    metrics = json.loads((run_copy / "output" / "metrics.json").read_text())
    metrics["test"]["final"]["forces_rmse_mev_per_angstrom"] = 12.5
    metrics["verdict"] = {**metrics["verdict"], "passed": False, "reason": "the base is better"}
    (run_copy / "output" / "metrics.json").write_text(json.dumps(metrics))
    found = json.loads(cli("compare", finished.directory, run_copy, "--json").out)
    assert found["settings"] == {"finetune.epochs": [4, 9]}
    assert found["versions"] == {}
    assert found["same_test_set"] is True
    assert found["dft"]["calls"][0] == found["dft"]["calls"][1] > 30
    assert set(found["errors"]) == {"foundation", "teacher", "base", "final"}
    assert found["errors"]["final"]["forces_rmse_mev_per_angstrom"][1] == 12.5
    assert found["verdict"][1] is False
    table = cli("compare", finished.directory, run_copy).out
    for word in ("finetune.epochs", "DFT calls", "12.5", "passed", "the base is better", "8 of 8 steps"):
        assert word in table


def test_a_run_that_has_only_begun(cli, finished, run_copy):
    for step in ("02_label", "03_finetune", "04_explore", "05_pseudo_label", "06_base", "07_delta", "output"):
        shutil.rmtree(run_copy / step)
    (run_copy / "config.yaml").unlink()
    answer = cli("compare", finished.directory, run_copy)
    assert answer.code == 0
    found = json.loads(cli("compare", run_copy, finished.directory, "--json").out)
    assert found["same_test_set"] is None
    assert found["verdict"][0] is None
    assert found["errors"]["final"]["energy_rmse_mev_per_atom"][0] is None


def test_other_test_sets_are_told(cli, finished, run_copy):
    path = run_copy / "02_label" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["outputs"]["test.extxyz"] = "0" * 64
    path.write_text(json.dumps(manifest))
    assert "of different test sets" in cli("compare", finished.directory, run_copy).out


def test_what_is_no_run(cli, finished, tmp_path):
    answer = cli("compare", finished.directory, tmp_path)
    assert answer.code == 2
    assert f"{tmp_path} is not the directory of a pyacemaker run" in answer.complaint()


def test_status_while_another_process_runs(cli, run_copy):
    with locked(run_copy):
        recorded = RecordedProgress(run_copy, lambda task, done, total: None)
        recorded("DFT labels, training", 4, 12)
        out = cli("status", run_copy).out
        assert "Now: DFT labels, training: 4 of 12" in out
        labelled = len(read_structures(run_copy / "02_label" / "train.extxyz"))
        assert 10 <= labelled <= 12  # a label may fail
        assert f"02_label/train.extxyz {labelled}" in out
        found = json.loads(cli("status", run_copy, "--json").out)
        assert found["progress"] == {
            "task": "DFT labels, training",
            "done": 4,
            "total": 12,
            "seconds_left": None,
        }
        assert found["structures"]["02_label/test.extxyz"] == 20
    assert "Now:" not in cli("status", run_copy).out  # the process was killed


def test_status_of_a_run_of_which_only_the_state_is_there(cli, run_copy):
    for path in run_copy.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "state.json":
            path.unlink()
    answer = cli("status", run_copy)
    assert answer.code == 0
    assert "calls 0" in answer.out


def test_a_run_leaves_no_record_of_progress_behind(finished):
    assert not (finished.directory / "progress.json").exists()
