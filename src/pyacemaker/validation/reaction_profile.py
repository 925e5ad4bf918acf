"""Reactions: the path by the teacher, on which everyone is compared, and the barrier on it."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from pyacemaker.generators.reaction_path import Reaction, reaction_path, transition_state
from pyacemaker.potentials.base import Potential
from pyacemaker.structures import AtomStructure, Dataset, FloatArray
from pyacemaker.units import MEV_PER_EV
from pyacemaker.validation.gate import Gate, Limit, Measured, Subject

_IMAGES = 25
_NEB_STEPS = 60


@dataclass(frozen=True, eq=False)
class Profile:
    """A path from reactant to product: the images, and which of them stands for the transition state."""

    reaction: Reaction
    images: Dataset
    top: int
    has_barrier: bool
    """Whether the path's own model has a maximum between the ends."""

    @property
    def transition_state(self) -> AtomStructure:
        """The highest image, or where there is no barrier the one halfway between the bonds."""
        return self.images[self.top]

    def figures(self, energies: FloatArray) -> dict[str, float]:
        """Barrier and reaction energy, eV, from the energies of the images: of the top and of the product,
        over the reactant's."""
        return {
            "barrier_ev": float(energies[self.top] - energies[0]),
            "reaction_energy_ev": float(energies[-1] - energies[0]),
        }


def profile(subject: Subject, number: int, who: str) -> Profile:
    """The path of reaction `number` by `student` or `teacher`: relaxed ends, climbing-image elastic band."""

    def make() -> Profile:
        model = subject.models[who]
        reaction = subject.reactions[number].relaxed(model)
        images = reaction_path(reaction, model, _IMAGES, _NEB_STEPS)
        energies = energies_of(images, model)
        top = images.ids.index(transition_state(reaction, images, energies).id)
        peaked = energies[top] > max(energies[top - 1], energies[0]) and energies[top] >= energies[top + 1]
        return Profile(reaction, images, top, bool(peaked))

    found: Profile = subject.once(("profile", number, who), make)
    return found


def energies_of(images: Dataset, model: Potential) -> FloatArray:
    """(n,), eV."""
    return np.array([labels.energy for labels in model.evaluate(images)])


class ReactionPath(Gate):
    """The energy along the teacher's path of every reaction, each model's from its own reactant.

    value: the largest distance of the final potential's profile from the teacher's.
    """

    name: ClassVar[str] = "path"
    unit: ClassVar[str] = "meV"
    limit: Limit = 100.0
    """meV, of the whole system."""

    def measure(self, subject: Subject) -> Measured | None:
        """The profiles of both models, and DFT's where it was asked."""
        paths, deviations = [], []
        for number in range(len(subject.reactions)):
            path = profile(subject, number, "teacher")
            by = {who: from_reactant(path.images, model) for who, model in subject.models.items()}
            deviations.append(MEV_PER_EV * float(np.abs(by["student"] - by["teacher"]).max()))
            paths.append(
                {
                    "formula": path.reaction.reactant.formula,
                    "top": path.top,
                    "student_ev": by["student"].tolist(),
                    "teacher_ev": by["teacher"].tolist(),
                    "dft_ev": self._over_reactant(dft_energies(subject, path)),
                }
            )
        if not paths:
            return None
        return Measured(
            max(deviations),
            self.unit,
            "along the teacher's path",
            student=deviations,
            curves={"paths": paths},
        )

    @staticmethod
    def _over_reactant(energies: Mapping[int, float]) -> list[float | None]:
        first = energies.get(0)
        return [None if first is None or k not in energies else energies[k] - first for k in range(_IMAGES)]


def from_reactant(images: Dataset, model: Potential) -> FloatArray:
    """(n,), eV, over the first image."""
    energies = energies_of(images, model)
    return np.asarray(energies - energies[0])


