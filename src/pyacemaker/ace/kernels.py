"""The compiled evaluator: energies of all centres of one species, and their gradients along edges.

Forward: per edge radial functions and harmonics, A = Σ_j R Y; the product graph; densities; embedding.
Backward (reverse mode): dE/dρ → dE/dA through the graph → per edge ∂E_i/∂r⃗_ij, with the sum over n taken
before the gradient of Y. Every array is real; complex numbers are kept as two arrays (real, imaginary).
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from pyacemaker.ace.angular import legendre_point
from pyacemaker.ace.embedding import embed_point
from pyacemaker.ace.radial import radial_point, switch_point

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Centre(NamedTuple):
    """What depends on the species of the centre only; see `pyacemaker.ace.products.ProductGraph`."""

    weights: Floats
    exponents: Floats
    embedding: int
    inner: Integers
    inner_signs: Floats
    terms: Integers
    term_signs: Floats
    term_weights: Floats


class Bonds(NamedTuple):
    """The bonds of one centre species to all N neighbour species; see `pyacemaker.ace.tables.RadialTable`.

    nradmax, lmax, nradbase, kind, is_cut, first_column: (N,). shape: (N, 5) rcut, dcut, λ, rcut_in, dcut_in.
    inverse_step, first_bin: (N,). table: (bins of all bonds, 6, F); exact: (bins of all bonds,).
    combine: (N, F, nradbase). F and nradbase are the largest of any bond.
    """

    nradmax: Integers
    lmax: Integers
    nradbase: Integers
    kind: Integers
    is_cut: NDArray[np.bool_]
    first_column: Integers
    shape: Floats
    inverse_step: Floats
    first_bin: Integers
    table: Floats
    exact: NDArray[np.bool_]
    combine: Floats


class Neighbours(NamedTuple):
    """Edges sorted by centre, as in `ace.neighbours.Edges`. offsets: (n + 1,). species: (P,)."""

    offsets: Integers
    species: Integers
    vectors: Floats
    distances: Floats


class Core(NamedTuple):
    """Switch and slopes of the cores; see `pyacemaker.ace.cores.CoreTerms`. f: (n,); the slopes: (P,)."""

    f: Floats
    df_dr: Floats
    denergy_dr: Floats


class Room(NamedTuple):
    """Room for the edges of one centre, up to M of them, each with its cutoff's reach.

    edge, species: (M,). unit: (M, 3). r: (M,). value, slope: (M, F) table functions and derivatives.
    y_real, y_imag, q, dq: (M, columns) Y_lm, Q_lm and dQ_lm/dz. phase_real, phase_imag: (M, lmax + 1) of
    (x + iy)^m.
    """

    edge: Integers
    species: Integers
    unit: Floats
    r: Floats
    value: Floats
    slope: Floats
    y_real: Floats
    y_imag: Floats
    q: Floats
    dq: Floats
    phase_real: Floats
    phase_imag: Floats


@njit(cache=True)  # type: ignore[untyped-decorator]
def evaluate_centres(
    atoms: Integers,
    centre: Centre,
    bonds: Bonds,
    recurrence: tuple[Floats, Floats],
    neighbours: Neighbours,
    core: Core,
    energies: Floats,
    gradients: Floats,
) -> None:
    """Write E_ACE of `atoms` (all of one species) to `energies` (n,) and ∂E_i/∂r⃗_ij to `gradients` (P, 3).

    The gradients include the switch and the cores; the energies do not.
    """
    densities = len(centre.weights)
    room = _make_room(atoms, densities, bonds, neighbours)
    columns, radials = _leaf_shape(bonds)
    leaves = columns * radials
    nodes = leaves + len(centre.inner)
    real, imag, adjoint_real, adjoint_imag = (
        np.zeros(nodes),
        np.zeros(nodes),
        np.zeros(nodes),
        np.zeros(nodes),
    )
    rho, drive = np.zeros(densities), np.zeros(densities)
    for atom in atoms:
        count = _select(atom, bonds, neighbours, room)
        _radial(count, densities, bonds, room)
        _harmonics(count, bonds.lmax, recurrence[0], recurrence[1], room)
        _accumulate(
            count,
            bonds,
            room,
            rho,
            real[:leaves].reshape(columns, radials),
            imag[:leaves].reshape(columns, radials),
        )
        _forward(leaves, centre, real, imag, rho)
        energy = 0.0
        for p in range(densities):
            value, slope = embed_point(centre.embedding, rho[p], centre.exponents[p])
            energy += centre.weights[p] * value
            drive[p] = core.f[atom] * centre.weights[p] * slope
        energies[atom] = energy
        _backward(leaves, centre, drive, real, imag, adjoint_real, adjoint_imag)
        _edge_gradients(
            count,
            bonds,
            room,
            drive,
            adjoint_real[:leaves].reshape(columns, radials),
            adjoint_imag[:leaves].reshape(columns, radials),
            gradients,
        )
        for place in range(count):
            edge = room.edge[place]
            radial = energy * core.df_dr[edge] + core.denergy_dr[edge]
            for axis in range(3):
                gradients[edge, axis] += radial * room.unit[place, axis]


@njit(cache=True)  # type: ignore[untyped-decorator]
def _leaf_shape(bonds: Bonds) -> tuple[int, int]:
    columns = 0
    for nu in range(len(bonds.lmax)):
        columns += (bonds.lmax[nu] + 1) * (bonds.lmax[nu] + 2) // 2
    return columns, bonds.nradmax.max()


@njit(cache=True)  # type: ignore[untyped-decorator]
def _make_room(atoms: Integers, densities: int, bonds: Bonds, neighbours: Neighbours) -> Room:
    most = 0
    for atom in atoms:
        most = max(most, neighbours.offsets[atom + 1] - neighbours.offsets[atom])
    functions = bonds.table.shape[2]
    lmax = bonds.lmax.max()
    columns = (lmax + 1) * (lmax + 2) // 2
    return Room(
        np.zeros(most, np.int64),
        np.zeros(most, np.int64),
        np.zeros((most, 3)),
        np.zeros(most),
        np.zeros((most, functions)),
        np.zeros((most, functions)),
        np.zeros((most, columns)),
        np.zeros((most, columns)),
        np.zeros((most, columns)),
        np.zeros((most, columns)),
        np.zeros((most, lmax + 1)),
        np.zeros((most, lmax + 1)),
    )


@njit(cache=True)  # type: ignore[untyped-decorator]
def _select(atom: int, bonds: Bonds, neighbours: Neighbours, room: Room) -> int:
    """Put the edges of an atom that are within their bond's cutoff into `room`; returns their number."""
    count = 0
    for edge in range(neighbours.offsets[atom], neighbours.offsets[atom + 1]):
        r = neighbours.distances[edge]
        nu = neighbours.species[edge]
        if r >= bonds.shape[nu, 0]:
            continue
        room.edge[count] = edge
        room.species[count] = nu
        room.r[count] = r
        for axis in range(3):
            room.unit[count, axis] = neighbours.vectors[edge, axis] / r
        count += 1
    return count


