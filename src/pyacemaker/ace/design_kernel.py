"""The compiled part of the design matrix: every basis function of an atom, and its gradients.

For one atom, the components a_c = Σ_j R(r_j) Y(r̂_j) (`pyacemaker.ace.design_tables`) and the matrix D of
their derivatives with respect to everything that has a row are tabulated once; what an atom's images or the
virial add up to is added up there. A function then has the rows W · D, W_c = ∂B/∂a_c.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pyacemaker.ace.design_products import products
from pyacemaker.ace.design_tables import FUNCTIONS, LOCAL, WEIGHTS

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Sites(NamedTuple):
    """Some atoms of one species with their edges (P of all atoms), and the rows they add to.

    atoms: (n, N + 1) first edge of each neighbour species, and the end. vectors: (P, 3). distances: (P,).
    radial, slope: (channels, P). switch: (n,) f. switch_slope: (P,) df/dr, 1/Å. atom_rows: (n, 3) rows of the
    energy, of the atom's force and of the virial (−1: none). force_rows: (P,) row of the neighbour's force.
    """

    atoms: Integers
    vectors: Floats
    distances: Floats
    radial: Floats
    slope: Floats
    switch: Floats
    switch_slope: Floats
    atom_rows: Integers
    force_rows: Integers


class Room(NamedTuple):
    """What every atom reuses, for up to J neighbours.

    apart: (J, 4) vectors to the neighbours, and 1. unit: (3, J). y: (2, lm, J) real and imaginary part of
    Y_lm. yu, dy: (2, 3, lm, J) Y times the unit vector, and ∂Y/∂r. q, dq: (lm, J). phase: (2, lmax + 1, J).
    g: (3 C J,) room for derivatives along edges. slot: (J,) column of each edge's target. a: (C,). d: (C T,)
    room for D. runs: (J + 3, 2) stretches of consecutive rows: the first row, and the column where it starts.
    values: (functions,). weights: all blocks' W, (functions, components) each.
    """

    apart: Floats
    unit: Floats
    y: Floats
    yu: Floats
    dy: Floats
    q: Floats
    dq: Floats
    phase: Floats
    g: Floats
    slot: Integers
    a: Floats
    d: Floats
    runs: Integers
    values: Floats
    weights: Floats


class Reach(NamedTuple):
    """The rows that one atom adds to. width: T. runs: how many. home: column of the atom's own force."""

    width: int
    runs: int
    home: int
    virial: bool


@njit(cache=True)
def make_room(tables, atoms):  # type: ignore[no-untyped-def]
    """Room for the largest of some atoms."""
    most = 1
    for a in range(len(atoms)):
        most = max(most, atoms[a, -1] - atoms[a, 0])
    columns = (tables.lmax + 1) * (tables.lmax + 2) // 2
    width, components = 3 * (most + 1) + 6, len(tables.components)
    return Room(
        np.empty((most, 4)),
        np.empty((3, most)),
        np.empty((2, columns, most)),
        np.empty((2, 3, columns, most)),
        np.empty((2, 3, columns, most)),
        np.empty((columns, most)),
        np.empty((columns, most)),
        np.empty((2, tables.lmax + 1, most)),
        np.empty(3 * max(1, components) * most),
        np.empty(most, np.int64),
        np.empty(components),
        np.empty(components * width),
        np.empty((most + 3, 2), np.int64),
        np.empty(tables.functions),
        np.empty(tables.blocks[-1, WEIGHTS]),
    )


