"""Tight binding that takes its time, so that a run can be killed while it labels."""

import time

from pyacemaker.oracles import TbliteOracle


class PacedTblite(TbliteOracle):
    """`TbliteOracle` after a pause, which does not count as a setting of the method."""

    pause_s: float = 0.0
    not_in_key = frozenset({"limits", "pause_s"})

    def compute(self, structure):
        time.sleep(self.pause_s)
        return super().compute(structure)
