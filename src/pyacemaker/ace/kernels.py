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
    leaves: int
    first_leaf: Integers
    inner: Integers
    inner_signs: Floats
    terms: Integers
    term_signs: Floats
    term_weights: Floats


class Bonds(NamedTuple):
    """The bonds of one centre species to all N neighbour species; see `pyacemaker.ace.tables.RadialTable`.

    nradmax, lmax, nradbase, kind, is_cut: (N,). shape: (N, 5) rcut, dcut, λ, rcut_in, dcut_in, Å.
    inverse_step: (N,). table, exact, combine: of all bonds, flat; *_start: (N,) where each begins.
    """

    nradmax: Integers
    lmax: Integers
    nradbase: Integers
    kind: Integers
    is_cut: NDArray[np.bool_]
    shape: Floats
    inverse_step: Floats
    table: Floats
    table_start: Integers
    exact: NDArray[np.bool_]
    exact_start: Integers
    combine: Floats
    combine_start: Integers


class Neighbours(NamedTuple):
    """Edges sorted by centre, as in `ace.neighbours.Edges`. offsets: (n + 1,). species: (P,) of the neighbours."""

    offsets: Integers
    species: Integers
    vectors: Floats
    distances: Floats


class Core(NamedTuple):
    """Switch and slopes of the cores; see `pyacemaker.ace.cores.CoreTerms`. f: (n,); the slopes: (P,)."""

    f: Floats
    df_dr: Floats
    denergy_dr: Floats


class Edge(NamedTuple):
    """Room for the edges of one centre, up to M of them.

    index: (M,) edges within their cutoffs. unit: (M, 3). value, slope: (M, F) table functions and
    derivatives. y: (M, 2, columns). q: (M, 2, columns) Q_lm and dQ_lm/dz. phase: (M, 2, lmax + 1) (x + iy)^m.
    """

    index: Integers
    unit: Floats
    value: Floats
    slope: Floats
    y: Floats
    q: Floats
    phase: Floats


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
    room = _edge_room(atoms, centre, bonds, neighbours)
    nodes = centre.leaves + len(centre.inner)
    real, imag = np.zeros(nodes), np.zeros(nodes)
    adjoint_real, adjoint_imag = np.zeros(nodes), np.zeros(nodes)
    rho = np.zeros(len(centre.weights))
    drive = np.zeros(len(centre.weights))
    for atom in atoms:
        real[: centre.leaves] = 0.0
        imag[: centre.leaves] = 0.0
        rho[:] = 0.0
        count = _gather(atom, centre, bonds, recurrence, neighbours, room, rho, real, imag)
        _forward(centre, real, imag, rho)
        energy = 0.0
        for p in range(len(rho)):
            value, slope = embed_point(centre.embedding, rho[p], centre.exponents[p])
            energy += centre.weights[p] * value
            drive[p] = core.f[atom] * centre.weights[p] * slope
        energies[atom] = energy
        _backward(centre, drive, real, imag, adjoint_real, adjoint_imag)
        for place in range(count):
            edge = room.index[place]
            radial = energy * core.df_dr[edge] + core.denergy_dr[edge]
            _edge_gradient(
                place,
                centre,
                bonds,
                neighbours.species[edge],
                room,
                drive,
                adjoint_real,
                adjoint_imag,
                neighbours.distances[edge],
                radial,
                gradients[edge],
            )


@njit(cache=True)  # type: ignore[untyped-decorator]
def _edge_room(atoms: Integers, centre: Centre, bonds: Bonds, neighbours: Neighbours) -> Edge:
    most = 0
    for atom in atoms:
        most = max(most, neighbours.offsets[atom + 1] - neighbours.offsets[atom])
    functions = len(centre.weights) + int(np.max(bonds.nradmax * (bonds.lmax + 1)))
    lmax = int(np.max(bonds.lmax))
    columns = (lmax + 1) * (lmax + 2) // 2
    return Edge(
        np.zeros(most, np.int64),
        np.zeros((most, 3)),
        np.zeros((most, functions)),
        np.zeros((most, functions)),
        np.zeros((most, 2, columns)),
        np.zeros((most, 2, columns)),
        np.zeros((most, 2, lmax + 1)),
    )


