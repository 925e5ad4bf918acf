"""ASE calculators as a user may write them, and what goes wrong with them."""

from pathlib import Path

import numpy as np
from ase.calculators.calculator import Calculator, CalculatorError, SCFError, all_changes
from ase.calculators.lj import LennardJones

STARTED: list[dict] = []


class Springs(Calculator):
    """E = ½ Σ x², forces −x, a free energy 1 eV below; a file in its directory, and failures on demand."""

    implemented_properties = ("energy", "free_energy", "forces")

    def __init__(self, directory=".", steps=10, needs=5, failure="", kpts=None, **kwargs):
        super().__init__(directory=directory, **kwargs)
        self.steps, self.needs, self.failure = steps, needs, failure
        STARTED.append({"directory": directory, "steps": steps, "kpts": kpts})

    def converged(self):
        return self.steps >= self.needs

    def calculate(self, atoms=None, properties=None, system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        Path(self.directory, "output").write_text("energies")
        STARTED[-1].update(info=dict(self.atoms.info), moments=self.atoms.get_initial_magnetic_moments())
        if self.failure == "scf":
            raise SCFError("no way")
        if self.failure:
            raise CalculatorError(self.failure)
        x = self.atoms.positions - self.atoms.positions.mean(axis=0)
        energy = 0.5 * float(np.sum(x**2))
        self.results = {"energy": energy, "free_energy": energy - 1.0, "forces": -x}


class PlainLennardJones(LennardJones):
    """A calculator without settings."""


def no_calculator():
    return None


class EnergyOnly(Calculator):
    """As many-body methods without analytic gradients are."""

    implemented_properties = ("energy",)
