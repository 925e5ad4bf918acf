"""What docs/ace.md says is so."""

import re
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write

import pyacemaker.ace
from pyacemaker.trainers.ace import AceTrainer

PAGE = (Path(__file__).parents[2] / "docs" / "ace.md").read_text(encoding="utf-8")


def table_of(heading):
    """The names between backticks in the first column of the table under a heading."""
    section = re.split(r"^## ", PAGE.partition(f"## {heading}")[2], flags=re.MULTILINE)[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`(\w+)`", row)}


def test_every_setting_and_module_exists():
    settings, modules = table_of("Commands"), table_of("Modules, in the order")
    assert {"cutoff", "functions", "ridge"} <= settings <= set(AceTrainer.model_fields)
    folder = Path(pyacemaker.ace.__path__[0])
    assert {"model", "yace"} <= modules <= {path.stem for path in folder.glob("*.py")}


def test_the_python_examples_run(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    frames = []
    for number in range(8):
        atoms = bulk("Cu", "fcc", a=rng.uniform(3.4, 3.9), cubic=True)
        atoms.rattle(0.1, seed=number)
        atoms.calc = EMT()
        atoms.get_forces(), atoms.get_stress()
        frames.append(atoms)
    write(tmp_path / "train.extxyz", frames)
    monkeypatch.chdir(tmp_path)
    names = {}
    quick = PAGE.replace("cutoff=5.0, functions=60", "cutoff=4.0, functions=15")
    assert quick != PAGE
    for block in re.findall(r"```python\n(.*?)```", quick, flags=re.DOTALL):
        exec(block, names)
    assert names["energy"] == pytest.approx(frames[-1].get_potential_energy(), abs=0.4)
    assert names["found"].energy == pytest.approx(names["energy"])
    assert (tmp_path / "copy.yace").read_bytes() == (tmp_path / "potential.yace").read_bytes()
