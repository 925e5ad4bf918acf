"""Step 4, explore: molecular dynamics with the tuned teacher, one durable file per group of trajectories."""

import functools
import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pyacemaker.base import fingerprint
from pyacemaker.config import PyAceConfig
from pyacemaker.errors import InsufficientDataError
from pyacemaker.files import sha256_file, write_atomic, write_json
from pyacemaker.generators.dimers import DIMER
from pyacemaker.generators.md import ROUNDS, MdGenerator, Trajectory, TrajectoryPlan
from pyacemaker.generators.novelty import NoveltyGuard
from pyacemaker.potentials.foundation import FoundationSettings
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.structures import Dataset
from pyacemaker.structures.formats import read_structures, write_structures
from pyacemaker.workflow.step import Step, StepContext
from pyacemaker.workflow.steps.sample import fit_to_learn_from

log = logging.getLogger(__name__)

GROUP_SIZE = 6
"""Trajectories that move in lockstep in one worker: the teacher evaluates them as one batch."""


@dataclass(frozen=True)
class TrajectoryTask:
    """Trajectories as a worker receives them: the plans, the teacher's file, and where the frames go.

    known: a file of structures that the teacher is sure of, for the uncertainty guard; None = no such guard.
    """

    generator: MdGenerator
    plans: tuple[TrajectoryPlan, ...]
    teacher: Path
    foundation: FoundationSettings
    out: Path
    known: Path | None = None

    @property
    def frames_file(self) -> Path:
        """The frames of all trajectories of the group."""
        return self.out.with_suffix(".extxyz")

    @property
    def outcome_file(self) -> Path:
        """What became of each trajectory; written last, so that its presence means done."""
        return self.out.with_suffix(".json")

    @property
    def safe_file(self) -> Path:
        """The last safe frames of the trajectories that a guard ended."""
        return self.out.with_name(self.out.name + ".safe.extxyz")

    def outcomes(self) -> list[dict[str, Any]]:
        """The content of `outcome_file`."""
        found: list[dict[str, Any]] = json.loads(self.outcome_file.read_text(encoding="utf-8"))
        return found


def run_trajectories(task: TrajectoryTask) -> None:
    """Run one group of trajectories and write its frames, last safe frames and, last, its outcomes."""
    teacher = _load_teacher(task.teacher, task.foundation)
    factor = task.generator.max_uncertainty
    watch = None if task.known is None or factor is None else _load_guard(teacher, task.known, factor)
    found = task.generator.run_group(task.plans, teacher, watch)
    write_structures(task.frames_file, [frame for trajectory in found for frame in trajectory.frames])
    write_structures(task.safe_file, [one.last_safe for one in found if one.last_safe is not None])
    outcomes = [outcome(plan, trajectory) for plan, trajectory in zip(task.plans, found, strict=True)]
    write_atomic(task.outcome_file, json.dumps(outcomes) + "\n")


@functools.lru_cache(maxsize=1)
def _load_teacher(path: Path, foundation: FoundationSettings) -> MacePotential:
    return foundation.tuned(path)


@functools.lru_cache(maxsize=1)
def _load_guard(teacher: MacePotential, known: Path, factor: float) -> NoveltyGuard:
    return NoveltyGuard(teacher, read_structures(known), factor)


def outcome(plan: TrajectoryPlan, trajectory: Trajectory) -> dict[str, Any]:
    """What became of a trajectory, as JSON can hold it; `event` is the guard's name, None for none."""
    event = trajectory.event
    return {
        "start": plan.start.id,
        "tag": plan.tag,
        "temperature": plan.highest_temperature,
        "steps": trajectory.steps,
        "frames": len(trajectory.frames),
        "near": trajectory.near,
        "event": event.kind if event else None,
        "message": event.message if event else None,
    }


@dataclass
class _Found:
    """What the trajectories so far gave: frames, last safe frames, and what became of each."""

    frames: Dataset = field(default_factory=Dataset)
    safe: Dataset = field(default_factory=Dataset)
    outcomes: list[dict[str, Any]] = field(default_factory=list)


def explore(context: StepContext) -> None:
    """Write `frames.extxyz` (the surrogate pool's new structures), `last_safe.extxyz` (where guards ended
    trajectories: candidates for a label) and `trajectories.json` (guard events)."""
    generator = context.config.explore
    labelled = read_structures(context.inputs["02_label"] / "train.extxyz")
    starts = labelled.filter(lambda structure: structure.tag != DIMER) or labelled
    known = _write_known(context, starts)
    found = _Found()
    for round_index in range(ROUNDS):
        if len(found.frames) >= generator.n_structures:
            break
        seed = int(np.random.default_rng([context.seed, round_index]).integers(2**31))
        _run_all(context, generator.trajectories(starts, seed), known, found)
    if not found.frames:
        raise InsufficientDataError(
            f"every one of {len(found.outcomes)} trajectories was cut by the guards before its first frame: "
            "the fine-tuned model is not usable; label more structures or lower explore.temperatures"
        )
    _write(context, found, known)


