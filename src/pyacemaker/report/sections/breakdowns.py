"""Where the errors sit: by tag, by element, by the size of the force; and the worst structures."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyacemaker.report.breakdown import by_element, by_force, force_edges, per_structure, rows_by_tag
from pyacemaker.report.drawing import drawing_of
from pyacemaker.report.numbers import fixed, rounded
from pyacemaker.report.page import Block, Drawing, Figure, Grid, Missing, Section, Table
from pyacemaker.report.plots import (
    MODEL_COLOURS,
    MODEL_SYMBOLS,
    axis,
    layout,
    line,
    log_axis,
    markers,
)
from pyacemaker.report.predictions import Predictions, in_order
from pyacemaker.report.run_files import RunFiles
from pyacemaker.structures import Accuracy

WORST = 6
"""Structures that are drawn."""
DRAWN_ATOMS = 300
"""Atoms of a structure, at most, that is drawn."""


def breakdowns(_: RunFiles, predictions: Predictions) -> Section:
    """Errors by tag, element and force, of every model."""
    title = "Where the errors sit"
    if not predictions.labels:
        return Section("breakdown", title, [Missing("Errors by group", "no model can be evaluated yet")])
    blocks: list[Block] = [
        _legend_grid(_tag_figures(predictions)),
        _tag_table(predictions),
        _legend_grid([_element_figure(predictions), _force_figure(predictions)]),
        _element_table(predictions),
        _force_table(predictions),
    ]
    return Section("breakdown", title, blocks)


def worst(run: RunFiles, predictions: Predictions) -> Section:
    """The structures with the largest force errors of the last model, drawn."""
    title = "The worst structures"
    model = predictions.best
    if model is None:
        return Section("worst", title, [Missing("The worst structures", "no model can be evaluated yet")])
    test, labels = predictions.test, predictions.labels[model]
    energy, forces = per_structure(test, labels)
    doubt = {row["structure"]: float(row["uncertainty"]) for row in run.selection}
    drawn = []
    for rank, k in enumerate(np.argsort(-forces, kind="stable")[:WORST], start=1):
        structure = test[int(k)]
        errors = labels[int(k)].forces - test.labels[int(k)].forces
        largest = float(np.linalg.norm(errors, axis=1).max())
        facts = [
            f"{structure.formula}, {structure.id}",
            f"force RMSE {rounded(float(forces[k]))} meV/Å, largest {rounded(largest)} eV/Å (longest arrow)",
            f"energy {fixed(float(energy[k]), 1)} meV/atom",
        ]
        if structure.id in doubt:
            facts.append(f"uncertainty at selection {rounded(doubt[structure.id])}")
        if len(structure) <= DRAWN_ATOMS:
            content = drawing_of(structure, errors)
            drawn.append(Drawing(f"worst-{rank}", f"{rank}. {structure.tag}", content, "; ".join(facts)))
    caption = (
        f"The test structures with the largest force errors of the {model} potential. Red arrows: its force "
        "less that of DFT, the longest drawn 1 Å long. Drag to turn."
    )
    return Section("worst", title, [Grid(drawn, caption=caption)])


def _legend_grid(items: Sequence[Figure]) -> Grid:
    names = [item["name"] for item in items[0].data if "name" in item]
    return Grid(items, [(name, MODEL_COLOURS[name]) for name in dict.fromkeys(names)], wide=True)


def _tag_figures(predictions: Predictions) -> list[Figure]:
    groups = rows_by_tag(predictions.test)
    wanted = (
        ("energy_rmse_mev_per_atom", "energy RMSE, meV/atom", "tag-energy"),
        ("forces_rmse_mev_per_angstrom", "force RMSE, meV/Å", "tag-forces"),
    )
    found = []
    for key, title, name in wanted:
        data: list[dict[str, Any]] = []
        for model, labels in in_order(predictions):
            errors = [
                getattr(Accuracy.on(predictions.test[rows], [labels[k] for k in rows]), key)
                for rows in groups.values()
            ]
            words = [f"{model}, {tag}: {error:.3g}" for tag, error in zip(groups, errors, strict=True)]
            symbol = MODEL_SYMBOLS[model]
            data.append(
                markers(errors, list(groups), model, MODEL_COLOURS[model], words, symbol=symbol, size=9)
            )
        names = [f"{tag} ({len(rows)})" for tag, rows in groups.items()]
        y = axis("", autorange="reversed", tickvals=list(groups), ticktext=names, type="category")
        x = log_axis(title, *(trace["x"] for trace in data))
        plan = layout(x, y, margin={"l": 110, "r": 14, "t": 8, "b": 46})
        found.append(Figure(name, f"By tag: {title}", data, plan, height=90 + 24 * len(groups)))
    return found


def _tag_table(predictions: Predictions) -> Table:
    groups = rows_by_tag(predictions.test)
    models = [name for name, _ in in_order(predictions)]
    rows = []
    for tag, chosen in groups.items():
        found = [
            Accuracy.on(predictions.test[chosen], [predictions.labels[name][k] for k in chosen])
            for name in models
        ]
        energies = [fixed(one.energy_rmse_mev_per_atom, 1) for one in found]
        forces = [fixed(one.forces_rmse_mev_per_angstrom, 0) for one in found]
        rows.append([tag, str(len(chosen)), *energies, *forces])
    columns = ["tag", "structures", *(f"E {name}" for name in models), *(f"F {name}" for name in models)]
    return Table("By tag: RMSE of energies (E, meV/atom) and forces (F, meV/Å).", columns, rows)


def _element_figure(predictions: Predictions) -> Figure:
    data = []
    for model, labels in in_order(predictions):
        found = by_element(predictions.test, labels)
        words = [f"{model}, {one.group}: {one.rmse:.3g} meV/Å, {one.atoms} atoms" for one in found]
        errors, elements = [one.rmse for one in found], [one.group for one in found]
        symbol = MODEL_SYMBOLS[model]
        data.append(markers(elements, errors, model, MODEL_COLOURS[model], words, symbol=symbol, size=9))
    y = log_axis("force RMSE, meV/Å", *(trace["y"] for trace in data))
    plan = layout(axis("element", type="category"), y)
    return Figure("element-forces", "By element: force RMSE, meV/Å", data, plan, height=280)


def _force_figure(predictions: Predictions) -> Figure:
    edges = force_edges(predictions.test)
    data = []
    for model, labels in in_order(predictions):
        found = by_force(predictions.test, labels, edges)
        words = [f"{model}, {one.group} eV/Å: {one.rmse:.3g} meV/Å, {one.atoms} atoms" for one in found]
        data.append(
            line(
                [one.group for one in found],
                [one.rmse for one in found],
                model,
                MODEL_COLOURS[model],
                dots=True,
                text=words,
                hovertemplate="%{text}<extra></extra>",
            )
        )
    x = axis("size of the DFT force on the atom, eV/Å", type="category")
    plan = layout(x, log_axis("force RMSE, meV/Å", *(trace["y"] for trace in data)))
    return Figure("force-bins", "By the size of the force: force RMSE, meV/Å", data, plan, height=280)


def _element_table(predictions: Predictions) -> Table:
    models = [name for name, _ in in_order(predictions)]
    found = {name: by_element(predictions.test, predictions.labels[name]) for name in models}
    rows = [
        [one.group, str(one.atoms), fixed(one.rms_force, 2), *(fixed(found[m][k].rmse, 1) for m in models)]
        for k, one in enumerate(found[models[0]])
    ]
    columns = ["element", "atoms", "RMS force, eV/Å", *models]
    return Table("By element: RMSE of the force components, meV/Å.", columns, rows)


def _force_table(predictions: Predictions) -> Table:
    edges = force_edges(predictions.test)
    models = [name for name, _ in in_order(predictions)]
    found = {name: by_force(predictions.test, predictions.labels[name], edges) for name in models}
    rows = [
        [one.group, str(one.atoms), fixed(one.rms_force, 2), *(fixed(found[m][k].rmse, 1) for m in models)]
        for k, one in enumerate(found[models[0]])
    ]
    columns = ["DFT force, eV/Å", "atoms", "RMS component, eV/Å", *models]
    return Table(
        "By the size of the DFT force on the atom: RMSE of the force components, meV/Å.", columns, rows
    )
