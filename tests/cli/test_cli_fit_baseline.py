"""`fit` with ZBL under it, as the potential's own core or as an additive baseline: one answer everywhere."""

import json

import numpy as np
import pytest

from conftest import ROOT, run_command
from pyacemaker.baselines import Zbl
from pyacemaker.errors import EngineMissingError
from pyacemaker.potentials.ace import ACECalculator, ACEPotential
from pyacemaker.potentials.lammps_driver import LammpsDriver
from pyacemaker.structures import Accuracy
from pyacemaker.structures.formats import read_structures

DATA = ROOT / "tests" / "data" / "cual_small.xyz"
QUICK = "cutoff: 4.5\nfunctions: 60\nrefinement: none\n"
BASELINES = {"core": "zbl", "additive": "{kind: zbl, window: [0.6, 1.1]}"}


@pytest.fixture(scope="module", params=BASELINES)
def fitted(request, tmp_path_factory):
    """(kind, the written potential, what the command answered, its JSON)"""
    folder = tmp_path_factory.mktemp(request.param)
    config, out = folder / "fit.yaml", folder / "potential.yace"
    config.write_text(f"{QUICK}baseline: {BASELINES[request.param]}\n")
    report = folder / "fit.json"
    answer = run_command(
        "fit", DATA, "-o", out, "--config", config, "--test", DATA, "--processes", 1, "--json", report
    )
    assert answer.code == 0, answer.err
    return request.param, out, answer, json.loads(report.read_text())


def close_structures():
    """Three cells of the data, and the first one compressed until the baseline is felt."""
    data = read_structures(DATA)
    periodic = [s for s in data if s.is_periodic and len(s) > 2][:2]
    squeezed = [s.replace(positions=0.85 * s.positions, cell=0.85 * s.cell) for s in periodic]
    return [*periodic, *squeezed]


def test_the_file_alone_gives_the_errors_that_the_fit_reported(fitted):
    _, path, _, report = fitted
    data = read_structures(DATA)
    found = Accuracy.on(data, ACEPotential.from_yace(path).evaluate(data)).as_dict()
    assert found == pytest.approx(report["test"], rel=1e-9)


def test_nobody_can_forget_the_baseline_and_lammps_users_are_told(fitted):
    kind, path, answer, _ = fitted
    potential = ACEPotential.from_yace(path)
    if kind == "core":
        assert potential.baseline is None
        assert "hybrid/overlay" not in answer.out
        return
    assert potential.baseline == Zbl(window=(0.6, 1.1))
    assert "pair_style hybrid/overlay pace zbl" in answer.out
    assert "pair_coeff 1 2 zbl 2 13 29" in answer.out
    squeezed = close_structures()[-1]
    alone = potential.with_baseline(None).evaluate([squeezed])[0]
    assert abs(alone.energy - potential.evaluate([squeezed])[0].energy) > 0.1


def test_evaluate_adds_it(fitted, tmp_path):
    _, path, _, report = fitted
    answer = run_command("evaluate", path, DATA, "--json", tmp_path / "errors.json")
    assert answer.code == 0
    found = json.loads((tmp_path / "errors.json").read_text())["errors"]
    assert found == pytest.approx(report["test"], rel=1e-9)


@pytest.mark.lammps
@pytest.mark.parametrize("baseline_route", ["overlay", "python"])
def test_ase_and_lammps_see_the_same(fitted, baseline_route):
    _, path, _, _ = fitted
    potential = ACEPotential.from_yace(path)
    for structure in close_structures():
        atoms = structure.to_atoms()
        atoms.calc = ACECalculator(path)
        try:
            with LammpsDriver(structure, potential, baseline_route=baseline_route) as driver:
                found = driver.labels()
        except EngineMissingError as error:
            pytest.skip(str(error))
        assert found.energy == pytest.approx(atoms.get_potential_energy(), rel=1e-9)
        assert np.abs(found.forces - atoms.get_forces()).max() < 1e-6
        assert found.stress == pytest.approx(atoms.get_stress(), abs=1e-6 * np.abs(atoms.get_stress()).max())


def test_a_prior_with_another_baseline_is_refused(fitted, tmp_path):
    kind, path, _, _ = fitted
    config = tmp_path / "fit.yaml"
    other = "zbl" if kind == "additive" else BASELINES["additive"]
    config.write_text(f"{QUICK}baseline: {other}\n")
    answer = run_command("fit", DATA, "-o", tmp_path / "new.yace", "--config", config, "--prior", path)
    assert answer.code == 2
    assert "give both the same `baseline`" in answer.err
