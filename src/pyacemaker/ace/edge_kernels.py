"""What the edges of eight centres give and get: radial functions, harmonics, A, gradients.

See `pyacemaker.ace.kernels` for the arrays.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pyacemaker.ace.cores import core_point
from pyacemaker.ace.lanes import LANES, load, splat, spread, store
from pyacemaker.ace.radial import radial_point, switch_point

if TYPE_CHECKING:
    from pyacemaker.ace.kernels import Bonds, Neighbours, Room

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

TILE = 16
"""Slots of which A is summed at once: their radial functions stay in the fastest cache."""


@njit(cache=True)  # type: ignore[untyped-decorator]
def select(
    group: Integers, shape: Floats, neighbours: "Neighbours", room: "Room", segments: Integers
) -> None:
    """Give every edge within its bond's cutoff a slot; `segments` (N + 1,): the slots of each species."""
    free = _share_slots(group, shape, neighbours, segments)
    for slot in range(segments[-1]):
        for lane in range(LANES):
            room.edge[slot, lane] = -1
        for axis in range(3):
            store(room.unit, (slot, axis), splat(0.0))
    for lane in range(len(group)):
        for edge in range(neighbours.offsets[group[lane]], neighbours.offsets[group[lane] + 1]):
            nu, r = neighbours.species[neighbours.j[edge]], neighbours.distances[edge]
            if r < shape[nu, 0]:
                slot = free[nu, lane]
                free[nu, lane] += 1
                room.edge[slot, lane] = edge
                room.r[slot, lane] = r
                for axis in range(3):
                    room.unit[slot, axis, lane] = neighbours.vectors[edge, axis] / r


@njit(cache=True)  # type: ignore[untyped-decorator]
def _share_slots(group: Integers, shape: Floats, neighbours: "Neighbours", segments: Integers) -> Integers:
    """Fill `segments`; returns (N, 8), the first slot of each species for each centre."""
    counts = np.zeros((len(shape), LANES), np.int64)
    for lane in range(len(group)):
        for edge in range(neighbours.offsets[group[lane]], neighbours.offsets[group[lane] + 1]):
            nu = neighbours.species[neighbours.j[edge]]
            if neighbours.distances[edge] < shape[nu, 0]:
                counts[nu, lane] += 1
    segments[0] = 0
    for nu in range(len(shape)):
        segments[nu + 1] = segments[nu]
        for lane in range(LANES):
            segments[nu + 1] = max(segments[nu + 1], segments[nu] + counts[nu, lane])
            counts[nu, lane] = segments[nu]
    return counts


@njit(cache=True)  # type: ignore[untyped-decorator]
def radial(segments: Integers, bonds: "Bonds", room: "Room") -> None:
    """Table functions and their derivatives; sums over the slots of the rank-1 part (ρ) and of the core."""
    densities = len(room.rho)
    for nu in range(len(bonds.lmax)):
        _look_up(nu, segments[nu], segments[nu + 1], densities, bonds, room)
    for p in range(densities + 1):
        total = splat(0.0)
        for slot in range(segments[-1]):
            total = total + load(room.value, (slot, p))
        if p < densities:
            store(room.rho, (p,), total)
        else:
            store(room.facts, (0,), total)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _look_up(nu: int, begin: int, end: int, densities: int, bonds: "Bonds", room: "Room") -> None:
    """The functions and derivatives of the edges in some slots; zeros where a slot has none."""
    functions, chunks = room.value.shape[1], (bonds.functions[nu] + LANES - 1) // LANES
    inverse, first, last = bonds.inverse_step[nu], bonds.first_bin[nu], bonds.first_bin[nu + 1] - 1
    for slot in range(begin, end):
        for lane in range(LANES):
            if room.edge[slot, lane] < 0:
                room.r[slot, lane] = 1.0
                for f in range(functions):
                    room.value[slot, f, lane] = 0.0
                    room.slope[slot, f, lane] = 0.0
                continue
            position = room.r[slot, lane] * inverse
            b = min(first + int(position), last)
            if bonds.exact[b]:
                _radial_exact(bonds, nu, densities, room, slot, lane)
                continue
            t = position - (b - first)
            for chunk in range(chunks):
                value, slope = _quintic(bonds.table, b, chunk, t)
                place = (slot * functions + chunk * LANES) * LANES
                spread(room.value, place, LANES, lane, value)
                spread(room.slope, place, LANES, lane, slope * inverse)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _quintic(table: Floats, b: int, chunk: int, t: float) -> tuple[Floats, Floats]:
    """Eight table functions at t in bin b, and their derivatives with respect to t."""
    slope = load(table, (b, 5, chunk))
    value = slope * t + load(table, (b, 4, chunk))
    slope = slope * t + value
    value = value * t + load(table, (b, 3, chunk))
    slope = slope * t + value
    value = value * t + load(table, (b, 2, chunk))
    slope = slope * t + value
    value = value * t + load(table, (b, 1, chunk))
    slope = slope * t + value
    value = value * t + load(table, (b, 0, chunk))
    return value, slope


