"""How the teacher's molecular dynamics went: frames, and the events that guards ended trajectories for."""

from collections import Counter
from typing import Any

from pyacemaker.report.numbers import count
from pyacemaker.report.page import Block, Facts, Figure, Grid, Missing, Section, Table, Text
from pyacemaker.report.plots import NEUTRAL, PALETTE, axis, layout, legend_above
from pyacemaker.report.predictions import Predictions
from pyacemaker.report.run_files import RunFiles

MAX_EVENTS = 15
"""Events that are listed."""
_COMPLETED = "completed"


def exploration(run: RunFiles, _: Predictions) -> Section:
    """What became of the trajectories."""
    content: dict[str, Any] | None = run.json("04_explore/trajectories.json")
    title = "Molecular dynamics"
    if not content:
        return Section("exploration", title, [Missing("Exploration", "step 4 is not done yet")])
    outcomes: list[dict[str, Any]] = content["trajectories"]
    summary = content.get("summary", content)
    cut = sum(bool(one["event"]) for one in outcomes)
    blocks: list[Block] = [
        Facts(
            [
                ("frames kept", f"{summary['frames']} of {summary['asked']}"),
                ("trajectories", str(len(outcomes))),
                ("ended by a guard", str(cut)),
                ("steps", str(sum(one["steps"] for one in outcomes))),
                ("uncertainty guard", str(summary.get("uncertainty_guard", "off"))),
            ]
        )
    ]
    if summary.get("why_fewer"):
        blocks.append(Text(summary["why_fewer"]))
    blocks.append(Grid([_by_temperature(outcomes), _lengths(outcomes)], caption=_CAPTION, wide=True))
    blocks += _events(outcomes)
    return Section("exploration", title, blocks)


_CAPTION = (
    "Left: the teacher's trajectories by their highest temperature and what ended them. Right: how many "
    "steps they lasted."
)


def _kinds(outcomes: list[dict[str, Any]]) -> dict[str, str]:
    """What ended trajectories, each with a colour; those that nothing ended first."""
    kinds = sorted({one["event"] for one in outcomes if one["event"]})
    colours = [PALETTE[k % len(PALETTE)] for k in (3, 1, 4, 5, 6, 7, 8, 9, 10, 11)]
    return {_COMPLETED: NEUTRAL, **{kind: colours[k % len(colours)] for k, kind in enumerate(kinds)}}


def _by_temperature(outcomes: list[dict[str, Any]]) -> Figure:
    temperatures = sorted({one["temperature"] for one in outcomes})
    names = [f"{temperature:g}" for temperature in temperatures]
    data = []
    for kind, colour in _kinds(outcomes).items():
        counts = Counter(one["temperature"] for one in outcomes if (one["event"] or _COMPLETED) == kind)
        data.append(
            {
                "type": "bar",
                "name": kind,
                "x": names,
                "y": [counts[temperature] for temperature in temperatures],
                "marker": {"color": colour},
                "hovertemplate": "%{x} K: %{y} trajectories<extra>" + kind + "</extra>",
            }
        )
    plan = layout(
        axis("temperature, K", type="category"),
        axis("trajectories", rangemode="tozero", tickformat="d"),
        barmode="stack",
        bargap=0.5,
        showlegend=True,
        legend={**legend_above(), "traceorder": "normal"},
        margin={"l": 50, "r": 14, "t": 34, "b": 46},
    )
    return Figure("guards-by-temperature", "What ended the trajectories", data, plan, height=300)


def _lengths(outcomes: list[dict[str, Any]]) -> Figure:
    data = []
    for kind, colour in _kinds(outcomes).items():
        chosen = [one for one in outcomes if (one["event"] or _COMPLETED) == kind]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": kind,
                "x": [one["steps"] for one in chosen],
                "y": [one["temperature"] for one in chosen],
                "text": [one.get("message") or kind for one in chosen],
                "hovertemplate": "%{text}<br>%{x} steps, %{y} K<extra></extra>",
                "marker": {"color": colour, "size": 8, "opacity": 0.75},
            }
        )
    plan = layout(axis("steps", rangemode="tozero"), axis("temperature, K", rangemode="tozero"))
    return Figure("trajectory-lengths", "How long they lasted", data, plan, height=300)


def _events(outcomes: list[dict[str, Any]]) -> list[Block]:
    events = [one for one in outcomes if one["event"]]
    if not events:
        return [Text("No guard ended a trajectory.")]
    rows = [
        [one.get("tag", ""), one["start"], one["event"], f"{one['steps']}", one.get("message") or ""]
        for one in events[:MAX_EVENTS]
    ]
    more = f"; the first {MAX_EVENTS}" if len(events) > MAX_EVENTS else ""
    columns = ["trajectory", "from structure", "guard", "after steps", "what happened"]
    return [Table(f"{count(len(events), 'guard event')}{more}.", columns, rows, text=3, notes=1)]
