"""Potentials whose properties are known, to be examined."""

from collections.abc import Sequence

import numpy as np
from ase.calculators.calculator import Calculator, all_changes

from pyacemaker.potentials.base import Potential
from pyacemaker.structures import AtomStructure, Labels


class CalculatorPotential(Potential):
    """Any ASE calculator, made anew for every structure."""

    def __init__(self, make, elements, name="ase"):
        self.make, self.elements, self.name = make, tuple(elements), name

    def evaluate(self, structures: Sequence[AtomStructure]) -> list[Labels]:
        found = []
        for structure in structures:
            atoms = structure.to_atoms()
            atoms.calc = self.make()
            stress = atoms.get_stress() if structure.volume is not None else None
            found.append(Labels(atoms.get_potential_energy(), atoms.get_forces(), stress))
        return found

    def calculator(self) -> Calculator:
        return self.make()


class Springs(Calculator):
    """½ Σ k_ij (r_ij − l_ij)² over all pairs of a molecule, plus `wrong` times x̂ on every atom's force."""

    implemented_properties = ("energy", "forces")

    def __init__(self, lengths, stiffness=20.0, wrong=0.0):
        super().__init__()
        self.lengths, self.stiffness, self.wrong = lengths, stiffness, wrong

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        x = self.atoms.get_positions()
        energy, forces = 0.0, np.zeros_like(x)
        for (i, j), length in self.lengths.items():
            d = x[j] - x[i]
            r = np.linalg.norm(d)
            energy += 0.5 * self.stiffness * (r - length) ** 2
            pull = self.stiffness * (r - length) * d / r
            forces[i] += pull
            forces[j] -= pull
        forces += self.wrong * np.cross([0.0, 0.0, 1.0], x - x.mean(axis=0))
        self.results = {"energy": energy, "forces": forces}