def dft_energies(subject: Subject, path: Profile) -> dict[int, float]:
    """The reference method's energies by image: of both ends and the top first, then evenly."""
    points = subject.path_labels
    if points < 3:
        return {}
    wanted = {0, path.top, len(path.images) - 1}
    for k in np.linspace(0, len(path.images) - 1, points).round().astype(int):
        if len(wanted) < points:
            wanted.add(int(k))
    chosen = sorted(wanted)
    asked = path.images[chosen]
    labels = subject.once(("dft", "path", tuple(asked.ids)), lambda: subject.dft(asked))
    return {k: label.energy for k, label in zip(chosen, labels, strict=True) if label is not None}


class ReactionFigure(Gate):
    """A figure of every reaction on the same structures: those of the teacher's path."""

    unit: ClassVar[str] = "meV"
    figure: ClassVar[str]

    def measure(self, subject: Subject) -> Measured | None:
        """The largest deviation from DFT where that is known, else from the teacher."""
        if not subject.reactions:
            return None
        found = [reaction_facts(subject, number) for number in range(len(subject.reactions))]
        figures = [one[self.figure] for one in found]
        off = [one["final"] - (one["teacher"] if one["dft"] is None else one["dft"]) for one in figures]
        by = [[one[who] for one in figures] for who in ("final", "teacher", "dft")]
        flat = ["the teacher's path has no barrier"] if not all(one["has_barrier"] for one in found) else []
        against = "DFT" if all(one["dft"] is not None for one in figures) else "the teacher"
        return Measured(
            MEV_PER_EV * max(abs(value) for value in off),
            self.unit,
            "; ".join([f"against {against}, on the teacher's path; figures in eV", *flat]),
            student=by[0],
            teacher=by[1],
            dft=by[2],
            curves=self._curves(found),
        )

    @abstractmethod
    def _curves(self, found: list[dict[str, Any]]) -> Any:
        """What is kept beside the figures."""


class Barrier(ReactionFigure):
    """E(transition state) − E(reactant), at the highest image of the teacher's path and at its start."""

    name: ClassVar[str] = "barrier"
    figure: ClassVar[str] = "barrier_ev"
    limit: Annotated[float, Field(ge=0)] = 50.0
    """meV; 1 kcal/mol is 43."""

    def _curves(self, found: list[dict[str, Any]]) -> Any:
        return {"reactions": found}


class ReactionEnergy(ReactionFigure):
    """E(product) − E(reactant), at the ends of the teacher's path."""

    name: ClassVar[str] = "reaction_energy"
    figure: ClassVar[str] = "reaction_energy_ev"
    limit: Annotated[float, Field(ge=0)] = 50.0
    """meV; 1 kcal/mol is 43."""

    def _curves(self, found: list[dict[str, Any]]) -> Any:
        return None


def reaction_facts(subject: Subject, number: int) -> dict[str, Any]:
    """Barrier and reaction energy (eV) of final potential, teacher and DFT on the teacher's path, and of the
    two models along paths of their own: one entry of `reactions` in `metrics.json`."""

    def make() -> dict[str, Any]:
        path = profile(subject, number, "teacher")
        own = profile(subject, number, "student")
        final, teacher = (path.figures(energies_of(path.images, model)) for model in subject.models.values())
        dft = _known(dft_energies(subject, path), path)
        same = {"final": final, "teacher": teacher, "dft": dft}
        return {
            "formula": path.reaction.reactant.formula,
            "has_barrier": path.has_barrier,
            **{
                key: {who: figures.get(key) for who, figures in same.items()}
                for key in ("barrier_ev", "reaction_energy_ev")
            },
            "own_path": {"final": own.figures(energies_of(own.images, subject.student)), "teacher": teacher},
        }

    found: dict[str, Any] = subject.once(("reaction", number), make)
    return found


def _known(energies: Mapping[int, float], path: Profile) -> dict[str, float]:
    last = len(path.images) - 1
    found = {}
    if {0, path.top} <= energies.keys():
        found["barrier_ev"] = energies[path.top] - energies[0]
    if {0, last} <= energies.keys():
        found["reaction_energy_ev"] = energies[last] - energies[0]
    return found
