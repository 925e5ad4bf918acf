"""Oracles with a formula: cheap stand-ins for tests, rehearsals and teaching."""

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from ase import __version__ as ase_version
from pydantic import Field

from pyacemaker.errors import DataError, UnsupportedElementError
from pyacemaker.oracles.base import Oracle
from pyacemaker.structures import AtomStructure, Labels

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

EMT_ELEMENTS = ("Al", "Ni", "Cu", "Pd", "Ag", "Pt", "Au", "H", "C", "N", "O")


class EmtOracle(Oracle):
    """Effective medium theory for fcc metals, from ASE.

    Jacobsen, Stoltze, Nørskov, Surf. Sci. 366, 394 (1996). Covers `EMT_ELEMENTS` (H, C, N, O for
    demonstration only); stress for periodic cells.
    """

    kind: Literal["emt"] = "emt"
    asap_cutoff: bool = False
    """Cut the interaction off as the ASAP program does."""

    def version(self) -> str:
        """ASE's version."""
        return f"ase-emt {ase_version}"

    def compute(self, structure: AtomStructure) -> Labels:
        """Energy (eV), forces (eV/Å), stress (eV/Å³); `UnsupportedElementError` outside `EMT_ELEMENTS`."""
        from ase.calculators.emt import EMT

        self.check_structure(structure)
        return ase_labels(structure, EMT(asap_cutoff=self.asap_cutoff))

    def check_structure(self, structure: AtomStructure) -> None:
        """`UnsupportedElementError` outside `EMT_ELEMENTS`, `DataError` for a charge."""
        unknown = sorted(set(structure.symbols) - set(EMT_ELEMENTS))
        if unknown:
            raise UnsupportedElementError(
                f"structure {structure.id} holds {', '.join(unknown)}, but EMT covers only "
                f"{', '.join(EMT_ELEMENTS)}: choose another oracle"
            )
        refuse_charge(structure, "EMT")


class LennardJonesOracle(Oracle):
    """One Lennard-Jones potential for all elements, smoothly cut off; stress for periodic cells.

    E = Σ_pairs f(r) 4ε [(σ/r)¹² − (σ/r)⁶], with f falling smoothly from 1 to 0 between 0.66 rc and rc.
    """

    kind: Literal["lennard_jones"] = "lennard_jones"
    epsilon: Annotated[float, Field(gt=0)] = 0.0104
    """ε, depth of the well, eV (default: argon)."""
    sigma: Annotated[float, Field(gt=0)] = 3.40
    """σ, distance at which the energy vanishes, Å."""
    rc: Annotated[float, Field(gt=0)] | None = None
    """Cutoff, Å; None = 3σ."""

    def version(self) -> str:
        """ASE's version."""
        return f"ase-lj {ase_version}"

    def compute(self, structure: AtomStructure) -> Labels:
        """Energy (eV), forces (eV/Å), stress (eV/Å³); `DataError` for a charge."""
        from ase.calculators.lj import LennardJones

        self.check_structure(structure)
        cutoff = self.rc or 3 * self.sigma
        calculator = LennardJones(epsilon=self.epsilon, sigma=self.sigma, rc=cutoff, smooth=True)
        return ase_labels(structure, calculator)

    def check_structure(self, structure: AtomStructure) -> None:
        """`DataError` for a charge."""
        refuse_charge(structure, "Lennard-Jones")


def refuse_charge(structure: AtomStructure, engine: str) -> None:
    """`DataError` for a charge: a formula that knows none would label the structure as if it were neutral."""
    if structure.charge:
        raise DataError(
            f"structure {structure.id} has the charge {structure.charge:+d}, but {engine} knows no charges: "
            "remove the charge, or choose another oracle"
        )


def ase_labels(structure: AtomStructure, calculator: "Calculator") -> Labels:
    """An ASE calculator's force-consistent energy and forces, and its stress for cells periodic in 3-D."""
    atoms = structure.to_atoms()
    atoms.calc = calculator
    energy = float(atoms.get_potential_energy(force_consistent=True))
    stress = np.array(atoms.get_stress(), dtype=np.float64) if structure.pbc.all() else None
    return Labels(energy, np.array(atoms.get_forces(), dtype=np.float64), stress)