@njit(cache=True)
def neighbourhood(tables, sites, atom, room):  # type: ignore[no-untyped-def]
    """Fill `a` and D; returns D (C, T) and the rows that its columns belong to."""
    begin, end = sites.atoms[atom, 0], sites.atoms[atom, -1]
    count, components = end - begin, len(tables.components)
    sums(tables, sites, atom, room)
    _harmonic_slopes(tables, count, sites.distances[begin:end], room)
    reach = _targets(sites, atom, room)
    g = room.g[: 3 * components * count].reshape(components, 3, count)
    for c in range(components):
        mu, channel, column, part = tables.components[c]
        first, last = sites.atoms[atom, mu] - begin, sites.atoms[atom, mu + 1] - begin
        g[c, :, :first] = 0.0
        g[c, :, last:] = 0.0
        r = sites.radial[channel, begin + first : begin + last]
        dr = sites.slope[channel, begin + first : begin + last]
        for axis in range(3):
            yu, dy = room.yu[part, axis, column, first:last], room.dy[part, axis, column, first:last]
            out = g[c, axis, first:last]
            for j in range(last - first):
                out[j] = dr[j] * yu[j] + r[j] * dy[j]
    d = room.d[: components * reach.width].reshape(components, reach.width)
    _gather(room, reach, g, d)
    return d, reach


@njit(cache=True)
def switch_rows(sites, atom, room, reach, out):  # type: ignore[no-untyped-def]
    """The derivatives of f, as a row of D, into `out` (T,); returns whether any differs from 0."""
    begin, end = sites.atoms[atom, 0], sites.atoms[atom, -1]
    slope = sites.switch_slope[begin:end]
    if not np.any(slope != 0.0):
        out[:] = 0.0
        return False
    g = room.g[: 3 * len(slope)].reshape(1, 3, len(slope))
    for axis in range(3):
        for j in range(len(slope)):
            g[0, axis, j] = slope[j] * room.unit[axis, j]
    _gather(room, reach, g, out.reshape(1, -1))
    return True


@njit(cache=True)
def sums(tables, sites, atom, room):  # type: ignore[no-untyped-def]
    """a_c = Σ_j R(r_j) Y(r̂_j)."""
    begin, end = sites.atoms[atom, 0], sites.atoms[atom, -1]
    for j in range(end - begin):
        inverse = 1.0 / sites.distances[begin + j]
        room.apart[j, 3] = 1.0
        for c in range(3):
            room.apart[j, c] = sites.vectors[begin + j, c]
            room.unit[c, j] = sites.vectors[begin + j, c] * inverse
    _harmonics(tables, end - begin, room)
    for c in range(len(tables.components)):
        mu, channel, column, part = tables.components[c]
        first, last = sites.atoms[atom, mu] - begin, sites.atoms[atom, mu + 1] - begin
        r, y = sites.radial[channel, begin + first : begin + last], room.y[part, column, first:last]
        even, odd, whole = 0.0, 0.0, (last - first) // 2 * 2
        for j in range(0, whole, 2):
            even += r[j] * y[j]
            odd += r[j + 1] * y[j + 1]
        if whole < last - first:
            even += r[whole] * y[whole]
        room.a[c] = even + odd


@njit(cache=True)
def _harmonics(tables, count, room):  # type: ignore[no-untyped-def]
    """Y_lm = Q_lm(z) (x + iy)^m."""
    x, y = room.unit[0], room.unit[1]
    q, phase = room.q, room.phase
    _legendre(tables, count, room.unit[2], q, room.dq)
    phase[0, 0, :count] = 1.0
    phase[1, 0, :count] = 0.0
    for m in range(1, tables.lmax + 1):
        for j in range(count):
            phase[0, m, j] = phase[0, m - 1, j] * x[j] - phase[1, m - 1, j] * y[j]
            phase[1, m, j] = phase[0, m - 1, j] * y[j] + phase[1, m - 1, j] * x[j]
    for ell in range(tables.lmax + 1):
        for m in range(ell + 1):
            here = ell * (ell + 1) // 2 + m
            for j in range(count):
                room.y[0, here, j] = q[here, j] * phase[0, m, j]
                room.y[1, here, j] = q[here, j] * phase[1, m, j]


