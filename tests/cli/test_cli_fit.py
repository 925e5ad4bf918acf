"""`pyacemaker fit`: its figures, its options, and what it says of bad input."""

import json

import numpy as np
import pytest

from conftest import ROOT
from pyacemaker.structures import Dataset, Labels, LabelWeights
from pyacemaker.structures.formats import read_structures, write_structures

DATA = ROOT / "tests" / "data" / "cual_small.xyz"
SETTINGS = "functions: 30\nmax_rank: 2\nnradbase: 6\nridge: 1.0e-7\ncutoff: 4.5\nrefinement: none\n"


@pytest.fixture(scope="module")
def cual():
    return read_structures(DATA).labelled()


@pytest.fixture
def fit(cli, tmp_path):
    """Runs the command on structures (or the small set) with small settings."""
    (tmp_path / "fit.yaml").write_text(SETTINGS)

    def run(*options, structures=None, settings=SETTINGS):
        (tmp_path / "fit.yaml").write_text(settings)
        train = DATA
        if structures is not None:
            train = tmp_path / "train.xyz"
            write_structures(train, structures)
        return cli("fit", train, "-o", tmp_path / "p.yace", "--config", tmp_path / "fit.yaml", *options)

    return run


def test_the_figures(fit, cual, tmp_path):
    weights = LabelWeights(0.0, np.ones((len(cual[3]), 3)), np.zeros(6))
    masked = Dataset([cual[3].replace(label_weights=weights), *cual[:3], *cual[4:]])
    write_structures(tmp_path / "test.xyz", cual[:5])
    report = tmp_path / "fit.json"
    answer = fit("--test", tmp_path / "test.xyz", "--json", report, structures=masked)
    assert answer.code == 0, answer.err
    found = json.loads(report.read_text())
    names = {
        f"{quantity}_{kind}_{unit}"
        for quantity, unit in (("energy", "mev_per_atom"), ("forces", "mev_per_angstrom"), ("stress", "gpa"))
        for kind in ("rmse", "mae")
    }
    assert set(found["train"]) == set(found["test"]) == names
    counts = found["counts"]["train"]
    assert counts["structures"] == len(cual)
    assert counts["atoms"] == cual.n_atoms
    assert counts["energies"] == len(cual) - 1
    assert counts["forces"] == 3 * cual.n_atoms
    stresses = sum(6 for s in masked[1:] if s.labels.stress is not None)
    assert counts["stresses"] == stresses
    assert found["counts"]["test"]["structures"] == 5
    assert found["seconds"] > 0.0
    assert sum(found["functions"].values()) == found["total_functions"]


def test_processes_prior_and_reference_energies(fit, tmp_path):
    assert fit("--processes", 1).code == 0
    first = (tmp_path / "p.yace").read_bytes()
    assert fit("--processes", 2, "--shards", tmp_path / "parts").code == 0
    assert (tmp_path / "p.yace").read_bytes() == first
    (tmp_path / "prior.yace").write_bytes(first)
    report = tmp_path / "fit.json"
    answer = fit("--prior", tmp_path / "prior.yace", "--json", report, settings="ridge: 1.0e-7\n")
    assert answer.code == 0, answer.err
    assert json.loads(report.read_text())["total_functions"] > 30
    assert fit("--reference-energies", "Al=3.3,Cu=3.5", "--json", report).code == 0
    assert json.loads(report.read_text())["reference_energies"] == {"Al": 3.3, "Cu": 3.5}
    assert fit("--reference-energies", "fitted").code == 0


def test_an_additive_baseline_in_the_settings(fit, tmp_path):
    report = tmp_path / "fit.json"
    answer = fit("--json", report, settings=SETTINGS + "baseline:\n  kind: zbl\n  window: [0.6, 1.0]\n")
    assert answer.code == 0, answer.err
    assert "hybrid/overlay" in json.loads(report.read_text())["use"]
    assert "hybrid/overlay" in answer.out


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("functions: 3000\nmax_total_functions: 9000\n", "functions, but the data has only"),
        ("functions_of:\n  Cu: 40\n", "the data also holds Al"),
        ("blocks:\n  XYZ: {}\n", "neither elements like Al"),
        ("baseline: soft\n", "baseline"),
        ("prior: none.yace\n", "does not exist"),
    ],
)
def test_bad_settings(fit, settings, message):
    answer = fit(settings=settings)
    assert answer.code == 2
    assert message in answer.complaint()


@pytest.mark.parametrize("text", ["Al", "Al=x", "Al=1,Xx=2", "much"])
def test_bad_reference_energies(fit, text):
    answer = fit("--reference-energies", text)
    assert answer.code == 2
    assert "expected auto, composition, fitted, or energies in eV" in answer.complaint()


def test_a_missing_reference_energy(fit):
    answer = fit("--reference-energies", "Al=-1.0")
    assert answer.code == 2
    assert "holds Cu, but reference energies are given for Al only" in answer.complaint()


def test_bad_structures(fit, cual):
    both = cual[5].positions.copy()
    both[1] = both[0]
    twin = cual[5].replace(positions=both)
    answer = fit(structures=[*cual[:3], twin])
    assert answer.code == 2
    assert "structure 3" in answer.complaint()
    assert "apart; move one" in answer.complaint()
    nothing = [s.replace(labels=Labels(np.nan, s.labels.forces)) for s in cual]
    answer = fit(structures=nothing)
    assert answer.code == 2
    assert "NaN" in answer.complaint()


def test_a_prior_of_other_elements(cli, fit, tmp_path):
    assert fit().code == 0
    other = ROOT / "tests" / "data" / "sn2_small.xyz"
    answer = cli("fit", other, "-o", tmp_path / "q.yace", "--prior", tmp_path / "p.yace")
    assert answer.code == 2
    assert "the prior potential covers Al, Cu" in answer.complaint()
