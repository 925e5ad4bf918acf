"""Does the energy only rise when two atoms are pushed together?"""

import itertools
from typing import Annotated, ClassVar

import numpy as np
from ase.data import atomic_numbers, covalent_radii
from pydantic import Field, PositiveFloat

from pyacemaker.potentials.base import Potential
from pyacemaker.structures import AtomStructure, FloatArray
from pyacemaker.validation.gate import Gate, Limit, Measured, Subject

_LEAST_WALL = 0.1  # Å of wall that is looked at in any case


class DimerWalls(Gate):
    """E(r) of two atoms of every pair of elements, from `shortest` to where a bond may begin.

    value: the deepest hole of any pair: how far the energy at a distance lies below that at a larger one. A
    hole lets atoms fall into each other in molecular dynamics.
    """

    name: ClassVar[str] = "dimer_walls"
    unit: ClassVar[str] = "eV"
    limit: Limit = 0.001
    """eV."""
    blocks: bool = True
    """Whether a potential that does not pass is not delivered."""
    shortest: PositiveFloat = 0.5
    """Å, where the curves begin."""
    reach: PositiveFloat = 0.7
    """Where they end, over the sum of the covalent radii; multiple bonds begin at 0.75."""
    points: Annotated[int, Field(ge=10)] = 60
    """Distances of each pair."""

    def measure(self, subject: Subject) -> Measured:
        """The holes in the walls of both models, and the student's curves."""
        pairs = list(itertools.combinations_with_replacement(sorted(subject.student.elements), 2))
        holes: dict[str, dict[str, float]] = {"student": {}, "teacher": {}}
        curves = {}
        for pair in pairs:
            r = self._distances(*pair)
            for who, model in subject.models.items():
                energies = pair_energies(model, pair, r)
                holes[who]["-".join(pair)] = deepest_hole(energies)
                if who == "student":
                    curves["-".join(pair)] = {"angstrom": r.tolist(), "ev": energies.tolist()}
        mine = holes["student"]
        worst = max(mine, key=lambda pair: mine[pair] if np.isfinite(mine[pair]) else np.inf)
        note = f"{len(pairs)} pairs" if mine[worst] <= self.limit else f"deepest: {worst}"
        return Measured(
            mine[worst], self.unit, note, student=holes["student"], teacher=holes["teacher"], curves=curves
        )

    def _distances(self, first: str, second: str) -> FloatArray:
        radii = [float(covalent_radii[atomic_numbers[symbol]]) for symbol in (first, second)]
        return np.linspace(
            self.shortest, max(self.reach * sum(radii), self.shortest + _LEAST_WALL), self.points
        )


def pair_energies(potential: Potential, pair: tuple[str, str], distances: FloatArray) -> FloatArray:
    """(points,), eV: the energy of two lone atoms at each distance (Å)."""
    numbers = np.array([atomic_numbers[symbol] for symbol in pair])
    dimers = [
        AtomStructure(numbers, np.array([[0.0, 0.0, 0.0], [0.0, 0.0, r]]), tag="dimer") for r in distances
    ]
    return np.array([labels.energy for labels in potential.evaluate(dimers)])


def deepest_hole(energies: FloatArray) -> float:
    """How far an energy lies below the highest one at a larger distance, at most; 0 where it only rises.

    energies: (points,) by increasing distance. NaN where any is not finite.
    """
    if not np.isfinite(energies).all():
        return float("nan")
    highest_outside = np.maximum.accumulate(energies[::-1])[::-1]
    return float(np.max(highest_outside - energies))
