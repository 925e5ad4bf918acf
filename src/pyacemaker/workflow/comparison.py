"""Two runs side by side: what they were asked, what they cost, how good they are."""

import json
from pathlib import Path
from typing import Any

import yaml

from pyacemaker.workflow.overview import count_structures, flat, read_state
from pyacemaker.workflow.step import Manifest

Pair = list[Any]
"""What the first run has, and the second; None where one has nothing."""


def compare_runs(first: Path, second: Path) -> dict[str, Any]:
    """What differs between two runs, and what they reached; each value is a pair.

    `runs`, `state`, `settings` (dotted keys that differ), `versions` (that differ), `counts` (structures per
    file), `seconds` (per step), `dft` (calls, failed, reused, core_seconds), `errors` (by model and figure
    on the test set), `same_test_set` (None where one has no test set yet), `verdict` and `reason`. Runs that
    are not finished are compared as far as they got. Raises `DataError` where a directory is no run.
    """
    runs = (_Run(first), _Run(second))
    metrics = [run.metrics for run in runs]
    tests = [run.test_set for run in runs]
    return {
        "runs": [str(run.directory) for run in runs],
        "state": [run.standing for run in runs],
        "settings": _differing(*(run.settings for run in runs)),
        "versions": _differing(*(run.state.versions for run in runs)),
        "counts": _paired(*(count_structures(run.directory) for run in runs)),
        "seconds": _paired(*(run.seconds for run in runs)),
        "dft": _paired(*(run.state.dft for run in runs)),
        "errors": _errors(*(found.get("test", {}) for found in metrics)),
        "same_test_set": None if None in tests else tests[0] == tests[1],
        "verdict": [found.get("verdict", {}).get("passed") for found in metrics],
        "reason": [found.get("verdict", {}).get("reason") for found in metrics],
    }


class _Run:
    """The files of one run."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.state, self.running = read_state(directory)
        self.metrics = _read_json(directory / "output" / "metrics.json")

    @property
    def settings(self) -> dict[str, Any]:
        try:
            return flat(yaml.safe_load((self.directory / "config.yaml").read_text(encoding="utf-8")))
        except (OSError, ValueError, yaml.YAMLError):
            return {}

    @property
    def seconds(self) -> dict[str, float]:
        return {name: step.seconds for name, step in self.state.steps.items() if step.seconds is not None}

    @property
    def standing(self) -> str:
        done = sum(step.status == "done" for step in self.state.steps.values())
        activity = ", running" if self.running else ""
        return f"{done} of {len(self.state.steps)} steps done{activity}"

    @property
    def test_set(self) -> str | None:
        """The SHA-256 of the test set, None before it is there."""
        manifest = Manifest.read(self.directory / "02_label")
        return None if manifest is None else manifest.outputs.get("test.extxyz")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _paired(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Pair]:
    return {key: [first.get(key), second.get(key)] for key in {**first, **second}}


def _differing(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Pair]:
    return {key: pair for key, pair in _paired(first, second).items() if pair[0] != pair[1]}


def _errors(first: dict[str, Any], second: dict[str, Any]) -> dict[str, dict[str, Pair]]:
    """The figures of every model that either test has: sections of numbers."""
    models = [key for key, value in {**first, **second}.items() if isinstance(value, dict)]
    found = {}
    for model in models:
        sides = [
            {name: value for name, value in side.get(model, {}).items() if isinstance(value, int | float)}
            for side in (first, second)
        ]
        if any("rmse" in name for side in sides for name in side):
            found[model] = _paired(*sides)
    return found
