"""The periodic example: a rehearsal of all seven steps on a smaller budget, EMT in DFT's place."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import ase.build
import numpy as np
import pytest
import yaml
from ase.calculators.emt import EMT

from conftest import ROOT, Answer, run_command
from pyacemaker import ACECalculator
from pyacemaker.config import load_config
from pyacemaker.oracles import EmtOracle, GpawOracle
from pyacemaker.structures.formats import read_structures

EXAMPLE = ROOT / "examples" / "aluminium"


@dataclass(frozen=True)
class Rehearsal:
    """A finished rehearsal: its directory, its metrics, and what the command answered."""

    directory: Path
    metrics: dict
    answer: Answer


def smaller(folder: Path) -> Path:
    """The example's config with fewer structures and shorter training."""
    content = yaml.safe_load((EXAMPLE / "config.yaml").read_text(encoding="utf-8"))
    content["foundation"] = {"model": str(EXAMPLE / "foundation.model")}
    crystal = content["sample"]["generators"][0]
    crystal |= {"n_ev": 7, "n_strains": 12, "n_rattles": 4, "n_slabs": 2, "max_defect_atoms": 8}
    crystal |= {"relaxation_steps": 4, "motion": {"temperatures": [0.5, 1.5], "n_frames": 6, "interval": 5}}
    content["sample"] = {"generators": [crystal], "n_pool": 60}
    content["label"] |= {"n_train": 16, "n_test": 20}
    content["finetune"] |= {"epochs": 8}
    content["explore"] |= {"n_structures": 40, "n_trajectories": 6, "interval": 5, "equilibration": 20}
    content["base"] |= {"functions": 80}
    content["execution"] = {"backend": "inline"}
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def rehearsal(tmp_path_factory) -> Rehearsal:
    folder = tmp_path_factory.mktemp("aluminium")
    answer = run_command("run", smaller(folder), "--rehearse", "--run-dir", folder / "run")
    assert answer.code == 0, answer.err
    metrics = json.loads((folder / "run" / "output" / "metrics.json").read_text(encoding="utf-8"))
    return Rehearsal(folder / "run", metrics, answer)


def structures(rehearsal, name):
    return read_structures(rehearsal.directory / name)


def test_the_example_asks_for_gpaw_and_rehearses_with_emt():
    config = load_config(EXAMPLE / "config.yaml")
    assert isinstance(config.dft, GpawOracle)
    assert isinstance(config.rehearsed().dft, EmtOracle)


def test_every_figure_is_finite_and_holds_the_stress(rehearsal):
    for model in ("foundation", "teacher", "base", "final"):
        figures = rehearsal.metrics["test"][model]
        assert {"stress_rmse_gpa", "stress_mae_gpa"} <= figures.keys()
        assert np.isfinite(list(figures.values())).all()


def test_the_potential_is_better_than_base_and_foundation(rehearsal):
    test = rehearsal.metrics["test"]
    assert rehearsal.metrics["verdict"]["passed"] is True
    for name in ("energy_rmse_mev_per_atom", "stress_rmse_gpa"):
        assert test["final"][name] < test["foundation"][name]
    assert test["final"]["forces_rmse_mev_per_angstrom"] < 150
    assert test["final"]["stress_rmse_gpa"] < 2


def test_the_calls_are_counted_and_predicted(rehearsal):
    with (rehearsal.directory / "ledger.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == rehearsal.metrics["dft"]["calls"] == 16 + 20 + 1 + 5
    assert "about 42 DFT calls" in rehearsal.answer.out


def test_labels_are_those_of_emt_stress_and_all(rehearsal):
    for structure in structures(rehearsal, "02_label/test.extxyz")[:5]:
        atoms = structure.to_atoms()
        atoms.calc = EMT()
        assert structure.labels.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
        np.testing.assert_allclose(structure.labels.stress, atoms.get_stress(), atol=1e-7)


def test_dimers_and_atoms_are_candidates_but_nothing_learns_from_them(rehearsal):
    """Neither a label nor a pseudo-label, nor a trajectory."""
    tags = structures(rehearsal, "01_sample/candidates.extxyz").tag_counts()
    assert tags["dimer"] == 12
    assert tags["isolated_atom"] == 1
    learned = ("02_label/train.extxyz", "02_label/test.extxyz", "05_pseudo_label/surrogate.extxyz")
    for name in learned:
        assert all(structure.is_periodic for structure in structures(rehearsal, name)), name


def test_the_teacher_learned_from_stresses(rehearsal):
    log = "".join(
        path.read_text(errors="replace") for path in (rehearsal.directory / "03_finetune").rglob("*.log")
    )
    assert "stress_weight=5000" in log


def test_the_potential_evaluates_a_crystal_it_has_not_seen(rehearsal):
    """Its lattice constant lies within 2 % of EMT's 3.99 Å, its energies there within 50 meV/atom."""
    calculator = ACECalculator(rehearsal.directory / "output" / "potential.yace")
    lengths = np.linspace(3.85, 4.15, 13)
    found = {}
    for name, calc in (("ace", calculator), ("emt", EMT())):
        cells = [ase.build.bulk("Al", "fcc", a=length) for length in lengths]
        for cell in cells:
            cell.calc = calc
        found[name] = np.array([cell.get_potential_energy() for cell in cells])
        assert np.isfinite([cell.get_stress() for cell in cells]).all()
    minimum = {name: lengths[int(np.argmin(energies))] for name, energies in found.items()}
    assert minimum["ace"] == pytest.approx(minimum["emt"], rel=0.02)
    np.testing.assert_allclose(found["ace"], found["emt"], atol=0.05)


def test_the_lammps_input_names_aluminium(rehearsal):
    text = (rehearsal.directory / "output" / "in.lammps").read_text()
    assert "pair_coeff      * * potential.yace Al\n" in text
