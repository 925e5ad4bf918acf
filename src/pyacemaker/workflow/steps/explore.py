"""Step 4, explore: molecular dynamics with the tuned teacher, one durable file per trajectory."""

import functools
import json
import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyacemaker.base import fingerprint
from pyacemaker.config import PyAceConfig
from pyacemaker.errors import InsufficientDataError
from pyacemaker.files import sha256_file, write_atomic
from pyacemaker.generators.md import MdGenerator, TrajectoryPlan
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.structures import Dataset
from pyacemaker.structures.formats import read_structures, write_structures
from pyacemaker.workflow.step import Step, StepContext

log = logging.getLogger(__name__)

MAX_ROUNDS = 4
"""Rounds of further trajectories that make up for those the guards cut short."""


@dataclass(frozen=True)
class TrajectoryTask:
    """One trajectory as a worker receives it: the plan, the teacher's file, and where the frames go."""

    generator: MdGenerator
    plan: TrajectoryPlan
    teacher: Path
    device: str
    dtype: str
    out: Path


def run_trajectory(task: TrajectoryTask) -> None:
    """Run one trajectory and write its frames (`.extxyz`) and its outcome (`.json`, last)."""
    teacher = _load_teacher(task.teacher, task.device, task.dtype)
    trajectory = task.generator.run(task.plan, teacher)
    write_structures(task.out.with_suffix(".extxyz"), trajectory.frames)
    outcome = {
        "event": trajectory.event,
        "steps": trajectory.steps,
        "temperature": task.plan.temperature,
        "start": task.plan.start.id,
        "frames": len(trajectory.frames),
    }
    write_atomic(task.out.with_suffix(".json"), json.dumps(outcome) + "\n")


@functools.lru_cache(maxsize=1)
def _load_teacher(path: Path, device: str, dtype: str) -> MacePotential:
    return MacePotential(path, device=device, dtype=dtype)


def explore(context: StepContext) -> None:
    """Write `frames.extxyz` (the surrogate pool's new structures) and `trajectories.json` (guard events)."""
    generator = context.config.explore
    starts = read_structures(context.inputs["02_label"] / "train.extxyz")
    outcomes: list[dict[str, Any]] = []
    frames = Dataset()
    for round_index in range(MAX_ROUNDS):
        missing = generator.n_structures - len(frames)
        if missing <= 0:
            break
        plans = generator.trajectories(
            starts, int(np.random.default_rng([context.seed, round_index]).integers(2**31))
        )
        found, new_outcomes = _run_all(context, plans)
        frames = (frames + found).unique()
        outcomes += new_outcomes
    if not frames:
        raise InsufficientDataError(
            f"every one of {len(outcomes)} trajectories was cut by the guards before its first frame: the "
            "fine-tuned model is not usable; label more structures or lower explore.temperatures"
        )
    chosen = _thin(frames, generator.n_structures)
    events = Counter(outcome["event"] for outcome in outcomes if outcome["event"])
    log.info(
        "%d frames from %d trajectories, %d cut by a guard", len(chosen), len(outcomes), sum(events.values())
    )
    write_structures(context.directory / "frames.extxyz", chosen)
    report = {
        "frames": len(chosen),
        "asked": generator.n_structures,
        "events": events,
        "trajectories": outcomes,
    }
    write_atomic(context.directory / "trajectories.json", json.dumps(report, indent=2) + "\n")


def _run_all(context: StepContext, plans: list[TrajectoryPlan]) -> tuple[Dataset, list[dict[str, Any]]]:
    teacher = context.inputs["03_finetune"] / "teacher.model"
    identity = [context.config.explore.fingerprint(), sha256_file(teacher)]
    folder = context.directory / "trajectories"
    tasks = {
        plan_key(plan, identity): TrajectoryTask(
            context.config.explore,
            plan,
            teacher.resolve(),
            context.config.foundation.device,
            context.config.foundation.dtype,
            (folder / plan_key(plan, identity)).resolve(),
        )
        for plan in plans
    }
    waiting = {key: task for key, task in tasks.items() if not task.out.with_suffix(".json").is_file()}
    done = len(tasks) - len(waiting)
    context.progress("exploring, trajectories", done, len(tasks))
    for outcome in context.config.execution.map_unordered(run_trajectory, waiting.items()):
        if outcome.error is not None:
            raise outcome.error
        done += 1
        context.progress("exploring, trajectories", done, len(tasks))
    frames = [read_structures(task.out.with_suffix(".extxyz")) for task in tasks.values() if _frames(task)]
    return sum(frames, Dataset()), [_outcome(task) for task in tasks.values()]


def plan_key(plan: TrajectoryPlan, identity: list[str]) -> str:
    """Names a trajectory's files: a hash of the plan, the generator's settings and the teacher."""
    facts = {name: value for name, value in vars(plan).items() if name != "start"}
    return fingerprint([plan.start.id, facts, identity])[:32]


def _outcome(task: TrajectoryTask) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(task.out.with_suffix(".json").read_text(encoding="utf-8"))
    return found


def _frames(task: TrajectoryTask) -> int:
    return int(_outcome(task)["frames"])


def _thin(frames: Dataset, n: int) -> Dataset:
    """At most `n` frames, evenly spaced over the trajectories."""
    if len(frames) < n:
        log.warning("only %d of %d frames: the guards cut too many trajectories", len(frames), n)
        return frames
    return frames[np.linspace(0, len(frames) - 1, n).round().astype(int)]


def _settings(config: PyAceConfig) -> list[Any]:
    return [config.explore, config.foundation.device, config.foundation.dtype]


EXPLORE = Step(
    name="04_explore",
    title="explore with molecular dynamics",
    needs=("02_label", "03_finetune"),
    settings=_settings,
    outputs=("frames.extxyz", "trajectories.json"),
    run=explore,
    versions=("pyacemaker", "mace-torch", "torch", "ase"),
)
