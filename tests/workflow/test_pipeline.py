"""All seven steps on a tiny budget: what a run promises, measured."""

import csv
import json

import numpy as np
import pytest
from ase.data import atomic_numbers

import pyacemaker
from pyacemaker.config import load_config
from pyacemaker.files import sha256_file
from pyacemaker.potentials.ace import ACEPotential
from pyacemaker.potentials.loading import load_potential
from pyacemaker.structures import AtomStructure
from pyacemaker.structures.formats import read_structures
from pyacemaker.structures.store import LabelStore, Ledger
from pyacemaker.workflow.orchestrator import Orchestrator
from pyacemaker.workflow.steps import STEPS

FIGURES = {
    "energy_rmse_mev_per_atom",
    "energy_mae_mev_per_atom",
    "forces_rmse_mev_per_angstrom",
    "forces_mae_mev_per_angstrom",
}


@pytest.fixture(scope="module")
def metrics(finished):
    return json.loads((finished.directory / "output" / "metrics.json").read_text(encoding="utf-8"))


def structures(finished, name):
    return read_structures(finished.directory / name)


def test_every_promised_file_is_there(finished):
    promised = """config.yaml state.json run.log ledger.csv labels
        output/potential.yace output/potential.json output/metrics.json output/in.lammps
        01_sample 02_label 03_finetune 04_explore 05_pseudo_label 06_base 07_delta 08_gates"""
    for name in promised.split():
        assert (finished.directory / name).exists(), name
    for step in sorted(finished.directory.glob("0*")):
        assert (step / "manifest.json").is_file(), step


def test_nothing_temporary_is_left(finished):
    assert not [path for path in finished.directory.rglob("*") if ".tmp" in path.name]


def test_metrics_have_the_promised_keys(metrics):
    assert {"test", "error_split", "dft", "verdict"} <= metrics.keys()
    for model in ("foundation", "teacher", "base", "final"):
        assert set(metrics["test"][model]) == FIGURES
        assert np.isfinite(list(metrics["test"][model].values())).all()
    assert {"calls", "failed", "reused", "core_seconds"} == metrics["dft"].keys()
    terms = {"teacher_dft", "student_teacher", "student_dft", "student_fit"}
    assert set(metrics["error_split"]) == {*terms, "action", "advice"}


def test_rmse_is_never_below_mae(metrics):
    for model in ("foundation", "teacher", "base", "final"):
        found = metrics["test"][model]
        assert found["energy_rmse_mev_per_atom"] >= found["energy_mae_mev_per_atom"]
        assert found["forces_rmse_mev_per_angstrom"] >= found["forces_mae_mev_per_angstrom"]


def test_the_verdict_follows_from_the_figures(metrics):
    """Better in energy or forces, and in neither worse by more than two standard errors."""
    base, final, verdict = metrics["test"]["base"], metrics["test"]["final"], metrics["verdict"]
    improved = []
    for name, figure in (("energy", "energy_rmse_mev_per_atom"), ("forces", "forces_rmse_mev_per_angstrom")):
        improved.append(final[figure] < base[figure])
        assert verdict[f"{name}_improved"] is improved[-1]
        assert final[figure] - base[figure] <= 2.0 * verdict[name]["standard_error"]
    assert any(improved)
    assert verdict["passed"] is True


def test_the_figures_of_the_final_potential_can_be_measured_again(finished, metrics, cli, tmp_path):
    answer = cli(
        "evaluate",
        finished.directory / "output" / "potential.yace",
        finished.directory / "02_label" / "test.extxyz",
        "--json",
        tmp_path / "errors.json",
    )
    assert answer.code == 0
    found = json.loads((tmp_path / "errors.json").read_text())
    assert found["labels_found"] == found["structures"] == metrics["test"]["structures"]
    assert found["errors"] == pytest.approx(metrics["test"]["final"], rel=1e-9)


def test_the_teacher_can_be_measured_again(finished, metrics, cli, tmp_path):
    files = finished.directory / "03_finetune" / "teacher.model", finished.directory / "02_label/test.extxyz"
    assert cli("evaluate", *files, "--json", tmp_path / "errors.json").code == 0
    found = json.loads((tmp_path / "errors.json").read_text())
    assert found["errors"] == pytest.approx(metrics["test"]["teacher"], rel=1e-6)


