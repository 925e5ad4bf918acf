"""Which engines, models, schedulers, devices and programs are really here: each tried in its own process."""

from pyacemaker.doctor.checkup import Check, examine, needs_of
from pyacemaker.doctor.probes import FOUNDATION, PROBES

__all__ = ["FOUNDATION", "PROBES", "Check", "examine", "needs_of"]
