"""Labels by the tuned teacher of a run, in durable parts."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from pyacemaker.files import sha256_file
from pyacemaker.potentials.label_parts import LabelParts
from pyacemaker.structures import AtomStructure, Dataset
from pyacemaker.workflow.step import StepContext


def teacher_labels(
    context: StepContext,
    structures: Iterable[AtomStructure],
    directory: Path,
    progress: Callable[[int], None] | None = None,
) -> Iterator[Dataset]:
    """The structures with the tuned teacher's labels, part by part; the parts are kept in `directory`."""
    model, foundation = context.inputs["03_finetune"] / "teacher.model", context.config.foundation
    # the size of batches counts too: it changes how sums are rounded
    how = [sha256_file(model), foundation.device, foundation.dtype, str(foundation.max_atoms_per_batch)]
    parts = LabelParts(directory, " ".join(["mace", *how]))
    return parts.label(structures, lambda: foundation.tuned(model), progress)


def is_credible(structure: AtomStructure, max_force: float) -> bool:
    """Whether the labels are finite and no force component exceeds `max_force` (eV/Å)."""
    labels = structure.labels
    return labels is not None and labels.is_finite() and float(np.abs(labels.forces).max()) <= max_force