def test_the_rms_force_is_that_of_the_test_set(finished, metrics):
    forces = np.concatenate(
        [labels.forces.ravel() for labels in structures(finished, "02_label/test.extxyz").labels]
    )
    assert metrics["test"]["forces_rms_ev_per_angstrom"] == pytest.approx(np.sqrt(np.mean(forces**2)))


def test_the_test_set_is_large_enough_spread_and_frozen(finished):
    test = structures(finished, "02_label/test.extxyz")
    assert len(test) == len(set(test.ids)) == 20
    assert len(test.tag_counts()) >= 5


def test_no_training_file_holds_a_test_structure(finished):
    test = structures(finished, "02_label/test.extxyz")
    for name in (
        "02_label/train.extxyz",
        "05_pseudo_label/surrogate.extxyz",
        "04_explore/frames.extxyz",
        "03_finetune/training/mace/train.xyz",
    ):
        training = structures(finished, name)
        assert len(training) > 5, name
        assert not set(test.ids) & set(training.ids), name
        for structure in training:
            same = [other for other in test if len(other) == len(structure)]
            nearest = min(np.abs(other.positions - structure.positions).max() for other in same)
            assert nearest > 1e-6, name


def test_both_ends_and_the_transition_state_are_trained_on(finished):
    tags = structures(finished, "02_label/train.extxyz").tag_counts()
    assert tags["reactant"] == tags["product"] == tags["ts"] == 1


def test_every_label_is_what_the_oracle_says(finished):
    oracle = load_config(finished.config).dft
    for name in ("02_label/test.extxyz", "02_label/train.extxyz"):
        for structure in structures(finished, name)[:3]:
            again = oracle.label(structure)
            assert structure.labels.energy == pytest.approx(again.energy, abs=1e-6)
            assert structure.labels.forces == pytest.approx(again.forces, abs=1e-5)


def test_the_ledger_accounts_for_every_label(finished, metrics):
    rows = Ledger(finished.directory / "ledger.csv").rows
    keys = [row.key for row in rows]
    assert len(keys) == len(set(keys)) == metrics["dft"]["calls"]
    store = LabelStore(finished.directory / "labels")
    assert len(store) == len(rows)
    assert all(store.get(key) is not None for key in keys)
    assert sum(row.outcome != "ok" for row in rows) == metrics["dft"]["failed"]
    wanted = {"isolated atoms": 4, "active set": 12}
    assert {reason: sum(row.reason == reason for row in rows) for reason in wanted} == wanted
    labelled = structures(finished, "02_label/train.extxyz") + structures(finished, "02_label/test.extxyz")
    assert set(labelled.ids) <= {row.structure for row in rows if row.outcome == "ok"}


