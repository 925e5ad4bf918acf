"""Step 4, explore: molecular dynamics with the tuned teacher, one durable file per group of trajectories."""

import functools
import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyacemaker.base import fingerprint
from pyacemaker.config import PyAceConfig
from pyacemaker.errors import InsufficientDataError
from pyacemaker.files import sha256_file, write_atomic, write_json
from pyacemaker.generators.dimers import DIMER
from pyacemaker.generators.md import MdGenerator, Trajectory, TrajectoryPlan
from pyacemaker.potentials.foundation import FoundationSettings
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.structures import Dataset
from pyacemaker.structures.formats import read_structures, write_structures
from pyacemaker.workflow.step import Step, StepContext

log = logging.getLogger(__name__)

MAX_ROUNDS = 4
"""Rounds of further trajectories that make up for those the guards cut short."""
GROUP_SIZE = 6
"""Trajectories that move in lockstep in one worker: the teacher evaluates them as one batch."""


@dataclass(frozen=True)
class TrajectoryTask:
    """Trajectories as a worker receives them: the plans, the teacher's file, and where the frames go."""

    generator: MdGenerator
    plans: tuple[TrajectoryPlan, ...]
    teacher: Path
    foundation: FoundationSettings
    out: Path

    @property
    def frames_file(self) -> Path:
        """The frames of all trajectories of the group."""
        return self.out.with_suffix(".extxyz")

    @property
    def outcome_file(self) -> Path:
        """What became of each trajectory; written last, so that its presence means done."""
        return self.out.with_suffix(".json")

    def outcomes(self) -> list[dict[str, Any]]:
        """The content of `outcome_file`."""
        found: list[dict[str, Any]] = json.loads(self.outcome_file.read_text(encoding="utf-8"))
        return found


def run_trajectories(task: TrajectoryTask) -> None:
    """Run one group of trajectories and write its frames and, last, its outcomes."""
    teacher = _load_teacher(task.teacher, task.foundation)
    found = task.generator.run_group(task.plans, teacher)
    frames = Dataset(frame for trajectory in found for frame in trajectory.frames)
    write_structures(task.frames_file, frames)
    outcomes = [_outcome(plan, trajectory) for plan, trajectory in zip(task.plans, found, strict=True)]
    write_atomic(task.outcome_file, json.dumps(outcomes) + "\n")


@functools.lru_cache(maxsize=1)
def _load_teacher(path: Path, foundation: FoundationSettings) -> MacePotential:
    return foundation.tuned(path)


def _outcome(plan: TrajectoryPlan, trajectory: Trajectory) -> dict[str, Any]:
    return {
        "start": plan.start.id,
        "temperature": plan.temperature,
        "steps": trajectory.steps,
        "frames": len(trajectory.frames),
        "event": trajectory.event,
    }


def explore(context: StepContext) -> None:
    """Write `frames.extxyz` (the surrogate pool's new structures) and `trajectories.json` (guard events)."""
    generator = context.config.explore
    labelled = read_structures(context.inputs["02_label"] / "train.extxyz")
    starts = labelled.filter(lambda structure: structure.tag != DIMER) or labelled
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
    write_json(context.directory / "trajectories.json", report)


def _run_all(context: StepContext, plans: Sequence[TrajectoryPlan]) -> tuple[Dataset, list[dict[str, Any]]]:
    tasks = _tasks(context, plans)
    waiting = {key: task for key, task in tasks.items() if not task.outcome_file.is_file()}
    done = len(tasks) - len(waiting)
    context.progress("exploring, groups of trajectories", done, len(tasks))
    on_gpu = context.config.foundation.device.startswith("cuda")
    executor = context.executor("gpu" if on_gpu else "cpu")
    for outcome in executor.map_unordered(run_trajectories, waiting.items()):
        if outcome.error is not None:
            raise outcome.error
        done += 1
        context.progress("exploring, groups of trajectories", done, len(tasks))
    frames = Dataset()
    for task in tasks.values():
        frames = frames + read_structures(task.frames_file, allow_empty=True)
    return frames, [outcome for task in tasks.values() for outcome in task.outcomes()]


def _tasks(context: StepContext, plans: Sequence[TrajectoryPlan]) -> dict[str, TrajectoryTask]:
    """The groups, named by a hash of their plans, the generator's settings and the teacher."""
    teacher = (context.inputs["03_finetune"] / "teacher.model").resolve()
    identity = [context.config.explore.fingerprint(), sha256_file(teacher)]
    tasks = {}
    for start in range(0, len(plans), GROUP_SIZE):
        group = tuple(plans[start : start + GROUP_SIZE])
        key = fingerprint([identity, [_plan_facts(plan) for plan in group]])[:32]
        out = (context.directory / "trajectories" / key).resolve()
        tasks[key] = TrajectoryTask(context.config.explore, group, teacher, context.config.foundation, out)
    return tasks


def _plan_facts(plan: TrajectoryPlan) -> dict[str, Any]:
    return {**vars(plan), "start": plan.start.id}


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
