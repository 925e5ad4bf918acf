"""The sections of the report, in order: functions of the run's files and the predictions on its test set."""

from collections.abc import Callable

from pyacemaker.report.page import Section
from pyacemaker.report.predictions import Predictions
from pyacemaker.report.run_files import RunFiles
from pyacemaker.report.sections.asked import asked
from pyacemaker.report.sections.breakdowns import breakdowns, worst
from pyacemaker.report.sections.cost import cost
from pyacemaker.report.sections.exploration import exploration
from pyacemaker.report.sections.gates import gates
from pyacemaker.report.sections.learning import learning
from pyacemaker.report.sections.parity import parity
from pyacemaker.report.sections.provenance import provenance
from pyacemaker.report.sections.selection import selection
from pyacemaker.report.sections.split import split
from pyacemaker.report.sections.uncertainty import uncertainty
from pyacemaker.report.sections.verdict import verdict

MakeSection = Callable[[RunFiles, Predictions], Section]

SECTIONS: tuple[MakeSection, ...] = (
    verdict,
    asked,
    cost,
    split,
    parity,
    breakdowns,
    worst,
    learning,
    uncertainty,
    selection,
    exploration,
    gates,
    provenance,
)

__all__ = ["SECTIONS", "MakeSection"]
