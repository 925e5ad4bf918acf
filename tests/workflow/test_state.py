"""`state.json` and the lock."""

import json

import pytest

from pyacemaker.errors import DataError, UserError
from pyacemaker.workflow.state import StepState, WorkflowState, is_running, locked


@pytest.fixture
def state():
    return WorkflowState("sn2", 1, False, {"numpy": "2"}, {"01_sample": StepState(), "02_label": StepState()})


def test_what_is_written_is_read_back(state, tmp_path):
    state.begin("01_sample", "ab" * 32)
    state.end("01_sample", "failed", "no candidate is left")
    state.dft = {"calls": 3}
    state.write(tmp_path)
    assert WorkflowState.read(tmp_path) == state
    assert json.loads((tmp_path / "state.json").read_text())["steps"]["02_label"]["status"] == "pending"


def test_time_is_counted_from_the_beginning(state):
    state.begin("01_sample", "")
    state.end("01_sample", "done")
    assert state.steps["01_sample"].status == "done"
    assert 0 <= state.steps["01_sample"].seconds < 10
    state.end("02_label", "done")
    assert state.steps["02_label"].seconds is None


def test_a_directory_without_a_run(tmp_path):
    with pytest.raises(DataError, match="is not the directory of a pyacemaker run"):
        WorkflowState.read(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'"run"', b"3", b"{}", b'{"steps": []}', b'{"steps": {}}', b"\xff\xfe\x00"]
)
def test_a_damaged_file_says_how_to_go_on(tmp_path, content):
    (tmp_path / "state.json").write_bytes(content)
    with pytest.raises(DataError, match="the next run rewrites it, nothing is lost"):
        WorkflowState.read(tmp_path)


def test_the_lock_is_held_once_and_released(tmp_path):
    assert not is_running(tmp_path)
    with locked(tmp_path):
        assert is_running(tmp_path)
        with pytest.raises(UserError, match="another process is running"), locked(tmp_path):
            pass
        assert is_running(tmp_path)
    assert not is_running(tmp_path)


def test_an_error_releases_the_lock(tmp_path):
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    assert not is_running(tmp_path)
