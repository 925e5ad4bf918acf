"""ACE potentials, and their ASE calculator."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from numpy.typing import NDArray

from pyacemaker.errors import PotentialFormatError
from pyacemaker.potentials.base import Potential
from pyacemaker.processes import map_ordered
from pyacemaker.structures import AtomStructure, Labels
from pyacemaker.structures.dataset import locating

if TYPE_CHECKING:
    from pyacemaker.ace.evaluator import CompiledModel, Evaluation
    from pyacemaker.ace.model import ACEModel
    from pyacemaker.baselines import Baseline

CHUNK_ATOMS = 1000
"""Atoms in the structures that a worker process takes at a time, at least."""

WORTHWHILE = 10_000
"""Atoms times thousands of basis functions (at least one) for each process: a fraction of a second."""

SMALLEST_VOLUME = 1e-6
"""Å³: cell vectors that span less lie in a plane."""


class ACEPotential(Potential):
    """An ACE potential: energies in eV with E0 and cores included, forces in eV/Å, stress in eV/Å³.

    baseline: a physical energy that was subtracted before the fit and belongs to every answer. The `.yace`
    file holds it, so that nobody forgets it here; in LAMMPS it is a pair style of its own, see
    `pyacemaker.potentials.lammps_styles`. Tables and product graphs are built on the first evaluation and
    kept.
    """

    def __init__(self, model: "ACEModel", name: str = "ace", baseline: "Baseline | None" = None) -> None:
        self.model = model
        self.name = name
        self.elements = model.elements
        self.baseline = baseline

    def __reduce__(self) -> tuple[Any, ...]:
        # the compiled form is rebuilt where it is needed
        return type(self), (self.model, self.name, self.baseline)

    @classmethod
    def from_yace(cls, path: str | Path, name: str = "ace") -> Self:
        """The potential in a `.yace` file; `PotentialFormatError` where it is damaged or of another kind."""
        from pyacemaker.ace.yace import read_yace_and_baseline

        model, settings = read_yace_and_baseline(path)
        return cls(model, name, None if settings is None else _baseline(settings, path))

    def to_yace(self, path: str | Path) -> None:
        """Write the potential to a `.yace` file, atomically, its baseline included."""
        from pyacemaker.ace.yace import write_yace

        settings = None if self.baseline is None else self.baseline.model_dump(mode="json")
        write_yace(self.model, path, settings)

    def with_baseline(self, baseline: "Baseline | None") -> Self:
        """The same potential with another baseline, or without any."""
        found = type(self)(self.model, self.name, baseline)
        if "compiled" in self.__dict__:
            found.__dict__["compiled"] = self.compiled
        return found

    def evaluate_arrays(self, numbers: Any, positions: Any, cell: Any, pbc: Any) -> "Evaluation":
        """Energies, forces and virial of one structure, as in `CompiledModel.evaluate`, with the baseline."""
        found = self.compiled.evaluate(numbers, positions, cell, pbc)
        if self.baseline is None:
            return found
        added = self.baseline.energy_forces_virial(
            np.asarray(numbers), np.asarray(positions), np.asarray(cell), np.asarray(pbc, dtype=bool)
        )
        return replace(
            found,
            energies=found.energies + added.energies,
            forces=found.forces + added.forces,
            virial=found.virial + added.virial,
        )

    @cached_property
    def compiled(self) -> "CompiledModel":
        """The model in the form that is evaluated."""
        from pyacemaker.ace.evaluator import CompiledModel

        return CompiledModel(self.model)

    def evaluate(self, structures: Sequence[AtomStructure], processes: int = 1) -> list[Labels]:
        """Energy, forces, energies of the atoms and, where the cell has a volume, stress.

        processes: how many work at it; the labels are the same, to the bit, for any number. Raises
        `UnsupportedElementError` for an element that the potential lacks, and `DataError` for atoms that
        coincide; both name the structure.
        """
        if processes <= 1:
            return [self._labels(index, structure) for index, structure in enumerate(structures)]
        found: list[Labels] = []
        chunks = map_ordered(
            _evaluate_chunk, _chunks(structures), processes, prepare=_prepare_worker, prepare_args=(self,)
        )
        for chunk in chunks:
            found += [Labels(*fields) for fields in chunk]
        return found

    def worthwhile_processes(self, structures: Sequence[AtomStructure], available: int) -> int:
        """How many of the `available` processes are worth starting to evaluate these structures."""
        functions = max(len(functions) for functions in self.model.functions.values())
        work = sum(len(structure) for structure in structures) * max(1.0, functions / 1000.0)
        return max(1, min(available, int(work / WORTHWHILE)))

    def calculator(self) -> "ACECalculator":
        """An ASE calculator with the same answers."""
        return ACECalculator(self)

    def _labels(self, index: int, structure: AtomStructure) -> Labels:
        with locating(index, structure):
            found = self.evaluate_arrays(
                structure.numbers, structure.positions, structure.cell, structure.pbc
            )
        stress = None if structure.volume is None else _stress(found, structure.volume)
        return Labels(found.energy, found.forces, stress, found.energies)


class ACECalculator(Calculator):  # type: ignore[misc]
    """ASE calculator of an ACE potential: energy, free_energy, energies, forces, stress.

    potential: the path of a `.yace` file, or an `ACEPotential`. Stress (eV/Å³, Voigt, positive = tensile)
    exists wherever the three cell vectors span a volume; asked for without one, it raises ASE's
    `PropertyNotImplementedError`.
    """

    implemented_properties: ClassVar[list[str]] = ["energy", "free_energy", "energies", "forces", "stress"]

    def __init__(self, potential: str | Path | ACEPotential, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(potential, ACEPotential):
            potential = ACEPotential.from_yace(potential)
        self.potential = potential

    def calculate(
        self,
        atoms: Any = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Evaluate the structure; called by ASE."""
        super().calculate(atoms, properties, system_changes)
        now = self.atoms
        cell = now.cell.array
        volume = float(abs(np.linalg.det(cell)))
        if "stress" in properties and volume <= SMALLEST_VOLUME:
            raise PropertyNotImplementedError(
                "the stress needs a volume, and the cell vectors of these atoms span none; give them a cell"
            )
        found = self.potential.evaluate_arrays(now.numbers, now.positions, cell, now.pbc)
        self.results = {
            "energy": found.energy,
            "free_energy": found.energy,
            "energies": found.energies,
            "forces": found.forces,
        }
        if volume > SMALLEST_VOLUME:
            self.results["stress"] = _stress(found, volume)