@njit(cache=True)  # type: ignore[untyped-decorator]
def _radial(count: int, densities: int, bonds: Bonds, room: Room) -> None:
    """Table functions and their derivatives."""
    table, value, slope = bonds.table, room.value, room.slope
    for e in range(count):
        nu = room.species[e]
        inverse = bonds.inverse_step[nu]
        bin_index = int(room.r[e] * inverse)
        t = room.r[e] * inverse - bin_index
        b = bonds.first_bin[nu] + bin_index
        if bonds.exact[b]:
            functions = densities + bonds.nradmax[nu] * (bonds.lmax[nu] + 1)
            _radial_exact(bonds, nu, room.r[e], functions, value[e], slope[e])
            continue
        for f in range(table.shape[2]):
            high = table[b, 4, f] + t * table[b, 5, f]
            dhigh = 4.0 * table[b, 4, f] + t * (5.0 * table[b, 5, f])
            middle = table[b, 2, f] + t * (table[b, 3, f] + t * high)
            dmiddle = 2.0 * table[b, 2, f] + t * (3.0 * table[b, 3, f] + t * dhigh)
            value[e, f] = table[b, 0, f] + t * (table[b, 1, f] + t * middle)
            slope[e, f] = (table[b, 1, f] + t * dmiddle) * inverse


