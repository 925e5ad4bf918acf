"""`pyacemaker select` and `pyacemaker label`."""

import shutil

import pytest

from conftest import FOUNDATION, ROOT
from pyacemaker.structures.formats import read_structures, write_structures
from pyacemaker.structures.store import Ledger

SMALL = ROOT / "tests" / "data" / "sn2_small.xyz"
CONFIG = (
    "dft: {kind: tblite, method: GFN1-xTB, limits: {max_failed_fraction: 0.5}}\nexecution: {kind: inline}\n"
)


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


@pytest.mark.parametrize("method", ["direct", "farthest-point", "maxvol", "random"])
def test_select_writes_what_it_lists(cli, tmp_path, method):
    answer = cli("select", SMALL, "-n", 6, "--method", method, "-o", tmp_path / "new" / "chosen.extxyz")
    assert answer.code == 0, answer.err
    count, indices = answer.out.split(" structures: ")
    chosen = [int(index) for index in indices.split()]
    assert int(count) == len(set(chosen)) == 6
    assert chosen == sorted(chosen)
    pool = read_structures(SMALL)
    assert read_structures(tmp_path / "new" / "chosen.extxyz").ids == pool[chosen].ids
    assert cli("select", SMALL, "-n", 6, "--method", method).out == answer.out


def test_select_by_the_descriptors_of_a_mace_model(cli):
    answer = cli("select", SMALL, "-n", 4, "--model", FOUNDATION)
    assert answer.code == 0, answer.err
    assert answer.out.startswith("4 structures: ")


def test_select_all(cli):
    n = len(read_structures(SMALL))
    assert cli("select", SMALL, "-n", n, "--method", "random").out.split()[2:] == [str(i) for i in range(n)]


def test_select_writes_the_format_of_the_suffix(cli, tmp_path):
    out = tmp_path / "chosen.db"
    assert cli("select", SMALL, "-n", 3, "--method", "random", "-o", out).code == 0
    assert len(read_structures(out)) == 3


@pytest.mark.parametrize(("name", "found"), [("chosen.foo", "the suffix .foo"), ("chosen", "no suffix")])
def test_a_suffix_that_is_no_format(cli, tmp_path, config, finished, name, found):
    for command in (
        ["select", SMALL, "-n", 3],
        ["label", SMALL, "--config", config],
        ["export", finished.directory],
    ):
        answer = cli(*command, "-o", tmp_path / name)
        assert answer.code == 2
        assert f"{name} has {found}, expected one of .extxyz" in answer.complaint()
        assert not (tmp_path / name).exists()


def test_too_few_that_differ_are_told_in_one_message(cli, tmp_path):
    pool = tmp_path / "twice.extxyz"
    structures = read_structures(SMALL)
    write_structures(pool, [*structures[:4], *structures[:3]])
    answer = cli("select", pool, "-n", 5)
    assert answer.code == 2
    assert "5 were asked for but of 7 structures only 4 differ, since 3 repeat" in answer.complaint()
    assert len(answer.err.splitlines()) == 1


def test_another_seed_draws_others(cli):
    drawn = {cli("select", SMALL, "-n", 5, "--method", "random", "--seed", seed).out for seed in (1, 2, 3)}
    assert len(drawn) > 1


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-n", "0"], "-n 0: expected at least 1"),
        (["-n", "-3"], "-n -3: expected at least 1"),
        (["-n", "46"], "46 structures were asked for but only 45 are there"),
        (["-n", "5", "--seed", "-1"], "--seed"),
        (["-n", "5", "--model", "nowhere.model"], "nowhere.model does not exist"),
        (["-n", "5", "--model", str(SMALL)], "is not a MACE model"),
    ],
)
def test_bad_requests(cli, arguments, expected):
    answer = cli("select", SMALL, *arguments)
    assert answer.code == 2
    assert expected in answer.complaint()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "does not exist"),
        ("", "holds no structures"),
        ("3\n\nC 0 0 0\n", ""),
        ("1\n\nXx 0 0 0\n", "Xx"),
        ("1\n\nC 0 0 nan\n", ""),
        ("\0\1\2", ""),
    ],
)
@pytest.mark.parametrize("command", ["select", "label", "evaluate", "fit"])
def test_files_that_hold_no_structures(cli, tmp_path, config, finished, command, content, expected):
    pool = tmp_path / "pool.xyz"
    if content is not None:
        pool.write_text(content)
    answer = cli(
        *{
            "select": ["select", pool, "-n", "1"],
            "label": ["label", pool, "--config", config, "-o", tmp_path / "labelled.extxyz"],
            "evaluate": ["evaluate", finished.directory / "output" / "potential.yace", pool],
            "fit": ["fit", pool, "-o", tmp_path / "p.yace"],
        }[command]
    )
    assert answer.code == 2
    assert str(pool) in answer.complaint()
    assert expected in answer.err
    assert len(answer.err.splitlines()) == 1


def test_a_directory_is_no_pool(cli, tmp_path):
    answer = cli("select", tmp_path, "-n", 1)
    assert answer.code == 2
    assert "is a directory" in answer.complaint()


def test_label_computes_once_and_reuses(cli, tmp_path, config):
    pool = tmp_path / "pool.xyz"
    shutil.copyfile(SMALL, pool)
    out = tmp_path / "labelled.extxyz"
    first = cli("label", pool, "--config", config, "-o", out)
    assert first.code == 0, first.err
    labelled = read_structures(out)
    n, failed = len(labelled), len(read_structures(pool)) - len(labelled)
    assert n > 30
    assert f"{n} labels in {out}, {failed} failed, 0 were known already" in first.out
    assert {structure.source for structure in labelled} == {labelled[0].source}
    assert labelled[0].source.startswith("tblite ")
    before = out.read_bytes()
    again = cli("label", pool, "--config", config, "-o", out)
    assert f"{n + failed} were known already" in again.out
    assert out.read_bytes() == before
    rows = Ledger(tmp_path / "labelled.extxyz.labels" / "ledger.csv").rows
    assert len({row.key for row in rows}) == len(rows) == n + failed


def test_too_many_failures_end_the_command_with_1(cli, tmp_path, config):
    config.write_text(CONFIG.replace("max_failed_fraction: 0.5", "max_failed_fraction: 0.0"))
    answer = cli("label", SMALL, "--config", config, "-o", tmp_path / "labelled.extxyz")
    assert answer.code == 1
    assert "more than limits.max_failed_fraction = 0.0 allows" in answer.complaint()
    assert (tmp_path / "labelled.extxyz").exists()  # those made before


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("execution: {kind: inline}\n", "dft: this key is required"),
        ("dft: {kind: tblite, methode: GFN1-xTB}\n", "dft.methode: unknown key; did you mean method?"),
        ("dft: {kind: pyscf, xc: PBEO}\n", "PBEO"),
        ("dft: {kind: pyscf, basis: def3-SVPD}\n", "def3-SVPD"),
    ],
)
def test_bad_labelling_settings(cli, tmp_path, config, content, expected):
    config.write_text(content)
    answer = cli("label", SMALL, "--config", config, "-o", tmp_path / "labelled.extxyz")
    assert answer.code == 2
    assert expected in answer.complaint()


def test_an_element_that_the_oracle_does_not_know(cli, tmp_path, config):
    config.write_text("dft: {kind: emt}\nexecution: {kind: inline}\n")
    answer = cli("label", SMALL, "--config", config, "-o", tmp_path / "labelled.extxyz")
    assert answer.code == 2
    assert "emt" in answer.complaint().lower()
