"""Crystals under pressure: is E(V) smooth, and are volume and bulk modulus those of teacher and DFT?"""

import logging
import warnings
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from pyacemaker.generators.strains import at_volume
from pyacemaker.structures import AtomStructure, Dataset, FloatArray
from pyacemaker.units import GPA_PER_EV_PER_CUBIC_ANGSTROM, MEV_PER_EV
from pyacemaker.validation.gate import Gate, Limit, Measured, Subject

log = logging.getLogger(__name__)

_NEAR = 0.08  # relative distance from the lowest volume within which an equation of state is fitted
_RANGE = 0.12
_POINTS = 25
_DFT_RANGE = 0.06
_SMOOTH_DEGREE = 5  # of the polynomial in V^(-2/3); the Birch–Murnaghan equation has 3
LEAST_VOLUMES = 5
"""The fewest volumes that a Birch–Murnaghan equation is fitted to."""


class EnergyVolume(Gate):
    """E(V) of every crystal over ±12 % of its volume, atoms scaled with the cell.

    value: the largest distance of a point from a polynomial of fifth degree in V^(−2/3) (Birch, Phys. Rev.
    71, 809 (1947), has three), or the depth of a second minimum where that is larger.
    """

    name: ClassVar[str] = "energy_volume"
    unit: ClassVar[str] = "meV/atom"
    limit: Limit = 3.0
    """meV/atom."""

    def measure(self, subject: Subject) -> Measured | None:
        """Roughness of every curve, by both models."""
        found: dict[str, dict[str, float]] = {"student": {}, "teacher": {}}
        curves: dict[str, dict[str, list[float]]] = {}
        for name in subject.named_crystals():
            for who, rough in found.items():
                curve = energies_by_volume(subject, name, who)
                rough[name] = MEV_PER_EV * roughness(curve)
                drawn = curves.setdefault(name, {"cubic_angstrom_per_atom": curve.volumes.tolist()})
                drawn["ev_per_atom" if who == "student" else f"{who}_ev_per_atom"] = curve.energies.tolist()
        if not curves:
            return None
        worst = max(found["student"], key=lambda name: found["student"][name])
        return Measured(
            found["student"][worst],
            self.unit,
            f"worst: {worst}",
            student=found["student"],
            teacher=found["teacher"],
            curves=curves,
        )


class EquationOfState(Gate):
    """A figure of the Birch–Murnaghan equation of every crystal, and of the main ones by DFT."""

    unit: ClassVar[str] = "%"

    def measure(self, subject: Subject) -> Measured | None:
        """The largest relative deviation of the student, from DFT where that is known, else the teacher."""
        names = list(subject.named_crystals())
        if not names:
            return None
        by: dict[str, dict[str, float | None]] = {
            who: {name: self._figure(fitted(energies_by_volume(subject, name, who))) for name in names}
            for who in ("student", "teacher")
        }
        by["dft"] = {name: self._figure(self._by_dft(subject, name)) for name in subject.main_crystals()}
        deviations = {name: _deviation(by, name) for name in names}
        lost = [name for name in names if deviations[name] is None]
        known = {name: value for name, value in deviations.items() if value is not None}
        note = (
            "against DFT" if any(value is not None for value in by["dft"].values()) else "against the teacher"
        )
        if lost:
            note = f"no minimum of the final potential: {', '.join(lost)}"
        value = None if lost or not known else max(known.values())
        dft = by["dft"] if any(value is not None for value in by["dft"].values()) else None
        return Measured(value, self.unit, note, by["student"], by["teacher"], dft, broken=bool(lost))

    @abstractmethod
    def _figure(self, equation: "Equation | None") -> float | None:
        """The figure; None where there is no minimum."""

    def _by_dft(self, subject: Subject, name: str) -> "Equation | None":
        if subject.volume_labels < LEAST_VOLUMES:
            return None
        own = fitted(energies_by_volume(subject, name, "student"))
        crystal = subject.named_crystals()[name]
        if own is None or crystal.volume is None:
            return None
        ratios = np.linspace(1.0 - _DFT_RANGE, 1.0 + _DFT_RANGE, subject.volume_labels)
        scale = own.volume * len(crystal) / crystal.volume
        cells = Dataset(at_volume(crystal, float(scale * ratio)).replace(tag="gate/ev") for ratio in ratios)
        labels = subject.once(("dft", "ev", tuple(cells.ids)), lambda: subject.dft(cells))
        pairs = [
            (_volume(cell), label.energy / len(cell))
            for cell, label in zip(cells, labels, strict=True)
            if label
        ]
        return fitted(Curve(*np.array(pairs).T)) if len(pairs) >= LEAST_VOLUMES else None


