"""`pyacemaker template`."""

import pytest
import yaml
from ase.build import bulk
from ase.io import write

from conftest import EXAMPLE


def test_for_a_file_of_a_crystal(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("ASE_VASP_COMMAND", "VASP_PP_PATH"):
        monkeypatch.delenv(name, raising=False)
    write("POSCAR", bulk("Cu"), format="vasp")
    answer = cli("template", "--structure", "POSCAR", "--dft", "vasp")
    assert answer.code == 0
    assert "To give before it runs: the environment variable VASP_PP_PATH" in answer.err
    assert "# You have to give:" in answer.out
    assert yaml.safe_load(answer.out)["sample"]["generators"][0]["structure"] == "POSCAR"
    (tmp_path / "config.yaml").write_text(answer.out)
    found = cli("validate", "config.yaml")
    assert found.code == 2  # only what is the user's to give
    assert all("is not set: set it (export " in line for line in found.complaint().splitlines())


def test_what_it_writes_is_valid(cli, tmp_path):
    config = tmp_path / "new" / "reaction.yaml"
    config.parent.mkdir()
    ends = ["--structure", EXAMPLE / "reactant.xyz", "--product", EXAMPLE / "product.xyz"]
    model = ["--foundation", EXAMPLE / "foundation.model"]
    answer = cli("template", *ends, *model, "-o", config)
    assert (answer.code, answer.out, answer.err) == (0, "", "")
    found = cli("validate", config)
    assert found.code == 0, found.err
    assert "54 + 24 labels by pyscf" in found.out


@pytest.mark.parametrize("option", [["--composition", "AlCu3"], ["--molecule", "CH3OH"]])
def test_for_a_composition_and_a_molecule(cli, option):
    answer = cli("template", *option)
    assert answer.code == 0
    assert option[1] in answer.out.splitlines()[0]


def test_the_ready_made_ones(cli):
    assert cli("template", "--list").out == cli("template", "list").out
    assert "reaction" in cli("template", "--list").out.split()
    assert cli("template").out == cli("template", "reaction").out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--structure a.xyz --composition Al", "--structure and --composition name different systems"),
        ("reaction --molecule H2O", "--molecule and NAME name different systems"),
        ("--product b.xyz", "--product goes with --structure: name the system"),
        ("--dft vasp", "--dft goes with --structure, --composition or --molecule"),
        ("reaction --melt", "--melt goes with --structure"),
        ("--structure nowhere.xyz", "nowhere.xyz does not exist"),
        ("--composition Foo", "--composition: 'Foo' is no formula"),
        ("--composition Al --dft vaps", "--dft vaps: expected one of pyscf"),
        ("--composition Al --foundation nowhere.model", "nowhere.model does not exist"),
        ("reactions", "there is no template 'reactions'; expected one of reaction"),
    ],
)
def test_bad_input_is_answered_in_one_sentence(cli, tmp_path, monkeypatch, words, expected):
    monkeypatch.chdir(tmp_path)
    answer = cli("template", *words.split())
    assert answer.code == 2
    assert expected in answer.complaint()
    assert len(answer.err.splitlines()) == 1
    assert answer.out == ""
