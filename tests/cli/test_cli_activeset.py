"""`pyacemaker activeset` and `pyacemaker evaluate --active-set`."""

import json

import ase.io
import numpy as np
import pytest

from conftest import ROOT
from pyacemaker.structures import AtomStructure
from pyacemaker.structures.formats import read_structures, write_structures

GRADED = ROOT / "tests" / "data" / "active_set"
POTENTIAL = GRADED / "cho-order.yace"
ASI = GRADED / "cho-order.asi"
NEW = GRADED / "cho-order.extxyz"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rng = np.random.default_rng(6)
    path = tmp_path_factory.mktemp("data") / "train.extxyz"
    write_structures(
        path,
        [
            AtomStructure(rng.permutation([1, 1, 1, 6, 6, 6, 8, 8, 8]), rng.uniform(0, 4.0, (9, 3)))
            for _ in range(30)
        ],
    )
    return path


def test_it_writes_the_set_and_the_yaml_and_says_what_they_hold(cli, data, tmp_path):
    out, b_yaml, report = tmp_path / "new" / "p.asi", tmp_path / "p.yaml", tmp_path / "p.json"
    answer = cli(
        "activeset", POTENTIAL, data, "-o", out, "--yaml", b_yaml, "--json", report, "--max-gamma-of", NEW
    )
    assert answer.code == 0, answer.err
    assert "C: 37 functions" in answer.out
    assert "90 environments, largest gamma 1.0" in answer.out
    assert f"{NEW}: largest gamma" in answer.out
    content = json.loads(report.read_text())
    assert content["elements"]["O"] | {"largest_gamma": 0} == {
        "functions": 37,
        "rank": 37,
        "environments": 90,
        "largest_gamma": 0,
    }
    assert all(facts["largest_gamma"] <= 1.01 for facts in content["elements"].values())
    assert len(content["grades"]["structures"]) == 4
    assert "speciesblock" in b_yaml.read_text()
    again = cli("activeset", POTENTIAL, data, "-o", tmp_path / "again.asi", "-q")
    assert again.err == ""
    assert (tmp_path / "again.asi").read_bytes() == out.read_bytes()


def test_evaluate_writes_and_prints_the_grades(cli, tmp_path):
    out, report = tmp_path / "p.extxyz", tmp_path / "p.json"
    answer = cli("evaluate", POTENTIAL, NEW, "--active-set", ASI, "-o", out, "--json", report)
    assert answer.code == 0, answer.err
    assert "largest gamma 2.723 (structure 0, counted from 0), 2 of 4 structures above 1.01" in answer.out
    expected = [atoms.arrays["ref_gamma"] for atoms in ase.io.read(NEW, ":")]
    for atoms, values in zip(ase.io.read(out, ":"), expected, strict=True):
        assert atoms.arrays["gamma"] == pytest.approx(values, rel=1e-6, abs=1e-7)
    largest = json.loads(report.read_text())["grades"]["structures"]
    assert largest == pytest.approx([values.max() for values in expected], rel=1e-6)


def test_too_few_environments(cli, data, tmp_path):
    few = tmp_path / "few.extxyz"
    write_structures(few, read_structures(data)[:3])
    answer = cli("activeset", POTENTIAL, few, "-o", tmp_path / "p.asi")
    assert answer.code == 2
    assert "the data holds 9 environments of C, whose active set needs 37" in answer.complaint()
    assert not (tmp_path / "p.asi").exists()


def test_repeated_structures_do_not_count_twice(cli, data, tmp_path):
    repeated = tmp_path / "repeated.extxyz"
    write_structures(repeated, [structure for structure in read_structures(data)[:5] for _ in range(6)])
    answer = cli("activeset", POTENTIAL, repeated, "-o", tmp_path / "p.asi")
    assert answer.code == 2
    assert "15 different environments of C" in answer.complaint()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("activeset", POTENTIAL, NEW, "-o", "p.txt"), "ends in .asi"),
        (("activeset", POTENTIAL, NEW, "-o", "p.asi", "--yaml", "p.yace"), "ends in .yaml"),
        (("activeset", NEW, NEW, "-o", "p.asi"), "cho-order.extxyz"),
        (("evaluate", POTENTIAL, NEW, "--active-set", GRADED / "cu-chebexpcos-82.asi"), "covers Cu"),
        (("evaluate", POTENTIAL, NEW, "--active-set", POTENTIAL), "cannot be read as an active set"),
        (("evaluate", POTENTIAL, NEW, "--active-set", ASI, "-o", ASI), "is an input"),
        (
            ("evaluate", ROOT / "tests" / "data" / "cual_foundation.model", NEW, "--active-set", ASI),
            "only ACE potentials",
        ),
    ],
)
def test_mistakes_end_with_one_sentence(cli, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    answer = cli(*arguments)
    assert answer.code == 2
    assert words in answer.complaint()
    assert list(tmp_path.iterdir()) == []