@njit(cache=True)  # type: ignore[untyped-decorator]
def _gather(
    atom: int,
    centre: Centre,
    bonds: Bonds,
    recurrence: tuple[Floats, Floats],
    neighbours: Neighbours,
    room: Edge,
    rho: Floats,
    real: Floats,
    imag: Floats,
) -> int:
    """Fill `room` with the edges of an atom and return their number; add up A and the rank-1 part of ρ."""
    count = 0
    densities = len(rho)
    for edge in range(neighbours.offsets[atom], neighbours.offsets[atom + 1]):
        nu = neighbours.species[edge]
        r = neighbours.distances[edge]
        if r >= bonds.shape[nu, 0]:
            continue
        room.index[count] = edge
        for axis in range(3):
            room.unit[count, axis] = neighbours.vectors[edge, axis] / r
        _radial(bonds, nu, r, densities + bonds.nradmax[nu] * (bonds.lmax[nu] + 1), room, count)
        _harmonics(room, count, bonds.lmax[nu], recurrence)
        for p in range(densities):
            rho[p] += room.value[count, p]
        _accumulate(
            room.value[count, densities:],
            room.y[count],
            bonds.nradmax[nu],
            bonds.lmax[nu],
            real[centre.first_leaf[nu] :],
            imag[centre.first_leaf[nu] :],
        )
        count += 1
    return count


@njit(cache=True)  # type: ignore[untyped-decorator]
def _radial(bonds: Bonds, nu: int, r: float, functions: int, room: Edge, place: int) -> None:
    """Table functions and their derivatives at r."""
    value, slope = room.value[place], room.slope[place]
    scaled = r * bonds.inverse_step[nu]
    bin_index = int(scaled)
    if bonds.exact[bonds.exact_start[nu] + bin_index]:
        _radial_exact(bonds, nu, r, functions, value, slope)
        return
    t = scaled - bin_index
    start = bonds.table_start[nu] + bin_index * 6 * functions
    c0 = bonds.table[start : start + functions]
    c1 = bonds.table[start + functions : start + 2 * functions]
    c2 = bonds.table[start + 2 * functions : start + 3 * functions]
    c3 = bonds.table[start + 3 * functions : start + 4 * functions]
    c4 = bonds.table[start + 4 * functions : start + 5 * functions]
    c5 = bonds.table[start + 5 * functions : start + 6 * functions]
    inverse = bonds.inverse_step[nu]
    for f in range(functions):
        value[f] = c0[f] + t * (c1[f] + t * (c2[f] + t * (c3[f] + t * (c4[f] + t * c5[f]))))
        slope[f] = (
            c1[f] + t * (2.0 * c2[f] + t * (3.0 * c3[f] + t * (4.0 * c4[f] + t * (5.0 * c5[f]))))
        ) * inverse


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
        start = bonds.combine_start[nu] + f * size
        total, dtotal = 0.0, 0.0
        for k in range(size):
            total += bonds.combine[start + k] * g[k]
            dtotal += bonds.combine[start + k] * dg[k]
        value[f], slope[f] = total, dtotal


@njit(cache=True)  # type: ignore[untyped-decorator]
def _harmonics(room: Edge, place: int, lmax: int, recurrence: tuple[Floats, Floats]) -> None:
    """Y_lm, Q_lm, dQ_lm/dz and (x + iy)^m of one edge."""
    q, y, phase = room.q[place], room.y[place], room.phase[place]
    x, z = room.unit[place, 0], room.unit[place, 2]
    legendre_point(z, lmax, recurrence[0], recurrence[1], q[0], q[1])
    phase[0, 0], phase[1, 0] = 1.0, 0.0
    for m in range(lmax + 1):
        if m > 0:
            before, turn = phase[0, m - 1], room.unit[place, 1]
            phase[0, m] = x * before - turn * phase[1, m - 1]
            phase[1, m] = x * phase[1, m - 1] + turn * before
        for ell in range(m, lmax + 1):
            here = ell * (ell + 1) // 2 + m
            y[0, here] = q[0, here] * phase[0, m]
            y[1, here] = q[0, here] * phase[1, m]


