"""The report of the tiny run: every section is there, and its figures are those of the run's files."""

import csv
import json

import numpy as np
import pytest
from html_page import SECTIONS, HtmlPage

from pyacemaker.report import report_html, write_report
from pyacemaker.structures.formats import read_structures
from pyacemaker.workflow.steps import STEPS

MODELS = ("foundation", "teacher", "base", "final")


@pytest.fixture(scope="module")
def page(finished):
    return HtmlPage((finished.directory / "output" / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def metrics(finished):
    return json.loads((finished.directory / "output" / "metrics.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def ledger(finished):
    return table_of(finished.directory / "ledger.csv")


def table_of(path):
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def points(figure):
    """x and y of all traces with a name, together."""
    named = [trace for trace in figure["data"] if "name" in trace]
    return (np.concatenate([np.array(trace[axis], dtype=float) for trace in named]) for axis in "xy")


def test_a_run_ends_with_its_report(finished):
    assert f"Report: {finished.directory / 'output' / 'report.html'}" in finished.answer.out


def test_every_section_is_there_and_the_verdict_comes_first(page):
    assert page.headings == list(SECTIONS.values())
    assert [name for name in page.ids if name in SECTIONS] == list(SECTIONS)
    assert "could not be made" not in page.plain


def test_the_file_needs_nothing_from_elsewhere(page, finished):
    assert {address for address in page.addresses if not address.startswith("#")} == {"data:,"}
    style = page.text.split("<style>")[1].split("</style>")[0]
    assert "url(" not in style
    assert "@import" not in style
    assert 4e6 < (finished.directory / "output" / "report.html").stat().st_size < 7e6


def test_ids_are_unique(page):
    assert len(page.ids) == len(set(page.ids))


def test_the_errors_are_those_of_the_metrics(page, metrics):
    head, *rows = page.table("Errors on")
    assert head[1:] == [
        "energy RMSEmeV/atom",
        "energy MAEmeV/atom",
        "force RMSEmeV/Å",
        "force MAEmeV/Å",
    ]
    for model, row in zip(MODELS, rows, strict=True):
        found = metrics["test"][model]
        assert row[0].startswith(model)
        assert row[1:] == [
            f"{found['energy_rmse_mev_per_atom']:.2f}",
            f"{found['energy_mae_mev_per_atom']:.2f}",
            f"{found['forces_rmse_mev_per_angstrom']:.1f}",
            f"{found['forces_mae_mev_per_angstrom']:.1f}",
        ]
    assert metrics["verdict"]["reason"][1:] in page.plain


def test_the_costs_are_those_of_the_ledger(page, metrics, ledger):
    last = page.table("The ledger")[-1]
    failed = [row for row in ledger if row["outcome"] != "ok"]
    assert last[:5] == ["all", "", str(len(ledger)), str(len(failed)), "0"]
    assert last[2:4] == [str(metrics["dft"]["calls"]), str(metrics["dft"]["failed"])]
    assert float(last[5]) == pytest.approx(metrics["dft"]["core_seconds"], rel=5e-3)
    by_reason = page.table("The ledger")[1:-1]
    assert sum(int(row[2]) for row in by_reason) == len(ledger)
    bars = page.figures["cost-by-tag"]["data"]
    assert sum(sum(trace["customdata"]) for trace in bars) == len(ledger)
    if failed:
        listed = [row[0] for row in page.table(f"{len(failed)} calculation")[1:]]
        assert listed == [row["structure"] for row in failed]


def test_savings_that_were_not_measured_are_not_claimed(page):
    assert "Savings against random selection : not measured" in page.plain


def test_the_error_split_is_that_of_the_metrics(page, metrics):
    split = metrics["error_split"]
    rows = page.table("Mean absolute errors")[1:]
    for name, row in zip(("teacher_dft", "student_teacher", "student_dft"), rows, strict=True):
        assert row[1] == f"{split[name]['energy_mae_mev_per_atom']:.2f}"
        assert row[2] == f"{split[name]['forces_mae_mev_per_angstrom']:.1f}"
    assert split["advice"][1:] in page.plain


@pytest.mark.parametrize("model", MODELS)
def test_parity_plots_hold_every_label_and_give_the_rmse_of_the_metrics(page, metrics, finished, model):
    test = read_structures(finished.directory / "02_label" / "test.extxyz")
    errors = metrics["test"][model]
    x, y = points(page.figures[f"parity-forces-{model}"])
    assert np.sort(x) == pytest.approx(
        np.sort(np.concatenate([s.forces.ravel() for s in test.labels])), rel=1e-5
    )
    rmse = 1000 * np.sqrt(np.mean((y - x) ** 2))
    assert rmse == pytest.approx(errors["forces_rmse_mev_per_angstrom"], rel=1e-3)
    x, y = points(page.figures[f"parity-energy-{model}"])
    assert len(x) == len(test)
    rmse = 1000 * np.sqrt(np.mean((y - x) ** 2))
    assert rmse == pytest.approx(errors["energy_rmse_mev_per_atom"], rel=1e-3)


def test_parity_plots_are_coloured_by_tag(page, finished):
    tags = set(read_structures(finished.directory / "02_label" / "test.extxyz").tag_counts())
    named = [trace for trace in page.figures["parity-energy-final"]["data"] if "name" in trace]
    assert {trace["name"] for trace in named} == tags
    assert len({trace["marker"]["color"] for trace in named}) == len(tags)


def test_groups_of_atoms_add_up_to_the_whole(page, metrics, finished):
    atoms = read_structures(finished.directory / "02_label" / "test.extxyz").n_atoms
    for caption in ("By element: RMSE", "By the size of the DFT force"):
        rows = page.table(caption)[1:]
        counts, errors = (np.array([float(row[k]) for row in rows]) for k in (1, -1))
        assert counts.sum() == atoms
        whole = np.sqrt(np.sum(counts * errors**2) / atoms)
        assert whole == pytest.approx(metrics["test"]["final"]["forces_rmse_mev_per_angstrom"], rel=2e-3)


def test_the_worst_structures_are_drawn(page, finished):
    test = read_structures(finished.directory / "02_label" / "test.extxyz")
    found = read_structures(finished.directory / "07_delta" / "test_predictions.extxyz")
    pairs = zip(test.labels, found.labels, strict=True)
    worst = int(np.argmax([np.sqrt(np.mean((a.forces - b.forces) ** 2)) for a, b in pairs]))
    assert sorted(page.drawings) == [f"worst-{rank}" for rank in range(1, 7)]
    first = page.drawings["worst-1"]
    assert first["symbols"] == test[worst].symbols
    assert test[worst].id in page.plain
    drawn, real = np.array(first["positions"]), np.array(test[worst].positions)
    distances = [np.linalg.norm(p[:, None] - p[None], axis=2) for p in (drawn, real)]
    assert distances[0] == pytest.approx(distances[1], abs=3e-3)
    assert np.linalg.norm(first["arrows"], axis=1).max() == pytest.approx(1.0, abs=2e-3)


def test_the_map_shows_the_whole_pool_and_what_was_chosen(page, finished):
    rows = table_of(finished.directory / "02_label" / "selection.csv")
    traces = {trace["name"]: trace for trace in page.figures["pool-map"]["data"]}
    assert sum(len(trace["x"]) for trace in traces.values()) == len(rows)
    assert len(traces["test set"]["x"]) == sum(row["role"] == "test" for row in rows)
    trained = sum(row["role"] not in ("", "test") for row in rows)
    assert len(traces["anchor"]["x"]) + len(traces["chosen"]["x"]) == trained
    assert page.table("The pool by tag")[-1][1] == str(len(rows))


def test_the_guards_events_are_those_of_the_trajectories(page, finished):
    outcomes = json.loads((finished.directory / "04_explore" / "trajectories.json").read_text())[
        "trajectories"
    ]
    bars = page.figures["guards-by-temperature"]["data"]
    assert sum(sum(trace["y"]) for trace in bars) == len(outcomes)
    cut = sum(bool(one["event"]) for one in outcomes)
    assert sum(sum(trace["y"]) for trace in bars if trace["name"] != "completed") == cut


def test_seeds_versions_and_checksums_are_told(page, finished):
    state = json.loads((finished.directory / "state.json").read_text())
    assert ["seed of the run", str(state["seed"])] in page.table("A step's key")
    assert page.table("Versions")[1:] == [[name, version] for name, version in state["versions"].items()]
    card = json.loads((finished.directory / "output" / "potential.json").read_text())
    files = {row[0]: row[2] for row in page.table("Delivered files")[1:]}
    assert files["output/potential.yace"] == card["sha256"]
    for step in STEPS:
        outputs = json.loads((finished.directory / step.name / "manifest.json").read_text())["outputs"]
        for name, digest in outputs.items():
            assert f"{digest} {step.name}/{name}" in page.plain
    assert "seed: 7" in page.plain


def test_every_figure_is_one_that_plotly_knows(page):
    """Its Python package refuses traces and layouts with a misspelt or misplaced property."""
    graph_objects = pytest.importorskip("plotly.graph_objects")
    assert len(page.figures) >= 20
    for name, figure in page.figures.items():
        drawn = graph_objects.Figure(figure)
        for axis in ("xaxis", "yaxis"):
            assert drawn.layout[axis].title.text is not None, name
        assert any(len(trace.x) for trace in drawn.data), name
        assert f"figure-{name}" in page.ids


def test_the_same_files_give_the_same_bytes(finished, page, tmp_path):
    assert write_report(finished.directory, tmp_path / "again.html") == tmp_path / "again.html"
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == page.text


def test_reporting_changes_nothing_else(finished):
    def content():
        return {p: p.stat().st_mtime_ns for p in finished.directory.rglob("*") if p.is_file()}

    before = content()
    report_html(finished.directory)
    assert content() == before
