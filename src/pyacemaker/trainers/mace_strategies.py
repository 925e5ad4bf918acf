"""Which weights of a foundation model may move in a fine-tuning, and what keeps the others in place."""

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from pyacemaker.base import InputFile, Spec
from pyacemaker.errors import DataError, InsufficientDataError
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.selection.direct import DirectSelector
from pyacemaker.structures import AtomStructure, Dataset, Labels
from pyacemaker.structures.formats import read_structures
from pyacemaker.trainers.reference_energies import is_lone_atom

_Rank = Annotated[int, Field(ge=1)]
_FREEZE = {"embedding": 1, "interactions": 5, "products": 6}  # levels of mace_run_train --freeze


class _Tuning(Spec):
    """What all strategies have: a learning rate that suits them, and arguments of `mace_run_train`."""

    suited_lr: ClassVar[float] = 5e-3
    """Learning rate of the strategy where the settings give none."""

    def arguments(self) -> list[str]:
        """What the strategy adds to the command line."""
        return []


class NaiveTuning(_Tuning):
    """All weights, one head, the new labels alone: the smallest error on one system.

    What the foundation model knew of other systems, and of atoms closer than in any label, fades.
    """

    kind: Literal["naive"] = "naive"


class ReplayTuning(_Tuning):
    """All weights and two heads: one learns the labels, the other is held to what the foundation model says.

    Both share everything but their last layers, so that the model keeps what it knew (multi-head replay:
    Batatia et al., arXiv:2401.00096, appendix). The saved model has the first head alone. MACE trains it by
    its `universal` (Huber) loss.
    """

    kind: Literal["replay"] = "replay"
    structures: InputFile | None = None
    """Structures to replay; default: `foundation.training_data`, or else the candidates of the run."""
    labels: Literal["foundation", "file"] = "foundation"
    """Whose labels the replayed structures have: the foundation model's own (pseudo-labels), or those in the
    file, which must be of the foundation's level of theory."""
    n_structures: _Rank = 100
    """Structures replayed, the most diverse of those given (DIRECT)."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Weight of a replayed structure over that of a labelled one."""

    @model_validator(mode="after")
    def _labels_need_a_file(self) -> "ReplayTuning":
        if self.labels == "file" and self.structures is None:
            raise ValueError("labels: file needs structures: FILE, the labelled structures to replay")
        return self

    def arguments(self) -> list[str]:
        """MACE would set its own learning rate and repeat the labels of a small training set."""
        return ["--multiheads_finetuning=True", "--force_mh_ft_lr=True", "--real_pt_data_ratio_threshold=0"]

    def replayed(
        self, original: MacePotential, start: MacePotential, known: Sequence[AtomStructure], seed: int
    ) -> Dataset:
        """The replayed structures with their labels, on the energy references of `start`.

        original: the foundation model; start: its copy with the references of the new labels. known: what
        there is to replay where the settings name no file. Raises `InsufficientDataError` for nothing to
        replay, `DataError` for missing labels.
        """
        given = Dataset(known) if self.structures is None else read_structures(self.structures)
        usable = given.filter(lambda s: not is_lone_atom(s) and set(s.symbols) <= set(original.elements))
        if not len(usable):
            raise InsufficientDataError(
                f"none of the {len(given)} structures to replay has neighbouring atoms of "
                f"{'-'.join(original.elements)}: give finetune.strategy.structures, or another strategy"
            )
        if len(usable) > self.n_structures:
            rng = np.random.default_rng(seed)
            features = start.structure_features(usable)
            usable = usable[DirectSelector().select(features, self.n_structures, rng)]
        if self.labels == "foundation":
            return usable.with_labels(start.evaluate(usable), "foundation")
        return _moved(usable, original, start)


class LoraTuning(_Tuning):
    """Low-rank additions to every linear layer (LoRA: Hu et al., arXiv:2106.09685); the weights stay.

    Fewer parameters move, so that less is forgotten; it needs a higher learning rate. The additions are
    merged into the weights of the saved model.
    """

    suited_lr: ClassVar[float] = 1e-2
    kind: Literal["lora"] = "lora"
    rank: _Rank = 4
    """Rank of the additions."""
    alpha: Annotated[float, Field(gt=0)] = 1.0
    """The additions are scaled by alpha / rank."""

    def arguments(self) -> list[str]:
        """MACE's own implementation."""
        return ["--lora=True", f"--lora_rank={self.rank}", f"--lora_alpha={self.alpha}"]


class FrozenTuning(_Tuning):
    """Only the later layers move: those up to `layers` stay as they are, bit by bit."""

    kind: Literal["frozen"] = "frozen"
    layers: Literal["embedding", "interactions", "products"] = "interactions"
    """The last kind of layers that stays; `products` leaves only the readouts to learn."""

    def arguments(self) -> list[str]:
        """The level that MACE knows it by."""
        return [f"--freeze={_FREEZE[self.layers]}"]


AnyTuning = Annotated[NaiveTuning | ReplayTuning | LoraTuning | FrozenTuning, Field(discriminator="kind")]
"""Any strategy a config can name: `naive`, `replay`, `lora`, `frozen`."""


def _moved(structures: Dataset, original: MacePotential, start: MacePotential) -> Dataset:
    """Labels of the foundation's level, moved to the energy references of `start`."""
    unlabelled = len(structures) - len(structures.labelled())
    if unlabelled:
        raise DataError(
            f"{unlabelled} of {len(structures)} structures to replay have no labels; label them, or set "
            "finetune.strategy.labels to foundation"
        )
    own, new = original.reference_energies, start.reference_energies
    shift = {symbol: new[symbol] - own[symbol] for symbol in structures.elements}
    moved = [
        Labels(label.energy + extra, label.forces, label.stress)
        for label, extra in zip(structures.labels, structures.reference_energies(shift), strict=True)
    ]
    return structures.with_labels(moved, "replay")
