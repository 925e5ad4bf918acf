"""What the foundation model of a run is at home with."""

from pyacemaker.generators.dimers import DIMER, ISOLATED_ATOM
from pyacemaker.structures import Dataset
from pyacemaker.structures.formats import read_structures
from pyacemaker.workflow.step import StepContext


def known_structures(context: StepContext) -> Dataset:
    """The foundation model's training data, or else the candidates without dimers and isolated atoms.

    For steps that need `01_sample`.
    """
    known = context.config.foundation.training_data
    if known is not None:
        return read_structures(known)
    candidates = read_structures(context.inputs["01_sample"] / "candidates.extxyz")
    return candidates.filter(lambda structure: structure.tag not in (DIMER, ISOLATED_ATOM))
