"""The compiled evaluator: energies, forces and virial of all centres of one species, eight at a time.

Forward: per edge radial functions and harmonics, A = Σ_j R Y; the product graph; densities; embedding.
Backward (reverse mode): dE/dρ → dE/dA through the graph → per edge ∂E_i/∂r⃗_ij, with the sum over n taken
before the gradient of Y. Complex numbers are kept as two arrays (real, imaginary). The last axis of every
array of a `Room` are the eight centres (`pyacemaker.ace.lanes`); their edges stand in common *slots*, one
edge of each centre in every slot, ordered by the neighbours' species; a slot without an edge has edge −1,
and functions that are zero.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pyacemaker.ace.edge_kernels import (
    accumulate,
    edge_gradients,
    harmonics,
    nearest_switch,
    radial,
    select,
)
from pyacemaker.ace.embedding import embed_point
from pyacemaker.ace.graph_kernels import (
    all_terms,
    backward_inner,
    backward_terms,
    clear_adjoints,
    forward_inner,
    forward_terms,
)
from pyacemaker.ace.lanes import LANES
from pyacemaker.ace.radial import switch_point

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Centre(NamedTuple):
    """What depends on the species of the centre only; see `pyacemaker.ace.products.ProductGraph`.

    weights, exponents: (ndensity,). window: rho_core_cutoff, drho_core_cutoff. screened: whether the cores
    are `zbl`.
    """

    weights: Floats
    exponents: Floats
    embedding: int
    window: Floats
    screened: bool
    e0: float
    inner: Integers
    inner_signs: Floats
    heads: Integers
    starts: Integers
    partners: Integers
    term_weights: Floats


class Bonds(NamedTuple):
    """The bonds of one centre species to all N neighbour species; see `pyacemaker.ace.tables.RadialTable`.

    lmax, kind, nradbase, functions: (N,). first_bin: (N + 1,). is_cut: (N,). shape: (N, 5) rcut, dcut, λ,
    end and width of the inner switch. core: (N, 11), `core_constants`. inverse_step: (N,).
    table: (bins of all bonds, 6, F / 8, 8); exact: (bins of all bonds,). combine: (N, F, nradbase). F: the
    largest number of functions of any bond, rounded up to eights. channels: (N, L + 2) and first_leaf:
    (N, L + 1) of `Leaves`. columns: of each channel, its table function.
    """

    lmax: Integers
    kind: Integers
    nradbase: Integers
    functions: Integers
    first_bin: Integers
    is_cut: NDArray[np.bool_]
    shape: Floats
    core: Floats
    inverse_step: Floats
    table: Floats
    exact: NDArray[np.bool_]
    combine: Floats
    channels: Integers
    first_leaf: Integers
    columns: Integers


class Neighbours(NamedTuple):
    """Edges sorted by centre, as in `ace.neighbours.Edges`. offsets: (n + 1,). species: (n,) of the atoms."""

    offsets: Integers
    species: Integers
    j: Integers
    vectors: Floats
    distances: Floats


class Room(NamedTuple):
    """Room for eight centres with up to S slots; the last axis is always the centre.

    edge: (S, 8), −1 where there is none. unit: (S, 3, 8). r: (S, 8). value, slope: (S, F, 8) table functions
    and derivatives. q, dq: (S, columns, 8) Q_lm and dQ_lm/dz. phase: (S, lmax + 1, 2, 8) of (x + iy)^m.
    y: (`TILE`, 2, 8). real, imag, adjoint_real, adjoint_imag: (nodes, 8). rho, drive: (ndensity, 8).
    facts: (4, 8): ρ of the core, factor of the adjoints, factor of the core's slope, extra slope of the
    nearest edge. nearest: (8,) slot of the edge that moves the switch of a `zbl` core, or −1.
    gradient: (5, 8).
    """

    edge: Integers
    unit: Floats
    r: Floats
    value: Floats
    slope: Floats
    q: Floats
    dq: Floats
    phase: Floats
    y: Floats
    real: Floats
    imag: Floats
    adjoint_real: Floats
    adjoint_imag: Floats
    rho: Floats
    drive: Floats
    facts: Floats
    nearest: Integers
    gradient: Floats


@njit(cache=True)  # type: ignore[untyped-decorator]
def evaluate_centres(
    atoms: Integers,
    centre: Centre,
    bonds: Bonds,
    recurrence: tuple[Floats, Floats],
    neighbours: Neighbours,
    room: Room,
    energies: Floats,
    forces: Floats,
    virial: Floats,
) -> None:
    """Write E_i of `atoms` (all of one species) to `energies` (n,); add to `forces` (n, 3) and `virial`.

    virial: (3, 3), Σ r⃗ ⊗ ∂E/∂r⃗.
    """
    leaves = len(room.real) - len(centre.inner)
    segments = np.empty(len(bonds.lmax) + 1, np.int64)
    for first in range(0, len(atoms), LANES):
        group = atoms[first : first + LANES]
        select(group, bonds.shape, neighbours, room, segments)
        radial(segments, bonds, room)
        if centre.screened:
            nearest_switch(segments, bonds, room)
        harmonics(segments, bonds.lmax, recurrence[0], recurrence[1], room)
        accumulate(segments, bonds, room)
        forward_inner(leaves, centre, room.real, room.imag)
        clear_adjoints(room)
        if len(room.rho) == 1:
            all_terms(centre, room)
        else:
            forward_terms(centre, room)
        _embed(group, centre, room, energies)
        if len(room.rho) > 1:
            backward_terms(centre, room)
        backward_inner(leaves, centre, room)
        edge_gradients(group, segments, bonds, neighbours, room, forces, virial)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _embed(group: Integers, centre: Centre, room: Room, energies: Floats) -> None:
    """Energies, and from them the factors of all derivatives; see `Room.facts`.

    With f the switch and ρ_c the core: E = f E_ACE + ρ_c, for `zbl` cores E = f E_ACE + (1 − f) ρ_c.
    """
    for lane in range(len(group)):
        core = room.facts[0, lane]
        if centre.screened:
            f, extra = room.facts[1, lane], room.facts[3, lane]
        else:
            f, extra = switch_point(core, centre.window[0], centre.window[1])
        energy = 0.0
        for p in range(len(centre.weights)):
            value, slope = embed_point(centre.embedding, room.rho[p, lane], centre.exponents[p])
            energy += centre.weights[p] * value
            room.drive[p, lane] = f * centre.weights[p] * slope
        room.facts[1, lane] = room.drive[0, lane] if len(centre.weights) == 1 else 1.0
        if centre.screened:
            energies[group[lane]] = f * energy + (1.0 - f) * core + centre.e0
            room.facts[2, lane] = 1.0 - f
            room.facts[3, lane] = (energy - core) * extra
        else:
            energies[group[lane]] = f * energy + core + centre.e0
            room.facts[2, lane] = energy * extra + 1.0
            room.facts[3, lane] = 0.0
