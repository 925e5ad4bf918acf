"""The ASE calculator of a MACE potential."""

from typing import TYPE_CHECKING, Any, ClassVar

from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from pyacemaker.structures import AtomStructure

if TYPE_CHECKING:
    from pyacemaker.potentials.base import Potential


class MaceCalculator(Calculator):  # type: ignore[misc]
    """`potential.evaluate` behind ASE's interface.

    energy = free_energy (eV), energies (eV, per atom), forces (eV/Å); stress (eV/Å³) where the cell is
    periodic in three directions. Raises `UnsupportedElementError` like the potential.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "energies", "forces", "stress"]

    def __init__(self, potential: "Potential", **keywords: Any) -> None:
        super().__init__(**keywords)
        self.potential = potential

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Evaluate the atoms once; everything that the model gives is stored."""
        super().calculate(atoms, properties or ["energy"], system_changes)
        labels = self.potential.evaluate([AtomStructure.from_atoms(self.atoms)])[0]
        self.results = {"energy": labels.energy, "free_energy": labels.energy, "forces": labels.forces}
        if labels.energies is not None:
            self.results["energies"] = labels.energies
        if labels.stress is not None:
            self.results["stress"] = labels.stress
