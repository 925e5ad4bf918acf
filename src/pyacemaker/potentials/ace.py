"""ACE potentials, and their ASE calculator."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from ase.calculators.calculator import Calculator, all_changes
from numpy.typing import NDArray

from pyacemaker.potentials.base import Potential
from pyacemaker.structures import AtomStructure, Labels
from pyacemaker.structures.dataset import locating

if TYPE_CHECKING:
    from pyacemaker.ace.evaluator import CompiledModel, Evaluation
    from pyacemaker.ace.model import ACEModel


class ACEPotential(Potential):
    """An ACE potential: energies in eV with E0 and cores included, forces in eV/Å, stress in eV/Å³.

    Tables and product graphs are built on the first evaluation and kept.
    """

    def __init__(self, model: "ACEModel", name: str = "ace") -> None:
        self.model = model
        self.name = name
        self.elements = model.elements

    def __reduce__(self) -> tuple[Any, ...]:
        # the compiled form is rebuilt where it is needed
        return type(self), (self.model, self.name)

    @classmethod
    def from_yace(cls, path: str | Path, name: str = "ace") -> Self:
        """The potential in a `.yace` file; `PotentialFormatError` where it is damaged or of another kind."""
        from pyacemaker.ace.yace import read_yace

        return cls(read_yace(path), name)

    def to_yace(self, path: str | Path) -> None:
        """Write the potential to a `.yace` file, atomically."""
        from pyacemaker.ace.yace import write_yace

        write_yace(self.model, path)

    @cached_property
    def compiled(self) -> "CompiledModel":
        """The model in the form that is evaluated."""
        from pyacemaker.ace.evaluator import CompiledModel

        return CompiledModel(self.model)

    def evaluate(self, structures: Sequence[AtomStructure]) -> list[Labels]:
        """Energy, forces, energies of the atoms and, for cells periodic in all directions, stress.

        Raises `UnsupportedElementError` for an element that the potential lacks, and `DataError` for atoms
        that coincide; both name the structure.
        """
        found = []
        for index, structure in enumerate(structures):
            with locating(index, structure):
                found.append(self._labels(structure))
        return found

    def calculator(self) -> "ACECalculator":
        """An ASE calculator with the same answers."""
        return ACECalculator(self)

    def _labels(self, structure: AtomStructure) -> Labels:
        found = self.compiled.evaluate(structure.numbers, structure.positions, structure.cell, structure.pbc)
        stress = _stress(found, structure.cell) if structure.pbc.all() else None
        return Labels(found.energy, found.forces, stress, found.energies)


class ACECalculator(Calculator):  # type: ignore[misc]
    """ASE calculator of an ACE potential: energy, free_energy, energies, forces, stress.

    potential: the path of a `.yace` file, or an `ACEPotential`. Stress (eV/Å³, Voigt, positive = tensile)
    exists for cells that are periodic in all three directions.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "energies", "forces", "stress"]

    def __init__(self, potential: str | Path | ACEPotential, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(potential, ACEPotential):
            potential = ACEPotential.from_yace(potential)
        self.potential = potential

    def calculate(
        self,
        atoms: Any = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Evaluate the structure; called by ASE."""
        super().calculate(atoms, properties, system_changes)
        now = self.atoms
        found = self.potential.compiled.evaluate(now.numbers, now.positions, now.cell.array, now.pbc)
        self.results = {
            "energy": found.energy,
            "free_energy": found.energy,
            "energies": found.energies,
            "forces": found.forces,
        }
        if now.pbc.all():
            self.results["stress"] = _stress(found, now.cell.array)


def _stress(found: "Evaluation", cell: NDArray[np.float64]) -> NDArray[np.float64]:
    """(6,) Voigt stress xx yy zz yz xz xy."""
    tensor = found.virial / abs(np.linalg.det(cell))
    tensor = 0.5 * (tensor + tensor.T)
    voigt: NDArray[np.float64] = tensor[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    return voigt
