"""The oracle interface: one structure in, one label out, or a typed failure."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar

import numpy as np
from ase.data import covalent_radii
from pydantic import Field

from pyacemaker.base import Spec, fingerprint
from pyacemaker.errors import EngineError, UnphysicalLabelError
from pyacemaker.structures import AtomStructure, Labels
from pyacemaker.structures.structure import ID_TOLERANCE


def label_key(structure_id: str, method_key: str) -> str:
    """64 hexadecimal digits: the key of the label of the structure with this id by this method."""
    return fingerprint([structure_id, method_key])


FEW = 3
"""Failures that stop no run, however few its labels."""


class LabelLimits(Spec):
    """What a label has to satisfy before it is believed."""

    min_distance: Annotated[float, Field(ge=0)] = 0.4
    """Smallest allowed distance, as a fraction of the sum of covalent radii; checked before computing."""
    max_force: Annotated[float, Field(gt=0)] = 50.0
    """Largest allowed force component, eV/Å."""
    max_net_force: Annotated[float, Field(gt=0)] = 0.05
    """Largest allowed component of the sum of the forces, eV/Å, in molecules and crystals alike."""
    max_stress: Annotated[float, Field(gt=0)] = 1.5
    """Largest allowed component of the stress, eV/Å³ (1 eV/Å³ = 160 GPa)."""
    max_failed_fraction: Annotated[float, Field(ge=0, le=1)] = 0.05
    """A run stops when more than this share of its labels failed, and more than three; 0: at the first."""

    def allowed_failures(self, n: int) -> int:
        """How many of `n` labels may fail: `max_failed_fraction` of them, but three where that is not 0."""
        share = math.floor(self.max_failed_fraction * n + 1e-9)
        return max(share, FEW) if self.max_failed_fraction > 0 else 0


class Oracle(Spec, ABC):
    """Makes reference labels. Subclasses add a `kind` literal, their settings, and `compute`."""

    limits: LabelLimits = LabelLimits()
    """What a label has to satisfy; changing it recomputes nothing."""

    not_in_key: ClassVar[frozenset[str]] = frozenset({"limits"})
    """Fields that cannot change an answer; a subclass may add some (memory, threads)."""
    tries: ClassVar[frozenset[str]] = frozenset()
    """Those of them that say how a calculation that does not converge is tried again."""

    @abstractmethod
    def version(self) -> str:
        """Engine and version (`pyscf 2.14.0`): part of every label's key.

        Raises `EngineMissingError` when the engine is not installed.
        """

    @abstractmethod
    def compute(self, structure: AtomStructure) -> Labels:
        """Energy (force-consistent, eV), forces (eV/Å), stress (eV/Å³, periodic cells only).

        The answer depends on the structure and the settings alone, not on earlier calls. Raises `OracleError`
        or one of its kinds.
        """

    def check_settings(self) -> None:
        """Raise a `UserError` for settings that the engine does not know; cheap, called before a run.

        A subclass may look up names; by default nothing is checked.
        """

    def check_structure(self, structure: AtomStructure) -> None:
        """Raise a `UserError` or an `OracleError` for a structure that `compute` is sure to refuse.

        Cheap, called before a run for the structures that its settings name: elements, charge and spin,
        periodicity, not the geometry. By default nothing is checked.
        """

    def isolated_atom(self, symbol: str) -> AtomStructure:
        """The isolated neutral atom in its ground-state multiplicity, for the reference energies."""
        from ase.data import atomic_numbers, ground_state_magnetic_moments

        number = atomic_numbers[symbol]
        multiplicity = round(float(ground_state_magnetic_moments[number])) + 1
        return AtomStructure(
            np.array([number]), np.zeros((1, 3)), multiplicity=multiplicity, tag="isolated_atom"
        )

    def settings(self) -> dict[str, Any]:
        """The settings that decide the answer, as JSON can hold them: all but `not_in_key`."""
        return self.model_dump(
            mode="json", serialize_as_any=True, exclude=set(self.not_in_key), context={"fingerprint": True}
        )

    def method_key(self) -> str:
        """64 hexadecimal digits: how it is computed (class, settings, engine version)."""
        name = f"{type(self).__module__}.{type(self).__qualname__}"
        return fingerprint([name, self.settings(), self.version()])

    def effort_key(self) -> str:
        """64 hexadecimal digits: how often and how what does not converge is tried again; empty: only once.

        Failures of the physics are final for the same effort alone.
        """
        tries = self.model_dump(mode="json", include=set(self.tries), context={"fingerprint": True})
        return fingerprint(tries) if any(tries.values()) else ""

    def keys(self, structures: Iterable[AtomStructure]) -> list[str]:
        """64 hexadecimal digits each: what is computed (`structure.id`) and how (`method_key`)."""
        method = self.method_key()
        return [label_key(structure.id, method) for structure in structures]

    def key(self, structure: AtomStructure) -> str:
        """The key of one structure's label."""
        return self.keys([structure])[0]

    def label(self, structure: AtomStructure) -> Labels:
        """`calculate`, with the geometry checked before and the label checked after."""
        self.check_geometry(structure)
        labels = self.calculate(structure)
        self.check_labels(structure, labels)
        return labels

    def calculate(self, structure: AtomStructure) -> Labels:
        """`compute` on the coordinates that the structure's id stands for; refuses NaN and Inf.

        Positions and cell are rounded to `ID_TOLERANCE` first, so that structures with the same key have the
        same label to the last bit.
        """
        decimals = -round(math.log10(ID_TOLERANCE))
        rounded = structure.replace(
            positions=structure.positions.round(decimals), cell=structure.cell.round(decimals)
        )
        labels = self.compute(rounded)
        if labels.forces.shape != (len(structure), 3):
            raise EngineError(
                f"structure {structure.id}: the oracle gave forces of shape {labels.forces.shape} for "
                f"{len(structure)} atoms, expected ({len(structure)}, 3)"
            )
        if not labels.is_finite():
            raise UnphysicalLabelError(f"structure {structure.id}: the label holds NaN or Inf")
        return labels

    def check_geometry(self, structure: AtomStructure) -> None:
        """`UnphysicalLabelError` when two atoms are closer than `limits.min_distance` allows."""
        if len(structure) < 2:
            return
        from pyacemaker.structures.neighbours import closest_contact

        radii = covalent_radii[structure.numbers] * self.limits.min_distance
        ratio, i, j = closest_contact(radii, structure.positions, structure.cell, structure.pbc)
        if ratio < 1.0:
            distance = ratio * (radii[i] + radii[j])
            raise UnphysicalLabelError(
                f"structure {structure.id}: atoms {i} and {j} are {distance:.3f} Å apart, "
                f"below limits.min_distance = {self.limits.min_distance} of the sum of their covalent radii"
            )

    def check_labels(self, structure: AtomStructure, labels: Labels) -> None:
        """`UnphysicalLabelError` when a force, the sum of the forces or the stress exceeds the limits."""
        limits = self.limits
        largest = float(np.abs(labels.forces).max())
        net = float(np.abs(labels.forces.sum(axis=0)).max())
        stress = 0.0 if labels.stress is None else float(np.abs(labels.stress).max())
        found = ""
        if largest > limits.max_force:
            found = f"a force of {largest:.1f} eV/Å exceeds limits.max_force = {limits.max_force}"
        elif net > limits.max_net_force:
            found = (
                f"the forces sum to {net:.3f} eV/Å instead of zero, above limits.max_net_force = "
                f"{limits.max_net_force}"
            )
        elif stress > limits.max_stress:
            found = f"a stress of {stress:.2f} eV/Å³ exceeds limits.max_stress = {limits.max_stress}"
        if found:
            raise UnphysicalLabelError(f"structure {structure.id}: {found}")
