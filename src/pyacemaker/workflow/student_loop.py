"""The student drives: rounds in which the ACE potential explores and its teacher corrects it.

Every round the present student runs molecular dynamics from the labelled structures. The teacher labels what
it found; what the student has wrong, or what its active set calls extrapolation, joins the pool, within a
window: below it the student needs no help, above it the frame is nonsense that nobody should learn. Where the
student derails too often, the teacher drives on from the last safe frames. Then the student is fitted again.
Rounds end when its error against the teacher, measured on what it found before it learned from it, no longer
falls.
"""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pyacemaker.base import fingerprint
from pyacemaker.config import StudentSettings
from pyacemaker.errors import InsufficientDataError
from pyacemaker.files import sha256_file, write_json
from pyacemaker.generators.dimers import DIMER
from pyacemaker.generators.guards import GuardEvent
from pyacemaker.generators.langevin import Trajectory, TrajectoryPlan
from pyacemaker.generators.md import MdGenerator
from pyacemaker.potentials.ace import ACEPotential
from pyacemaker.potentials.base import Potential
from pyacemaker.potentials.extrapolation import ActiveSet, build_active_set
from pyacemaker.selection.filters import largest_force
from pyacemaker.structures import BoolArray, Dataset, FloatArray
from pyacemaker.structures.formats import read_structures, write_structures
from pyacemaker.workflow.step import StepContext
from pyacemaker.workflow.teacher_labels import is_credible, teacher_labels

log = logging.getLogger(__name__)

STUDENT_TAG = "student/"
"""Put before the tags of frames that the student found, such as `student/md600`."""
FALLBACK_TAG = "fallback/"
"""Put before the tags of frames that the teacher found where the student had derailed."""

Fit = Callable[[Dataset, Path], None]
"""Fits the base potential to labelled structures and writes it to a path."""


@dataclass(frozen=True)
class StudentRound:
    """One round, as JSON can hold it.

    trajectories, derailed: how many ran, and how many a guard ended. events: by guard. fallback: how many the
    teacher drove. found: frames that the teacher labelled. force_rmse, energy_rmse: the student's errors
    against the teacher on those, before it learned from them, meV/Å and meV/atom. learned: frames that joined
    the pool. largest_grade: of the frames found; None without an active set.
    """

    number: int
    trajectories: int
    derailed: int
    events: dict[str, int]
    fallback: int
    found: int
    learned: int
    force_rmse: float
    energy_rmse: float
    largest_grade: float | None