@njit(cache=True)  # type: ignore[untyped-decorator]
def _radial_exact(bonds: Bonds, nu: int, r: float, functions: int, value: Floats, slope: Floats) -> None:
    size = bonds.nradbase[nu]
    g, dg = np.empty(size), np.empty(size)
    rcut, dcut, lam, rcut_in, dcut_in = bonds.shape[nu]
    radial_point(bonds.kind[nu], r, rcut, dcut, lam, g, dg)
    if bonds.is_cut[nu]:
        inner, dinner = switch_point(r, rcut_in, dcut_in)
        for k in range(size):
            dg[k] = dg[k] * (1.0 - inner) - g[k] * dinner
            g[k] *= 1.0 - inner
    for f in range(functions):
        total, dtotal = 0.0, 0.0
        for k in range(size):
            total += bonds.combine[nu, f, k] * g[k]
            dtotal += bonds.combine[nu, f, k] * dg[k]
        value[f], slope[f] = total, dtotal


@njit(cache=True)  # type: ignore[untyped-decorator]
def _harmonics(count: int, lmaxes: Integers, alpha: Floats, beta: Floats, room: Room) -> None:
    """Y_lm, Q_lm, dQ_lm/dz and (x + iy)^m."""
    q, phase_real, phase_imag = room.q, room.phase_real, room.phase_imag
    for e in range(count):
        x, y, lmax = room.unit[e, 0], room.unit[e, 1], lmaxes[room.species[e]]
        legendre_point(room.unit[e, 2], lmax, alpha, beta, q[e], room.dq[e])
        real, imag = 1.0, 0.0
        for m in range(lmax + 1):
            phase_real[e, m], phase_imag[e, m] = real, imag
            real, imag = real * x - imag * y, imag * x + real * y
        here = 0
        for ell in range(lmax + 1):
            for m in range(ell + 1):
                room.y_real[e, here + m] = q[e, here + m] * phase_real[e, m]
                room.y_imag[e, here + m] = q[e, here + m] * phase_imag[e, m]
            here += ell + 1


@njit(cache=True)  # type: ignore[untyped-decorator]
def _accumulate(count: int, bonds: Bonds, room: Room, rho: Floats, real: Floats, imag: Floats) -> None:
    """ρ = the rank-1 part; A_nlm = Σ_j R_nl Y_lm. real, imag: (columns, nradmax)."""
    densities = len(rho)
    real[:] = 0.0
    imag[:] = 0.0
    rho[:] = 0.0
    for e in range(count):
        for p in range(densities):
            rho[p] += room.value[e, p]
        nu = room.species[e]
        radials, here = bonds.nradmax[nu], 0
        first = bonds.first_column[nu]
        for ell in range(bonds.lmax[nu] + 1):
            radial = room.value[e, densities + ell * radials : densities + (ell + 1) * radials]
            for _ in range(ell + 1):
                y_real, y_imag = room.y_real[e, here], room.y_imag[e, here]
                for n in range(radials):
                    real[first + here, n] += radial[n] * y_real
                    imag[first + here, n] += radial[n] * y_imag
                here += 1


@njit(cache=True)  # type: ignore[untyped-decorator]
def _forward(leaves: int, centre: Centre, real: Floats, imag: Floats, rho: Floats) -> None:
    """Inner products, then ρ_p += Σ_terms c_p Re(product)."""
    inner, signs = centre.inner, centre.inner_signs
    for k in range(len(inner)):
        a, b = inner[k, 0], inner[k, 1]
        a_imag, b_imag = signs[k, 0] * imag[a], signs[k, 1] * imag[b]
        real[leaves + k] = real[a] * real[b] - a_imag * b_imag
        imag[leaves + k] = real[a] * b_imag + a_imag * real[b]
    terms, term_signs, weights = centre.terms, centre.term_signs, centre.term_weights
    for t in range(len(terms)):
        a, b = terms[t, 0], terms[t, 1]
        product = real[a] * real[b] - term_signs[t] * imag[a] * imag[b]
        for p in range(len(rho)):
            rho[p] += weights[t, p] * product


