"""`pyacemaker export`, `label` in other formats, and labels that commands share."""

import json
import shutil

import ase.db
import numpy as np
import pytest

from conftest import ROOT
from pyacemaker.structures.formats import read_structures
from pyacemaker.structures.store import Ledger

CONFIG = """
dft: {kind: emt, limits: {max_failed_fraction: 0.5}}
execution: {backend: inline}
label_store: pool
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    shutil.copyfile(ROOT / "tests" / "data" / "cual_small.xyz", tmp_path / "pool.xyz")
    return path


def test_a_second_command_takes_its_labels_from_the_shared_store(cli, tmp_path, config):
    answers = []
    for name in ("a.db", "b.cfg"):
        answer = cli("label", tmp_path / "pool.xyz", "--config", config, "-o", tmp_path / name)
        assert answer.code == 0, answer.err
        answers.append(answer)
    n = len(read_structures(tmp_path / "pool.xyz"))
    assert f"{n} labels in {tmp_path / 'a.db'}, 0 failed, 0 were known already" in answers[0].out
    assert f"0 failed, {n} were known already" in answers[1].out
    assert (tmp_path / "pool" / "labels.sqlite").is_file()  # beside the config
    rows = Ledger(tmp_path / "b.cfg.labels" / "ledger.csv").rows
    assert [row.reused for row in rows] == [True] * n
    first, second = (read_structures(tmp_path / name) for name in ("a.db", "b.cfg"))
    assert first.ids == second.ids
    for one, other in zip(first, second, strict=True):
        assert one.labels.energy == other.labels.energy
        assert np.array_equal(one.labels.forces, other.labels.forces)
    assert ase.db.connect(tmp_path / "a.db").count() == n


def test_export_writes_what_a_run_has_paid_for(cli, finished, tmp_path):
    out = tmp_path / "labels.pckl.gzip"
    answer = cli("export", finished.directory, "-o", out)
    assert answer.code == 0, answer.err
    rows = [row for row in Ledger(finished.directory / "ledger.csv").rows if row.outcome == "ok"]
    assert f"{len(rows)} labels in {out}" in answer.out
    read = read_structures(out)
    assert read.ids == [row.structure for row in sorted(rows, key=lambda row: (row.started, row.key))]
    assert {s.info["reason"] for s in read} == {row.reason for row in rows}


def test_export_of_nothing_is_refused(cli, tmp_path):
    answer = cli("export", tmp_path, "-o", tmp_path / "x.db")
    assert answer.code == 2
    assert "neither the directory of a run nor a label store" in answer.complaint()


def test_status_counts_the_calls_of_a_lost_ledger(cli, finished, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(finished.directory, copy)
    before = json.loads(cli("status", copy, "--json").out)["dft"]
    assert before["calls"] > 20
    assert before["reused"] == 0
    (copy / "ledger.csv").unlink()
    assert json.loads(cli("status", copy, "--json").out)["dft"] == pytest.approx(before)
    assert not (copy / "ledger.csv").exists()  # looking changes nothing


def test_a_store_that_is_a_file_is_refused(cli, tmp_path, config):
    (tmp_path / "pool").write_text("")
    answer = cli("label", tmp_path / "pool.xyz", "--config", config, "-o", tmp_path / "a.db")
    assert answer.code == 2
    assert "label_store" in answer.complaint()
    assert "is a file; expected a directory" in answer.complaint()
