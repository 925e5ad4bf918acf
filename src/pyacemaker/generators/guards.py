"""Guards of molecular dynamics: is this still physics?"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

import numpy as np
from pydantic import AfterValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt

from pyacemaker.base import Spec
from pyacemaker.generators.bonds import checked_fragment, fragment_formulas
from pyacemaker.selection.filters import closest_fraction, largest_force
from pyacemaker.structures import AtomStructure, FloatArray, Labels

_SIGMA_PER_MAD = 1.4826  # standard deviation of a normal distribution over its median absolute deviation
_FLUCTUATIONS = 5.0  # standard deviations of the kinetic temperature that are no event

ForbiddenFormula = Annotated[str, AfterValidator(checked_fragment)]
"""A chemical formula; becomes its Hill order."""

GuardKind = Literal[
    "not finite", "distance", "force", "temperature", "volume", "energy", "fragment", "uncertainty"
]
"""Which guard ended a trajectory."""


@dataclass(frozen=True)
class GuardEvent:
    """What ended a trajectory: the guard, and what it saw, in words."""

    kind: GuardKind
    message: str

    def __str__(self) -> str:
        return self.message


class Watch(Protocol):
    """Something that looks at frames as they are stored, such as an uncertainty with a limit."""

    def __call__(self, frames: Sequence[AtomStructure], /) -> Sequence[GuardEvent | None]:
        """What is wrong with each frame; None where nothing is."""


class MdGuards(Spec):
    """What ends a trajectory. Simulations that people trust stay well inside the defaults."""

    min_distance: float = Field(default=0.55, gt=0.0, lt=1.5)
    """Smallest allowed distance of two atoms, as a fraction of the sum of their covalent radii."""
    warn_distance: float = Field(default=0.65, gt=0.0, lt=1.5)
    """Frames with a smaller distance than this fraction are counted in the report; none is dropped for it."""
    max_force: PositiveFloat = 30.0
    """eV/Å, largest allowed force on an atom."""
    max_temperature: PositiveFloat = 3.0
    """Largest allowed kinetic temperature over the target, before the allowance for few atoms."""
    max_energy_deviation: PositiveFloat = 8.0
    """Robust standard deviations that the energy may lie off the median of the trailing window."""
    min_energy_jump: PositiveFloat = 2.5
    """eV, of the whole structure: smaller deviations are never an event, since reactions release heat."""
    energy_window: PositiveInt = 100
    """Steps in the trailing window."""
    max_volume_change: PositiveFloat = 0.4
    """Largest allowed relative change of the cell's volume."""
    forbidden_fragments: tuple[ForbiddenFormula, ...] = ()
    """Formulas of molecules that must not appear (`H2`, `CCl4`): groups of atoms bonded to each other and to
    nothing else. Looked for in stored frames."""
    drop_frames: NonNegativeInt = 10
    """Frames before an event that are dropped with it: the trouble started earlier than it showed."""

    def event(
        self,
        structure: AtomStructure,
        labels: Labels,
        *,
        target: float,
        temperature: float = 0.0,
        energies: Sequence[float] | FloatArray = (),
        volume: float | None = None,
    ) -> GuardEvent | None:
        """What is wrong with one step of a trajectory, or None.

        labels: energy (eV) and forces (eV/Å) at the step. target, temperature: thermostat's and kinetic, K.
        energies: eV, of the steps before. volume: Å³, of the cell at the start.
        """
        if not (_is_finite(structure) and labels.is_finite() and np.isfinite(temperature)):
            return GuardEvent("not finite", "positions, cell, energy or forces are not finite")
        if volume and abs(cell_volume(structure) / volume - 1.0) > self.max_volume_change:
            return GuardEvent("volume", f"a volume of {cell_volume(structure) / volume:.2f} times the first")
        if (closest := closest_fraction(structure)) < self.min_distance:
            return GuardEvent("distance", f"two atoms at {closest:.2f} of the sum of their covalent radii")
        if (force := largest_force(labels.forces)) > self.max_force:
            return GuardEvent("force", f"a force of {force:.1f} eV/Å")
        if temperature > temperature_limit(target, self.max_temperature, len(structure)):
            return GuardEvent(
                "temperature",
                f"a kinetic temperature of {temperature:.0f} K at a target of {target:.0f} K",
            )
        return self._energy_event(labels.energy, np.asarray(energies[-self.energy_window :]))

    def frame_event(self, structure: AtomStructure) -> GuardEvent | None:
        """What is wrong with a frame that is to be stored, beyond what `event` looks at at every step."""
        if not self.forbidden_fragments:
            return None
        found = Counter(fragment_formulas(structure))
        for formula in self.forbidden_fragments:
            if found[formula]:
                return GuardEvent("fragment", f"a fragment {formula}, which is forbidden")
        return None

    def is_near(self, structure: AtomStructure) -> bool:
        """Whether two atoms are closer than `warn_distance`."""
        return closest_fraction(structure) < self.warn_distance

    def _energy_event(self, energy: float, window: FloatArray) -> GuardEvent | None:
        if len(window) < self.energy_window:
            return None
        off = energy - float(np.median(window))
        if abs(off) > max(self.max_energy_deviation * robust_deviation(window), self.min_energy_jump):
            return GuardEvent("energy", f"an energy {off:+.2f} eV off the trailing median")
        return None


def _is_finite(structure: AtomStructure) -> bool:
    return bool(np.isfinite(structure.positions).all() and np.isfinite(structure.cell).all())


def temperature_limit(target: float, factor: float, n_atoms: int) -> float:
    """K: target · (factor + 5 √(2 / 3N)), the second term for the fluctuations of few atoms."""
    return target * (factor + _FLUCTUATIONS * float(np.sqrt(2.0 / (3.0 * n_atoms))))


def robust_deviation(values: FloatArray) -> float:
    """1.4826 times the median absolute deviation: the standard deviation, unmoved by outliers."""
    return _SIGMA_PER_MAD * float(np.median(np.abs(values - np.median(values))))


def cell_volume(structure: AtomStructure) -> float:
    """Å³: the volume of the cell; 0 where there is none."""
    return float(abs(np.linalg.det(structure.cell)))
