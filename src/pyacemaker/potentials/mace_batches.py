"""How many structures a MACE model evaluates at once: bounded by atoms, and by the edges of their graphs.

What a batch costs in memory grows with its edges, what a small one wastes with the calls. Measured on one CPU
core with small models, µs per atom at 12, 100, 400, 800, 1600 atoms: 1140, 470, 430, 450, 580 for molecules
of six atoms (5 edges per atom), 880, 670, 730, 1020, 1260 for Al–Cu cells (35 edges per atom).
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np

from pyacemaker.potentials.mace_graph import batches_by_atoms
from pyacemaker.structures import AtomStructure

log = logging.getLogger(__name__)

BatchSize = int | Literal["auto"]
"""Atoms per batch, or `auto`."""

CPU_ATOMS, CPU_EDGES = 400, 6000
"""The bounds of an automatic batch on a CPU."""
EDGES_PER_GIB = 2000
"""Edges of an automatic batch on a GPU per GiB of its memory: about half of it for the largest models."""

_DENSEST = 0.1  # atoms per Å³: what a large cluster is assumed to have at most


def expected_edges(structure: AtomStructure, cutoff: float) -> float:
    """About how many directed edges the graph of a structure has, without searching for them."""
    n = len(structure)
    sphere = 4.0 / 3.0 * np.pi * cutoff**3
    if structure.volume is not None and structure.pbc.all():
        return n * sphere * n / structure.volume
    return n * min(n - 1.0, sphere * _DENSEST)


def sized_batches(
    structures: Sequence[AtomStructure], size: BatchSize, cutoff: float, device: str
) -> Iterator[range]:
    """Consecutive index ranges of the structures of each batch; one that is too large stands alone.

    `auto` bounds atoms and expected edges: those that are fastest on a CPU core, or what fits a GPU. The same
    structures on the same device always give the same batches, so that labels are the same to the last bit.
    """
    if size != "auto":
        yield from batches_by_atoms(structures, size)
        return
    max_edges = _edge_limit(device)
    max_atoms = CPU_ATOMS if device == "cpu" else max_edges
    start, atoms, edges = 0, 0, 0.0
    for index, structure in enumerate(structures):
        more = expected_edges(structure, cutoff)
        if index > start and (atoms + len(structure) > max_atoms or edges + more > max_edges):
            yield range(start, index)
            start, atoms, edges = index, 0, 0.0
        atoms += len(structure)
        edges += more
    if start < len(structures):
        yield range(start, len(structures))


def _edge_limit(device: str) -> int:
    if not device.startswith("cuda"):
        return CPU_EDGES
    import torch

    memory = torch.cuda.get_device_properties(torch.device(device)).total_memory
    return max(CPU_EDGES, EDGES_PER_GIB * int(memory / 2**30))


def halving(
    evaluate: Callable[[Sequence[AtomStructure]], list[Any]], structures: Sequence[AtomStructure]
) -> list[Any]:
    """`evaluate(structures)`, in halves where the memory does not suffice for all at once.

    Raises what `evaluate` raises for a single structure.
    """
    try:
        return evaluate(structures)
    except (RuntimeError, MemoryError) as error:
        if len(structures) == 1 or not _is_out_of_memory(error):
            raise
        log.warning(
            "a batch of %d atoms does not fit the memory: in halves", sum(len(one) for one in structures)
        )
    middle = len(structures) // 2
    return halving(evaluate, structures[:middle]) + halving(evaluate, structures[middle:])


def _is_out_of_memory(error: Exception) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error)
