"""The gates of the tiny run: measured once, paid for in the ledger, judged by the limits of the moment."""

import json

import numpy as np
import pytest

from pyacemaker.config import load_config
from pyacemaker.potentials.ace import ACEPotential
from pyacemaker.structures.ledger import LedgerRow
from pyacemaker.structures.store import LabelStore, Ledger
from pyacemaker.workflow.orchestrator import Orchestrator


@pytest.fixture(scope="module")
def metrics(finished):
    return json.loads((finished.directory / "output" / "metrics.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def measured(finished):
    return json.loads((finished.directory / "08_gates" / "gates.json").read_text(encoding="utf-8"))


def asked(directory) -> list[LedgerRow]:
    return [row for row in Ledger(directory / "ledger.csv").rows if row.reason == "gates"]


def test_every_gate_that_applies_to_a_reaction_has_an_answer(metrics, measured):
    expected = {"parity", "dimer_walls", "extensivity", "nve_drift", "md_stability", "extrapolation"}
    expected |= {"path", "barrier", "reaction_energy"}
    assert set(metrics["gates"]) == set(measured) == expected
    for name, one in metrics["gates"].items():
        assert one["passed"] is (one["value"] is not None and one["value"] <= one["limit"]), name
        assert not (one["blocks"] and not one["passed"]), name
    assert metrics["verdict"]["gates_failed"] == [n for n, g in metrics["gates"].items() if not g["passed"]]
    assert metrics["verdict"]["gates_blocking"] == []


def test_the_reaction_is_compared_on_the_same_structures(finished, metrics, measured):
    (reaction,) = metrics["reactions"]
    (path,) = measured["path"]["curves"]["paths"]
    assert reaction["formula"] == "CH3ClF"
    top = path["top"]
    for who, key in (("final", "student_ev"), ("teacher", "teacher_ev"), ("dft", "dft_ev")):
        assert path[key][0] == 0.0
        assert reaction["barrier_ev"][who] == pytest.approx(path[key][top], abs=1e-9)
        assert reaction["reaction_energy_ev"][who] == pytest.approx(path[key][-1], abs=1e-9)
    off = reaction["barrier_ev"]["final"] - reaction["barrier_ev"]["dft"]
    assert metrics["gates"]["barrier"]["value"] == pytest.approx(1000 * abs(off))


def test_the_labels_on_the_path_are_in_store_and_ledger(finished, metrics, measured):
    rows = asked(finished.directory)
    assert len(rows) == load_config(finished.config).gates.path_labels == 3
    store = LabelStore(finished.directory / "labels")
    energies = sorted(store.get(row.key).labels().energy for row in rows)
    known = sorted(e for e in measured["path"]["curves"]["paths"][0]["dft_ev"] if e is not None)
    assert np.diff(energies) == pytest.approx(np.diff(known), abs=1e-9)
    assert metrics["dft"]["calls"] == len(Ledger(finished.directory / "ledger.csv").rows)


def test_a_limit_that_is_not_met_holds_the_potential_back_without_measuring_again(
    finished, run_copy, tiny, cli
):
    strict = tiny(("gates:\n", "gates:\n  parity: {limit: 0, blocks: true}\n"))
    answer = cli("run", strict, "--run-dir", run_copy)
    assert answer.code == 1
    assert answer.err.count("up to date") == 8
    assert "but it does not pass parity (" in answer.complaint()
    assert not (run_copy / "output" / "potential.yace").exists()
    assert not (run_copy / "output" / "in.lammps").exists()
    verdict = json.loads((run_copy / "output" / "metrics.json").read_text())["verdict"]
    assert verdict["gates_blocking"] == ["parity"]
    assert cli("run", finished.config, "--run-dir", run_copy).code == 0
    assert (run_copy / "output" / "potential.yace").exists()


def test_a_changed_gate_measures_only_itself_again(run_copy, tiny, cli):
    kept = {path.name: path.stat().st_mtime_ns for path in (run_copy / "08_gates" / "measured").iterdir()}
    config = tiny(("steps: 50", "steps: 60"))
    assert [step.action for step in Orchestrator(load_config(config), run_copy).plan()][-2:] == [
        "done",
        "run",
    ]
    assert cli("run", config, "--run-dir", run_copy).code == 0
    now = {path.name: path.stat().st_mtime_ns for path in (run_copy / "08_gates" / "measured").iterdir()}
    assert now.items() >= kept.items()
    assert sorted(name.split("-")[0] for name in now.keys() - kept.keys()) == [
        "extrapolation",
        "md_stability",
    ]
    assert len(asked(run_copy)) == 3


def test_a_potential_that_is_not_delivered_takes_no_labels(finished, run_copy, tiny, cli):
    path = run_copy / "07_delta" / "metrics.json"
    before = len(asked(run_copy))
    content = json.loads(path.read_text())
    content["verdict"]["passed"] = False
    path.write_text(json.dumps(content))
    for part in (run_copy / "08_gates" / "measured").glob("*"):
        part.unlink()
    orchestrator = Orchestrator(load_config(tiny(("path_labels: 3", "path_labels: 5"))), run_copy)
    from pyacemaker.workflow.state import WorkflowState
    from pyacemaker.workflow.steps.gates import GATES

    orchestrator._execute(GATES, WorkflowState.read(run_copy))
    assert len(asked(run_copy)) == before
    found = json.loads((run_copy / "08_gates" / "gates.json").read_text())
    assert found["barrier"]["dft"] == [None]
    assert "against the teacher" in found["barrier"]["note"]


def test_the_final_potential_has_the_walls_that_the_gate_drew(finished, measured):
    from pyacemaker.validation.dimer_walls import pair_energies

    potential = ACEPotential.from_yace(finished.directory / "output" / "potential.yace")
    curves = measured["dimer_walls"]["curves"]
    assert len(curves) == 10
    for pair, curve in list(curves.items())[:3]:
        again = pair_energies(potential, tuple(pair.split("-")), np.array(curve["angstrom"]))
        assert again == pytest.approx(curve["ev"])
        assert curve["angstrom"][0] == 0.5


def test_a_dry_run_counts_the_labels_of_the_gates(tiny, tmp_path, cli):
    answer = cli("run", tiny(), "--run-dir", tmp_path / "new", "--dry-run")
    assert "20 to test on, 3 for the gates, one per element" in answer.out
