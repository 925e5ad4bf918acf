"""How much each label of a structure counts."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pyacemaker.structures.structure import Labels

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LabelWeights:
    """Factors on the squared errors of one structure's labels, on top of the structure's own weight.

    energy: one number. forces: (n, 3), per atom and component. stress: (6,), Voigt order xx yy zz yz xz xy.
    Zero means *not used*: neither fitted nor counted in error figures, and the label there may be anything.
    `ValueError` for a negative or infinite weight, or another shape. Immutable, like structures.
    """

    energy: float
    forces: FloatArray
    stress: FloatArray

    def __post_init__(self) -> None:
        object.__setattr__(self, "energy", float(self.energy))
        for name, shape in (("forces", (-1, 3)), ("stress", (6,))):
            array = np.array(getattr(self, name), dtype=np.float64)
            if array.ndim != len(shape) or array.shape[-1] != shape[-1]:
                raise ValueError(f"the weights of the {name} have the shape {array.shape} instead of {shape}")
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        for part in (np.array(self.energy), self.forces, self.stress):
            if not (np.isfinite(part).all() and (part >= 0.0).all()):
                raise ValueError("a weight of a label is negative, NaN or infinite; expected 0 or more")

    @classmethod
    def uniform(
        cls, atoms: int, energy: float = 1.0, forces: float = 1.0, stress: float = 1.0
    ) -> "LabelWeights":
        """One weight per kind of label, for a structure of so many atoms."""
        return cls(energy, np.full((atoms, 3), forces), np.full(6, stress))

    @property
    def is_trivial(self) -> bool:
        """Whether every label counts once, as without weights."""
        return self.energy == 1.0 and bool((self.forces == 1.0).all() and (self.stress == 1.0).all())

    def masked(self, labels: "Labels") -> "Labels":
        """The labels with 0 where the weight is zero, so that a NaN that nobody uses spreads nowhere."""
        from pyacemaker.structures.structure import Labels

        stress = None if labels.stress is None else np.where(self.stress > 0.0, labels.stress, 0.0)
        return Labels(
            labels.energy if self.energy > 0.0 else 0.0,
            np.where(self.forces > 0.0, labels.forces, 0.0),
            stress,
            labels.energies,
        )