@njit(cache=True)  # type: ignore[untyped-decorator]
def _radial_exact(bonds: "Bonds", nu: int, densities: int, room: "Room", slot: int, lane: int) -> None:
    r, size = room.r[slot, lane], bonds.nradbase[nu]
    g, dg = np.empty(size), np.empty(size)
    rcut, dcut, lam, rcut_in, dcut_in = bonds.shape[nu]
    radial_point(bonds.kind[nu], r, rcut, dcut, lam, g, dg)
    if bonds.is_cut[nu]:
        inner, dinner = switch_point(r, rcut_in, dcut_in)
        for k in range(size):
            dg[k] = dg[k] * (1.0 - inner) - g[k] * dinner
            g[k] *= 1.0 - inner
    for f in range(bonds.functions[nu]):
        total, dtotal = 0.0, 0.0
        for k in range(size):
            total += bonds.combine[nu, f, k] * g[k]
            dtotal += bonds.combine[nu, f, k] * dg[k]
        if f == densities:
            total, dtotal = core_point(bonds.core[nu], r)
        room.value[slot, f, lane] = total
        room.slope[slot, f, lane] = dtotal


@njit(cache=True)  # type: ignore[untyped-decorator]
def nearest_switch(segments: Integers, bonds: "Bonds", room: "Room") -> None:
    """The switch f of `zbl` cores (facts 1), its derivative (facts 3) along the nearest edge, its slot.

    Among equally near edges the first in the list of edges counts.
    """
    for lane in range(LANES):
        nearest, closest, width = -1, math.inf, 0.0
        for nu in range(len(bonds.lmax)):
            start, wide = bonds.core[nu, 5], bonds.core[nu, 6]
            for slot in range(segments[nu], segments[nu + 1]):
                edge, excess = room.edge[slot, lane], room.r[slot, lane] - start + wide
                if edge >= 0 and (
                    excess < closest or (excess == closest and edge < room.edge[nearest, lane])
                ):
                    nearest, closest, width = slot, excess, wide
        room.facts[1, lane], room.facts[3, lane], room.nearest[lane] = 1.0, 0.0, -1
        if nearest >= 0 and closest < width:
            f, slope = switch_point(width - closest, width, width)
            room.facts[1, lane], room.facts[3, lane], room.nearest[lane] = f, -slope, nearest