def add_baseline(path: Path, baseline: "Baseline | None") -> None:
    """Note in a `.yace` file which baseline was subtracted before the fit; without one nothing changes."""
    if baseline is not None:
        ACEPotential.from_yace(path).with_baseline(baseline).to_yace(path)


def _baseline(settings: Any, path: str | Path) -> "Baseline":
    from pydantic import TypeAdapter, ValidationError

    from pyacemaker.baselines import AnyBaseline

    try:
        found: Baseline = TypeAdapter(AnyBaseline).validate_python(settings)
    except ValidationError as error:
        problem = error.errors()[0]
        raise PotentialFormatError(
            f"{path}: the key 'baseline' holds no baseline that this version knows ({problem['msg']}); "
            "expected settings such as {kind: zbl, window: [0.5, 0.8]}"
        ) from error
    return found


class _Chunk(NamedTuple):
    """Some structures of a sequence. first: the number of the first one."""

    first: int
    structures: list[AtomStructure]


_Fields = tuple[float, NDArray[np.float64], NDArray[np.float64] | None, NDArray[np.float64] | None]

_workers_potential: list[ACEPotential] = []
"""In a worker process: the potential that it evaluates."""


def _prepare_worker(potential: ACEPotential) -> None:
    _workers_potential[:] = [potential]


def _evaluate_chunk(chunk: _Chunk) -> list[_Fields]:
    potential = _workers_potential[0]
    labels = [potential._labels(chunk.first + k, structure) for k, structure in enumerate(chunk.structures)]
    return [(label.energy, label.forces, label.stress, label.energies) for label in labels]


def _chunks(structures: Sequence[AtomStructure]) -> Iterator[_Chunk]:
    """All structures in order, in chunks of `CHUNK_ATOMS` atoms or a little more."""
    first, chosen, atoms = 0, [], 0
    for index, structure in enumerate(structures):
        chosen.append(structure)
        atoms += len(structure)
        if atoms >= CHUNK_ATOMS:
            yield _Chunk(first, chosen)
            first, chosen, atoms = index + 1, [], 0
    if chosen:
        yield _Chunk(first, chosen)


def _stress(found: "Evaluation", volume: float) -> NDArray[np.float64]:
    """(6,) Voigt stress xx yy zz yz xz xy."""
    tensor = 0.5 * (found.virial + found.virial.T) / volume
    voigt: NDArray[np.float64] = tensor[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
    return voigt
