"""MACE models as potentials: labels in batches, an ASE calculator, rotation-invariant descriptors."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from ase.data import chemical_symbols

from pyacemaker.errors import UnsupportedElementError
from pyacemaker.files import sha256_file
from pyacemaker.potentials.base import Potential
from pyacemaker.potentials.mace_batches import BatchSize, halving, sized_batches
from pyacemaker.potentials.mace_calculator import MaceCalculator
from pyacemaker.potentials.mace_graph import graph_batch
from pyacemaker.potentials.mace_model import (
    Precision,
    element_symbols,
    head_index,
    load_model,
    model_heads,
    read_reference_energies,
    save_model,
    write_reference_energies,
)
from pyacemaker.structures import AtomStructure, FloatArray, Labels

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator


class MacePotential(Potential):
    """A MACE model file as a potential.

    E = Σ_i (E0(Z_i) + ε_i), with ε_i read out from equivariant message passing (Batatia et al., NeurIPS
    2022).

    path: the model file (a pickle: check its origin first). device: a torch device. dtype: the precision of
    all arithmetic; a file in another precision is converted. max_atoms_per_batch: bounds the memory of
    `evaluate` and `descriptors`; `auto` = what is fastest on a CPU core, or fits the GPU. head: of a
    multi-head model; None means the one called Default, or else the last.

    Energies and forces do not depend on how structures share batches beyond rounding (1e-12 relative in
    float64). Raises `FoundationModelError` for a file that is no MACE model.
    """

    name = "mace"

    def __init__(
        self,
        path: Path,
        *,
        device: str = "cpu",
        dtype: Precision = "float64",
        max_atoms_per_batch: BatchSize = "auto",
        head: str | None = None,
    ) -> None:
        self.path = Path(path)
        self.dtype = dtype
        self.device = device
        self.max_atoms_per_batch = max_atoms_per_batch
        self.model = load_model(self.path, device, dtype)
        self.head_number = head_index(self.model, head)
        self.head = model_heads(self.model)[self.head_number]
        self._numbers = np.array([int(number) for number in self.model.atomic_numbers])
        self.elements = tuple(sorted(element_symbols(self.model)))
        self.cutoff = float(self.model.r_max)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the model file, as 64 hexadecimal digits."""
        return sha256_file(self.path)

    @property
    def reference_energies(self) -> dict[str, float]:
        """E0 in eV of each element that the model covers."""
        return read_reference_energies(self.model, self.head_number)

    def with_reference_energies(self, path: Path, energies: Mapping[str, float]) -> "MacePotential":
        """A copy of the model, written atomically to `path`, with other E0s (eV) for the elements given.

        The elements not given keep theirs. The file has this potential's precision, so that the energies are
        stored as they are. Raises `UnsupportedElementError` for an element the model does not cover.
        """
        model = load_model(self.path, self.device, self.dtype)
        write_reference_energies(model, energies)
        save_model(model, path)
        return MacePotential(
            path,
            device=self.device,
            dtype=self.dtype,
            max_atoms_per_batch=self.max_atoms_per_batch,
            head=self.head,
        )

    def evaluate(self, structures: Sequence[AtomStructure]) -> list[Labels]:
        """Energy (eV), forces (eV/Å), per-atom energies (eV) and, where periodic in 3-D, stress (eV/Å³)."""
        return list(self.evaluate_lazily(structures))

    def evaluate_lazily(self, structures: Sequence[AtomStructure]) -> Iterator[Labels]:
        """The labels of `evaluate` one by one, of which no more than one batch is held."""
        for part in self.batches(structures):
            yield from halving(self._evaluate_batch, part)

    def calculator(self) -> "Calculator":
        """An ASE calculator with the numbers of `evaluate`."""
        return MaceCalculator(self)

    def descriptors(self, structures: Sequence[AtomStructure]) -> list[FloatArray]:
        """(n_atoms, d) per structure: the scalar (l = 0, even) channels of every interaction layer.

        Invariant under rotation, reflection, translation and (up to order) permutation. No forces are
        computed, which makes this several times cheaper than `evaluate`.
        """
        return [array for _, arrays in self.descriptor_batches(structures) for array in arrays]

    def descriptor_batches(
        self, structures: Sequence[AtomStructure]
    ) -> Iterator[tuple[list[AtomStructure], list[FloatArray]]]:
        """The structures batch by batch with their `descriptors`, of which no more than one batch is held."""
        for part in self.batches(structures):
            yield part, self._descriptors_batch(part)

    def structure_features(
        self, structures: Sequence[AtomStructure], elements: Sequence[str] | None = None
    ) -> FloatArray:
        """(n, d · (1 + number of elements)): see `mean_descriptors`.

        The descriptors of no more than one batch are held at a time.
        """
        present = sorted({symbol for structure in structures for symbol in structure.symbols})
        symbols = present if elements is None else elements
        parts = [
            mean_descriptors(part, found, symbols) for part, found in self.descriptor_batches(structures)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, 0))

    def batches(self, structures: Sequence[AtomStructure]) -> Iterator[list[AtomStructure]]:
        """Consecutive structures of at most `max_atoms_per_batch` atoms; a larger one stands alone.

        Raises `UnsupportedElementError` before the first.
        """
        self._check_elements(structures)
        for part in sized_batches(structures, self.max_atoms_per_batch, self.cutoff, self.device):
            yield [structures[index] for index in part]

    def _check_elements(self, structures: Sequence[AtomStructure]) -> None:
        covered = set(self._numbers.tolist())
        for structure in structures:
            foreign = set(structure.numbers.tolist()) - covered
            if foreign:
                raise UnsupportedElementError(
                    f"structure {structure.id} ({structure.formula}) holds "
                    f"{', '.join(chemical_symbols[z] for z in sorted(foreign))}, but the MACE model "
                    f"{self.path.name} covers only {'-'.join(self.elements)}"
                )

    def _graph(self, structures: Sequence[AtomStructure]) -> dict[str, Any]:
        like = next(self.model.parameters())
        return graph_batch(structures, self.cutoff, self._numbers, self.head_number, like)

    def forward(
        self, structures: Sequence[AtomStructure], **wanted: bool
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The graph of one batch of structures and what the model makes of it, as tensors.

        wanted: the switches of the model's `forward`, such as compute_force.
        """
        import torch

        graph = self._graph(structures)
        # optimised TorchScript rounds differently from the second call on: a resumed run would differ
        with torch.jit.optimized_execution(False):
            out: dict[str, Any] = self.model(graph, **wanted)
        return graph, out

    def _evaluate_batch(self, structures: Sequence[AtomStructure]) -> list[Labels]:
        solid = [bool(structure.pbc.all()) for structure in structures]
        _, out = self.forward(structures, compute_force=True, compute_stress=any(solid))
        energy = as_array(out["energy"])
        ends = np.cumsum([len(structure) for structure in structures])[:-1]
        forces = np.split(as_array(out["forces"]), ends)
        energies = np.split(as_array(out["node_energy"]), ends)
        stress = [voigt(tensor) for tensor in as_array(out["stress"])] if any(solid) else [None] * len(solid)
        return [
            Labels(float(energy[k]), forces[k], stress[k] if solid[k] else None, energies[k])
            for k in range(len(structures))
        ]

    def _descriptors_batch(self, structures: Sequence[AtomStructure]) -> list[FloatArray]:
        import torch

        with torch.no_grad():
            _, out = self.forward(structures, compute_force=False)
        scalars = as_array(out["node_feats"])[:, self._scalar_columns]
        return np.split(scalars, np.cumsum([len(structure) for structure in structures])[:-1])

    @cached_property
    def _scalar_columns(self) -> FloatArray:
        columns: list[int] = []
        start = 0
        for product in self.model.products:
            irreps = product.linear.irreps_out
            for (_, irrep), part in zip(irreps, irreps.slices(), strict=True):
                if irrep.l == 0 and irrep.p == 1:
                    columns.extend(range(start + part.start, start + part.stop))
            start += irreps.dim
        return np.array(columns)


def mean_descriptors(
    structures: Sequence[AtomStructure],
    descriptors: Sequence[FloatArray],
    elements: Sequence[str] | None = None,
) -> FloatArray:
    """(n, d · (1 + number of elements)): the mean over all atoms, then the mean over each element's atoms.

    descriptors: (n_atoms, d) per structure. elements: those of the structures in alphabetical order where not
    given. An element that a structure does not have contributes zeros.
    """
    present = sorted({symbol for structure in structures for symbol in structure.symbols})
    numbers = [chemical_symbols.index(symbol) for symbol in (present if elements is None else elements)]
    rows = []
    for structure, array in zip(structures, descriptors, strict=True):
        masks = [structure.numbers == number for number in numbers]
        means = [array[mask].mean(axis=0) if mask.any() else np.zeros(array.shape[1]) for mask in masks]
        rows.append(np.concatenate([array.mean(axis=0), *means]))
    return np.array(rows)


def as_array(tensor: Any) -> FloatArray:
    """A tensor, wherever it lives, as an array of double precision."""
    return cast(FloatArray, tensor.detach().cpu().numpy().astype(np.float64))


def voigt(tensor: FloatArray) -> FloatArray:
    """(6,) xx yy zz yz xz xy of a symmetric (3, 3) tensor."""
    symmetric = 0.5 * (tensor + tensor.T)
    return symmetric[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