@dataclass
class StudentLoop:
    """The rounds of one run.

    pool: what the student was fitted to. starts: where its trajectories begin. forbidden: ids that never join
    the pool, those of the test set. Finished parts of a round are kept in `directory`, so that a run that was
    killed does not repeat them.
    """

    context: StepContext
    pool: Dataset
    fit: Fit
    directory: Path
    extra: Dataset = field(default_factory=Dataset)
    rounds: list[StudentRound] = field(default_factory=list)
    ended: str = "the rounds were used up"

    def __post_init__(self) -> None:
        labelled = read_structures(self.context.inputs["02_label"] / "train.extxyz")
        self.starts = labelled.filter(lambda structure: structure.tag != DIMER) or labelled
        test = read_structures(self.context.inputs["02_label"] / "test.extxyz")
        self.forbidden = {*test.ids, *self.pool.ids}
        self.settings: StudentSettings = self.context.config.student

    def run(self, student: Path) -> None:
        """Run the rounds from the potential in `student`; `extra` then holds what is to be learned."""
        for number in range(1, self.settings.rounds + 1):
            self.context.progress("the student explores, rounds", number - 1, self.settings.rounds)
            folder = self.directory / f"{number:02d}"
            found = self._round(number, student, folder)
            if not found or not self._still_falling() or number == self.settings.rounds:
                break
            student = folder / "student.yace"
            if not student.is_file():
                self.fit(self.pool + self.extra, student)
        self.context.progress("the student explores, rounds", self.settings.rounds, self.settings.rounds)

    def _round(self, number: int, student: Path, folder: Path) -> Dataset:
        """Explore, label, judge; adds what is worth learning to `extra` and returns it."""
        potential = ACEPotential.from_yace(student)
        active_set = _active_set(potential, self.pool + self.extra)
        driven = _Driven.read(folder)
        if driven is None:
            driven = self._drive(number, potential, active_set)
            driven.write(folder)
        fresh = driven.frames.unique().filter(lambda structure: structure.id not in self.forbidden)
        limit = self.context.config.pseudo_label.max_force
        labelled = Dataset(
            structure
            for part in teacher_labels(self.context, fresh, folder / "parts")
            for structure in part
            if is_credible(structure, limit)
        )
        learned, facts = self._judged(labelled, potential, active_set)
        self.extra = self.extra + learned
        self.forbidden |= set(learned.ids)
        self.rounds.append(StudentRound(number=number, **driven.facts, **facts))
        log.info("the student's round %d: %s", number, self.rounds[-1])
        if not learned:
            self.ended = "nothing was left for the student to learn"
        return learned

    def _still_falling(self) -> bool:
        if len(self.rounds) < 2:
            return True
        before, now = self.rounds[-2].force_rmse, self.rounds[-1].force_rmse
        if now <= (1.0 - self.settings.improvement) * before:
            return True
        self.ended = f"the student's force error no longer falls ({before:.0f} to {now:.0f} meV/Å)"
        return False

    def _drive(self, number: int, student: Potential, active_set: ActiveSet | None) -> "_Driven":
        generator = _as_explorer(self.context.config.explore, self.settings)
        seed = int(np.random.default_rng([self.context.seed, number]).integers(2**31))
        plans = generator.trajectories(self.starts, seed)
        watch = None if active_set is None else partial(_watched, active_set, self.settings.grade[1])
        found = generator.run_group(plans, student, watch)
        driven = _Driven(Dataset(), {"trajectories": len(plans), "derailed": 0, "events": {}, "fallback": 0})
        driven.add(plans, found, STUDENT_TAG)
        if driven.facts["derailed"] > self.settings.max_derailed * len(plans):
            self._fall_back(generator, plans, found, driven)
        return driven

    def _fall_back(
        self,
        generator: MdGenerator,
        plans: Sequence[TrajectoryPlan],
        found: Sequence[Trajectory],
        driven: "_Driven",
    ) -> None:
        """The teacher goes on from the last safe frame of each trajectory that derailed."""
        again = [
            replace(plan, start=trajectory.last_safe, seed=plan.seed + 1)
            for plan, trajectory in zip(plans, found, strict=True)
            if trajectory.event is not None and trajectory.last_safe is not None
        ]
        log.warning("the student derailed %d times of %d: its teacher drives on", len(again), len(plans))
        teacher = self.context.config.foundation.tuned(self.context.inputs["03_finetune"] / "teacher.model")
        for trajectory in generator.run_group(again, teacher):
            driven.frames = driven.frames + _tagged(trajectory.frames, FALLBACK_TAG)
        driven.facts["fallback"] = len(again)

    def _judged(
        self, labelled: Dataset, student: Potential, active_set: ActiveSet | None
    ) -> tuple[Dataset, dict[str, Any]]:
        """What lies in the windows, and the errors on all that the teacher labelled."""
        if not labelled:
            nothing = {"found": 0, "learned": 0, "force_rmse": 0.0, "energy_rmse": 0.0, "largest_grade": None}
            return labelled, nothing
        pairs = [mine - its for mine, its in zip(student.evaluate(labelled), labelled.labels, strict=True)]
        errors = np.array([largest_force(difference.forces) for difference in pairs])
        grades = _largest_grades(active_set, labelled)
        forces = np.concatenate([difference.forces.ravel() for difference in pairs])
        energies = np.array([d.energy / len(s) for d, s in zip(pairs, labelled, strict=True)])
        learned = labelled[np.flatnonzero(in_windows(errors, grades, self.settings))]
        return learned, {
            "found": len(labelled),
            "learned": len(learned),
            "force_rmse": 1e3 * float(np.sqrt(np.mean(forces**2))),
            "energy_rmse": 1e3 * float(np.sqrt(np.mean(energies**2))),
            "largest_grade": None if grades is None else float(grades.max()),
        }


