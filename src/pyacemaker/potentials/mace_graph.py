"""Structures as the graphs that MACE reads, batched by a bound on the number of atoms."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pyacemaker.structures import AtomStructure, FloatArray, IntArray

Edges = tuple[IntArray, IntArray, FloatArray]
"""Senders (e,), receivers (e,), lattice shifts (e, 3) in units of the cell vectors."""

_ALL_PAIRS_LIMIT = 32
"""Atoms up to which all pairs of a cluster are compared at once, which is faster than a cell list."""


def batches_by_atoms(structures: Sequence[AtomStructure], max_atoms: int) -> Iterator[range]:
    """Consecutive index ranges with at most `max_atoms` atoms each; a larger structure stands alone."""
    start, atoms = 0, 0
    for index, structure in enumerate(structures):
        if index > start and atoms + len(structure) > max_atoms:
            yield range(start, index)
            start, atoms = index, 0
        atoms += len(structure)
    if start < len(structures):
        yield range(start, len(structures))


def edges_within(positions: FloatArray, cell: FloatArray, pbc: Sequence[bool] | Any, cutoff: float) -> Edges:
    """All directed pairs closer than `cutoff` (Å), periodic images of the atom itself included.

    The vector of an edge is r[receiver] − r[sender] + shift · cell.
    """
    periodic = np.asarray(pbc, dtype=bool)
    if not periodic.any() and len(positions) <= _ALL_PAIRS_LIMIT:
        distance2 = np.sum((positions[:, None, :] - positions[None, :, :]) ** 2, axis=-1)
        np.fill_diagonal(distance2, np.inf)
        senders, receivers = np.nonzero(distance2 < cutoff**2)
        return senders, receivers, np.zeros((len(senders), 3))
    from vesin import NeighborList

    search = NeighborList(cutoff=cutoff, full_list=True, sorted=True, n_threads=1)
    box = np.where(periodic[:, None], cell, 0.0)
    senders, receivers, shifts = search.compute(positions, box, periodic, quantities="ijS")
    return senders.astype(np.int64), receivers.astype(np.int64), shifts.astype(np.float64)


def graph_batch(
    structures: Sequence[AtomStructure], cutoff: float, element_numbers: IntArray, head: int, like: Any
) -> dict[str, Any]:
    """The tensors of one batch, in the precision and on the device of the tensor `like`.

    element_numbers: the atomic numbers of the model, in its order; all structures must be covered by it.
    """
    import torch

    edges = [edges_within(s.positions, s.cell, s.pbc, cutoff) for s in structures]
    sizes = np.array([len(s) for s in structures])
    pointer = np.concatenate(([0], np.cumsum(sizes)))
    counts = [len(senders) for senders, _, _ in edges]
    shifts = [shift @ s.cell for (_, _, shift), s in zip(edges, structures, strict=True)]
    offsets = np.repeat(pointer[:-1], counts)
    numbers = np.concatenate([s.numbers for s in structures])
    one_hot = (numbers[:, None] == element_numbers[None, :]).astype(np.float64)

    def floats(array: FloatArray) -> Any:
        return torch.as_tensor(array, dtype=like.dtype, device=like.device)

    def integers(array: IntArray) -> Any:
        return torch.as_tensor(array, dtype=torch.int64, device=like.device)

    return {
        "positions": floats(np.concatenate([s.positions for s in structures])),
        "node_attrs": floats(one_hot),
        "edge_index": integers(
            np.stack([np.concatenate([e[0] for e in edges]), np.concatenate([e[1] for e in edges])]) + offsets
        ),
        "unit_shifts": floats(np.concatenate([e[2] for e in edges])),
        "shifts": floats(np.concatenate(shifts)),
        "cell": floats(np.concatenate([s.cell for s in structures])),
        "batch": integers(np.repeat(np.arange(len(structures)), sizes)),
        "ptr": integers(pointer),
        "head": integers(np.full(len(structures), head)),
        "total_charge": floats(np.array([s.charge for s in structures], dtype=np.float64)),
        "total_spin": floats(np.array([s.multiplicity or 1 for s in structures], dtype=np.float64)),
    }
