"""`pyacemaker evaluate` and `pyacemaker fit`."""

import json
import shutil
from pathlib import Path

import ase.io
import numpy as np
import pytest

from conftest import ROOT
from pyacemaker import fit_ace
from pyacemaker.cli.options import check_output
from pyacemaker.errors import UserError
from pyacemaker.structures.formats import read_structures
from pyacemaker.trainers.ace import AceTrainer

SMALL = ROOT / "tests" / "data" / "sn2_small.xyz"
SETTINGS = "functions: 30\nmax_rank: 2\nnradbase: 6\nrefinement: none\n"


@pytest.fixture
def settings(tmp_path):
    path = tmp_path / "fit.yaml"
    path.write_text(SETTINGS)
    return path


@pytest.fixture
def data(tmp_path):
    """Two small labelled files."""
    frames = [atoms for atoms in ase.io.read(SMALL, ":") if "Br" not in atoms.symbols]
    ase.io.write(tmp_path / "train.xyz", frames[:-10], columns=["symbols", "positions", "REF_forces"])
    ase.io.write(tmp_path / "test.xyz", frames[-10:], columns=["symbols", "positions", "REF_forces"])
    return tmp_path / "train.xyz", tmp_path / "test.xyz"


def test_fit_and_evaluate_agree_on_the_test_errors(cli, data, settings, tmp_path):
    train, test = data
    potential, report = tmp_path / "new" / "p.yace", tmp_path / "fit.json"
    fitted = cli("fit", train, "-o", potential, "--test", test, "--config", settings, "--json", report)
    assert fitted.code == 0, fitted.err
    errors = json.loads(report.read_text())
    assert errors["labels_found"]["test"] == 10
    assert f"{errors['labels_found']['train']} labels to train, 10 labels to test" in fitted.out
    evaluated = cli("evaluate", potential, test, "--json", tmp_path / "evaluate.json")
    assert evaluated.code == 0
    found = json.loads((tmp_path / "evaluate.json").read_text())
    assert found["errors"] == pytest.approx(errors["test"], rel=1e-9)
    assert set(errors["train"]) == set(errors["test"]) == set(found["errors"])


def test_fit_writes_the_potential_of_the_library(cli, data, settings, tmp_path):
    train, _ = data
    assert cli("fit", train, "-o", tmp_path / "cli.yace", "--config", settings, "-q").err == ""
    trainer = AceTrainer(functions=30, max_rank=2, nradbase=6, refinement="none")
    fit_ace(read_structures(train), trainer).potential.to_yace(tmp_path / "library.yace")
    assert (tmp_path / "cli.yace").read_bytes() == (tmp_path / "library.yace").read_bytes()


def test_predictions_are_written_beside_what_the_file_had(cli, finished, tmp_path):
    potential = finished.directory / "output" / "potential.yace"
    test = finished.directory / "02_label" / "test.extxyz"
    answer = cli("evaluate", potential, test, "-o", tmp_path / "deep" / "predicted.extxyz")
    assert answer.code == 0
    assert "20 structures, 20 with labels" in answer.out
    for atoms in ase.io.read(tmp_path / "deep" / "predicted.extxyz", ":"):
        assert {"pred_energy", "REF_energy", "tag"} <= atoms.info.keys()
        assert atoms.arrays["pred_forces"].shape == (len(atoms), 3)
        assert np.abs(atoms.arrays["pred_forces"].sum(axis=0)).max() < 1e-6
        assert abs(atoms.info["pred_energy"] - atoms.info["REF_energy"]) < 3.0


def test_structures_without_labels_are_evaluated_without_errors(cli, finished, tmp_path):
    shutil.copyfile(finished.config.parent / "reactant.xyz", tmp_path / "reactant.xyz")
    potential = finished.directory / "output" / "potential.yace"
    answer = cli("evaluate", potential, tmp_path / "reactant.xyz", "--json", tmp_path / "e.json")
    assert answer.code == 0
    assert "1 structures, 0 with labels" in answer.out
    assert json.loads((tmp_path / "e.json").read_text()) == {"structures": 1, "labels_found": 0}


