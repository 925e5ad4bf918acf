"""Hard filters: structures that no label should be paid for."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from ase.data import covalent_radii
from pydantic import Field, PositiveFloat

from pyacemaker.base import Spec
from pyacemaker.structures import AtomStructure, Dataset, FloatArray, IntArray, Labels
from pyacemaker.units import GPA_PER_EV_PER_CUBIC_ANGSTROM

_NEAR = 1.5  # pairs beyond this fraction of the sum of covalent radii are not looked for


@dataclass(frozen=True)
class Filtered:
    """What passed and what did not.

    kept: indices of the structures that passed, increasing. rejected: index → reason of the others.
    """

    kept: IntArray
    rejected: Mapping[int, str] = field(default_factory=dict)

    @property
    def reasons(self) -> Counter[str]:
        """How many structures each reason rejected."""
        return Counter(self.rejected.values())


class HardFilters(Spec):
    """Rejects structures whose geometry or teacher labels cannot be right.

    Reasons: `not finite`, `duplicate`, `too close`, `large force`, `large stress`, `unreasonable energy`.
    """

    min_distance: float = Field(default=0.6, gt=0.0, lt=_NEAR)
    """Smallest allowed distance of two atoms, as a fraction of the sum of their covalent radii."""
    max_force: PositiveFloat | None = 30.0
    """eV/Å, largest allowed force on an atom, where labels are given."""
    max_stress: PositiveFloat | None = 200.0
    """GPa, largest allowed component of the stress of a periodic structure, where labels are given."""
    max_energy: PositiveFloat | None = 2.0
    """eV/atom, largest allowed distance from the median energy of the structures of the same composition."""

    def apply(
        self, structures: Dataset, labels: Sequence[Labels] | None = None
    ) -> tuple[Dataset, dict[str, int]]:
        """The structures that pass, and how many each reason rejected; `labels` as in `check`."""
        found = self.check(structures, labels)
        return structures[found.kept], dict(found.reasons)

    def check(self, structures: Sequence[AtomStructure], labels: Iterable[Labels] | None = None) -> Filtered:
        """Which `structures` pass; `labels`: a potential's opinion of each, none of which is kept."""
        rejected = self._reject_geometries(structures)
        if labels is not None:
            rejected.update(self._reject_labels(structures, labels, rejected))
        kept = [index for index in range(len(structures)) if index not in rejected]
        return Filtered(np.array(kept, dtype=np.int64), dict(sorted(rejected.items())))

    def _reject_geometries(self, structures: Sequence[AtomStructure]) -> dict[int, str]:
        rejected: dict[int, str] = {}
        seen: set[str] = set()
        for index, structure in enumerate(structures):
            if not (np.isfinite(structure.positions).all() and np.isfinite(structure.cell).all()):
                rejected[index] = "not finite"
            elif structure.id in seen:
                rejected[index] = "duplicate"
            elif closest_fraction(structure) < self.min_distance:
                rejected[index] = "too close"
            else:
                seen.add(structure.id)
        return rejected

    def _reject_labels(
        self, structures: Sequence[AtomStructure], labels: Iterable[Labels], known: Mapping[int, str]
    ) -> dict[int, str]:
        rejected: dict[int, str] = {}
        groups: dict[str, dict[int, float]] = defaultdict(dict)
        for index, (structure, label) in enumerate(zip(structures, labels, strict=True)):
            if index in known:
                continue
            if not label.is_finite():
                rejected[index] = "not finite"
            elif self.max_force is not None and largest_force(label.forces) > self.max_force:
                rejected[index] = "large force"
            elif self.max_stress is not None and largest_stress(label) > self.max_stress:
                rejected[index] = "large stress"
            else:
                groups[structure.formula][index] = label.energy / len(structure)
        for energies in groups.values():
            far = self._far_energies(np.array(list(energies.values())))
            rejected.update((list(energies)[number], "unreasonable energy") for number in far)
        return rejected

    def _far_energies(self, energies: FloatArray) -> list[int]:
        if self.max_energy is None:
            return []
        return [int(i) for i in np.flatnonzero(np.abs(energies - np.median(energies)) > self.max_energy)]


def largest_force(forces: FloatArray) -> float:
    """eV/Å: the largest norm among the rows of `forces` (n, 3); NaN where one is NaN."""
    return float(np.sqrt(np.max(np.einsum("ij,ij->i", forces, forces), initial=0.0)))


def largest_stress(labels: Labels) -> float:
    """GPa: the largest magnitude of the stress components; 0 without a stress."""
    if labels.stress is None:
        return 0.0
    return float(np.abs(labels.stress).max()) * GPA_PER_EV_PER_CUBIC_ANGSTROM


def closest_fraction(structure: AtomStructure) -> float:
    """The smallest distance of two atoms (periodic images too) over the sum of their covalent radii.

    Radii: Cordero et al., Dalton Trans. 2832 (2008). Infinity where no pair is nearer than 1.5 such sums.
    """
    radii = covalent_radii[structure.numbers]
    if structure.is_periodic:
        from pyacemaker.structures.neighbours import closest_contact

        ratio, _, _ = closest_contact(_NEAR * radii, structure.positions, structure.cell, structure.pbc)
        return _NEAR * ratio if ratio <= 1.0 else np.inf
    fraction = np.min(pair_fractions(structure.numbers, structure.positions), initial=np.inf)
    return float(fraction) if fraction <= _NEAR else np.inf


def pair_fractions(numbers: IntArray, positions: FloatArray) -> FloatArray:
    """(n, n) distances over sums of covalent radii without periodic images; infinity on the diagonal."""
    radii = covalent_radii[numbers]
    distance = np.linalg.norm(positions[:, None] - positions[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    return np.asarray(distance / (radii[:, None] + radii[None]))