@njit(cache=True)  # type: ignore[untyped-decorator]
def _backward(
    leaves: int,
    centre: Centre,
    drive: Floats,
    real: Floats,
    imag: Floats,
    adjoint_real: Floats,
    adjoint_imag: Floats,
) -> None:
    """dE/dRe and dE/dIm of every node, from drive = dE/dρ."""
    adjoint_real[:] = 0.0
    adjoint_imag[:] = 0.0
    terms, term_signs, weights = centre.terms, centre.term_signs, centre.term_weights
    for t in range(len(terms)):
        a, b = terms[t, 0], terms[t, 1]
        weight = 0.0
        for p in range(len(drive)):
            weight += drive[p] * weights[t, p]
        signed = weight * term_signs[t]
        adjoint_real[a] += weight * real[b]
        adjoint_imag[a] -= signed * imag[b]
        adjoint_real[b] += weight * real[a]
        adjoint_imag[b] -= signed * imag[a]
    inner, signs = centre.inner, centre.inner_signs
    for k in range(len(inner) - 1, -1, -1):
        a, b = inner[k, 0], inner[k, 1]
        up_real, up_imag = adjoint_real[leaves + k], adjoint_imag[leaves + k]
        a_imag, b_imag = signs[k, 0] * imag[a], signs[k, 1] * imag[b]
        adjoint_real[a] += up_real * real[b] + up_imag * b_imag
        adjoint_imag[a] += signs[k, 0] * (up_imag * real[b] - up_real * b_imag)
        adjoint_real[b] += up_real * real[a] + up_imag * a_imag
        adjoint_imag[b] += signs[k, 1] * (up_imag * real[a] - up_real * a_imag)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _edge_gradients(
    count: int,
    bonds: Bonds,
    room: Room,
    drive: Floats,
    adjoint_real: Floats,
    adjoint_imag: Floats,
    gradients: Floats,
) -> None:
    """∂E_i/∂r⃗ of every edge, cores left out. adjoints: (columns, nradmax)."""
    densities = len(drive)
    for e in range(count):
        nu = room.species[e]
        radials, here = bonds.nradmax[nu], 0
        first = bonds.first_column[nu]
        along, gx, gy, gz = 0.0, 0.0, 0.0, 0.0
        for p in range(densities):
            along += drive[p] * room.slope[e, p]
        for ell in range(bonds.lmax[nu] + 1):
            value = room.value[e, densities + ell * radials : densities + (ell + 1) * radials]
            slope = room.slope[e, densities + ell * radials : densities + (ell + 1) * radials]
            for m in range(ell + 1):
                w_real, w_imag, u_real, u_imag = 0.0, 0.0, 0.0, 0.0
                for n in range(radials):
                    real, imag = adjoint_real[first + here, n], adjoint_imag[first + here, n]
                    w_real += real * value[n]
                    w_imag += imag * value[n]
                    u_real += real * slope[n]
                    u_imag += imag * slope[n]
                along += u_real * room.y_real[e, here] + u_imag * room.y_imag[e, here]
                gz += room.dq[e, here] * (w_real * room.phase_real[e, m] + w_imag * room.phase_imag[e, m])
                if m > 0:
                    before_real, before_imag = room.phase_real[e, m - 1], room.phase_imag[e, m - 1]
                    gx += m * room.q[e, here] * (w_real * before_real + w_imag * before_imag)
                    gy += m * room.q[e, here] * (w_imag * before_real - w_real * before_imag)
                here += 1
        x, y, z = room.unit[e, 0], room.unit[e, 1], room.unit[e, 2]
        inverse = 1.0 / room.r[e]
        along -= (gx * x + gy * y + gz * z) * inverse
        edge = room.edge[e]
        gradients[edge, 0] = along * x + gx * inverse
        gradients[edge, 1] = along * y + gy * inverse
        gradients[edge, 2] = along * z + gz * inverse


@njit(cache=True)  # type: ignore[untyped-decorator]
def scatter(
    i: Integers, j: Integers, vectors: Floats, gradients: Floats, forces: Floats, virial: Floats
) -> None:
    """Add the edges' gradients up to forces (n, 3) and Σ r⃗ ⊗ ∂E/∂r⃗ (3, 3)."""
    for edge in range(len(i)):
        for axis in range(3):
            forces[i[edge], axis] += gradients[edge, axis]
            forces[j[edge], axis] -= gradients[edge, axis]
            for other in range(3):
                virial[axis, other] += vectors[edge, axis] * gradients[edge, other]
