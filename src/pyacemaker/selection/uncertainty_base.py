"""The interface of an uncertainty: a model, what it knows, and structures in; how unsure it is out."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from pyacemaker.base import Spec
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.structures import AtomStructure, FloatArray


@dataclass(frozen=True, eq=False)
class Uncertainties:
    """How unsure a model is of n structures, before any calibration.

    structures: (n,), larger = less certain. forces: per structure (n_atoms, 3), the standard deviation of
    each force component up to one factor for all, where the method has it. energies: (n,), of the energy per
    atom up to the same factor, where it has it.
    """

    structures: FloatArray
    forces: Sequence[FloatArray] | None = None
    energies: FloatArray | None = None


class Uncertainty(Spec, ABC):
    """How unsure a MACE model is. Subclasses add a `kind` literal, their settings, and `rate`."""

    @abstractmethod
    def rate(
        self, potential: MacePotential, reference: Sequence[AtomStructure], pool: Sequence[AtomStructure]
    ) -> Uncertainties:
        """The uncertainties of `pool`; `reference` is what the model was trained on, or the best substitute.

        Deterministic. Raises `InsufficientDataError` for too few references.
        """
