"""Which structures were chosen: maps of the pool."""

from collections import Counter

import numpy as np

from pyacemaker.report.numbers import percent
from pyacemaker.report.page import Block, Figure, Grid, Missing, Section, Table
from pyacemaker.report.plots import NEUTRAL, axis, layout, legend_above, markers, thinned
from pyacemaker.report.predictions import PoolMap, Predictions, pool_map
from pyacemaker.report.run_files import RunFiles
from pyacemaker.structures import IntArray

_ROLES = (
    ("anchor", "#d1495b", "star", 11),
    ("chosen", "#3f83d1", "circle", 8),
    ("test set", "#e0a020", "diamond", 8),
)


def selection(run: RunFiles, _: Predictions) -> Section:
    """The pool, the active set and the test set by tag, and where they lie."""
    rows = run.selection
    title = "What was selected"
    if not rows:
        return Section(
            "selection", title, [Missing("The selection", "step 2 is not done yet"), *_sampled(run)]
        )
    blocks: list[Block] = []
    places = [k for k, row in enumerate(rows) if row["role"]]
    found = pool_map(run, places)
    if found is None:
        blocks.append(Missing("A map of the pool", "there is no model to compute features with yet"))
    else:
        blocks.append(_maps(rows, found))
    blocks += [_table(rows), *_sampled(run)]
    return Section("selection", title, blocks)


def _sampled(run: RunFiles) -> list[Block]:
    report = run.json("01_sample/report.json")
    if not report or not report.get("rejected"):
        return []
    rows = [[reason, str(number)] for reason, number in report["rejected"].items()]
    return [Table("Candidates that the filters of step 1 rejected.", ["because of", "candidates"], rows)]


def group(role: str) -> str:
    """Which of the groups of the map a role in `selection.csv` belongs to; empty: not selected."""
    if role in ("", "test", "anchor"):
        return {"": "", "test": "test set", "anchor": "anchor"}[role]
    return "chosen"


def _table(rows: list[dict[str, str]]) -> Table:
    tags = list(dict.fromkeys(row["tag"] for row in rows))
    counts = Counter((row["tag"], group(row["role"])) for row in rows)
    names = [name for name, *_ in _ROLES]
    lines = []
    for tag in tags:
        found = [counts[tag, name] for name in names]
        whole = sum(counts[tag, name] for name in ("", *names))
        lines.append([tag, str(whole), *(str(one) if one else "" for one in found)])
    totals = [sum(counts[tag, name] for tag in tags) for name in names]
    lines.append(["all", str(len(rows)), *(str(one) for one in totals)])
    return Table("The pool by tag, and what of it was labelled.", ["tag", "pool", *names], lines)


def _maps(rows: list[dict[str, str]], found: PoolMap) -> Grid:
    shown = f" {len(found.rows)} of {len(rows)} structures are shown." if len(found.rows) < len(rows) else ""
    caption = (
        f"The pool in the plane of its first two principal components, from {found.features}.{shown} "
        "Left: what was chosen for training and for the test set. Right: the same by the uncertainty that "
        "the model had."
    )
    return Grid([_roles(rows, found), _doubt(rows, found)], caption=caption, wide=True)


def _hover(rows: list[dict[str, str]], chosen: IntArray) -> list[str]:
    return [
        f"{rows[k]['structure']}<br>{rows[k]['tag']}, uncertainty {rows[k]['uncertainty']}"
        + (f"<br>{rows[k]['role']}" if rows[k]["role"] else "")
        for k in chosen
    ]


def _plane(found: PoolMap) -> tuple[dict[str, object], dict[str, object]]:
    x, y = (f"component {k + 1} ({percent(float(found.explained[k]))})" for k in range(2))
    return axis(x), axis(y)


def _roles(rows: list[dict[str, str]], found: PoolMap) -> Figure:
    groups = np.array([group(rows[k]["role"]) for k in found.rows])
    others = np.flatnonzero(groups == "")
    others = others[thinned(len(others))]
    x, y = found.points.T
    data = [
        markers(x[others], y[others], "pool", NEUTRAL, _hover(rows, found.rows[others]), size=5, opacity=0.45)
    ]
    for name, colour, symbol, size in _ROLES:
        chosen = np.flatnonzero(groups == name)
        if len(chosen):
            words = _hover(rows, found.rows[chosen])
            data.append(
                markers(x[chosen], y[chosen], name, colour, words, symbol=symbol, size=size, opacity=0.9)
            )
    plan = layout(
        *_plane(found),
        showlegend=True,
        legend=legend_above(),
        margin={"l": 58, "r": 14, "t": 34, "b": 46},
    )
    return Figure("pool-map", "The pool and what was chosen", data, plan, height=400)


def _doubt(rows: list[dict[str, str]], found: PoolMap) -> Figure:
    every = thinned(len(found.rows))
    chosen = found.rows[every]
    values = np.log10(np.maximum([float(rows[k]["uncertainty"]) for k in chosen], 1e-12))
    x, y = found.points[every].T
    trace = markers(x, y, "pool", NEUTRAL, _hover(rows, chosen), size=6, opacity=0.9)
    trace["marker"] |= {
        "color": [round(float(value), 4) for value in values],
        "colorscale": "Viridis",
        "showscale": True,
        "colorbar": {
            "title": {"text": "log₁₀ u", "side": "top"},
            "thickness": 10,
            "outlinewidth": 0,
            "len": 0.9,
        },
    }
    plan = layout(*_plane(found), margin={"l": 58, "r": 14, "t": 34, "b": 46})
    return Figure("pool-uncertainty", "Uncertainty over the pool", [trace], plan, height=400)