@njit(cache=True)
def _legendre(tables, count, z, q, dq):  # type: ignore[no-untyped-def]
    """Q_lm and dQ_lm/dz by the recurrence in l; see `pyacemaker.ace.angular`."""
    for m in range(tables.lmax + 1):
        here = m * (m + 1) // 2 + m
        before, last = here, here
        for j in range(count):
            q[here, j] = tables.alpha[here]
            dq[here, j] = 0.0
        for ell in range(m + 1, tables.lmax + 1):
            here = ell * (ell + 1) // 2 + m
            alpha, beta = tables.alpha[here], tables.beta[here]
            for j in range(count):
                q[here, j] = alpha * (z[j] * q[last, j] + beta * q[before, j])
                dq[here, j] = alpha * (q[last, j] + z[j] * dq[last, j] + beta * dq[before, j])
            before, last = last, here


@njit(cache=True)
def _harmonic_slopes(tables, count, distances, room):  # type: ignore[no-untyped-def]
    """Y times the unit vector, and ∂Y/∂r: the gradient at |r| = 1 without its radial part, over r."""
    ux, uy, uz = room.unit[0], room.unit[1], room.unit[2]
    for ell in range(tables.lmax + 1):
        for m in range(ell + 1):
            here, lower = ell * (ell + 1) // 2 + m, max(m - 1, 0)
            for part in range(1 if m == 0 else 2):
                sign = -1.0 if part == 0 else 1.0
                q, dq = room.q[here], room.dq[here]
                same, other = room.phase[part, lower], room.phase[1 - part, lower]
                phase, y = room.phase[part, m], room.y[part, here]
                yu, dy = room.yu[part, :, here], room.dy[part, :, here]
                for j in range(count):
                    gx, gy, gz = m * q[j] * same[j], sign * m * q[j] * other[j], dq[j] * phase[j]
                    radial = gx * ux[j] + gy * uy[j] + gz * uz[j]
                    inverse = 1.0 / distances[j]
                    dy[0, j] = (gx - radial * ux[j]) * inverse
                    dy[1, j] = (gy - radial * uy[j]) * inverse
                    dy[2, j] = (gz - radial * uz[j]) * inverse
                    yu[0, j] = y[j] * ux[j]
                    yu[1, j] = y[j] * uy[j]
                    yu[2, j] = y[j] * uz[j]


@njit(cache=True)
def _targets(sites, atom, room):  # type: ignore[no-untyped-def]
    """Lay out the rows of the atoms that the edges reach, the centre among them, in ascending order.

    Fills `slot` and `runs`.
    """
    begin, end = sites.atoms[atom, 0], sites.atoms[atom, -1]
    centre, virial = sites.atom_rows[atom, 1], sites.atom_rows[atom, 2]
    rows = np.empty(end - begin + 1, np.int64)
    rows[:-1] = sites.force_rows[begin:end]
    rows[-1] = centre
    rows.sort()
    count, width, after = 0, 0, -1  # after: the row that would continue the run
    for row in rows:
        if row > after:
            room.runs[count, 0], room.runs[count, 1] = row, width
            count += 1
        if row >= after:
            width, after = width + 3, row + 3
    starts, columns = room.runs[:count, 0], room.runs[:count, 1]
    for j in range(end - begin):
        row = sites.force_rows[begin + j]
        run = np.searchsorted(starts, row, side="right") - 1
        room.slot[j] = columns[run] + row - starts[run]
    run = np.searchsorted(starts, centre, side="right") - 1
    home = columns[run] + centre - starts[run]
    if virial >= 0:
        room.runs[count, 0], room.runs[count, 1] = virial, width
        count, width = count + 1, width + 6
    room.runs[count, 1] = width
    return Reach(width, count, home, virial >= 0)


@njit(cache=True)
def _gather(room, reach, g, out):  # type: ignore[no-untyped-def]
    """Turn derivatives g (n, 3, J) along edges into those of force rows (negative) and of the virial (n, T).

    The virial rows are Σ r ⊗ g: xx, yy, zz, yz, xz, xy.
    """
    n, _, count = g.shape
    total = np.dot(g.reshape(3 * n, count), room.apart[:count]).reshape(n, 3, 4)
    for c in range(n):
        row, gx, gy, gz = out[c], g[c, 0], g[c, 1], g[c, 2]
        row[:] = 0.0
        for j in range(count):
            place = room.slot[j]
            row[place] -= gx[j]
            row[place + 1] -= gy[j]
            row[place + 2] -= gz[j]
        for axis in range(3):
            row[reach.home + axis] += total[c, axis, 3]
        if reach.virial:
            for axis in range(3):
                row[axis - 6] = total[c, axis, axis]
            row[-3] = 0.5 * (total[c, 1, 2] + total[c, 2, 1])
            row[-2] = 0.5 * (total[c, 0, 2] + total[c, 2, 0])
            row[-1] = 0.5 * (total[c, 0, 1] + total[c, 1, 0])


