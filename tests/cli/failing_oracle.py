"""Plug-in oracles as other laboratories might write them."""

from pyacemaker.errors import ConvergenceError
from pyacemaker.oracles import TbliteOracle


class Unconverged(TbliteOracle):
    """Isolated atoms converge, molecules do not."""

    def compute(self, structure):
        if len(structure) > 1:
            raise ConvergenceError(f"structure {structure.id}: 60 cycles were not enough")
        return super().compute(structure)


class Buggy(TbliteOracle):
    """Has a bug that shows with molecules."""

    def compute(self, structure):
        if len(structure) > 1:
            return super().compute(structure) / 0
        return super().compute(structure)
