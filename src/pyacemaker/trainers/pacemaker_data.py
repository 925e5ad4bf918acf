"""Labelled structures as pacemaker takes them: which, how much each counts, and in what file."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pyacemaker.errors import DataError
from pyacemaker.files import replacing
from pyacemaker.structures import AtomStructure, Dataset, FloatArray
from pyacemaker.structures.extxyz import Frame, write_extxyz
from pyacemaker.trainers.ace_labels import softened

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class WeightedData:
    """Structures of several atoms with the weights of pacemaker's loss.

    energy: (structures,), their sum is 1. forces: one (atoms,) array per structure, the sum over all is 1;
    0 masks an atom. These are the scales of pacemaker's own uniform weights, so that kappa and the
    regularisation mean what they mean there.
    """

    structures: Dataset
    energy: FloatArray
    forces: tuple[FloatArray, ...]

    @classmethod
    def of(cls, dataset: Dataset, soft_force: float | None) -> "WeightedData":
        """The weights of structures with finite labels; lone atoms, which teach nothing, are left out.

        Each structure counts by its weight, its labels' weights and, above forces of about `soft_force`
        (eV/Å), less. Raises `DataError` for structures that are periodic in some directions only.
        """
        from pyacemaker.ace.fit import is_isolated

        kept = dataset.filter(lambda structure: not is_isolated(structure))
        _check_periodicity(kept)
        importance = softened(kept, soft_force)
        energy = np.array([w * _energy_weight(s) for w, s in zip(importance, kept, strict=True)])
        forces = [w * _forces_weight(s) for w, s in zip(importance, kept, strict=True)]
        total = sum(float(part.sum()) for part in forces)
        if not (energy.sum() > 0.0 and total > 0.0):
            raise DataError(
                "pacemaker needs energies and forces, but the weights of all energies or of all forces are "
                "zero; give some a weight"
            )
        return cls(kept, energy / energy.sum(), tuple(part / total for part in forces))

    def write(self, path: Path) -> None:
        """Write the extended XYZ file that `pacemaker_table.py` turns into a table, atomically."""
        rows = zip(self.structures, self.energy, self.forces, strict=True)
        frames = [_frame(structure, energy, forces) for structure, energy, forces in rows]
        with replacing(path) as aside, aside.open("w", encoding="utf-8") as handle:
            write_extxyz(handle, frames)


def _frame(structure: AtomStructure, energy: float, forces: FloatArray) -> Frame:
    if structure.labels is None:
        raise ValueError(f"structure {structure.id} has no labels")
    info = {
        "label": f"{structure.tag}",
        "energy_label": structure.labels.energy,
        "weight_energy": float(energy),
    }
    arrays = {"force_label": structure.labels.forces, "weight_force": forces}
    return Frame(structure.numbers, structure.positions, structure.cell, structure.pbc, info, arrays)


def _energy_weight(structure: AtomStructure) -> float:
    return 1.0 if structure.label_weights is None else structure.label_weights.energy


def _forces_weight(structure: AtomStructure) -> FloatArray:
    """(n,): one per atom, which is all that pacemaker knows: the mean over an atom's components."""
    if structure.label_weights is None:
        return np.ones(len(structure))
    return np.asarray(structure.label_weights.forces.mean(axis=1))


def _check_periodicity(dataset: Dataset) -> None:
    mixed = [structure for structure in dataset if structure.is_periodic and not structure.pbc.all()]
    if mixed:
        raise DataError(
            f"{len(mixed)} structures, such as {mixed[0].formula} ({mixed[0].id}), are periodic in one or "
            "two directions only, which pacemaker refuses; make them periodic in three, with a vacuum "
            "wider than the cutoff, or use `kind: ace`"
        )
