"""How the models learned: rounds of labels, epochs of the fine-tuning, the ACE fits."""

from typing import Any

from pyacemaker.report.numbers import ABSENT, count, fixed, rounded
from pyacemaker.report.page import Block, Figure, Grid, Missing, Section, Table, Text
from pyacemaker.report.plots import MODEL_COLOURS, axis, layout, line, log_axis
from pyacemaker.report.predictions import Predictions
from pyacemaker.report.run_files import RunFiles

_ENERGY, _FORCES = "energy_rmse_mev_per_atom", "forces_rmse_mev_per_angstrom"
_ROUND_ENERGY, _ROUND_FORCES = "energy_mev_per_atom", "forces_mev_per_angstrom"


def learning(run: RunFiles, _: Predictions) -> Section:
    """Rounds, epochs, fits."""
    blocks: list[Block] = [*_rounds(run), *_epochs(run), *_pseudo_labels(run), *_fits(run)]
    return Section("learning", "How the models learned", blocks)


def _rounds(run: RunFiles) -> list[Block]:
    rounds: list[dict[str, Any]] = run.json("02_label/rounds.json") or []
    if not rounds:
        return [Missing("Batches of labels", "step 2 is not done yet")]
    rows = []
    for one in rounds:
        errors = one["rmse_before_training"]
        rows.append(
            [
                str(one["round"]),
                str(one["teacher"]),
                str(one["labelled"]),
                str(one["labels_so_far"]),
                fixed(errors.get(_ROUND_ENERGY), 1),
                fixed(errors.get(_ROUND_FORCES), 0),
                one["stopped_because"] or "",
            ]
        )
    columns = ["round", "by the model of", "labels", "so far", "energy, meV/atom", "forces, meV/Å", "ended"]
    caption = (
        "Batches of labels, each scored by the model that chose it, before anything was trained on it: RMSE."
    )
    found: list[Block] = [Table(caption, columns, rows, text=2, notes=1)]
    if len(rounds) > 1:
        found.append(_round_figures(rounds))
    return found


def _round_figures(rounds: list[dict[str, Any]]) -> Grid:
    labels = [one["labels_so_far"] for one in rounds]
    wanted = (
        (_ROUND_ENERGY, "energy RMSE, meV/atom", "rounds-energy"),
        (_ROUND_FORCES, "force RMSE, meV/Å", "rounds-forces"),
    )
    items = []
    for key, title, name in wanted:
        errors = [one["rmse_before_training"].get(key) for one in rounds]
        data = [line(labels, errors, "new batch", MODEL_COLOURS["teacher"], dots=True)]
        plan = layout(axis("labels so far"), axis(title, rangemode="tozero"))
        items.append(Figure(name, f"New batches: {title}", data, plan, height=250))
    return Grid(items, caption="Errors on each new batch before training on it.", wide=True)


def _epochs(run: RunFiles) -> list[Block]:
    curves: dict[str, list[dict[str, float]]] = run.json("03_finetune/learning_curve.json") or {}
    if not curves.get("labels"):
        why = (
            "step 3 is not done yet"
            if "03_finetune" in run.unfinished
            else "no learning_curve.json in step 3"
        )
        return [Missing("Learning curves of the fine-tuning", why)]
    wanted = (
        (_ENERGY, "energy RMSE, meV/atom", "curve-energy"),
        (_FORCES, "force RMSE, meV/Å", "curve-forces"),
        ("training_loss", "loss", "curve-loss"),
    )
    colours = {"labels": MODEL_COLOURS["teacher"], "replay": MODEL_COLOURS["foundation"]}
    items = []
    for key, title, name in wanted:
        data: list[dict[str, Any]] = []
        for which, entries in curves.items():
            known = [(entry["epoch"] + 1, entry[key]) for entry in entries if key in entry]
            if known:
                x, y = zip(*known, strict=True)
                data.append(line(x, y, which, colours.get(which, MODEL_COLOURS["base"]), dots=len(x) < 40))
        if data:
            plan = layout(axis("epochs"), log_axis(title, *(trace["y"] for trace in data)))
            items.append(Figure(name, title, data, plan, height=250))
    facts: dict[str, Any] = run.json("03_finetune/training.json") or {}
    judged = "the validation set" if facts.get("validation_structures") else "the training set"
    caption = (
        f"Fine-tuning of MACE: errors on {judged} after each epoch (epoch 0: before training); the model of "
        f"epoch {int(facts['best_epoch']) + 1} was kept."
        if "best_epoch" in facts
        else f"Fine-tuning of MACE: errors on {judged} after each epoch."
    )
    return [Grid(items, caption=caption, wide=len(items) == 2)]


def _pseudo_labels(run: RunFiles) -> list[Block]:
    report: dict[str, Any] = run.json("05_pseudo_label/report.json") or {}
    if not report:
        return [Missing("Pseudo-labels", "step 5 is not done yet")]
    text = f"The teacher labelled {count(report['structures'], 'structure')} for the student; "
    return [Text(f"{text}{report['left_out']} with too large forces left out.")]


def _fits(run: RunFiles) -> list[Block]:
    rows = []
    for name, folder in (("base ACE", "06_base"), ("final ACE", "07_delta")):
        facts: dict[str, Any] = run.json(f"{folder}/training.json") or {}
        if not facts:
            continue
        errors = facts.get("train", {})
        rows.append(
            [
                name,
                str(facts.get("structures", ABSENT)),
                str(facts.get("total_functions", ABSENT)),
                rounded(facts.get("cutoff")),
                rounded(facts.get("ridge")),
                fixed(errors.get(_ENERGY), 2),
                fixed(errors.get(_FORCES), 1),
                str(facts.get("delta", {}).get("strategy", "")),
            ]
        )
    if not rows:
        return [Missing("ACE fits", "step 6 is not done yet")]
    columns = [
        "",
        "structures",
        "functions",
        "cutoff, Å",
        "ridge",
        "energy, meV/atom",
        "forces, meV/Å",
        "delta strategy",
    ]
    caption = (
        "The ACE fits, with RMSE on what they were fitted to (the teacher's labels, mostly): not on DFT."
    )
    return [Table(caption, columns, rows, notes=1)]
