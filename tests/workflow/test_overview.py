"""Where a run stands, told by its files alone."""

import json
import time

from pyacemaker.workflow.overview import count_structures, flat, last_complaints, progress_of
from pyacemaker.workflow.progress import FILE, RecordedProgress, Standing


def test_progress_is_passed_on_and_written(tmp_path):
    seen = []
    recorded = RecordedProgress(tmp_path, lambda *state: seen.append(state))
    recorded("labels", 10, 40)
    recorded("labels", 11, 40)  # too soon to be written
    assert seen == [("labels", 10, 40), ("labels", 11, 40)]
    assert Standing.read(tmp_path).done == 10
    recorded("labels", 40, 40)
    assert (Standing.read(tmp_path).done, Standing.read(tmp_path).begun_with) == (40, 10)
    recorded("fitting", 0, 3)
    assert (Standing.read(tmp_path).task, progress_of(tmp_path)["seconds_left"]) == ("fitting", None)
    recorded.close()
    assert Standing.read(tmp_path) is None
    assert progress_of(tmp_path) is None


def test_the_time_left_counts_what_was_done_since_the_task_began():
    standing = Standing("labels", done=20, total=50, began=100.0, begun_with=10, updated=150.0)
    assert standing.seconds_left(now=150.0) == 150.0  # 10 in 50 s, 30 to go
    assert standing.seconds_left(now=160.0) == 140.0
    assert standing.seconds_left(now=9e9) == 0.0


def test_a_damaged_record_is_none(tmp_path):
    for content in ("", "{", "[]", json.dumps({"task": "x"})):
        (tmp_path / FILE).write_text(content)
        assert progress_of(tmp_path) is None


def test_structures_are_counted_without_being_read(finished):
    counts = count_structures(finished.directory)
    assert counts["02_label/test.extxyz"] == 20
    assert counts["01_sample/pool.extxyz"] == 60
    started = time.monotonic()
    count_structures(finished.directory)
    assert time.monotonic() - started < 1.0


def test_the_last_complaints_of_a_log(tmp_path):
    assert last_complaints(tmp_path) == []
    lines = [
        f"2026-01-01 00:00:0{k},000 {level:7s} a.b: words {k}" for k, level in enumerate(["INFO", "WARNING"])
    ]
    (tmp_path / "run.log").write_text(
        "\n".join([*lines * 9, "Traceback", lines[1].replace("WARNING", "ERROR  ")])
    )
    found = last_complaints(tmp_path)
    assert len(found) == 5
    assert "ERROR" in found[-1]
    assert all("WARNING" in line for line in found[:-1])


def test_settings_as_dotted_keys():
    content = {"a": {"b": 1, "c": {}}, "d": [1, 2], "e": [{"f": 3}, {"f": 4}]}
    assert flat(content) == {"a.b": 1, "a.c": {}, "d": [1, 2], "e.0.f": 3, "e.1.f": 4}
