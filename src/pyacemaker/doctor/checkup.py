"""Runs the probes side by side, each in a process of its own with a time limit."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from pyacemaker.doctor.probes import FOUNDATION, PROBES
from pyacemaker.processes import available_cores, single_thread_environment

State = Literal["ok", "missing", "broken"]

_NAMING_KEYS = frozenset({"kind", "backend", "engine", "package", "driver"})
"""Keys of a config file whose values name something that has to be here."""


@dataclass(frozen=True)
class Check:
    """What the doctor found about one thing.

    state: `ok`, `missing` (not here) or `broken` (here, and it does not work). needed: whether the config
    names it. found: one line; cure: what to do, empty where nothing is to be done.
    """

    name: str
    group: str
    state: State
    needed: bool
    found: str
    cure: str
    seconds: float


def examine(
    names: Iterable[str] = tuple(PROBES),
    *,
    needed: Iterable[str] = (),
    config: Path | None = None,
    timeout: float = 120.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Check]:
    """Try everything in `names`, at most `timeout` seconds each, in the order of `names`.

    needed: the names without which a run cannot start. config: the file whose foundation model is loaded. A
    crash or a hang of one is that one's finding.
    """
    wanted, must = list(names), set(needed)
    found: dict[str, Check] = {}
    with ThreadPoolExecutor(max_workers=max(1, available_cores())) as pool:
        waiting = {pool.submit(_tried, name, timeout, config): name for name in wanted}
        for done, future in enumerate(as_completed(waiting), start=1):
            name, result = waiting[future], future.result()
            cure = PROBES[name].cure
            if result["state"] == "ok" or cure in result["found"]:
                cure = ""
            found[name] = Check(name, PROBES[name].group, needed=name in must, cure=cure, **result)
            progress(done, len(wanted))
    return [found[name] for name in wanted]


def needs_of(settings: Any) -> set[str]:
    """The names of probes that settings ask for, wherever they stand: engines, Slurm, GPUs, programs."""
    if isinstance(settings, BaseModel):
        settings = {name: getattr(settings, name) for name in type(settings).model_fields}
    found: set[str] = set()
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            if isinstance(value, str):
                named = value if key in _NAMING_KEYS else ""
                device = "cuda" if key == "device" and value.startswith("cuda") else ""
                found |= {named, device} & set(PROBES)
            elif key in PROBES and value is True:  # `custodian: true`
                found.add(key)
            else:
                found |= needs_of(value)
    elif isinstance(settings, list | tuple):
        for item in settings:
            found |= needs_of(item)
    return found


def _tried(name: str, timeout: float, config: Path | None) -> dict[str, Any]:
    """What a probe answers in a process of its own."""
    words = [sys.executable, "-m", "pyacemaker.doctor.probes", name]
    if config is not None and name == FOUNDATION:
        words.append(str(config.resolve()))
    with tempfile.TemporaryDirectory() as directory:
        process = subprocess.Popen(
            words,
            cwd=directory,
            env=single_thread_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            out, error = process.communicate(timeout=timeout)
        except BaseException as reason:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            if not isinstance(reason, subprocess.TimeoutExpired):
                raise
            return {"state": "broken", "found": f"no answer in {timeout:g} s", "seconds": timeout}
    try:
        result: dict[str, Any] = json.loads(out.splitlines()[-1])
    except (IndexError, ValueError):
        words_of_it = (error.strip() or "it wrote nothing").splitlines()[-1]
        found = f"its process ended with {process.returncode}: {words_of_it}"
        return {"state": "broken", "found": found, "seconds": 0.0}
    return result
