"""What is delivered, and what is not when the verdict fails."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from pyacemaker.config import load_config
from pyacemaker.files import write_atomic
from pyacemaker.potentials.ace import ACEPotential
from pyacemaker.potentials.extrapolation import ActiveSet
from pyacemaker.structures import AtomStructure, Dataset, Labels
from pyacemaker.structures.formats import read_structures
from pyacemaker.workflow.output import calmest, lammps_input, publish
from pyacemaker.workflow.step import Manifest, hash_outputs
from pyacemaker.workflow.steps.delta import DELTA

REASON = "the final potential does not beat the base on the held-out DFT test set in energy: so and so"


def fail_the_verdict(directory):
    """Let the finished step 7 of a run say that the final potential is no better."""
    path = directory / "07_delta" / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["verdict"] |= {"passed": False, "reason": REASON, "energy_improved": False}
    write_atomic(path, json.dumps(metrics))
    key = Manifest.read(directory / "07_delta").key
    Manifest(key, hash_outputs(DELTA, directory / "07_delta")).write(directory / "07_delta")


def test_publishing_again_gives_the_same_files(finished, run_copy):
    names = (
        "metrics.json",
        "potential.yace",
        "potential.json",
        "in.lammps",
        "structure.data",
        "potential.asi",
        "potential.yaml",
    )
    before = [(run_copy / "output" / name).read_bytes() for name in names]
    publish(load_config(finished.config), run_copy)
    assert [(run_copy / "output" / name).read_bytes() for name in names] == before


def test_a_failed_verdict_delivers_the_figures_only(finished, run_copy):
    fail_the_verdict(run_copy)
    metrics = publish(load_config(finished.config), run_copy)
    assert [path.name for path in (run_copy / "output").iterdir()] == ["metrics.json"]
    assert json.loads((run_copy / "output" / "metrics.json").read_text()) == metrics
    assert metrics["verdict"]["reason"] == REASON


def test_a_failed_verdict_ends_the_command_with_1_and_the_table(finished, run_copy, cli):
    fail_the_verdict(run_copy)
    answer = cli("run", finished.config, "--run-dir", run_copy)
    assert answer.code == 1
    assert f"Error: {REASON}" in answer.complaint()
    assert "final" in answer.out
    assert "meV/atom" in answer.out
    assert "Potential:" not in answer.out
    assert not (run_copy / "output" / "potential.yace").exists()
    assert (run_copy / "run.log").read_text().rstrip().endswith(REASON)


@pytest.mark.parametrize("command", ["units           metal", "pair_style      pace", "newton          on"])
def test_the_lammps_input_holds_what_lammps_needs(finished, command):
    potential = ACEPotential.from_yace(finished.directory / "output" / "potential.yace")
    assert command in lammps_input(potential).splitlines()


def test_the_lammps_input_starts_from_a_structure_with_its_types(finished):
    """Type t is the t-th element of the potential, also where the structure lacks some."""
    from ase.io import read

    output = finished.directory / "output"
    elements = ACEPotential.from_yace(output / "potential.yace").elements
    head = (output / "structure.data").read_text()
    assert f"{len(elements)} atom types" in " ".join(head.split())
    found = read(output / "structure.data", format="lammps-data", units="metal", atom_style="atomic")
    train = read_structures(finished.directory / "02_label" / "train.extxyz")
    chosen = calmest(train, elements)
    assert sorted(found.symbols) == sorted(chosen.symbols)
    assert set(found.symbols) == set(elements)


RUN_INPUT = """
import sys
from pyacemaker.errors import EngineMissingError
from pyacemaker.potentials.lammps_library import has_pace, load_lammps
try:
    lmp = load_lammps()(cmdargs=["-screen", "none"])
except EngineMissingError as error:
    sys.exit(f"skip: {error}")
if not has_pace(lmp):
    sys.exit("skip: this LAMMPS has no pair style pace")
