"""What was asked of the run, and how far it came."""

from typing import Any

from pyacemaker.report.numbers import ABSENT, duration
from pyacemaker.report.page import Block, Section, Table
from pyacemaker.report.predictions import Predictions
from pyacemaker.report.run_files import RunFiles
from pyacemaker.workflow.steps import STEPS


def asked(run: RunFiles, _: Predictions) -> Section:
    """The settings that matter most, and the steps."""
    blocks: list[Block] = []
    if run.config:
        blocks.append(Table("The request, from config.yaml.", ["", "asked for"], _request(run), 2))
    blocks.append(_steps(run))
    return Section("asked", "What was asked", blocks)


def _request(run: RunFiles) -> list[list[str]]:
    config = run.config
    pool = run.structures("01_sample/pool.extxyz")
    dft, label, explore = (config.get(name, {}) for name in ("dft", "label", "explore"))
    base, foundation = config.get("base", {}), config.get("foundation", {})
    generators = [str(one.get("kind")) for one in config.get("sample", {}).get("generators", [])]
    rows = [
        ("elements", ", ".join(pool.elements)),
        ("reference method", _method(dft)),
        ("foundation model", str(foundation.get("model", ABSENT)).rsplit("/", 1)[-1]),
        ("candidates by", ", ".join(generators)),
        ("labels to train on", label.get("n_train")),
        ("labels to test on", label.get("n_test")),
        ("batches of labels", label.get("rounds")),
        ("frames of molecular dynamics", explore.get("n_structures")),
        ("temperatures, K", ", ".join(str(one) for one in explore.get("temperatures", []))),
        ("ACE functions per element", base.get("functions")),
        ("ACE cutoff, Å", base.get("cutoff")),
    ]
    return [[name, str(value)] for name, value in rows if value not in (None, "")]


def _method(dft: dict[str, Any]) -> str:
    """The oracle's kind and those of its settings that name a level of theory."""
    parameters = dft.get("parameters") or {}
    named = ("method", "xc", "basis", "dispersion", "calculator", "kspacing")
    found = [dft.get("kind"), *(dft.get(name) for name in named), parameters.get("xc")]
    words = [str(one) for one in found if isinstance(one, str | float) and one]
    return ", ".join(dict.fromkeys(words)) or ABSENT


def _steps(run: RunFiles) -> Table:
    titles = {step.name: step.title for step in STEPS}
    rows = [
        [name, titles.get(name, ""), step.status, duration(step.seconds), step.message]
        for name, step in run.state.steps.items()
    ]
    has_messages = any(row[-1] for row in rows)
    columns = ["step", "what it does", "state", "wall time", "message"]
    if not has_messages:
        rows, columns = [row[:-1] for row in rows], columns[:-1]
    return Table("The steps.", columns, rows, text=3, notes=int(has_messages))
