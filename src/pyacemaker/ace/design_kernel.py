"""The compiled part of the design matrix: every basis function of an atom, and its gradients.

For one atom, the components a_c = Σ_j R(r_j) Y(r̂_j) (`pyacemaker.ace.design_tables`) and the matrix D of
their derivatives with respect to everything that has a row are tabulated once; what an atom's images or the
virial add up to is added up there. A function then has the rows W · D, W_c = ∂B/∂a_c.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pyacemaker.ace.design_tables import COUPLING, FACTORS, FUNCTIONS, LOCAL, PRODUCTS, RANK, WEIGHTS
from pyacemaker.ace.model import MAX_RANK

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

    apart, unit: (3, J). y: (2, lm, J) real and imaginary part of Y_lm. yu, dy: (2, 3, lm, J) Y times the unit
    vector, and ∂Y/∂r. q, dq: (lm, J). phase: (2, lmax + 1, J). g: (3, J). slot: (J,) target of each edge.
    a: (C,). d: (C, T) rows of D. column: (T,) where they go. values: (functions,). weights: all blocks' W,
    (functions, components) each.
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
    column: Integers
    values: Floats
    weights: Floats


@njit(cache=True)
def make_room(tables, atoms):  # type: ignore[no-untyped-def]
    """Room for the largest of some atoms."""
    most = 1
    for a in range(len(atoms)):
        most = max(most, atoms[a, -1] - atoms[a, 0])
    columns, width = (tables.lmax + 1) * (tables.lmax + 2) // 2, 3 * (most + 1) + 6
    return Room(
        np.empty((3, most)),
        np.empty((3, most)),
        np.empty((2, columns, most)),
        np.empty((2, 3, columns, most)),
        np.empty((2, 3, columns, most)),
        np.empty((columns, most)),
        np.empty((columns, most)),
        np.empty((2, tables.lmax + 1, most)),
        np.empty((3, most)),
        np.empty(most, np.int64),
        np.empty(len(tables.components)),
        np.empty((len(tables.components), width)),
        np.empty(width, np.int64),
        np.empty(tables.functions),
        np.empty(tables.blocks[-1, WEIGHTS]),
    )


@njit(cache=True)
def neighbourhood(tables, sites, atom, room, gradients):  # type: ignore[no-untyped-def]
    """Fill `a`, and with `gradients` D and `column`.

    Returns the number of D's columns and the number of the centre among the atoms that it reaches.
    """
    begin, end = sites.atoms[atom, 0], sites.atoms[atom, -1]
    count = end - begin
    for j in range(count):
        inverse = 1.0 / sites.distances[begin + j]
        for c in range(3):
            room.apart[c, j] = sites.vectors[begin + j, c]
            room.unit[c, j] = sites.vectors[begin + j, c] * inverse
    _harmonics(tables, count, room)
    if not gradients:
        _sums(tables, sites, atom, room)
        return 0, 0
    _harmonic_slopes(tables, count, sites.distances[begin:end], room)
    _sums(tables, sites, atom, room)
    width, home = _targets(sites, atom, room)
    for c in range(len(tables.components)):
        mu, channel, column, part = tables.components[c]
        first, last = sites.atoms[atom, mu] - begin, sites.atoms[atom, mu + 1] - begin
        r, dr = (
            sites.radial[channel, begin + first : begin + last],
            sites.slope[channel, begin + first : begin + last],
        )
        for axis in range(3):
            yu, dy, g = (
                room.yu[part, axis, column, first:last],
                room.dy[part, axis, column, first:last],
                room.g[axis, first:last],
            )
            for j in range(last - first):
                g[j] = dr[j] * yu[j] + r[j] * dy[j]
        fold(room, first, last, home, room.d[c, :width], sites.atom_rows[atom, 2] >= 0)
    return width, home


@njit(cache=True)
def switch_rows(sites, atom, room, width, home, out):  # type: ignore[no-untyped-def]
    """∂f/∂ of everything that has a row, into `out` (T,); returns whether f is anything but constant."""
    begin, end = sites.atoms[atom, 0], sites.atoms[atom, -1]
    slope = sites.switch_slope[begin:end]
    if not np.any(slope != 0.0):
        out[:width] = 0.0
        return False
    for axis in range(3):
        for j in range(end - begin):
            room.g[axis, j] = slope[j] * room.unit[axis, j]
    fold(room, 0, end - begin, home, out[:width], sites.atom_rows[atom, 2] >= 0)
    return True


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
def _sums(tables, sites, atom, room):  # type: ignore[no-untyped-def]
    """a_c = Σ_j R(r_j) Y(r̂_j)."""
    begin = sites.atoms[atom, 0]
    for c in range(len(tables.components)):
        mu, channel, column, part = tables.components[c]
        first, last = sites.atoms[atom, mu] - begin, sites.atoms[atom, mu + 1] - begin
        r, y = sites.radial[channel, begin + first : begin + last], room.y[part, column, first:last]
        total = 0.0
        for j in range(last - first):
            total += r[j] * y[j]
        room.a[c] = total


@njit(cache=True)
def _targets(sites, atom, room):  # type: ignore[no-untyped-def]
    """Number the atoms that the edges reach, the centre among them, in the order of their rows.

    Fills `slot` and `column`; returns the number of columns (three for each atom, six for the virial) and the
    number of the centre.
    """
    begin, end = sites.atoms[atom, 0], sites.atoms[atom, -1]
    centre, virial = sites.atom_rows[atom, 1], sites.atom_rows[atom, 2]
    rows = np.empty(end - begin + 1, np.int64)
    rows[: end - begin] = sites.force_rows[begin:end]
    rows[-1] = centre
    rows.sort()
    count = 0
    for k in range(len(rows)):
        if k == 0 or rows[k] != rows[k - 1]:
            rows[count] = rows[k]
            count += 1
    for k in range(count):
        for axis in range(3):
            room.column[3 * k + axis] = rows[k] + axis
    for j in range(end - begin):
        room.slot[j] = np.searchsorted(rows[:count], sites.force_rows[begin + j])
    home = np.searchsorted(rows[:count], centre)
    if virial < 0:
        return 3 * count, home
    for k in range(6):
        room.column[3 * count + k] = virial + k
    return 3 * count + 6, home


@njit(cache=True)
def fold(room, first, last, home, out, virial):  # type: ignore[no-untyped-def]
    """Turn derivatives `g` along edges into those of force rows (negative) and of the virial.

    The virial rows are Σ r ⊗ g: xx, yy, zz, yz, xz, xy.
    """
    gx, gy, gz = room.g[0], room.g[1], room.g[2]
    out[:] = 0.0
    sx, sy, sz = 0.0, 0.0, 0.0
    for j in range(first, last):
        place = 3 * room.slot[j]
        out[place] -= gx[j]
        out[place + 1] -= gy[j]
        out[place + 2] -= gz[j]
        sx += gx[j]
        sy += gy[j]
        sz += gz[j]
    out[3 * home] += sx
    out[3 * home + 1] += sy
    out[3 * home + 2] += sz
    if virial:
        x, y, z = room.apart[0], room.apart[1], room.apart[2]
        xx, yy, zz, yz, xz, xy = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for j in range(first, last):
            xx += x[j] * gx[j]
            yy += y[j] * gy[j]
            zz += z[j] * gz[j]
            yz += y[j] * gz[j] + z[j] * gy[j]
            xz += x[j] * gz[j] + z[j] * gx[j]
            xy += x[j] * gy[j] + y[j] * gx[j]
        out[-6], out[-5], out[-4] = xx, yy, zz
        out[-3], out[-2], out[-1] = 0.5 * yz, 0.5 * xz, 0.5 * xy


@njit(cache=True)
def products(tables, a, values, weights, gradients):  # type: ignore[no-untyped-def]
    """B of all functions into `values`; with `gradients` W of all blocks into `weights`."""
    blocks = tables.blocks
    most = 1
    for b in range(len(blocks) - 1):
        most = max(most, blocks[b + 1, FACTORS] - blocks[b, FACTORS])
    z, rest = np.empty((2, most)), np.empty((2, MAX_RANK + 1))
    for b in range(len(blocks) - 1):
        here, after = blocks[b], blocks[b + 1]
        local = tables.local[here[LOCAL] : after[LOCAL]]
        factors = tables.factors[here[FACTORS] : after[FACTORS]]
        value = values[here[FUNCTIONS] : after[FUNCTIONS]]
        rank = here[RANK]
        for k in range(len(factors)):
            z[0, k] = a[local[factors[k, 0]]]
            z[1, k] = 0.0 if factors[k, 1] < 0 else factors[k, 2] * a[local[factors[k, 1]]]
        terms = tables.products[here[PRODUCTS] : after[PRODUCTS]].reshape(-1, rank)
        coupling = tables.coupling[here[COUPLING] : after[COUPLING]].reshape(len(terms), -1)
        if gradients:
            weight = weights[here[WEIGHTS] : after[WEIGHTS]].reshape(-1, len(local))
            _block_weights(terms, coupling, factors, z, rest, value, weight)
        else:
            _block_values(terms, coupling, z, value)


@njit(cache=True)
def _block_values(terms, coupling, z, value):  # type: ignore[no-untyped-def]
    value[:] = 0.0
    for q in range(len(terms)):
        real, imag = z[0, terms[q, 0]], z[1, terms[q, 0]]
        for t in range(1, terms.shape[1]):
            other_real, other_imag = z[0, terms[q, t]], z[1, terms[q, t]]
            real, imag = real * other_real - imag * other_imag, real * other_imag + imag * other_real
        for p in range(len(value)):
            value[p] += coupling[q, p] * real


@njit(cache=True)
def _block_weights(terms, coupling, factors, z, rest, value, weight):  # type: ignore[no-untyped-def]
    """rest: (2, rank + 1) room for the products of the factors after each."""
    rank = terms.shape[1]
    value[:] = 0.0
    weight[:] = 0.0
    for q in range(len(terms)):
        rest[0, rank], rest[1, rank] = 1.0, 0.0
        for t in range(rank - 1, -1, -1):
            real, imag = z[0, terms[q, t]], z[1, terms[q, t]]
            rest[0, t] = real * rest[0, t + 1] - imag * rest[1, t + 1]
            rest[1, t] = real * rest[1, t + 1] + imag * rest[0, t + 1]
        for p in range(len(value)):
            value[p] += coupling[q, p] * rest[0, 0]
        before_real, before_imag = 1.0, 0.0
        for t in range(rank):
            k = terms[q, t]
            real = before_real * rest[0, t + 1] - before_imag * rest[1, t + 1]
            imag = before_real * rest[1, t + 1] + before_imag * rest[0, t + 1]
            at, across = factors[k, 0], factors[k, 1]
            for p in range(len(value)):
                weight[p, at] += coupling[q, p] * real
            if across >= 0:
                imag *= -factors[k, 2]
                for p in range(len(value)):
                    weight[p, across] += coupling[q, p] * imag
            before_real, before_imag = (
                before_real * z[0, k] - before_imag * z[1, k],
                before_real * z[1, k] + before_imag * z[0, k],
            )


@njit(cache=True)
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
def spread(tables, room, width, energy_row, scale, extra, out):  # type: ignore[no-untyped-def]
    """Add scale_p B and scale_p ∂B + B extra_p of every function to the rows of P densities.

    scale: (P,). extra: (P, T). out: (P, functions, rows).
    """
    gradient = np.empty(width)
    for b in range(len(tables.blocks) - 1):
        here, after = tables.blocks[b], tables.blocks[b + 1]
        local = tables.local[here[LOCAL] : after[LOCAL]]
        weights = room.weights[here[WEIGHTS] : after[WEIGHTS]].reshape(-1, len(local))
        for f in range(len(weights)):
            function = here[FUNCTIONS] + f
            value = room.values[function]
            combine(weights[f], local, room.d, gradient)
            for p in range(len(scale)):
                row = out[p, function]
                row[energy_row] += scale[p] * value
                add_row(room, gradient, scale[p], value, extra[p], row)


@njit(cache=True)
def add_row(room, gradient, scale, value, extra, row):  # type: ignore[no-untyped-def]
    """row[column] += scale · gradient + value · extra."""
    for k in range(len(gradient)):
        row[room.column[k]] += scale * gradient[k] + value * extra[k]


@njit(cache=True)
def accumulate_atoms(tables, sites, out):  # type: ignore[no-untyped-def]
    """Add the functions of all sites, times f, to their rows. out: (1, functions, rows)."""
    room = make_room(tables, sites.atoms)
    scale, extra = np.empty(1), np.empty((1, len(room.column)))
    for atom in range(len(sites.atoms)):
        width, home = neighbourhood(tables, sites, atom, room, True)
        products(tables, room.a, room.values, room.weights, True)
        scale[0] = sites.switch[atom]
        switch_rows(sites, atom, room, width, home, extra[0])
        spread(tables, room, width, sites.atom_rows[atom, 0], scale, extra, out)


@njit(cache=True)
def accumulate_values(tables, sites, out):  # type: ignore[no-untyped-def]
    """Write the functions of all sites to `out` (n, functions)."""
    room = make_room(tables, sites.atoms)
    for atom in range(len(sites.atoms)):
        neighbourhood(tables, sites, atom, room, False)
        products(tables, room.a, out[atom], room.weights, False)