def test_labels_that_are_not_finite_are_skipped_and_counted(cli, data, settings, tmp_path):
    train, test = data
    for path, bad in ((train, "nan"), (test, "inf")):
        frames = ase.io.read(path, ":")
        frames[6].info["REF_energy"] = float(bad)
        frames[8].arrays["REF_forces"][0, 1] = float(bad)
        ase.io.write(path, frames, columns=["symbols", "positions", "REF_forces"])
    n_train = len(read_structures(train))
    answer = cli("fit", train, "-o", tmp_path / "p.yace", "--test", test, "--config", settings)
    assert answer.code == 0, answer.err
    assert f"{train}: 2 of {n_train} labels hold NaN, Inf or numbers beyond" in answer.err
    assert f"{test}: 2 of 10 labels hold NaN, Inf or numbers beyond" in answer.err
    assert f"{n_train - 2} labels to train, 8 labels to test" in answer.out
    answer = cli("evaluate", tmp_path / "p.yace", test)
    assert "2 of 10 labels hold NaN, Inf or numbers beyond" in answer.err
    assert "10 structures, 8 with labels" in answer.out


def test_other_keys_of_the_labels(cli, data, settings, tmp_path):
    train, _ = data
    text = train.read_text().replace("REF_energy", "dft_e").replace("REF_forces", "dft_f")
    train.write_text(text)
    command = ["fit", train, "-o", tmp_path / "p.yace", "--config", settings]
    assert cli(*command, "--energy-key", "dft_e", "--forces-key", "dft_f").code == 0
    answer = cli(*command)
    assert answer.code == 2
    assert "found the keys dft_e, dft_f, system; name the right ones with --energy-key" in answer.complaint()
    answer = cli(*command, "--energy-key", "dft_energy", "--forces-key", "dft_f")
    assert answer.code == 2
    assert "dft_energy" in answer.complaint()
    answer = cli("evaluate", tmp_path / "p.yace", train, "--energy-key", "nothing")
    assert answer.code == 2
    assert "nothing" in answer.complaint()


def test_labels_under_other_names_are_pointed_out(cli, finished, tmp_path):
    potential = finished.directory / "output" / "potential.yace"
    test = tmp_path / "test.extxyz"
    text = (finished.directory / "02_label" / "test.extxyz").read_text()
    test.write_text(text.replace("REF_energy", "dft_energy").replace("REF_forces", "dft_forces"))
    answer = cli("evaluate", potential, test)
    assert answer.code == 0
    assert "no labels found, but the keys dft_energy, dft_forces look like some" in answer.err
    assert "--energy-key and --forces-key" in answer.err
    for options in (["--energy-key", "wrong"], ["--energy-key", "dft_energy", "--forces-key", "wrong"]):
        answer = cli("evaluate", potential, test, *options)
        assert answer.code == 2
        assert "wrong" in answer.complaint()
    answer = cli("evaluate", potential, test, "--energy-key", "dft_energy", "--forces-key", "dft_forces")
    assert "20 structures, 20 with labels" in answer.out
    assert "look like" not in answer.err


def test_inputs_are_not_overwritten(cli, finished, data, settings, tmp_path):
    potential = finished.directory / "output" / "potential.yace"
    same = data[0].parent / "." / data[0].name
    before = data[0].read_bytes(), potential.read_bytes()
    for command in (
        ["evaluate", potential, data[0], "-o", same],
        ["evaluate", potential, data[0], "--json", potential],
        ["fit", data[0], "-o", tmp_path / "p.yace", "--config", settings, "--json", settings],
        ["select", data[0], "-n", "2", "-o", same],
        ["label", data[0], "--config", finished.config, "-o", same],
    ):
        answer = cli(*command)
        assert answer.code == 2
        assert "is an input of this command; choose another name" in answer.complaint()
    assert (data[0].read_bytes(), potential.read_bytes()) == before
    assert settings.read_text() == SETTINGS


def test_structures_that_cannot_be_evaluated_are_named(cli, finished, data, settings, tmp_path):
    """Coinciding atoms and unknown elements: the file, the frame and the formula."""
    potential = finished.directory / "output" / "potential.yace"
    frames = ase.io.read(data[1], ":")
    frames[2].positions[1] = frames[2].positions[0]
    ase.io.write(data[1], frames, columns=["symbols", "positions", "REF_forces"])
    broken = f"{frames[2].get_chemical_formula()}, id "
    for command in (
        ["evaluate", potential, data[1]],
        ["fit", data[1], "-o", tmp_path / "p.yace", "--config", settings],
        ["select", data[1], "-n", "2"],
    ):
        answer = cli(*command)
        assert answer.code == 2
        assert f"{data[1]}: structure 2 (counted from 0; {broken}" in answer.complaint()
        assert "apart" in answer.err
    (tmp_path / "helium.xyz").write_text("1\n\nC 0 0 0\n2\n\nHe 0 0 0\nHe 0 0 3\n")
    answer = cli("evaluate", potential, tmp_path / "helium.xyz")
    assert f"{tmp_path / 'helium.xyz'}: structure 1 (counted from 0; He2, id " in answer.complaint()