@njit(cache=True)  # type: ignore[untyped-decorator]
def harmonics(segments: Integers, lmaxes: Integers, alpha: Floats, beta: Floats, room: "Room") -> None:
    """Q_lm, dQ_lm/dz and (x + iy)^m; the recurrence of `pyacemaker.ace.angular`."""
    q, dq, phase = room.q, room.dq, room.phase
    for nu in range(len(lmaxes)):
        lmax = lmaxes[nu]
        for slot in range(segments[nu], segments[nu + 1]):
            x, y, z = load(room.unit, (slot, 0)), load(room.unit, (slot, 1)), load(room.unit, (slot, 2))
            real, imag = splat(1.0), splat(0.0)
            for m in range(lmax + 1):
                store(phase, (slot, m, 0), real)
                store(phase, (slot, m, 1), imag)
                real, imag = real * x - imag * y, imag * x + real * y
                here = m * (m + 1) // 2 + m
                last, before = splat(alpha[here]), splat(0.0)
                dlast, dbefore = splat(0.0), splat(0.0)
                store(q, (slot, here), last)
                store(dq, (slot, here), dlast)
                for ell in range(m + 1, lmax + 1):
                    here = ell * (ell + 1) // 2 + m
                    now = alpha[here] * (z * last + beta[here] * before)
                    dnow = alpha[here] * (last + z * dlast + beta[here] * dbefore)
                    store(q, (slot, here), now)
                    store(dq, (slot, here), dnow)
                    last, before, dlast, dbefore = now, last, dnow, dlast


@njit(cache=True)  # type: ignore[untyped-decorator]
def accumulate(segments: Integers, bonds: "Bonds", room: "Room") -> None:
    """A_nlm = Σ_j R_nl Y_lm, the leaves of the product graph."""
    for nu in range(len(bonds.lmax)):
        first, last = bonds.channels[nu, 0], bonds.channels[nu, -1]
        for ell in range(bonds.first_leaf.shape[1]):
            count = bonds.channels[nu, ell + 1] - bonds.channels[nu, ell]
            begin = bonds.first_leaf[nu, ell]
            for leaf in range(begin, begin + count * (ell + 1)):
                store(room.real, (leaf,), splat(0.0))
                store(room.imag, (leaf,), splat(0.0))
        if first == last:
            continue
        for begin in range(segments[nu], segments[nu + 1], TILE):
            end = min(begin + TILE, segments[nu + 1])
            for ell in range(bonds.lmax[nu] + 1):
                if bonds.channels[nu, ell + 1] > bonds.channels[nu, ell]:
                    _add_tile(nu, ell, begin, end, bonds, room)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _add_tile(nu: int, ell: int, begin: int, end: int, bonds: "Bonds", room: "Room") -> None:
    """The share of some slots in the A_nlm of one l."""
    start, stop = bonds.channels[nu, ell], bonds.channels[nu, ell + 1]
    leaf, value, y = bonds.first_leaf[nu, ell], room.value, room.y
    column = ell * (ell + 1) // 2
    for channel in range(start, stop):
        total, f, k = load(room.real, (leaf,)), bonds.columns[channel], column
        for slot in range(begin, end):
            total = total + load(value, (slot, f)) * load(room.q, (slot, k))
        store(room.real, (leaf,), total)
        leaf += 1
    for m in range(1, ell + 1):
        for slot in range(begin, end):
            q = load(room.q, (slot, column + m))
            store(y, (slot - begin, 0), q * load(room.phase, (slot, m, 0)))
            store(y, (slot - begin, 1), q * load(room.phase, (slot, m, 1)))
        for channel in range(start, stop):
            real, imag, f = load(room.real, (leaf,)), load(room.imag, (leaf,)), bonds.columns[channel]
            for slot in range(begin, end):
                r = load(value, (slot, f))
                real = real + r * load(y, (slot - begin, 0))
                imag = imag + r * load(y, (slot - begin, 1))
            store(room.real, (leaf,), real)
            store(room.imag, (leaf,), imag)
            leaf += 1


