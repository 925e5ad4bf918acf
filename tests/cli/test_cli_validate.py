"""Broken configs: all problems at once, each with its line, what is wrong and the cure; exit 2."""

import json
import os
import subprocess
import sys

import pytest

from pyacemaker.workflow.problems import find_all_problems

DFT = "kind: tblite\n  method: GFN1-xTB"
QE = (
    "kind: espresso\n  command: {python} -c \"print('Program PWSCF v.7.2')\"\n"
    "  pseudo_dir: {folder}\n  parameters: {{pseudopotentials: {{C: C.UPF, H: H.UPF, F: F.UPF, Cl: Cl.UPF}}}}"
)


def element_without_a_foundation(tiny):
    config = tiny()
    for name in ("reactant.xyz", "product.xyz"):
        path = config.parent / name
        path.write_text(path.read_text().replace("Cl ", "I "))
    return config


def missing_pseudopotential(tiny):
    config = tiny((DFT, QE.format(python=sys.executable, folder="pseudo")))
    text = config.read_text().replace("pseudo_dir: pseudo", f"pseudo_dir: {config.parent / 'pseudo'}")
    config.write_text(text)
    (config.parent / "pseudo").mkdir()
    for symbol in ("C", "H", "F"):
        (config.parent / "pseudo" / f"{symbol}.UPF").write_text("")
    return config


def another_format(tiny):
    config = tiny()
    (config.parent / "reactant.xyz").write_text("%PDF-1.4 not a structure\n")
    return config


def unreadable_file(tiny):
    config = tiny()
    (config.parent / "product.xyz").write_bytes(bytes(range(256)))
    return config


def a_directory(tiny):
    config = tiny(("product: product.xyz", "product: folder"))
    (config.parent / "folder").mkdir()
    return config


BROKEN = {
    "misspelt key": (("epochs: 4", "epoch: 4"), 29, "finetune.epoch", "did you mean epochs?"),
    "wrong unit scale": (
        ("  interval: 5", "  dynamics: {timestep: 0.001}"),
        35,
        "explore.dynamics.timestep",
        "expected 0.02 to 20 fs; if 0.001 ps is meant, write 1",
    ),
    "wrong unit of a temperature": (
        ("temperatures: [200, 300]", "temperatures: [300, 0.3]"),
        34,
        "explore.temperatures.1",
        "0.3 K is not plausible: expected 1 to 20000 K; if 0.3 eV is meant, write 3481.35",
    ),
    "element without a foundation": (
        element_without_a_foundation,
        12,
        "sample.generators.0",
        "does not cover I; it covers Br-C-Cl-F-H",
    ),
    "missing pseudopotential": (
        missing_pseudopotential,
        9,
        "dft.parameters.pseudopotentials.Cl",
        "the pseudopotential Cl.UPF of Cl is not in",
    ),
    "temperature as text": (
        ("temperatures: [200, 300]", "temperatures: [200, 300 K]"),
        34,
        "explore.temperatures.1",
        "found '300 K': write the number alone, such as 300",
    ),
    "unknown engine": (
        ("kind: tblite", "kind: vaps"),
        6,
        "dft",
        "did you mean vasp? expected one of 'pyscf'",
    ),
    "a budget of 0": (
        ("n_train: 12", "n_train: 0"),
        26,
        "label.n_train",
        "greater than or equal to 1; found 0 (n_train: DFT labels to learn from)",
    ),
    "a structure file of another format": (
        another_format,
        13,
        "sample.generators.0.reactant",
        "reactant.xyz",
    ),
    "an unreadable file": (unreadable_file, 14, "sample.generators.0.product", "product.xyz"),
    "a path that is a directory": (
        a_directory,
        14,
        "sample.generators.0.product",
        "folder is a directory; expected a file",
    ),
}


def broken(tiny, change):
    return change(tiny) if callable(change) else tiny(change)


@pytest.mark.parametrize("command", ["validate", "run"])
@pytest.mark.parametrize("name", BROKEN)
def test_broken_configs(cli, tiny, tmp_path, monkeypatch, command, name):
    monkeypatch.chdir(tmp_path)
    change, line, key, cure = BROKEN[name]
    config = broken(tiny, change)
    answer = cli(command, config)
    assert answer.code == 2
    assert f"{config}, line {line}: {key}: " in answer.complaint()
    assert cure in answer.err
    assert len(answer.err.splitlines()) == 1
    assert len(answer.err) < 1200
    assert not (tmp_path / "runs").exists()


def test_all_problems_are_told_at_once(cli, tiny):
    config = tiny(
        ("seed: 7", "sead: 7"),
        ("method: GFN1-xTB", "method: GFN3-xTB"),
        ("md_temperatures: [600]", "md_temperatures: [0.6]"),
        ("n_pool: 60", "n_pool: 0"),
        ("lr: 0.0005", "lr: small"),
        ("functions: 80", "cutoff: 0.6"),
    )
    (config.parent / "product.xyz").write_text("no structure")
    answer = cli("validate", config)
    assert answer.code == 2
    lines = answer.complaint().splitlines()
    keys = ["sead", "dft.method", "sample.generators.0.product", "sample.generators.0.md_temperatures.0"]
    keys += ["sample.n_pool", "finetune.lr", "base.cutoff"]
    assert [line.split(": ")[2] for line in lines] == keys
    assert "; did you mean GFN2-xTB?" in lines[1]
    found = json.loads(cli("validate", config, "--json").out)
    assert found["valid"] is False
    assert [problem["key"] for problem in found["problems"]] == keys
    assert [problem["line"] for problem in found["problems"]] == sorted(
        problem["line"] for problem in found["problems"]
    )


def test_a_valid_config_as_json_and_in_silence(cli, tiny):
    config = tiny()
    assert json.loads(cli("validate", config, "--json").out) == {"valid": True, "problems": []}
    answer = cli("validate", config, "--quiet")
    assert (answer.code, answer.out, answer.err) == (0, "", "")


def test_a_rehearsal_needs_none_of_dfts_programs(cli, tiny):
    config = tiny((DFT, "kind: espresso\n  command: no-such-program"))
    assert "is not installed here" in cli("validate", config).complaint()
    assert cli("validate", config, "--rehearse").code == 0


@pytest.mark.parametrize(
    ("parameters", "cure"),
    [
        (
            "kind: vasp\n  parameters: {encut: 38}",
            "38 eV is not plausible: expected 100 to 3000 eV; if 38 Ry",
        ),
        ("kind: cp2k\n  parameters: {cutoff: 600}", "if 600 Ry is meant, write 8163.42"),
        ("kind: gpaw\n  parameters: {mode: {name: pw, ecut: 30}}", "if 30 Ry is meant, write 408.171"),
        (
            "kind: espresso\n  parameters: {input_data: {system: {ecutwfc: 800}}}",
            "if 800 eV is meant, write 58.7",
        ),
        ("kind: vasp\n  kspacing: 5", "5 1/Å (with 2π) is not plausible"),
    ],
)
def test_units_of_an_engines_own_parameters(tiny, parameters, cure):
    texts = [problem.text for problem in find_all_problems(tiny((DFT, parameters)))]
    assert any(cure in text for text in texts), texts


def test_validate_is_quick(tiny, tmp_path):
    """CPU seconds of the whole process."""
    config = tiny()
    before = os.times()
    done = subprocess.run([sys.executable, "-m", "pyacemaker", "validate", str(config)], cwd=tmp_path)
    after = os.times()
    assert done.returncode == 0
    assert after.children_user + after.children_system - before.children_user - before.children_system < 2.0
