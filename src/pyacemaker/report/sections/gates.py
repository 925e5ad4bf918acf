"""The gates before release: what was examined, and the curves behind it."""

from collections.abc import Mapping
from typing import Any

from pyacemaker.report.numbers import fixed, rounded, short
from pyacemaker.report.page import Block, Grid, Missing, Section, Table
from pyacemaker.report.predictions import Predictions
from pyacemaker.report.run_files import RunFiles
from pyacemaker.report.sections import gate_curves as curves


def gates(run: RunFiles, _: Predictions) -> Section:
    """The table of all gates, then their curves."""
    judged: dict[str, Any] = run.metrics.get("gates") or {}
    if not judged and not run.measured:
        why = (
            "the examination is not done yet" if "08_gates" in run.unfinished else "the run has no gates.json"
        )
        return Section("gates", "Gates", [Missing("Gates", why)])
    blocks: list[Block] = [_table(judged)] if judged else []
    blocks += _reactions(run.metrics.get("reactions") or [])
    blocks += _active_set(run)
    items = [figure for make in curves.DRAWN for figure in make(run.measured)]
    if items:
        blocks.append(Grid(items, wide=True))
    absent = [name for name, keys in curves.KINDS.items() if not any(key in run.measured for key in keys)]
    if absent:
        why = "they do not apply to this system, or their gates are off"
        blocks.append(Missing(", ".join(absent), why))
    return Section("gates", "Gates", blocks)


def _table(judged: Mapping[str, Any]) -> Table:
    rows = [
        [
            name.replace("_", " "),
            _outcome(one),
            one["unit"],
            rounded(one["value"]),
            f"{one['limit']:g}",
            short(one.get("student")) if not isinstance(one.get("student"), dict) else "",
            short(one.get("teacher")) if not isinstance(one.get("teacher"), dict) else "",
            short(one.get("dft")) if not isinstance(one.get("dft"), dict) else "",
            one["note"],
        ]
        for name, one in judged.items()
    ]
    columns = ["gate", "", "unit", "value", "limit", "final", "teacher", "DFT", "note"]
    caption = (
        "What was examined before release (docs/gates.md says how). One that blocks holds a potential back; "
        "what others find is worth a look before the potential is used for that."
    )
    return Table(caption, columns, rows, text=3, notes=1)


def _outcome(one: Mapping[str, Any]) -> str:
    if one["passed"]:
        return "passed"
    return "FAILED, blocks" if one.get("blocks") else "FAILED"


def _reactions(reactions: list[dict[str, Any]]) -> list[Block]:
    rows = []
    for one in reactions:
        for key, name in (("barrier_ev", "barrier"), ("reaction_energy_ev", "reaction energy")):
            own = one.get("own_path") or {}
            rows.append(
                [
                    one["formula"],
                    name,
                    *(fixed(one[key].get(who), 3) for who in ("final", "teacher", "dft")),
                    *(fixed(own.get(who, {}).get(key), 3) for who in ("final", "teacher")),
                ]
            )
    if not rows:
        return []
    columns = ["reaction", "", "final", "teacher", "DFT", "final, own path", "teacher, own path"]
    return [
        Table(
            "Reactions, eV: on the same structures, and along each model's own path.", columns, rows, text=2
        )
    ]


def _active_set(run: RunFiles) -> list[Block]:
    facts: dict[str, Any] = run.json("07_delta/active_set.json") or {}
    if not facts:
        return []
    if "missing_because" in facts:
        return [Missing("Extrapolation grades", str(facts["missing_because"]))]
    keys = ("functions", "rank", "environments")
    rows = [
        [element, *(str(one[key]) for key in keys), fixed(one["largest_gamma"], 4)]
        for element, one in facts.items()
    ]
    caption = "The active set, which extrapolation grades γ are measured against (potential.asi)."
    return [Table(caption, ["element", *keys, "largest γ within"], rows)]
