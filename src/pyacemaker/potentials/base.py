"""What can be evaluated."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pyacemaker.structures import AtomStructure, Dataset, Labels

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator


class Potential(ABC):
    """A model of the potential energy: structures in, energies, forces and stresses out.

    elements: the chemical symbols it covers. name: a short name for tables and provenance (`mace`, `ace`).
    """

    elements: tuple[str, ...]
    name: str

    @abstractmethod
    def evaluate(self, structures: Sequence[AtomStructure]) -> list[Labels]:
        """Labels of each structure, in order: energy eV, forces eV/Å, stress eV/Å³ for periodic cells.

        Raises `UnsupportedElementError` for an element that the model does not cover.
        """

    def evaluate_lazily(self, structures: Sequence[AtomStructure]) -> Iterator[Labels]:
        """The labels of `evaluate` one by one; a model that works in batches holds no more than one batch."""
        return iter(self.evaluate(structures))

    @abstractmethod
    def calculator(self) -> "Calculator":
        """An ASE calculator with the same answers."""

    def label(self, structures: Sequence[AtomStructure]) -> Dataset:
        """The structures with this potential's labels, `source` set to its name."""
        return Dataset(structures).with_labels(self.evaluate(structures), self.name)
