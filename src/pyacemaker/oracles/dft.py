"""What all electronic-structure oracles share: an answer converged on purpose, or a typed failure."""

from abc import abstractmethod

from pyacemaker.errors import ConvergenceError
from pyacemaker.oracles.base import Oracle
from pyacemaker.structures import AtomStructure, Labels


class DftOracle(Oracle):
    """An electronic-structure method with a ladder of attempts that differ in the minimiser only.

    Every rung seeks the same solution of the same equations, so it does not matter for the label which one
    found it. Subclasses add `rungs` and `attempt`.
    """

    @abstractmethod
    def rungs(self) -> int:
        """How many attempts there are."""

    @abstractmethod
    def attempt(self, structure: AtomStructure, rung: int) -> Labels:
        """Energy (eV), forces (eV/Å), stress (eV/Å³) by attempt number `rung`, counted from 0.

        Raises `ConvergenceError` when the next rung should be tried.
        """

    def compute(self, structure: AtomStructure) -> Labels:
        """The first attempt that converges; `ConvergenceError` when none does."""
        reasons = []
        for rung in range(self.rungs()):
            try:
                return self.attempt(structure, rung)
            except ConvergenceError as error:
                reasons.append(str(error))
        raise ConvergenceError(f"structure {structure.id}: {'; then '.join(reasons)}")