lines = [line for line in open("in.lammps") if not line.startswith(("velocity", "run"))]
lmp.commands_string("".join(lines) + "run 0")
print(repr(lmp.get_thermo("pe")))
"""


@pytest.mark.lammps
def test_the_lammps_input_runs_as_it_stands(finished, tmp_path):
    """In a folder of its own and a process of its own, as users start it."""
    folder = tmp_path / "output"
    shutil.copytree(finished.directory / "output", folder)
    done = subprocess.run([sys.executable, "-c", RUN_INPUT], cwd=folder, capture_output=True, text=True)
    if "skip:" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    train = read_structures(finished.directory / "02_label" / "train.extxyz")
    potential = ACEPotential.from_yace(folder / "potential.yace")
    expected = potential.evaluate([calmest(train, potential.elements)])[0].energy
    assert float(done.stdout) == pytest.approx(expected, rel=1e-9)


def test_a_first_run_starts_from_the_calmest_structure():
    def water(force, **changes):
        labels = Labels(0.0, np.full((3, 3), force))
        return AtomStructure.from_atoms(molecule("H2O")).replace(labels=labels, **changes)

    lone = AtomStructure.from_atoms(Atoms("O")).replace(labels=Labels(0.0, np.zeros((1, 3))))
    slab = water(0.0, cell=10.0 * np.eye(3), pbc=np.array([True, True, False]))
    data = Dataset([lone, slab, water(2.0), water(0.5), water(1.0)])
    assert calmest(data, ("H", "O")) is data[3]


def test_a_run_with_a_baseline_under_the_potential_delivers_both(finished, run_copy, tiny, cli, tmp_path):
    """What was judged is what the delivered file gives, and LAMMPS gets the baseline as a pair style."""
    config = tiny(("  functions: 80", "  functions: 80\n  baseline: {kind: zbl, window: [0.7, 1.1]}"))
    answer = cli("run", config, "--run-dir", run_copy)
    assert answer.err.count("up to date") == 5
    assert answer.code == 0, answer.complaint()
    potential = ACEPotential.from_yace(run_copy / "output" / "potential.yace")
    assert potential.baseline.window == (0.7, 1.1)
    metrics = json.loads((run_copy / "output" / "metrics.json").read_text())
    for name, path in (("final", "output/potential.yace"), ("base", "06_base/base.yace")):
        cli("evaluate", run_copy / path, run_copy / "02_label/test.extxyz", "--json", tmp_path / "found.json")
        found = json.loads((tmp_path / "found.json").read_text())["errors"]
        assert found == pytest.approx(metrics["test"][name], rel=1e-9)
    lines = (run_copy / "output" / "in.lammps").read_text().splitlines()
    assert any(line.startswith("pair_style      hybrid/overlay pace zbl") for line in lines)
    assert sum(line.startswith("pair_coeff") for line in lines) == 1 + 10
    assert metrics["gates"]["dimer_walls"]["passed"]


def test_the_active_set_bounds_what_the_potential_was_trained_on(finished):
    output = finished.directory / "output"
    potential = ACEPotential.from_yace(output / "potential.yace")
    train = read_structures(finished.directory / "02_label" / "train.extxyz")
    grades = ActiveSet.load(output / "potential.asi", potential).grades(train)
    assert max(gamma.max() for gamma in grades) <= 1.01 + 1e-6
    card = json.loads((output / "potential.json").read_text())
    assert set(card["active_set"]) == set(potential.elements)
    assert "pair_coeff      * * potential.yaml potential.asi" in (output / "in.lammps").read_text()


def test_without_an_active_set_the_card_says_why(finished, run_copy):
    delta = run_copy / "07_delta"
    (delta / "final.asi").unlink()
    write_atomic(delta / "active_set.json", json.dumps({"missing_because": "too little"}))
    publish(load_config(finished.config), run_copy)
    assert not (run_copy / "output" / "potential.asi").exists()
    assert not (run_copy / "output" / "potential.yaml").exists()
    card = json.loads((run_copy / "output" / "potential.json").read_text())
    assert card["active_set"] == {"missing_because": "too little"}
    assert "extrapolation" not in (run_copy / "output" / "in.lammps").read_text()
