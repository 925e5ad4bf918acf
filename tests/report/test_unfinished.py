"""Reports of runs that are not finished, or whose files are damaged."""

import json
import shutil

import pytest
from html_page import SECTIONS, HtmlPage

from pyacemaker.errors import DataError
from pyacemaker.report import report_html


def cut_back(run, last):
    """Make the run one that was stopped in the step after `last`."""
    state = json.loads((run / "state.json").read_text())
    later = [name for name in state["steps"] if name > last]
    for number, name in enumerate(later):
        shutil.rmtree(run / name)
        status = "pending" if number else "running"
        state["steps"][name] |= {"status": status, "seconds": None, "key": ""}
    shutil.rmtree(run / "output")
    (run / "state.json").write_text(json.dumps(state))


def test_nothing_but_a_state(run_copy):
    cut_back(run_copy, "")
    (run_copy / "ledger.csv").unlink()
    shutil.rmtree(run_copy / "labels")
    page = HtmlPage(report_html(run_copy))
    assert page.headings == list(SECTIONS.values())
    assert page.figures == page.drawings == {}
    assert "could not be made" not in page.plain
    assert "cut short" in page.plain
    assert page.plain.count("not measured") >= 10


@pytest.mark.parametrize(
    ("last", "there", "missing"),
    [
        ("02_label", {"cost-by-tag", "coverage"}, "parity-forces-teacher"),
        ("03_finetune", {"parity-forces-teacher", "pool-map", "tag-forces"}, "parity-forces-base"),
        ("06_base", {"parity-forces-teacher", "parity-forces-base", "force-bins"}, "parity-forces-final"),
    ],
)
def test_what_is_there_is_shown_and_what_is_missing_is_told(run_copy, last, there, missing):
    cut_back(run_copy, last)
    page = HtmlPage(report_html(run_copy))
    assert "unfinished" in page.plain
    assert there <= page.figures.keys()
    assert missing not in page.figures
    assert page.headings == list(SECTIONS.values())
    assert "could not be made" not in page.plain
    assert "Errors on the test set : not measured" in page.plain


def test_a_damaged_file_costs_its_section_only(run_copy):
    (run_copy / "04_explore" / "trajectories.json").write_text('{"trajectories": 3}')
    page = HtmlPage(report_html(run_copy))
    assert page.plain.count("could not be made") == 1
    assert {"parity-forces-final", "pool-map"} <= page.figures.keys()
    assert "guards-by-temperature" not in page.figures


def test_a_potential_that_was_refused(run_copy):
    path = run_copy / "output" / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["verdict"] |= {"passed": False, "reason": "the final potential <does> not beat the base"}
    path.write_text(json.dumps(metrics))
    page = HtmlPage(report_html(run_copy))
    assert "not delivered" in page.plain
    assert (
        "The final potential <does> not beat the base." in page.plain
    )  # escaped, or the parser had objected


def test_the_command_writes_where_it_is_told(run_copy, cli, tmp_path):
    cut_back(run_copy, "01_sample")
    answer = cli("report", run_copy, "-o", tmp_path / "mine" / "r.html")
    assert answer.code == 0, answer.err
    assert answer.out.strip() == f"Report: {tmp_path / 'mine' / 'r.html'}"
    assert not (run_copy / "output").exists()
    assert cli("report", run_copy).code == 0
    assert (run_copy / "output" / "report.html").read_text() == (tmp_path / "mine" / "r.html").read_text()


def test_what_is_no_run_is_refused(cli, tmp_path):
    with pytest.raises(DataError, match="not the directory of a pyacemaker run"):
        report_html(tmp_path)
    answer = cli("report", tmp_path)
    assert answer.code == 2
    assert "not the directory of a pyacemaker run" in answer.complaint()
    assert not list(tmp_path.iterdir())


def test_a_report_that_cannot_be_written_is_told_before_the_work(finished, cli, tmp_path):
    answer = cli("report", finished.directory, "-o", tmp_path)
    assert answer.code == 2
    assert "--output" in answer.complaint()
