"""Isolated atoms and dimer curves: the two ends of every bond, whatever the system."""

import itertools
from collections.abc import Iterable
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, PositiveFloat

from pyacemaker.base import Spec
from pyacemaker.errors import UnsupportedElementError
from pyacemaker.generators.base import Generator
from pyacemaker.potentials.base import Potential
from pyacemaker.structures import AtomStructure, Dataset, FloatArray

ISOLATED_ATOM = "isolated_atom"
"""The tag of isolated atoms."""
DIMER = "dimer"
"""The tag of pairs of atoms."""


class DimerCurve(Spec):
    """Distances at which two atoms are looked at, evenly spaced in their logarithm."""

    points: Annotated[int, Field(ge=2)] = 12
    """Distances for each pair of elements."""
    shortest: Annotated[float, Field(gt=0, lt=1)] = 0.6
    """The first distance at least, over the sum of the covalent radii."""
    max_repulsion: PositiveFloat = 60.0
    """eV/Å: where the screened repulsion of the nuclei (ZBL) is that steep, the curve begins, unless
    `shortest` comes first. Real forces are there a third to all of that: deeper inside the wall labels would
    exceed what filters and oracles allow."""
    longest: PositiveFloat = 6.0
    """Å, the last distance: the cutoff."""

    def distances(self, first: int, second: int) -> FloatArray:
        """(points,), Å, increasing, for two atomic numbers."""
        from ase.data import covalent_radii
        from scipy.optimize import brentq

        from pyacemaker.baselines.zbl import repulsion

        def excess(distance: float) -> float:
            return -float(repulsion(first, second, distance)[1]) - self.max_repulsion

        wall = float(brentq(excess, 1e-3, 1e3))
        begin = max(wall, self.shortest * float(covalent_radii[first] + covalent_radii[second]))
        return np.asarray(np.geomspace(begin, max(self.longest, 1.5 * begin), self.points))


def isolated_atoms(elements: Iterable[str]) -> Dataset:
    """One neutral atom of each element in its ground-state multiplicity, in alphabetical order."""
    from ase.data import ground_state_magnetic_moments

    return Dataset(
        AtomStructure(
            np.array([number]),
            np.zeros((1, 3)),
            multiplicity=round(float(ground_state_magnetic_moments[number])) + 1,
            tag=ISOLATED_ATOM,
        )
        for number in _numbers(elements)
    )


def dimer_curves(elements: Iterable[str], curve: DimerCurve | None = None) -> Dataset:
    """Every pair of `elements` (an element with itself too) at the distances of `curve`.

    Neutral, not periodic, along z about the origin, with the lowest spin that fits the electrons.
    """
    curve = curve or DimerCurve()
    along = np.array([[0.0, 0.0, -0.5], [0.0, 0.0, 0.5]])
    return Dataset(
        AtomStructure(np.array(pair), distance * along, tag=DIMER)
        for pair in itertools.combinations_with_replacement(_numbers(elements), 2)
        for distance in curve.distances(*pair)
    )


def _numbers(elements: Iterable[str]) -> list[int]:
    from ase.data import atomic_numbers

    symbols = sorted(set(elements))
    for symbol in symbols:
        if atomic_numbers.get(symbol, 0) < 1:
            raise UnsupportedElementError(f"{symbol!r} is no chemical element: give symbols such as Al or Cl")
    return [atomic_numbers[symbol] for symbol in symbols]


class DimerGenerator(Generator):
    """Isolated atoms and dimer curves of elements that are named.

    Step 1 makes those of all elements of the other generators by itself: this is for more points, other
    distances or further elements. Tags: `isolated_atom`, `dimer`.
    """

    kind: Literal["dimers"] = "dimers"
    elements: Annotated[tuple[str, ...], Field(min_length=1)]
    """Chemical symbols."""
    curve: DimerCurve = DimerCurve()
    """The distances."""

    def generate(self, teacher: Potential, rng: np.random.Generator) -> Dataset:
        """Isolated atoms, then dimers pair by pair; `UnsupportedElementError` for what is no element."""
        return isolated_atoms(self.elements) + dimer_curves(self.elements, self.curve)

    def inputs(self) -> Dataset:
        """The isolated atoms: they hold every element."""
        return isolated_atoms(self.elements)
