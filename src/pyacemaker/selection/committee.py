"""A committee of fine-tuned models: how far they disagree."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from pyacemaker.errors import InsufficientDataError
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.selection.uncertainty_base import Uncertainties, Uncertainty
from pyacemaker.structures import AtomStructure


class CommitteeUncertainty(Uncertainty):
    """Standard deviations over models that were tuned on different parts of the labels, by different seeds.

    σ of each force component and of the energy per atom over the teacher and the other members; a
    structure's uncertainty is the largest |σ_F| of its atoms, eV/Å (query by committee: Seung, Opper,
    Sompolinsky, COLT 1992). Members share the foundation model, so that they agree more than they should:
    calibrate. Costs one training and one evaluation per member.
    """

    kind: Literal["committee"] = "committee"
    members: Annotated[int, Field(ge=2)] = 4
    """Models, the teacher among them."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Share of the labels that each of the others learns from."""

    def rate(
        self, potential: MacePotential, reference: Sequence[AtomStructure], pool: Sequence[AtomStructure]
    ) -> Uncertainties:
        """The members' files lie beside that of `potential` (see `member_file`); `reference` is not used.

        Raises `InsufficientDataError` where there are none.
        """
        files = [member_file(potential.path, number) for number in range(1, self.members)]
        missing = [file.name for file in files if not file.is_file()]
        if missing:
            raise InsufficientDataError(
                f"{potential.path.name} has no committee: {', '.join(missing)} are missing beside it; only a "
                "fine-tuned teacher has one (finetune.uncertainty), use llpr or mahalanobis here"
            )
        answers = [potential.evaluate(pool)]
        answers += [_like(potential, file).evaluate(pool) for file in files]
        columns = list(zip(*answers, strict=True))
        forces = [np.std([labels.forces for labels in column], axis=0, ddof=1) for column in columns]
        energies = [
            np.std([labels.energy for labels in column], ddof=1) / len(column[0].forces) for column in columns
        ]
        whole = np.array([np.linalg.norm(sigma, axis=1).max() for sigma in forces])
        return Uncertainties(whole, forces, np.array(energies))


def member_file(teacher: Path, number: int) -> Path:
    """Where member `number` (from 1) of the committee around a model file lies."""
    return teacher.with_name(f"{teacher.stem}-member-{number}{teacher.suffix}")


def _like(potential: MacePotential, file: Path) -> MacePotential:
    return MacePotential(
        file,
        device=potential.device,
        dtype=potential.dtype,
        max_atoms_per_batch=potential.max_atoms_per_batch,
    )
