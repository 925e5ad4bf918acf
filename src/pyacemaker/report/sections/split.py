"""Whose error it is: the teacher's or the student's."""

from typing import Any

from pyacemaker.report.numbers import fixed
from pyacemaker.report.page import Block, Figure, Grid, Missing, Section, Table, Text
from pyacemaker.report.plots import MODEL_COLOURS, axis, layout
from pyacemaker.report.predictions import Predictions
from pyacemaker.report.run_files import RunFiles

TERMS = (
    ("teacher_dft", "teacher against DFT", "teacher"),
    ("student_teacher", "base against teacher", "base"),
    ("student_dft", "base against DFT", "foundation"),
)
_ENERGY, _FORCES = "energy_mae_mev_per_atom", "forces_mae_mev_per_angstrom"


def split(run: RunFiles, _: Predictions) -> Section:
    """The error law, its terms, and the advice."""
    found: dict[str, Any] | None = run.metrics.get("error_split")
    title = "Teacher or student"
    if found is None:
        return Section("split", title, [Missing("The error split", "step 7 has not judged the models yet")])
    advice = found["advice"]
    rows = [
        [words, fixed(found[name][_ENERGY], 2), fixed(found[name][_FORCES], 1)] for name, words, _ in TERMS
    ]
    blocks: list[Block] = [
        Text(f"{advice[0].upper()}{advice[1:]}."),
        Table(
            "Mean absolute errors on the test set. To good approximation the squares of the first two add up "
            "to that of the third, the error of the base potential, which learned from the teacher alone.",
            ["", "energy, meV/atom", "forces, meV/Å"],
            rows,
        ),
        Grid(
            [
                _bars("split-energy", found, _ENERGY, "energy MAE, meV/atom"),
                _bars("split-forces", found, _FORCES, "force MAE, meV/Å"),
            ],
            wide=True,
        ),
    ]
    return Section("split", title, blocks)


def _bars(name: str, found: dict[str, Any], key: str, title: str) -> Figure:
    data = {
        "type": "bar",
        "orientation": "h",
        "y": [words for _, words, _ in TERMS],
        "x": [round(found[term][key], 3) for term, _, _ in TERMS],
        "marker": {"color": [MODEL_COLOURS[colour] for _, _, colour in TERMS]},
        "hovertemplate": "%{y}: %{x}<extra></extra>",
    }
    plan = layout(
        axis(title), axis("", autorange="reversed"), bargap=0.4, margin={"l": 140, "r": 14, "t": 8, "b": 46}
    )
    return Figure(name, title, [data], plan, height=170)
