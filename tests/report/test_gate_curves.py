"""The gates' curves, from measurements whose answer is known."""

import json

import numpy as np
import pytest
from html_page import HtmlPage
from plotly.graph_objects import Figure

from pyacemaker.baselines.zbl import Zbl
from pyacemaker.report import report_html
from pyacemaker.report.sections import gate_curves as curves
from pyacemaker.structures import AtomStructure

VOLUMES = np.linspace(14.0, 19.0, 11)
CONSTANTS = np.diag([114.0, 114.0, 114.0, 32.0, 32.0, 32.0])


def gate(name, **fields):
    return {"name": name, "value": 1.0, "unit": "", "note": "", "broken": False, **fields}


def wall(distances):
    pairs = [AtomStructure([13, 13], [[0, 0, 0], [0, 0, r]]) for r in distances]
    return [labels.energy for labels in Zbl(window=(0.9, 1.4), unit="angstrom").evaluate(pairs)]


@pytest.fixture(scope="module")
def measured():
    distances = np.linspace(0.5, 1.4, 40)
    points = [[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [2 / 3, 0.0, 0.0], [0.5, 0.5, 0.5]]
    frequencies = [[0.0, 0.0, 0.0], [4.0, 4.0, 7.0], [3.0, 3.0, 6.0], [5.0, 5.0, 9.0]]
    energies = 0.5 * 0.1 * (VOLUMES - 16.5) ** 2 - 3.7
    volumes = {"0 Al": 16.5, "1 Al2": None}
    profile = [0.0, 0.1, 0.4, -1.0]
    return {
        "energy_volume": gate(
            "energy_volume",
            curves={
                "0 Al": {"cubic_angstrom_per_atom": VOLUMES.tolist(), "ev_per_atom": energies.tolist()},
            },
        ),
        "equilibrium_volume": gate(
            "equilibrium_volume", student=volumes, teacher={"0 Al": 16.6, "1 Al2": 17.0}, dft=None
        ),
        "elastic_constants": gate(
            "elastic_constants",
            student={"0 Al": CONSTANTS.tolist()},
            teacher={"0 Al": (1.1 * CONSTANTS).tolist()},
        ),
        "phonons": gate(
            "phonons",
            curves={"0 Al": {"points": points, "student_thz": frequencies, "teacher_thz": frequencies}},
        ),
        "dimer_walls": gate(
            "dimer_walls", curves={"Al-Al": {"angstrom": distances.tolist(), "ev": wall(distances)}}
        ),
        "path": gate(
            "path",
            curves={
                "paths": [
                    {"student_ev": profile, "teacher_ev": profile, "dft_ev": [0.0, None, 0.5, -1.1]},
                ]
            },
        ),
        "frequencies": gate(
            "frequencies", student={"0 ts X": [-500.0, 1000.0]}, teacher={"0 ts X": [-480.0, 1010.0]}
        ),
        "nve_drift": gate(
            "nve_drift", curves={"timestep_fs": 0.5, "ev_per_atom": [(np.arange(2001) * 1e-6 - 4).tolist()]}
        ),
        "extrapolation": gate(
            "extrapolation", student={"pool": {"0.5": 0.9, "1.0": 1.0}, "test": {"1.0": 3.0}}
        ),
    }


def named(figure):
    return {trace["name"]: trace for trace in figure.data if "name" in trace}


def test_energies_over_volume_begin_at_their_lowest(measured):
    figure, minima = curves.equation_of_state(measured)
    trace = named(figure)["0 Al"]
    assert min(trace["y"]) == 0.0
    assert trace["x"][int(np.argmin(trace["y"]))] == 16.5
    assert max(trace["y"]) == pytest.approx(1000 * 0.05 * 2.5**2)
    assert named(minima)["final"]["y"] == [16.5]  # the crystal without a minimum is left out
    assert named(minima)["teacher"]["y"] == [16.6, 17.0]
    assert "DFT" not in named(minima)


def test_all_elastic_constants_are_compared(measured):
    (figure,) = curves.elastic(measured)
    (trace,) = named(figure).values()
    assert len(trace["x"]) == 21
    ratio = np.array(trace["x"])[np.array(trace["y"]) > 0] / np.array(trace["y"])[np.array(trace["y"]) > 0]
    assert ratio == pytest.approx(1.1)


def test_phonons_are_ordered_by_the_length_of_the_wave_vector(measured):
    """Folded back: 2/3 along an axis is −1/3, shorter than 1/2."""
    (figure,) = curves.phonons(measured)
    assert named(figure)["final"]["y"] == [0, 0, 0, 3, 3, 6, 4, 4, 7, 5, 5, 9]
    assert named(figure)["teacher"]["x"] == np.repeat(range(4), 3).tolist()
    assert "q = (-0.333, 0, 0)" in named(figure)["final"]["text"][3]


def test_walls_fall(measured):
    (figure,) = curves.walls(measured)
    trace = named(figure)["Al-Al"]
    assert (np.diff(trace["y"]) < 0).all()
    assert min(trace["y"]) > 0


def test_dft_stands_where_it_is_known(measured):
    (figure,) = curves.reaction_paths(measured)
    assert named(figure)["DFT"]["x"] == [0, 2, 3]
    assert named(figure)["DFT"]["y"] == [0.0, 0.5, -1.1]


def test_vibrations_keep_the_sign_of_imaginary_ones(measured):
    (figure,) = curves.vibrations(measured)
    (trace,) = named(figure).values()
    assert (trace["x"], trace["y"]) == ([-480, 1010], [-500, 1000])


def test_energy_conservation_in_picoseconds(measured):
    """1e-6 eV per step of 0.5 fs: 2 meV/ps."""
    (figure,) = curves.conservation(measured)
    (trace,) = named(figure).values()
    assert trace["x"][0] == trace["y"][0] == 0
    assert trace["x"][-1] == pytest.approx(1.0)
    assert np.array(trace["y"]) == pytest.approx(2.0 * np.array(trace["x"]), abs=1e-4)
    assert len(trace["x"]) <= 402
    assert curves.conservation({"nve_drift": gate("nve_drift", curves={"ev_per_atom": []})}) == []


def test_what_was_not_measured_is_not_drawn():
    assert [figure for make in curves.DRAWN for figure in make({})] == []


def test_every_curve_is_one_that_plotly_knows(measured):
    made = [figure for make in curves.DRAWN for figure in make(measured)]
    assert len(made) == 9
    for figure in made:
        Figure({"data": figure.data, "layout": figure.layout})


def test_the_section_shows_them_and_says_what_is_missing(run_copy, measured):
    kept = {name: measured[name] for name in ("energy_volume", "phonons")}
    (run_copy / "08_gates" / "gates.json").write_text(json.dumps(kept))
    path = run_copy / "output" / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["gates"] = {
        "energy_volume": {"value": 0.5, "limit": 3.0, "unit": "meV/atom", "passed": True, "note": ""},
        "phonons": {"value": 1.5, "limit": 0.3, "unit": "THz", "passed": False, "note": "soft at M"},
    }
    metrics["verdict"]["gates_failed"] = ["phonons"]
    path.write_text(json.dumps(metrics))
    page = HtmlPage(report_html(run_copy))
    assert {"energy-volume", "phonons-0"} <= page.figures.keys()
    _, *rows = page.table("What was examined")
    assert rows[0][:5] == ["energy volume", "passed", "meV/atom", "0.500", "3"]
    assert rows[1][:5] == ["phonons", "FAILED", "THz", "1.50", "0.3"]
    assert rows[1][-1] == "soft at M"
    assert "1 of 2" in page.plain
    assert "Elastic constants, Vibrations of molecules, Walls of dimers" in page.plain
