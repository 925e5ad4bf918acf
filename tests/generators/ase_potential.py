"""Real potentials for the generators' tests: any ASE calculator, and an exactly solvable one."""

from collections.abc import Callable, Sequence

import numpy as np
from ase.calculators.calculator import Calculator

from pyacemaker.potentials.base import Potential
from pyacemaker.structures import AtomStructure, Labels


class AsePotential(Potential):
    """An ASE calculator, made anew by `make`, as a potential."""

    def __init__(self, make: Callable[[], Calculator], elements: Sequence[str]) -> None:
        self.make = make
        self.elements = tuple(elements)
        self.name = "ase"

    def evaluate(self, structures: Sequence[AtomStructure]) -> list[Labels]:
        found = []
        for structure in structures:
            atoms = structure.to_atoms()
            atoms.calc = self.make()  # what other structures left in a calculator must not count
            found.append(Labels(float(atoms.get_potential_energy()), atoms.get_forces()))
        return found

    def calculator(self) -> Calculator:
        return self.make()


class Springs(Potential):
    """E = ½ k Σ_i |r_i − r_i⁰|²: every atom on a spring of its own, k in eV/Å²."""

    name = "springs"
    elements = ("H", "Cu")

    def __init__(self, rest: np.ndarray, stiffness: float) -> None:
        self.rest = rest
        self.stiffness = stiffness

    def evaluate(self, structures: Sequence[AtomStructure]) -> list[Labels]:
        offsets = [structure.positions - self.rest for structure in structures]
        return [Labels(float(0.5 * self.stiffness * np.sum(x**2)), -self.stiffness * x) for x in offsets]

    def calculator(self) -> Calculator:
        raise NotImplementedError
