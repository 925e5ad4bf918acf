"""The product graph of eight centres: values forwards, adjoints backwards; see `pyacemaker.ace.kernels`."""

from typing import TYPE_CHECKING

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pyacemaker.ace.lanes import load, splat, store

if TYPE_CHECKING:
    from pyacemaker.ace.kernels import Centre, Room

Floats = NDArray[np.float64]


@njit(cache=True)  # type: ignore[untyped-decorator]
def forward_inner(leaves: int, centre: "Centre", real: Floats, imag: Floats) -> None:
    """The inner products from the leaves."""
    inner, signs = centre.inner, centre.inner_signs
    for k in range(len(inner)):
        a, b = inner[k, 0], inner[k, 1]
        a_real, b_real = load(real, (a,)), load(real, (b,))
        a_imag, b_imag = signs[k, 0] * load(imag, (a,)), signs[k, 1] * load(imag, (b,))
        store(real, (leaves + k,), a_real * b_real - a_imag * b_imag)
        store(imag, (leaves + k,), a_real * b_imag + a_imag * b_real)


@njit(cache=True)  # type: ignore[untyped-decorator]
def clear_adjoints(room: "Room") -> None:
    """Set the adjoints of all nodes to zero."""
    for node in range(len(room.real)):
        store(room.adjoint_real, (node,), splat(0.0))
        store(room.adjoint_imag, (node,), splat(0.0))


@njit(cache=True)  # type: ignore[untyped-decorator]
def backward_inner(leaves: int, centre: "Centre", room: "Room") -> None:
    """dE/dRe and dE/dIm of the leaves and inner nodes from those of the nodes above."""
    inner, signs = centre.inner, centre.inner_signs
    real, imag, to_real, to_imag = room.real, room.imag, room.adjoint_real, room.adjoint_imag
    for k in range(len(inner) - 1, -1, -1):
        a, b = inner[k, 0], inner[k, 1]
        up_real, up_imag = load(to_real, (leaves + k,)), load(to_imag, (leaves + k,))
        a_real, b_real = load(real, (a,)), load(real, (b,))
        a_imag, b_imag = signs[k, 0] * load(imag, (a,)), signs[k, 1] * load(imag, (b,))
        store(to_real, (a,), load(to_real, (a,)) + (up_real * b_real + up_imag * b_imag))
        store(to_imag, (a,), load(to_imag, (a,)) + signs[k, 0] * (up_imag * b_real - up_real * b_imag))
        store(to_real, (b,), load(to_real, (b,)) + (up_real * a_real + up_imag * a_imag))
        store(to_imag, (b,), load(to_imag, (b,)) + signs[k, 1] * (up_imag * a_real - up_real * a_imag))


@njit(cache=True)  # type: ignore[untyped-decorator]
def all_terms(centre: "Centre", room: "Room") -> None:
    """ρ += Σ_terms, and its derivatives by the nodes, for one density: both in one go."""
    real, imag, to_real, to_imag = room.real, room.imag, room.adjoint_real, room.adjoint_imag
    partners, weights = centre.partners, centre.term_weights
    rho = load(room.rho, (0,))
    for group in range(len(centre.heads)):
        head = centre.heads[group]
        a_real, a_imag = load(real, (head,)), load(imag, (head,))
        sum_real, sum_imag = splat(0.0), splat(0.0)
        for t in range(centre.starts[group], centre.starts[group + 1]):
            b, for_real, for_imag = partners[t], weights[t, 0, 0], weights[t, 0, 1]
            sum_real = sum_real + for_real * load(real, (b,))
            sum_imag = sum_imag + for_imag * load(imag, (b,))
            store(to_real, (b,), load(to_real, (b,)) + for_real * a_real)
            store(to_imag, (b,), load(to_imag, (b,)) + for_imag * a_imag)
        store(to_real, (head,), load(to_real, (head,)) + sum_real)
        store(to_imag, (head,), load(to_imag, (head,)) + sum_imag)
        rho = rho + (a_real * sum_real + a_imag * sum_imag)
    store(room.rho, (0,), rho)


@njit(cache=True)  # type: ignore[untyped-decorator]
def forward_terms(centre: "Centre", room: "Room") -> None:
    """ρ_p += Σ_terms."""
    real, imag, partners, weights = room.real, room.imag, centre.partners, centre.term_weights
    for p in range(len(room.rho)):
        rho = load(room.rho, (p,))
        for group in range(len(centre.heads)):
            sum_real, sum_imag = splat(0.0), splat(0.0)
            for t in range(centre.starts[group], centre.starts[group + 1]):
                b = partners[t]
                sum_real = sum_real + weights[t, p, 0] * load(real, (b,))
                sum_imag = sum_imag + weights[t, p, 1] * load(imag, (b,))
            head = centre.heads[group]
            rho = rho + (load(real, (head,)) * sum_real + load(imag, (head,)) * sum_imag)
        store(room.rho, (p,), rho)


@njit(cache=True)  # type: ignore[untyped-decorator]
def backward_terms(centre: "Centre", room: "Room") -> None:
    """Σ_p drive_p dρ_p/d(node), added to the adjoints of the nodes."""
    real, imag, to_real, to_imag = room.real, room.imag, room.adjoint_real, room.adjoint_imag
    partners, weights, drive = centre.partners, centre.term_weights, room.drive
    first = load(drive, (0,))
    for group in range(len(centre.heads)):
        head = centre.heads[group]
        a_real, a_imag = load(real, (head,)), load(imag, (head,))
        sum_real, sum_imag = splat(0.0), splat(0.0)
        for t in range(centre.starts[group], centre.starts[group + 1]):
            b = partners[t]
            for_real, for_imag = weights[t, 0, 0] * first, weights[t, 0, 1] * first
            for p in range(1, len(drive)):
                for_real = for_real + weights[t, p, 0] * load(drive, (p,))
                for_imag = for_imag + weights[t, p, 1] * load(drive, (p,))
            sum_real = sum_real + for_real * load(real, (b,))
            sum_imag = sum_imag + for_imag * load(imag, (b,))
            store(to_real, (b,), load(to_real, (b,)) + for_real * a_real)
            store(to_imag, (b,), load(to_imag, (b,)) + for_imag * a_imag)
        store(to_real, (head,), load(to_real, (head,)) + sum_real)
        store(to_imag, (head,), load(to_imag, (head,)) + sum_imag)
