"""The eight steps, in order; the last examines what the others made."""

from pyacemaker.workflow.step import Step
from pyacemaker.workflow.steps.base_fit import BASE_FIT
from pyacemaker.workflow.steps.delta import DELTA
from pyacemaker.workflow.steps.explore import EXPLORE
from pyacemaker.workflow.steps.finetune import FINETUNE
from pyacemaker.workflow.steps.gates import GATES
from pyacemaker.workflow.steps.label import LABEL
from pyacemaker.workflow.steps.pseudo_label import PSEUDO_LABEL
from pyacemaker.workflow.steps.sample import SAMPLE

STEPS: tuple[Step, ...] = (SAMPLE, LABEL, FINETUNE, EXPLORE, PSEUDO_LABEL, BASE_FIT, DELTA, GATES)

__all__ = ["STEPS"]