@njit(cache=True)  # type: ignore[untyped-decorator]
def edge_gradients(
    group: Integers,
    segments: Integers,
    bonds: "Bonds",
    neighbours: "Neighbours",
    room: "Room",
    forces: Floats,
    virial: Floats,
) -> None:
    """∂E_i/∂r⃗ of every edge, added up to forces and virial."""
    densities = len(room.drive)
    factor, core = load(room.facts, (1,)), load(room.facts, (2,))
    for nu in range(len(bonds.lmax)):
        for slot in range(segments[nu], segments[nu + 1]):
            along, gx, gy, gz = _leaf_gradients(nu, slot, bonds, room)
            along, gx, gy, gz = along * factor, gx * factor, gy * factor, gz * factor
            for p in range(densities):
                along = along + load(room.drive, (p,)) * load(room.slope, (slot, p))
            along = along + core * load(room.slope, (slot, densities))
            x, y, z = load(room.unit, (slot, 0)), load(room.unit, (slot, 1)), load(room.unit, (slot, 2))
            store(room.gradient, (0,), along)
            store(room.gradient, (1,), gx)
            store(room.gradient, (2,), gy)
            store(room.gradient, (3,), gz)
            store(room.gradient, (4,), gx * x + gy * y + gz * z)
            _scatter(group, slot, neighbours, room, forces, virial)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _leaf_gradients(
    nu: int, slot: int, bonds: "Bonds", room: "Room"
) -> tuple[Floats, Floats, Floats, Floats]:
    """Σ over leaves of adjoint × derivative: along the edge by R, and on the unit sphere by Y."""
    to_real, to_imag, value, slope = room.adjoint_real, room.adjoint_imag, room.value, room.slope
    along, gx, gy, gz = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
    for ell in range(bonds.lmax[nu] + 1):
        start, stop = bonds.channels[nu, ell], bonds.channels[nu, ell + 1]
        if start == stop:
            continue
        leaf, here = bonds.first_leaf[nu, ell], ell * (ell + 1) // 2
        w_real, u_real = splat(0.0), splat(0.0)
        for channel in range(start, stop):
            real, f = load(to_real, (leaf,)), bonds.columns[channel]
            w_real = w_real + real * load(value, (slot, f))
            u_real = u_real + real * load(slope, (slot, f))
            leaf += 1
        along = along + u_real * load(room.q, (slot, here))
        gz = gz + w_real * load(room.dq, (slot, here))
        for m in range(1, ell + 1):
            w_real, u_real, w_imag, u_imag = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
            for channel in range(start, stop):
                real, imag, f = load(to_real, (leaf,)), load(to_imag, (leaf,)), bonds.columns[channel]
                r, dr = load(value, (slot, f)), load(slope, (slot, f))
                w_real = w_real + real * r
                w_imag = w_imag + imag * r
                u_real = u_real + real * dr
                u_imag = u_imag + imag * dr
                leaf += 1
            q = load(room.q, (slot, here + m))
            phase_real, phase_imag = load(room.phase, (slot, m, 0)), load(room.phase, (slot, m, 1))
            along = along + q * (u_real * phase_real + u_imag * phase_imag)
            gz = gz + load(room.dq, (slot, here + m)) * (w_real * phase_real + w_imag * phase_imag)
            phase_real, phase_imag = load(room.phase, (slot, m - 1, 0)), load(room.phase, (slot, m - 1, 1))
            q = q * float(m)
            gx = gx + q * (w_real * phase_real + w_imag * phase_imag)
            gy = gy + q * (w_imag * phase_real - w_real * phase_imag)
    return along, gx, gy, gz


@njit(cache=True)  # type: ignore[untyped-decorator]
def _scatter(
    group: Integers, slot: int, neighbours: "Neighbours", room: "Room", forces: Floats, virial: Floats
) -> None:
    """Add the gradients along the edges of one slot up."""
    for lane in range(len(group)):
        edge = room.edge[slot, lane]
        if edge < 0:
            continue
        inverse = 1.0 / room.r[slot, lane]
        along = room.gradient[0, lane] - room.gradient[4, lane] * inverse
        if room.nearest[lane] == slot:
            along += room.facts[3, lane]
        i, j = group[lane], neighbours.j[edge]
        for axis in range(3):
            g = along * room.unit[slot, axis, lane] + room.gradient[1 + axis, lane] * inverse
            forces[i, axis] += g
            forces[j, axis] -= g
            for other in range(3):
                virial[other, axis] += neighbours.vectors[edge, other] * g
