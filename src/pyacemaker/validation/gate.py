"""What a gate is: one question to a potential before it is delivered, with a limit on the answer."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from pyacemaker.base import Spec, fingerprint
from pyacemaker.errors import InsufficientDataError
from pyacemaker.generators.langevin import Langevin, Trajectory, TrajectoryPlan
from pyacemaker.generators.reaction_path import Reaction
from pyacemaker.potentials.ace import ACEPotential
from pyacemaker.potentials.base import Potential
from pyacemaker.potentials.extrapolation import ActiveSet
from pyacemaker.structures import AtomStructure, Dataset, Labels

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

Limit = Annotated[float, Field(ge=0)]
DftLabels = Callable[[Dataset], list[Labels | None]]
"""Structures to their labels by the reference method, in order; None where there is none."""


def no_labels(structures: Dataset) -> list[Labels | None]:
    """The answer where the reference method is not to be asked."""
    return [None] * len(structures)


@dataclass(frozen=True, eq=False)
class Subject:
    """What is examined, and what it is compared with.

    student: the potential that is to be delivered. teacher: the model it learned from. test: structures with
    labels of the reference method that no model was trained on. train: those that were trained on. pool: the
    diverse candidates, unlabelled. crystals, molecules: the minima that the run's generators named.
    reactions: both ends of each, as given. temperature: K, the highest of the exploration. dynamics: its time
    step, thermostat and guards. active_set: None where there is none, and `no_active_set` says why. explored:
    of the teacher's own trajectories at the highest temperature, how many there were and how many a guard
    ended. dft: asks the reference method; every answer is stored and counted. path_labels, volume_labels: how
    many of them each reaction and each crystal may take. plans: the student's trajectories that
    `md_stability` judges and others look at.
    """

    student: Potential
    teacher: Potential
    train: Dataset
    test: Dataset
    pool: Dataset = field(default_factory=Dataset)
    crystals: Dataset = field(default_factory=Dataset)
    molecules: Dataset = field(default_factory=Dataset)
    reactions: tuple[Reaction, ...] = ()
    temperature: float = 1000.0
    dynamics: Langevin = field(default_factory=Langevin)
    active_set: ActiveSet | None = None
    no_active_set: str = ""
    explored: tuple[int, int] = (0, 0)
    dft: DftLabels = no_labels
    path_labels: int = 0
    volume_labels: int = 0
    seed: int = 0
    plans: tuple[TrajectoryPlan, ...] = ()
    known: dict[Any, Any] = field(default_factory=dict)

    def once(self, key: Any, make: Callable[[], Any]) -> Any:
        """What `make` returns, made once: several gates look at the same curve."""
        if key not in self.known:
            self.known[key] = make()
        return self.known[key]

    @property
    def models(self) -> dict[str, Potential]:
        """The final potential under `student`, the fine-tuned model under `teacher`."""
        return {"student": self.student, "teacher": self.teacher}

    def trajectories(self) -> list[Trajectory]:
        """What became of `plans`, run by the student once."""
        found: list[Trajectory] = self.once(
            "trajectories", lambda: self.dynamics.run(self.plans, self.student)
        )
        return found

    @property
    def cutoff(self) -> float:
        """Å: beyond it the student's atoms do not see each other; 12 Å where it cannot be told."""
        return self.student.model.cutoff if isinstance(self.student, ACEPotential) else 12.0

    def main_crystals(self) -> dict[str, AtomStructure]:
        """The crystals that the settings name, without competing structure types, by number and formula."""
        return {k: s for k, s in self.named_crystals().items() if "prototype" not in s.tag}

    def named_crystals(self) -> dict[str, AtomStructure]:
        """All crystals by number and formula: `0 Al`."""
        return {f"{k} {crystal.formula}": crystal for k, crystal in enumerate(self.crystals)}


class ReferenceMethod(Potential):
    """The reference method as something to be evaluated, label by label; `InsufficientDataError` where one
    has none."""

    def __init__(self, subject: Subject) -> None:
        self.elements, self.name, self._ask = subject.student.elements, "dft", subject.dft

    def evaluate(self, structures: Sequence[AtomStructure]) -> list[Labels]:
        """Labels that are stored and counted."""
        found = self._ask(Dataset(structures))
        known = [labels for labels in found if labels is not None]
        if len(known) < len(found):
            raise InsufficientDataError(
                f"{len(found) - len(known)} of {len(found)} labels of the reference method are missing"
            )
        return known

    def calculator(self) -> "Calculator":
        """None: nobody relaxes or moves atoms by the reference method here."""
        raise NotImplementedError("the reference method labels given structures only")


@dataclass(frozen=True)
class Measured:
    """The answer to a gate's question.

    value: what the limit bounds, None where nothing could be measured. unit: of the value. note: a few words
    for the table. student, teacher, dft: figures by each (JSON values). curves: for drawings (JSON values).
    broken: whether the gate itself failed, which counts as not passed; the note says why.
    """

    value: float | None
    unit: str
    note: str = ""
    student: Any = None
    teacher: Any = None
    dft: Any = None
    curves: Any = None
    broken: bool = False

    def as_json(self, name: str) -> dict[str, Any]:
        """As `gates.json` keeps it; numbers that are not finite become null, and such a value is broken."""
        content: dict[str, Any] = finite({"name": name, **asdict(self)})
        if content["value"] is None and not self.broken:
            content |= {"broken": True, "note": self.note or "the value is not a finite number"}
        return content


class Gate(Spec, ABC):
    """One question to the potential. Subclasses add settings, `name`, `unit` and `measure`."""

    name: ClassVar[str]
    """Under which its answer stands in `gates.json` and `metrics.json`."""
    unit: ClassVar[str]
    """Of `limit` and of the value."""
    judging: ClassVar[frozenset[str]] = frozenset({"limit", "blocks"})
    """Settings that judge the answer and cannot change it."""

    looks_at: ClassVar[tuple[str, ...]] = ()
    """Names of other gates whose settings decide its answer too."""

    limit: Limit
    """The largest value that passes."""
    blocks: bool = False
    """Whether a potential that does not pass is not delivered; otherwise the verdict only names the gate."""

    @abstractmethod
    def measure(self, subject: Subject) -> Measured | None:
        """The answer; None where the question does not apply, such as that for phonons of a molecule."""

    def identity(self) -> str:
        """64 hexadecimal digits: what decides the answer, without the limit on it."""
        cls = type(self)
        settings = self.model_dump(mode="json", exclude=set(self.judging), serialize_as_any=True)
        return fingerprint([cls.__module__, cls.__qualname__, settings])


def finite(content: Any) -> Any:
    """The same JSON value with null for every number that is not finite."""
    if isinstance(content, Mapping):
        return {str(key): finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    if isinstance(content, float):
        return float(content) if math.isfinite(content) else None
    return content