@njit(cache=True)  # type: ignore[untyped-decorator]
def _accumulate(radial: Floats, y: Floats, nradmax: int, lmax: int, real: Floats, imag: Floats) -> None:
    """A_nlm += R_nl Y_lm. radial: l-major. real, imag: (l, m)-major."""
    for ell in range(lmax + 1):
        r = radial[ell * nradmax : (ell + 1) * nradmax]
        for m in range(ell + 1):
            here = ell * (ell + 1) // 2 + m
            start = here * nradmax
            y_real, y_imag = y[0, here], y[1, here]
            for n in range(nradmax):
                real[start + n] += r[n] * y_real
                imag[start + n] += r[n] * y_imag


@njit(cache=True)  # type: ignore[untyped-decorator]
def _forward(centre: Centre, real: Floats, imag: Floats, rho: Floats) -> None:
    """Inner products, then ρ_p += Σ_terms c_p Re(product)."""
    inner, signs, leaves = centre.inner, centre.inner_signs, centre.leaves
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
    centre: Centre, drive: Floats, real: Floats, imag: Floats, adjoint_real: Floats, adjoint_imag: Floats
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
    inner, signs, leaves = centre.inner, centre.inner_signs, centre.leaves
    for k in range(len(inner) - 1, -1, -1):
        a, b = inner[k, 0], inner[k, 1]
        up_real, up_imag = adjoint_real[leaves + k], adjoint_imag[leaves + k]
        a_imag, b_imag = signs[k, 0] * imag[a], signs[k, 1] * imag[b]
        adjoint_real[a] += up_real * real[b] + up_imag * b_imag
        adjoint_imag[a] += signs[k, 0] * (up_imag * real[b] - up_real * b_imag)
        adjoint_real[b] += up_real * real[a] + up_imag * a_imag
        adjoint_imag[b] += signs[k, 1] * (up_imag * real[a] - up_real * a_imag)


@njit(cache=True)  # type: ignore[untyped-decorator]
def _edge_gradient(
    place: int,
    centre: Centre,
    bonds: Bonds,
    nu: int,
    room: Edge,
    drive: Floats,
    adjoint_real: Floats,
    adjoint_imag: Floats,
    r: float,
    radial: float,
    gradient: Floats,
) -> None:
    """∂E_i/∂r⃗ of one edge. radial: the part along the edge that the cores give."""
    densities = len(drive)
    for p in range(densities):
        radial += drive[p] * room.slope[place, p]
    value, slope = room.value[place, densities:], room.slope[place, densities:]
    y, q, phase = room.y[place], room.q[place], room.phase[place]
    gx, gy, gz = 0.0, 0.0, 0.0
    nradmax = bonds.nradmax[nu]
    leaf = centre.first_leaf[nu]
    for ell in range(bonds.lmax[nu] + 1):
        for m in range(ell + 1):
            w_real, w_imag, u_real, u_imag = 0.0, 0.0, 0.0, 0.0
            for n in range(nradmax):
                big, small = value[ell * nradmax + n], slope[ell * nradmax + n]
                w_real += adjoint_real[leaf + n] * big
                w_imag += adjoint_imag[leaf + n] * big
                u_real += adjoint_real[leaf + n] * small
                u_imag += adjoint_imag[leaf + n] * small
            leaf += nradmax
            here = ell * (ell + 1) // 2 + m
            radial += u_real * y[0, here] + u_imag * y[1, here]
            gz += q[1, here] * (w_real * phase[0, m] + w_imag * phase[1, m])
            if m > 0:
                steep = m * q[0, here]
                gx += steep * (w_real * phase[0, m - 1] + w_imag * phase[1, m - 1])
                gy += steep * (w_imag * phase[0, m - 1] - w_real * phase[1, m - 1])
    unit = room.unit[place]
    along = gx * unit[0] + gy * unit[1] + gz * unit[2]
    gradient[0] = radial * unit[0] + (gx - along * unit[0]) / r
    gradient[1] = radial * unit[1] + (gy - along * unit[1]) / r
    gradient[2] = radial * unit[2] + (gz - along * unit[2]) / r


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
