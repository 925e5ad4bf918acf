"""Extended tight binding for molecules, with tblite: a real oracle that takes milliseconds."""

from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from pyacemaker.errors import ConvergenceError, OracleError, UnsupportedElementError
from pyacemaker.oracles.base import Oracle
from pyacemaker.oracles.molecules import installed_version, refuse_periodic, unpaired_electrons
from pyacemaker.structures import AtomStructure, Labels
from pyacemaker.units import BOHR_ANGSTROM, BOLTZMANN_EV_PER_KELVIN, HARTREE_EV

if TYPE_CHECKING:
    from tblite.interface import Calculator


LAST_ELEMENT = 86
"""The parametrisations end with radon."""
CLIPPED = 0.01
"""Electrons: more are missing where tblite has clipped what was asked for."""


class TbliteOracle(Oracle):
    """GFN1-xTB or GFN2-xTB of one molecule.

    Grimme, Bannwarth, Shushkov, J. Chem. Theory Comput. 13, 1989 (2017); Bannwarth, Ehlert, Grimme, ibid. 15,
    1652 (2019). The energy is the electronic free energy at `electronic_temperature`, consistent with the
    forces. Every calculation starts afresh. Periodic cells are refused: tblite's are not size-consistent.
    """

    kind: Literal["tblite"] = "tblite"
    method: Literal["GFN1-xTB", "GFN2-xTB"] = "GFN2-xTB"
    """The parametrisation."""
    accuracy: Annotated[float, Field(gt=0)] = 0.1
    """Factor on tblite's convergence thresholds; smaller is tighter."""
    max_iterations: Annotated[int, Field(ge=1)] = 250
    """Most self-consistency iterations."""
    electronic_temperature: Annotated[float, Field(ge=0)] = 300.0
    """Kelvin."""

    def version(self) -> str:
        """tblite's version."""
        return f"tblite {installed_version('tblite', 'the tblite oracle')}"

    def check_structure(self, structure: AtomStructure) -> None:
        """Refuses periodic cells, spins that do not fit, and elements beyond radon."""
        refuse_periodic(structure, "tblite")
        unpaired_electrons(structure)
        if structure.numbers.max() > LAST_ELEMENT:
            raise UnsupportedElementError(
                f"structure {structure.id} holds an element beyond Rn, which {self.method} does not cover: "
                "choose another oracle"
            )

    def compute(self, structure: AtomStructure) -> Labels:
        """Energy (eV) and forces (eV/Å).

        Raises `OracleError` for a periodic structure or a multiplicity that does not fit, `ConvergenceError`.
        """
        refuse_periodic(structure, "tblite")
        calculator = self._calculator(structure)
        try:
            result = calculator.singlepoint()
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise ConvergenceError(f"structure {structure.id}: {self.method} failed: {reason}") from error
        occupations, charges = result.get("orbital-occupations"), result.get("charges")
        self._check_valence(structure, len(occupations), float(np.sum(occupations)), float(np.sum(charges)))
        gradient = np.array(result.get("gradient"), dtype=np.float64)
        energy = float(result.get("energy"))
        return Labels(energy * HARTREE_EV, -gradient * (HARTREE_EV / BOHR_ANGSTROM))

    def _check_valence(
        self, structure: AtomStructure, orbitals: int, electrons: float, charge: float
    ) -> None:
        """`OracleError` where tblite has clipped a charge or a spin to what its valence orbitals hold."""
        room = min(electrons, 2 * orbitals - electrons)
        if abs(charge - structure.charge) < CLIPPED and unpaired_electrons(structure) <= room + CLIPPED:
            return
        spin = "lowest" if structure.multiplicity is None else structure.multiplicity
        raise OracleError(
            f"structure {structure.id}: charge {structure.charge} with multiplicity {spin} does not fit the "
            f"{orbitals} valence orbitals that {self.method} has for it: correct the structure's charge or "
            "spin, or choose another oracle"
        )

    def _calculator(self, structure: AtomStructure) -> "Calculator":
        from tblite.interface import Calculator

        unpaired = unpaired_electrons(structure)
        positions = structure.positions / BOHR_ANGSTROM
        try:
            calculator = Calculator(
                self.method, structure.numbers, positions, charge=float(structure.charge), uhf=unpaired
            )
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise OracleError(f"structure {structure.id}: {self.method} refuses it: {reason}") from error
        calculator.set("verbosity", 0)
        calculator.set("accuracy", self.accuracy)
        calculator.set("max-iter", self.max_iterations)
        kt = self.electronic_temperature * BOLTZMANN_EV_PER_KELVIN / HARTREE_EV
        calculator.set("temperature", kt)
        return calculator
