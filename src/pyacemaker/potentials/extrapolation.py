"""How far an ACE potential extrapolates: the grade γ of every atom, from an active set."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from ase.calculators.calculator import all_changes

from pyacemaker.errors import PotentialFormatError
from pyacemaker.potentials.ace import ACECalculator, ACEPotential
from pyacemaker.structures import AtomStructure, FloatArray
from pyacemaker.structures.dataset import locating

if TYPE_CHECKING:
    from pyacemaker.ace.active_set import ElementActiveSet
    from pyacemaker.ace.b_basis import BBasis
    from pyacemaker.ace.design import Design


class ActiveSet:
    """The active set of an ACE potential.

    γ_i = max_k |(B_i A⁻¹)_k|, B_i the invariants of atom i, the rows of A those of the active environments of
    its element. Up to 1 the atom lies within the volume that they span; above it the potential extrapolates.

    potential: whose invariants they are. inverses: (K, K), A⁻¹ of each element, in the functions and the
    order of `.asi` files. Raises `PotentialFormatError` where they do not fit the potential.
    """

    def __init__(self, potential: ACEPotential, inverses: Mapping[str, FloatArray]) -> None:
        self.potential = potential
        self.inverses = dict(inverses)
        if set(self.inverses) != set(potential.elements):
            raise PotentialFormatError(
                f"the active set covers {', '.join(sorted(self.inverses)) or 'no element'}, the potential "
                f"{', '.join(sorted(potential.elements))}; expected the active set of this potential"
            )
        for symbol, functions in zip(self._b.model.elements, self._b.basis.counts, strict=True):
            shape = self.inverses[symbol].shape
            if shape != (functions, functions):
                raise PotentialFormatError(
                    f"the active set of {symbol} has shape {shape}, and the potential {functions} functions "
                    f"of {symbol}; expected the active set of this potential"
                )

    @classmethod
    def load(cls, path: str | Path, potential: ACEPotential) -> Self:
        """The active set in an `.asi` file; `PotentialFormatError` where it is damaged or of another
        potential."""
        from pyacemaker.ace.asi import read_asi

        inverses = read_asi(path)
        try:
            return cls(potential, inverses)
        except PotentialFormatError as error:
            raise PotentialFormatError(f"{path}: {error}") from error

    def save(self, path: str | Path) -> None:
        """Write the `.asi` file, atomically; the same set gives the same bytes."""
        from pyacemaker.ace.asi import write_asi

        write_asi(path, self.inverses)

    def grades(self, structures: Sequence[AtomStructure]) -> list[FloatArray]:
        """(n,) γ of the atoms of each structure.

        Raises `UnsupportedElementError` for an element that the potential lacks; it names the structure.
        """
        found = []
        for index, structure in enumerate(structures):
            with locating(index, structure):
                found.append(self._grades(structure))
        return found

    def calculator(self) -> "ExtrapolatingCalculator":
        """An ASE calculator of the potential that also gives γ."""
        return ExtrapolatingCalculator(self)

    def _grades(self, structure: AtomStructure) -> FloatArray:
        from pyacemaker.ace.active_set import grades

        basis = self._b.basis
        invariants = self._design.invariants([structure])
        symbols = np.array(structure.symbols)
        found = np.zeros(len(structure))
        for mu, symbol in enumerate(basis.elements):
            mine = symbols == symbol
            rows = invariants[mine, basis.offsets[mu] : basis.offsets[mu + 1]]
            found[mine] = grades(rows, self.inverses[symbol])
        return found

    @cached_property
    def _b(self) -> "BBasis":
        from pyacemaker.ace.b_basis import BBasis

        return BBasis.of(self.potential.model)

    @cached_property
    def _design(self) -> "Design":
        from pyacemaker.ace.design import Design

        return Design(self._b.basis)


def build_active_set(
    potential: ACEPotential,
    structures: Sequence[AtomStructure],
    *,
    processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[ActiveSet, "tuple[ElementActiveSet, ...]"]:
    """The active set of a potential, chosen from all atoms of `structures`, and what it consists of.

    No atom of `structures` has a γ above 1.01. processes: over which the invariants are spread; the result
    does not depend on it. progress: called with structures whose invariants are known, and all.

    Raises `InsufficientDataError` where an element has too few environments or linearly dependent ones.
    """
    from pyacemaker.ace.active_set import active_sets
    from pyacemaker.ace.b_basis import BBasis

    b = BBasis.of(potential.model)
    parts = active_sets(b.basis, structures, processes=processes, progress=progress)
    return ActiveSet(potential, {part.element: part.inverse for part in parts}), parts


class ExtrapolatingCalculator(ACECalculator):
    """ASE calculator of an ACE potential that also gives `gamma`: (n,) the extrapolation grade of each atom.

    Everything else as in `ACECalculator`.
    """

    implemented_properties: ClassVar[list[str]] = [*ACECalculator.implemented_properties, "gamma"]

    def __init__(self, active_set: ActiveSet, **kwargs: Any) -> None:
        super().__init__(active_set.potential, **kwargs)
        self.active_set = active_set

    @classmethod
    def from_files(cls, potential: str | Path, active_set: str | Path, **kwargs: Any) -> Self:
        """From a `.yace` and its `.asi` file."""
        return cls(ActiveSet.load(active_set, ACEPotential.from_yace(potential)), **kwargs)

    def calculate(
        self,
        atoms: Any = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Evaluate the structure; called by ASE."""
        super().calculate(atoms, properties, system_changes)
        structure = AtomStructure.from_atoms(self.atoms)
        self.results["gamma"] = self.active_set.grades([structure])[0]