def test_a_fit_config_that_is_not_there(cli, data, tmp_path):
    answer = cli("fit", data[0], "-o", tmp_path / "p.yace", "--config", tmp_path / "nope.yaml")
    assert answer.code == 2
    assert "nope.yaml does not exist; write the fit's settings into it" in answer.complaint()
    assert "pyacemaker template" not in answer.err


@pytest.mark.parametrize(
    ("settings_text", "expected"),
    [
        ("functionz: 30\n", "line 1: functionz: unknown key; did you mean functions?"),
        ("functions: -3\n", "line 1: functions: Input should be greater than or equal to 1"),
        ("nradmax: [3]\n", "nradmax and lmax belong together"),
        ("[", "is not valid YAML"),
    ],
)
def test_bad_fit_settings(cli, data, tmp_path, settings_text, expected):
    (tmp_path / "fit.yaml").write_text(settings_text)
    answer = cli("fit", data[0], "-o", tmp_path / "p.yace", "--config", tmp_path / "fit.yaml")
    assert answer.code == 2
    assert expected in answer.complaint()
    assert not (tmp_path / "p.yace").exists()


def test_too_few_structures_to_fit(cli, data, tmp_path):
    ase.io.write(
        tmp_path / "one.xyz", ase.io.read(data[1], ":1"), columns=["symbols", "positions", "REF_forces"]
    )
    answer = cli("fit", tmp_path / "one.xyz", "-o", tmp_path / "p.yace")
    assert answer.code == 2
    assert "at least 2" in answer.complaint()


def test_an_element_that_the_potential_does_not_know(cli, finished, tmp_path):
    (tmp_path / "helium.xyz").write_text("2\n\nHe 0 0 0\nHe 0 0 3\n")
    for potential in ("output/potential.yace", "03_finetune/teacher.model"):
        answer = cli("evaluate", finished.directory / potential, tmp_path / "helium.xyz")
        assert answer.code == 2
        assert "He" in answer.complaint()


@pytest.mark.parametrize("where", ["directory", "below a file"])
def test_outputs_that_cannot_be_written_are_found_before_the_work(cli, finished, data, tmp_path, where):
    potential = finished.directory / "output" / "potential.yace"
    bad = {"directory": tmp_path, "below a file": data[0] / "x.yace"}[where]
    expected = {"directory": "is a directory", "below a file": "is a file, not a directory"}[where]
    bad_yace = bad
    if where == "directory":
        bad_yace = tmp_path / "folder.yace"
        bad_yace.mkdir()
    for option, command in (
        ("--output", ["evaluate", potential, data[1], "-o", bad]),
        ("--json", ["evaluate", potential, data[1], "--json", bad]),
        ("--output", ["fit", data[0], "-o", bad_yace]),
        ("--json", ["fit", data[0], "-o", tmp_path / "p.yace", "--json", bad]),
        ("--output", ["select", data[0], "-n", "2", "-o", bad]),
        ("--output", ["label", data[0], "--config", finished.config, "-o", bad]),
    ):
        answer = cli(*command)
        assert answer.code == 2
        assert f"{option} {bad_yace if command[0] == 'fit' and option == '--output' else bad}" in answer.err
        assert expected in answer.complaint()
    assert not (tmp_path / "p.yace").exists()


def test_places_that_cannot_be_written_to_are_refused_before_the_work():
    with pytest.raises(UserError, match=r"--output /proc/x.extxyz: /proc cannot be written to"):
        check_output(Path("/proc/x.extxyz"), "--output")


def test_a_potential_has_to_be_called_yace(cli, data, tmp_path):
    answer = cli("fit", data[0], "-o", tmp_path / "potential.txt")
    assert answer.code == 2
    assert "expected a name that ends in .yace" in answer.complaint()