def test_the_selection_says_why(finished):
    with (finished.directory / "02_label" / "selection.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == len(structures(finished, "01_sample/pool.extxyz"))
    assert sum(row["role"] == "test" for row in rows) >= 20
    assert sum(row["role"] == "anchor" for row in rows) == 3


def test_all_models_share_their_reference_energies(finished):
    """E0 of the teacher; for ACE, which sees nothing around a lone atom, also that atom's energy."""
    reference = json.loads((finished.directory / "02_label" / "reference.json").read_text())["energies"]
    teacher = load_potential(finished.directory / "03_finetune" / "teacher.model")
    assert teacher.reference_energies == pytest.approx(reference, abs=1e-6)
    atoms = [AtomStructure(np.array([atomic_numbers[symbol]]), np.zeros((1, 3))) for symbol in reference]
    for name in ("06_base/base.yace", "output/potential.yace"):
        energies = [labels.energy for labels in load_potential(finished.directory / name).evaluate(atoms)]
        assert energies == pytest.approx(list(reference.values()), abs=1e-6), name


def test_the_model_card_tells_where_the_potential_comes_from(finished, metrics):
    card = json.loads((finished.directory / "output" / "potential.json").read_text(encoding="utf-8"))
    assert card["sha256"] == sha256_file(finished.directory / "output" / "potential.yace")
    assert card["sha256"] == sha256_file(finished.directory / "07_delta" / "final.yace")
    assert card["foundation_sha256"] == sha256_file(finished.config.parent / "foundation.model")
    assert card["reference_settings"]["method"] == "GFN1-xTB"
    assert card["seed"] == 7
    assert card["test"] == metrics["test"]
    assert {"mace-torch", "torch", "numpy", "pyacemaker"} <= card["versions"].keys()


def test_the_lammps_input_names_the_elements_in_the_potentials_order(finished):
    text = (finished.directory / "output" / "in.lammps").read_text()
    elements = ACEPotential.from_yace(finished.directory / "output" / "potential.yace").elements
    assert f"pair_coeff      * * potential.yace {' '.join(elements)}\n" in text


def test_the_config_of_the_run_is_the_config(finished):
    kept = load_config(finished.directory / "config.yaml")
    asked = load_config(finished.config)
    assert kept.fingerprint() == asked.fingerprint()
    assert kept.name == "tiny"


def test_the_log_and_the_output_tell_the_story(finished):
    log = (finished.directory / "run.log").read_text(encoding="utf-8")
    for step in STEPS:
        assert f"{step.name}: done in" in log
    assert "potential.yace" in finished.answer.out
    assert "fine-tuning MACE, epochs: 4/4" in finished.answer.err
    for model in ("foundation", "teacher", "base", "final"):
        assert model in finished.answer.out


def test_the_log_is_readable(finished):
    lines = (finished.directory / "run.log").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 60
    assert max(map(len, lines)) < 400


def test_a_second_run_finds_everything_done(finished, run_copy, cli):
    before = {path: path.stat().st_mtime_ns for path in run_copy.glob("0*/*") if path.is_file()}
    answer = cli("run", finished.config, "--run-dir", run_copy)
    assert answer.code == 0
    assert answer.err.count("up to date") == 8
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_executor_changes_nothing(finished, run_copy, tiny):
    config = load_config(tiny(("kind: inline", "kind: local\n  workers: 2")))
    assert [step.action for step in Orchestrator(config, run_copy).plan()] == ["done"] * 8


def test_another_reference_method_redoes_labelling_and_what_follows(finished, run_copy, tiny):
    config = load_config(tiny(("method: GFN1-xTB", "method: GFN2-xTB")))
    assert [step.action for step in Orchestrator(config, run_copy).plan()] == ["done"] + ["run"] * 7


@pytest.mark.parametrize(
    ("change", "first"),
    [
        (("seed: 7", "seed: 8"), 1),
        (("n_pool: 60", "n_pool: 61"), 1),
        (("n_train: 12", "n_train: 13"), 2),
        (("epochs: 4", "epochs: 5"), 3),
        (("equilibration: 20", "equilibration: 25"), 4),
        (("delta:", "pseudo_label:\n  max_force: 20\ndelta:"), 5),
        (("functions: 80", "functions: 90"), 6),
        (("dft_emphasis: 0.3", "dft_emphasis: 0.4"), 7),
        (("steps: 400", "steps: 300"), 8),
        (("limit: 100}\n  md", "limit: 90}\n  md"), 9),  # limits are judged, nothing is measured again
    ],
)
def test_a_changed_setting_redoes_its_step_and_what_follows(finished, run_copy, tiny, change, first):
    planned = Orchestrator(load_config(tiny(change)), run_copy).plan()
    assert [step.action for step in planned] == ["done"] * (first - 1) + ["run"] * (9 - first)


def test_another_foundation_redoes_everything(finished, run_copy, tiny):
    config = tiny()
    with (config.parent / "foundation.model").open("ab") as handle:
        handle.write(b"\0")
    assert {step.action for step in Orchestrator(load_config(config), run_copy).plan()} == {"run"}


def test_only_the_changed_step_and_the_delta_are_really_redone(finished, run_copy, tiny, cli):
    labels = {path: path.stat().st_mtime_ns for path in (run_copy / "labels").rglob("*.json")}
    answer = cli("run", tiny(("functions: 80", "functions: 60")), "--run-dir", run_copy)
    assert answer.code in (0, 1)  # the verdict may be either
    assert answer.err.count("up to date") == 5
    assert "06_base: done" in answer.err
    assert "07_delta: done" in answer.err
    assert {path: path.stat().st_mtime_ns for path in (run_copy / "labels").rglob("*.json")} == labels


def test_the_python_function_gives_the_metrics(finished, run_copy, metrics):
    assert pyacemaker.run(finished.config, run_copy) == metrics
    assert pyacemaker.run(finished.config, run_copy, until="sample") is None