@njit(cache=True, forceinline=True)
def combine(weight, local, d, out):  # type: ignore[no-untyped-def]
    """out = Σ_c weight_c D[local_c], four at a time."""
    width, whole = len(out), len(local) - len(local) % 4
    out[:] = 0.0
    for c in range(0, whole, 4):
        w0, w1, w2, w3 = weight[c], weight[c + 1], weight[c + 2], weight[c + 3]
        d0, d1, d2, d3 = d[local[c]], d[local[c + 1]], d[local[c + 2]], d[local[c + 3]]
        for k in range(width):
            out[k] += (w0 * d0[k] + w1 * d1[k]) + (w2 * d2[k] + w3 * d3[k])
    for c in range(whole, len(local)):
        w0, d0 = weight[c], d[local[c]]
        for k in range(width):
            out[k] += w0 * d0[k]


@njit(cache=True)
def spread(tables, room, reach, d, energy_row, scale, extra, out):  # type: ignore[no-untyped-def]
    """Add scale_p B and scale_p ∂B + B extra_p of every function to the rows of P densities.

    scale: (P,). extra: (P, T), or (P, 0) for zeros. out: (P, functions, rows).
    """
    gradient = np.empty(reach.width)
    for b in range(len(tables.blocks) - 1):
        here, after = tables.blocks[b], tables.blocks[b + 1]
        local = tables.local[here[LOCAL] : after[LOCAL]]
        weights = room.weights[here[WEIGHTS] : after[WEIGHTS]].reshape(-1, len(local))
        for f in range(len(weights)):
            function = here[FUNCTIONS] + f
            value = room.values[function]
            combine(weights[f], local, d, gradient)
            for p in range(len(scale)):
                row = out[p, function]
                row[energy_row] += scale[p] * value
                add_row(room, reach, gradient, scale[p], value, extra[p], row)


@njit(cache=True, forceinline=True)
def add_row(room, reach, gradient, scale, value, extra, row):  # type: ignore[no-untyped-def]
    """Add scale · gradient + value · extra to a row, run by run. extra: (T,), or (0,) for zeros."""
    for run in range(reach.runs):
        start, first, last = room.runs[run, 0], room.runs[run, 1], room.runs[run + 1, 1]
        out, part = row[start : start + last - first], gradient[first:last]
        if len(extra):
            other = extra[first:last]
            for k in range(last - first):
                out[k] += scale * part[k] + value * other[k]
        else:
            for k in range(last - first):
                out[k] += scale * part[k]


@njit(cache=True)
def accumulate_atoms(tables, sites, out):  # type: ignore[no-untyped-def]
    """Add the functions of all sites, times f, to their rows. out: (1, functions, rows)."""
    room = make_room(tables, sites.atoms)
    scale = np.empty(1)
    for atom in range(len(sites.atoms)):
        d, reach = neighbourhood(tables, sites, atom, room)
        products(tables, room.a, room.values, room.weights, True)
        scale[0] = sites.switch[atom]
        extra = np.empty((1, reach.width))
        if not switch_rows(sites, atom, room, reach, extra[0]):
            extra = extra[:, :0]
        spread(tables, room, reach, d, sites.atom_rows[atom, 0], scale, extra, out)


@njit(cache=True)
def accumulate_values(tables, sites, out):  # type: ignore[no-untyped-def]
    """Write the functions of all sites to `out` (n, functions)."""
    room = make_room(tables, sites.atoms)
    for atom in range(len(sites.atoms)):
        sums(tables, sites, atom, room)
        products(tables, room.a, out[atom], room.weights, False)