class EquilibriumVolume(EquationOfState):
    """The volume at the minimum of E(V)."""

    name: ClassVar[str] = "equilibrium_volume"
    limit: Annotated[float, Field(ge=0)] = 2.0
    """%."""

    def _figure(self, equation: "Equation | None") -> float | None:
        return None if equation is None else equation.volume


class BulkModulus(EquationOfState):
    """The bulk modulus at the minimum of E(V), GPa."""

    name: ClassVar[str] = "bulk_modulus"
    limit: Annotated[float, Field(ge=0)] = 15.0
    """%."""

    def _figure(self, equation: "Equation | None") -> float | None:
        return None if equation is None else equation.bulk_modulus


@dataclass(frozen=True, eq=False)
class Curve:
    """volumes: (n,), Å³ per atom, increasing. energies: (n,), eV per atom."""

    volumes: FloatArray
    energies: FloatArray


@dataclass(frozen=True)
class Equation:
    """volume: Å³ per atom at the minimum. bulk_modulus: GPa."""

    volume: float
    bulk_modulus: float


def energies_by_volume(subject: Subject, name: str, who: str) -> Curve:
    """E(V) of a named crystal by `student` or `teacher`, computed once."""

    def make() -> Curve:
        ratios = np.linspace(1.0 - _RANGE, 1.0 + _RANGE, _POINTS)
        crystal = subject.named_crystals()[name]
        cells = [at_volume(crystal, float(ratio)) for ratio in ratios]
        energies = [labels.energy / len(crystal) for labels in subject.models[who].evaluate(cells)]
        return Curve(np.array([_volume(cell) for cell in cells]), np.array(energies))

    curve: Curve = subject.once(("ev", name, who), make)
    return curve


def roughness(curve: Curve) -> float:
    """eV/atom: the largest distance from a smooth curve, or the depth of a second minimum if that is more."""
    x = curve.volumes ** (-2.0 / 3.0)
    x = (x - x.mean()) / np.ptp(x)
    degree = min(_SMOOTH_DEGREE, len(x) - 2)
    off = curve.energies - np.polyval(np.polyfit(x, curve.energies, degree), x)
    return max(float(np.abs(off).max()), second_minimum(curve.energies))


def second_minimum(energies: FloatArray) -> float:
    """eV: how far the energy falls again on the way up from its lowest point; 0 for one valley."""
    lowest = int(np.argmin(energies))
    sides = (energies[lowest:], energies[lowest::-1])
    return max(float(np.max(np.maximum.accumulate(side) - side)) for side in sides)


def fitted(curve: Curve) -> Equation | None:
    """The Birch–Murnaghan equation near the lowest point; None where that is an end of the curve."""
    from ase.eos import EquationOfState as Fit

    lowest = int(np.argmin(curve.energies))
    if lowest in (0, len(curve.energies) - 1) or not np.isfinite(curve.energies).all():
        return None
    near = np.abs(curve.volumes / curve.volumes[lowest] - 1.0) < _NEAR
    near = near if near.sum() >= LEAST_VOLUMES else np.ones_like(near)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            volume, _, modulus = Fit(curve.volumes[near], curve.energies[near], eos="birchmurnaghan").fit(
                warn=False
            )
    except (ValueError, RuntimeError) as error:
        log.info("no equation of state: %s", error)
        return None
    return Equation(float(volume), float(modulus) * GPA_PER_EV_PER_CUBIC_ANGSTROM)


def _volume(cell: AtomStructure) -> float:
    return (cell.volume or np.nan) / len(cell)


def _deviation(by: Mapping[str, Mapping[str, float | None]], name: str) -> float | None:
    """% by which the student is off DFT, or the teacher where there is none; 0 where nobody has a figure."""
    own = by["student"][name]
    reference = by["dft"].get(name) or by["teacher"][name]
    if reference is None:
        return 0.0 if own is None else 100.0
    return None if own is None else 100.0 * abs(own / reference - 1.0)