def _write_known(context: StepContext, labelled: Dataset) -> Path | None:
    """The structures that the uncertainty guard measures against: candidates, and those that have labels."""
    if context.config.explore.max_uncertainty is None:
        return None
    candidates = fit_to_learn_from(read_structures(context.inputs["01_sample"] / "candidates.extxyz"))
    known = (candidates + labelled).unique()
    path = context.directory / "known.extxyz"
    write_structures(path, [structure.replace(labels=None) for structure in known])
    return path.resolve()


def _write(context: StepContext, found: _Found, known: Path | None) -> None:
    generator, outcomes = context.config.explore, found.outcomes
    teacher = context.config.foundation.tuned(_teacher_file(context))
    chosen = generator.picked(found.frames, teacher, context.rng)
    events = Counter(outcome["event"] for outcome in outcomes if outcome["event"])
    log.info(
        "%d frames from %d trajectories, %d cut by a guard", len(chosen), len(outcomes), sum(events.values())
    )
    if reason := generator.why_fewer(len(chosen), [outcome["event"] for outcome in outcomes]):
        log.warning("%s", reason)
    write_structures(context.directory / "frames.extxyz", chosen)
    write_structures(context.directory / "last_safe.extxyz", found.safe.unique())
    report = {
        "frames": len(chosen),
        "asked": generator.n_structures,
        "why_fewer": reason,
        "events": events,
        "near": sum(outcome["near"] for outcome in outcomes),
        "uncertainty_guard": _describe_guard(generator, known),
        "last_safe": len(found.safe.unique()),
        "trajectories": outcomes,
    }
    write_json(context.directory / "trajectories.json", report)


def _describe_guard(generator: MdGenerator, known: Path | None) -> str:
    if known is None:
        return "off"
    return f"{generator.max_uncertainty:g} times the distance within which 99 % of the known structures lie"


def _teacher_file(context: StepContext) -> Path:
    return (context.inputs["03_finetune"] / "teacher.model").resolve()


def _run_all(
    context: StepContext, plans: Sequence[TrajectoryPlan], known: Path | None, found: _Found
) -> None:
    """Run the plans, unless their files are there already, and add what they gave to `found`."""
    tasks = _tasks(context, plans, known)
    waiting = {key: task for key, task in tasks.items() if not task.outcome_file.is_file()}
    done = len(tasks) - len(waiting)
    context.progress("exploring, groups of trajectories", done, len(tasks))
    on_gpu = context.config.foundation.device.startswith("cuda")
    executor = context.executor("gpu" if on_gpu else "cpu")
    for answer in executor.map_unordered(run_trajectories, waiting.items()):
        if answer.error is not None:
            raise answer.error
        done += 1
        context.progress("exploring, groups of trajectories", done, len(tasks))
    for task in tasks.values():
        found.frames = found.frames + read_structures(task.frames_file, allow_empty=True)
        found.safe = found.safe + read_structures(task.safe_file, allow_empty=True)
        found.outcomes += task.outcomes()
    found.frames = found.frames.unique()


def _tasks(
    context: StepContext, plans: Sequence[TrajectoryPlan], known: Path | None
) -> dict[str, TrajectoryTask]:
    """The groups, named by a hash of their plans, the generator's settings, the teacher and what it knows."""
    teacher, generator = _teacher_file(context), context.config.explore
    identity = [generator.fingerprint(), sha256_file(teacher), known and sha256_file(known)]
    tasks = {}
    for start in range(0, len(plans), GROUP_SIZE):
        group = tuple(plans[start : start + GROUP_SIZE])
        key = fingerprint([identity, [_plan_facts(plan) for plan in group]])[:32]
        out = (context.directory / "trajectories" / key).resolve()
        tasks[key] = TrajectoryTask(generator, group, teacher, context.config.foundation, out, known)
    return tasks


def _plan_facts(plan: TrajectoryPlan) -> dict[str, Any]:
    return {**vars(plan), "start": plan.start.id}


def _settings(config: PyAceConfig) -> list[Any]:
    return [config.explore, config.foundation.device, config.foundation.dtype]


EXPLORE = Step(
    name="04_explore",
    title="explore with molecular dynamics",
    needs=("01_sample", "02_label", "03_finetune"),
    settings=_settings,
    outputs=("frames.extxyz", "last_safe.extxyz", "trajectories.json"),
    run=explore,
    versions=("pyacemaker", "mace-torch", "torch", "ase"),
)
