"""What the run cost: every DFT calculation of its ledger."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from pyacemaker.report.numbers import core_hours, count, rounded
from pyacemaker.report.page import Block, Facts, Figure, Missing, Section, Table
from pyacemaker.report.plots import as_list, axis, layout, legend_above
from pyacemaker.report.predictions import Predictions
from pyacemaker.report.run_files import RunFiles
from pyacemaker.structures.label_record import OK
from pyacemaker.structures.ledger import LedgerRow

MAX_FAILURES = 20
"""Failed calculations that are listed."""


def cost(run: RunFiles, _: Predictions) -> Section:
    """Calls, failures, labels of other runs, core-hours, by engine, reason and kind of structure."""
    rows = run.ledger
    blocks: list[Block] = []
    if not rows:
        blocks.append(Missing("DFT calculations", "the ledger is empty: nothing was labelled yet"))
        return Section("cost", "What it cost", blocks)
    calls, failed, reused, seconds = _sums(rows)
    per_label = seconds / (calls - failed) if calls > failed else None
    blocks.append(
        Facts(
            [
                ("DFT calls", str(calls)),
                ("failed", str(failed)),
                ("labels of other runs", str(reused)),
                ("spent", core_hours(seconds)),
                ("core-s per label", rounded(per_label)),
            ]
        )
    )
    blocks += [_by_reason(rows), _by_tag(rows), *_failures(rows), _savings()]
    return Section("cost", "What it cost", blocks)


def _sums(rows: Sequence[LedgerRow]) -> tuple[int, int, int, float]:
    """Calls, failed ones, labels of other runs, core-seconds, as the ledger's own totals count them."""
    paid = [row for row in rows if not row.reused]
    failed = sum(row.outcome != OK for row in paid)
    return len(paid), failed, len(rows) - len(paid), sum(row.core_seconds for row in paid)


def _by_reason(rows: Sequence[LedgerRow]) -> Table:
    groups: dict[tuple[str, str, int], list[LedgerRow]] = defaultdict(list)
    for row in rows:
        groups[row.engine, row.reason or "not said", row.round].append(row)
    lines = []
    for (engine, reason, number), group in groups.items():
        calls, failed, reused, seconds = _sums(group)
        where = f"{reason}, round {number}" if number else reason
        lines.append([engine, where, str(calls), str(failed), str(reused), rounded(seconds)])
    calls, failed, reused, seconds = _sums(rows)
    lines.append(["all", "", str(calls), str(failed), str(reused), rounded(seconds)])
    columns = ["engine", "asked for by", "calls", "failed", "reused", "core-seconds"]
    return Table("The ledger (ledger.csv) by engine and reason.", columns, lines, text=2)


def _by_tag(rows: Sequence[LedgerRow]) -> Figure:
    """Core-seconds of each kind of structure; failures apart."""
    paid = [row for row in rows if not row.reused]
    calls = Counter(row.tag for row in paid)
    data: list[dict[str, Any]] = []
    for name, colour, wanted in (("labels", "#3f83d1", True), ("failed", "#d1495b", False)):
        chosen = [row for row in paid if (row.outcome == OK) is wanted]
        seconds = {tag: sum(row.core_seconds for row in chosen if row.tag == tag) for tag in calls}
        counts = Counter(row.tag for row in chosen)
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "name": name,
                "y": list(calls),
                "x": as_list(list(seconds.values())),
                "customdata": [counts[tag] for tag in calls],
                "hovertemplate": "%{y}: %{customdata} calls, %{x} core-s<extra>" + name + "</extra>",
                "marker": {"color": colour},
            }
        )
    names = [f"{tag} ({number})" for tag, number in calls.items()]
    plan = layout(
        axis("core-seconds"),
        axis("", autorange="reversed", type="category", tickvals=list(calls), ticktext=names),
        barmode="stack",
        showlegend=True,
        legend={**legend_above(), "traceorder": "normal"},
        bargap=0.35,
        margin={"l": 90, "r": 14, "t": 34, "b": 46},
    )
    caption = "Core-seconds by the tag of the structure, with the number of calls."
    return Figure("cost-by-tag", "Where the time went", data, plan, caption, 90 + 22 * len(calls))


def _failures(rows: Sequence[LedgerRow]) -> list[Block]:
    failed = [row for row in rows if row.outcome != OK]
    if not failed:
        return []
    lines = [
        [row.structure, row.tag, row.reason, row.outcome, rounded(row.core_seconds)]
        for row in failed[:MAX_FAILURES]
    ]
    more = f" The first {MAX_FAILURES} of them." if len(failed) > MAX_FAILURES else ""
    caption = f"{count(len(failed), 'calculation')} without a label.{more}"
    columns = ["structure", "tag", "asked for by", "outcome", "core-seconds"]
    return [Table(caption, columns, lines, text=4)]


def _savings() -> Missing:
    return Missing(
        "Savings against random selection",
        "a run labels no second, random set to compare with; benchmarks/savings.py does, for the examples",
    )
