"""What the uncertainty is worth: calibration against labels that nothing was trained on."""

from typing import Any

import numpy as np

from pyacemaker.report.breakdown import per_structure
from pyacemaker.report.numbers import fixed, percent
from pyacemaker.report.page import Block, Figure, Grid, Missing, Section, Table
from pyacemaker.report.plots import (
    MODEL_COLOURS,
    NEUTRAL,
    axis,
    diagonal,
    layout,
    line,
    log_axis,
    markers,
    tag_colours,
)
from pyacemaker.report.predictions import Predictions
from pyacemaker.report.run_files import RunFiles

_QUANTITIES = {"energy_mev_per_atom": "energy", "forces_mev_per_angstrom": "forces"}


def uncertainty(run: RunFiles, predictions: Predictions) -> Section:
    """At the selection, and after the fine-tuning."""
    before: dict[str, Any] = run.json("02_label/calibration.json") or {}
    after: dict[str, Any] = run.json("03_finetune/calibration.json") or {}
    blocks: list[Block] = []
    if not before:
        blocks.append(Missing("Calibration of the uncertainty", "step 2 is not done yet"))
        return Section("uncertainty", "Uncertainty", blocks)
    blocks.append(_table(before, after))
    items = [_coverage(before)]
    scatter = _scatter(run, predictions, before)
    legend = []
    if scatter is not None:
        items.append(scatter)
        legend = list(tag_colours([structure.tag for structure in predictions.test]).items())
    blocks.append(Grid(items, legend, _caption(before), wide=True))
    for when, content in (("selection", before), ("fine-tuning", after)):
        if content and not content.get("calibrated"):
            why = str(content.get("why_not", "not said"))
            blocks.append(Missing(f"A trusted calibration at the {when}", why))
    return Section("uncertainty", "Uncertainty", blocks)


def _caption(before: dict[str, Any]) -> str:
    return (
        f"Left: the share of {before['held_out_labels']} held-out labels whose error lies within the "
        f"conformal bound fitted on {before['labels']} others, against the share that was promised; on the "
        "dotted line the promise holds. Right: the uncertainty of each test structure against the error of "
        "the model that chose the labels."
    )


def _table(before: dict[str, Any], after: dict[str, Any]) -> Table:
    rows = []
    for when, content in (("selection", before), ("fine-tuned teacher", after)):
        for key, name in _QUANTITIES.items():
            one = content.get("errors", {}).get(key)
            if one is None:
                continue
            coverage = one.get("held_out_coverage", one.get("leave_one_out_coverage"))
            rows.append(
                [
                    when,
                    str(content["uncertainty"]),
                    name,
                    str(content["labels"]),
                    percent(content["level"]),
                    percent(coverage),
                    fixed(one["ence"], 2),
                    fixed(one["spearman"], 2),
                    fixed(one["auroc_of_the_worst_tenth"], 2),
                ]
            )
        inside = content.get("force_components", {}).get("coverage_of_one_sigma")
        if inside is not None:
            single = [when, str(content["uncertainty"]), "force components, 1σ", str(content["labels"])]
            ence = fixed(content["force_components"]["ence"], 2)
            rows.append([*single, "68 %", percent(inside), ence, "", ""])
    columns = [
        "when",
        "method",
        "of",
        "labels",
        "promised",
        "held",
        "ENCE",
        "Spearman",
        "AUROC of the worst",
    ]
    caption = (
        "Calibration. Promised and held: the share of errors within the conformal bound. ENCE: expected "
        "normalised calibration error, 0 is perfect. Spearman: rank correlation of uncertainty and error. "
        "AUROC: how well the uncertainty finds the worst tenth; 0.5 is chance."
    )
    return Table(caption, columns, rows, text=3)


def _coverage(before: dict[str, Any]) -> Figure:
    data = [diagonal(0.0, 1.0)]
    for key, name in _QUANTITIES.items():
        curve = before["errors"].get(key, {}).get("coverage_curve")
        if curve:
            x, y = zip(*curve, strict=True)
            colour = MODEL_COLOURS["teacher" if name == "energy" else "base"]
            data.append(line(x, y, name, colour, dots=True))
    plan = layout(
        axis("promised share", range=[0, 1.02]),
        axis("share found", range=[0, 1.02]),
        showlegend=True,
        legend={"x": 0.03, "y": 0.98},
    )
    return Figure("coverage", "Coverage", data, plan, height=300)


def _scatter(run: RunFiles, predictions: Predictions, before: dict[str, Any]) -> Figure | None:
    """Uncertainty of the test structures against the foundation's errors, where that is the model judged."""
    rounds = run.json("02_label/rounds.json") or []
    if "foundation" not in predictions.labels or len(rounds) != 1:
        return None
    doubt = {row["structure"]: float(row["uncertainty"]) for row in run.selection}
    rows = [k for k, structure in enumerate(predictions.test) if structure.id in doubt]
    _, forces = per_structure(predictions.test, predictions.labels["foundation"])
    tags = np.array([predictions.test[k].tag for k in rows])
    x = np.array([doubt[predictions.test[k].id] for k in rows])
    y = forces[rows]
    data = []
    for tag, colour in tag_colours([structure.tag for structure in predictions.test]).items():
        chosen = np.flatnonzero(tags == tag)
        words = [
            f"{predictions.test[rows[k]].id}<br>{tag}: u {x[k]:.3g}, error {y[k]:.0f} meV/Å" for k in chosen
        ]
        data.append(markers(x[chosen], y[chosen], tag, colour, words, size=7))
    factor = before["errors"].get("forces_mev_per_angstrom", {}).get("factor")
    if factor and before["calibrated"] and len(x):
        ends = np.array([x[x > 0].min(), x.max()])
        data.append(line(ends, factor * ends, f"bound, {percent(before['level'])}", NEUTRAL))
    plan = layout(
        log_axis("uncertainty (its own unit)", x), log_axis("force RMSE of the structure, meV/Å", y)
    )
    return Figure("uncertainty-error", "Uncertainty and error", data, plan, height=300)