def in_windows(errors: FloatArray, grades: FloatArray | None, settings: StudentSettings) -> BoolArray:
    """(n,) whether each frame is worth learning: error or grade in its window, neither above it.

    errors: the largest error of a force, eV/Å. grades: γ; None without an active set.
    """
    least, most = settings.force_error
    wanted, sane = errors >= least, errors <= most
    if grades is not None:
        wanted, sane = wanted | (grades >= settings.grade[0]), sane & (grades <= settings.grade[1])
    return np.asarray(wanted & sane)


def loop_key(context: StepContext) -> str:
    """What names the folder of the rounds: everything that they depend on, as 32 hexadecimal digits."""
    config = context.config
    settings = [
        config.student,
        config.potential_trainer(),
        config.preparation,
        config.explore,
        config.pseudo_label,
    ]
    teacher = context.inputs["03_finetune"] / "teacher.model"
    files = [
        teacher,
        context.inputs["05_pseudo_label"] / "surrogate.extxyz",
        context.inputs["02_label"] / "train.extxyz",
    ]
    content = [[one.fingerprint() for one in settings], [sha256_file(path) for path in files], context.seed]
    return fingerprint(content)[:32]


@dataclass
class _Driven:
    """What the trajectories of a round found."""

    frames: Dataset
    facts: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> "_Driven | None":
        facts = folder / "driven.json"
        if not facts.is_file():
            return None
        frames = read_structures(folder / "driven.extxyz", allow_empty=True)
        return cls(frames, json.loads(facts.read_text(encoding="utf-8")))

    def write(self, folder: Path) -> None:
        """The facts come last: their presence means done."""
        write_structures(folder / "driven.extxyz", self.frames)
        write_json(folder / "driven.json", self.facts)

    def add(self, plans: Sequence[TrajectoryPlan], found: Sequence[Trajectory], tag: str) -> None:
        for trajectory in found:
            safe = Dataset() if trajectory.last_safe is None else Dataset([trajectory.last_safe])
            self.frames = self.frames + _tagged(trajectory.frames + safe, tag)
            if trajectory.event is not None:
                kind = trajectory.event.kind
                self.facts["derailed"] += 1
                self.facts["events"][kind] = self.facts["events"].get(kind, 0) + 1


def _tagged(frames: Dataset, tag: str) -> Dataset:
    return Dataset(frame.replace(tag=tag + frame.tag) for frame in frames)


def _as_explorer(explore: MdGenerator, settings: StudentSettings) -> MdGenerator:
    """The settings of step 4, except that the frames before an event are kept: they are to be learned."""
    guards = explore.dynamics.guards.model_copy(update={"drop_frames": 0})
    dynamics = explore.dynamics.model_copy(update={"guards": guards})
    wanted = {"n_structures": settings.n_structures, "n_trajectories": settings.n_trajectories}
    return explore.model_copy(update={**wanted, "dynamics": dynamics})


def _active_set(potential: ACEPotential, structures: Dataset) -> ActiveSet | None:
    try:
        return build_active_set(potential, structures)[0]
    except InsufficientDataError as error:
        log.warning("the student has no active set, its errors alone count: %s", error)
        return None


def _largest_grades(active_set: ActiveSet | None, structures: Dataset) -> FloatArray | None:
    if active_set is None:
        return None
    return np.array([float(grades.max()) for grades in active_set.grades(structures)])


def _watched(active_set: ActiveSet, limit: float, frames: Sequence[Any], /) -> list[GuardEvent | None]:
    grades = _largest_grades(active_set, Dataset(frames))
    assert grades is not None
    return [
        GuardEvent("uncertainty", f"an extrapolation grade of {grade:.1f}, above {limit:g}")
        if grade > limit
        else None
        for grade in grades
    ]
