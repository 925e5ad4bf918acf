"""Settings of the non-linear refinement that may follow a linear ACE fit."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from pyacemaker.base import Spec
from pyacemaker.structures import AtomStructure, FloatArray

if TYPE_CHECKING:
    from pyacemaker.ace.fit import RowWeights
    from pyacemaker.ace.refine import Refined
    from pyacemaker.ace.stages import LinearStart

Progress = Callable[[str, int, int], None]
"""Called with the stage (`densities`, `radial`, `robust`), its iterations done and their limit."""

_Positive = Annotated[float, Field(gt=0)]

LARGEST_RADIAL_WORK, LARGEST_DENSITY_WORK = 1.2e6, 3.5e6
"""Functions × atoms up to which `auto` refines the radial functions, and the densities: minutes each."""
LARGEST_FOLDED_WORK, FEW_STRUCTURES = 1e5, 200
"""Functions × atoms, and structures, up to which `auto` judges by folds: six descents, minutes in all."""


class Refinement(Spec):
    """A Levenberg–Marquardt refinement of a linear fit, kept only where it is better on validation data."""

    densities: Literal[1, 2] = 2
    """2: E = ρ₁ + F(ρ₂) with the Finnis–Sinclair embedding F ~ √ρ₂; 1: the energy stays linear in ρ."""
    radial: bool = True
    """Whether the radial functions of ranks from 2 on are optimised, too, once the densities have settled."""
    judge: Literal["held-out", "folds"] = "held-out"
    """Where no validation data is given. `held-out`: a random part of the structures ends the stages.
    `folds`: every structure is trained on while the ridge is relaxed, and a fivefold cross-validation decides
    how far, and between the result and the linear fit: for few structures, none of which can be spared."""
    iterations: Annotated[int, Field(ge=1, le=1000)] = 30
    """Steps of each stage at most."""
    patience: Annotated[int, Field(ge=1)] = 8
    """A stage ends after so many steps in a row that do not lower the loss on validation data."""
    seconds: _Positive | None = None
    """No step begins after so many seconds in a stage; results then depend on the machine. None: no limit."""
    huber: _Positive | None = None
    """Residuals beyond so many standard deviations count linearly, so that single wrong labels lose their
    weight; 3 is usual. None: all count by their squares."""
    relaxation: _Positive = 0.01
    """Factor on the strength of the linear fit's ridge: ending early on validation data regularises, too."""
    validation_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    """Share of the training structures that is held out where no validation data is given, at least 5."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of the choice of the structures that are held out."""

    def refine(
        self,
        linear: "LinearStart",
        training: Sequence[AtomStructure],
        weights: "RowWeights",
        importance: FloatArray,
        *,
        validation: Sequence[AtomStructure] | None = None,
        validation_importance: FloatArray | None = None,
        restraints: Sequence[AtomStructure] = (),
        wall_strength: float = 1.0,
        progress: Progress | None = None,
        processes: int = 1,
    ) -> "Refined":
        """Refine `linear`, a fit to the labels of `training` with the same weights and importance.

        importance: (S,), multiplies each structure's squared errors. validation: labelled
        structures that the linear fit has not seen; where None some of the training data are held out.
        restraints: those of the linear fit (`pyacemaker.ace.restraints.restraint_structures`); the refined
        potential is held to what the linear one says of them, with the weight wall_strength. processes: the
        result does not depend on it. `Refined.model.to_model()` is the potential; `Refined.facts` holds JSON
        values.
        """
        import numpy as np

        from pyacemaker.ace.levenberg import Limits
        from pyacemaker.ace.refine import refine
        from pyacemaker.ace.residuals import LabelledRows
        from pyacemaker.ace.stages import Plan

        def rows(structures: Sequence[AtomStructure], factors: FloatArray | None) -> LabelledRows:
            factors = np.ones(len(structures)) if factors is None else factors
            return LabelledRows.of(structures, linear.basis.elements, linear.e0, weights, factors)

        limits = Limits(self.iterations, self.patience, seconds=self.seconds or float("inf"))
        plan = Plan(
            densities=self.densities,
            radial=self.radial,
            limits=limits,
            huber=self.huber,
            relaxation=self.relaxation,
            validation_fraction=self.validation_fraction,
            seed=self.seed,
            by_folds=self.judge == "folds",
        )
        return refine(
            linear,
            rows(training, importance),
            None if validation is None else rows(validation, validation_importance),
            plan,
            restraints=LabelledRows.of_wall(restraints, linear.model().to_model(), wall_strength),
            progress=progress,
            processes=processes,
        )


def automatic(functions: int, structures: int, atoms: int) -> Refinement | None:
    """What `refinement: auto` means for a basis of so many functions and a training set of so many structures
    and atoms in all.

    Densities and radial coefficients where that takes a few minutes, else the densities alone, else nothing:
    large bases leave little to gain, and each step costs time ~ functions × atoms.
    """
    work = functions * atoms
    if work <= LARGEST_FOLDED_WORK and structures <= FEW_STRUCTURES:
        return Refinement(judge="folds", iterations=40)
    if work <= LARGEST_RADIAL_WORK:
        return Refinement()
    if work <= LARGEST_DENSITY_WORK:
        return Refinement(radial=False)
    return None
