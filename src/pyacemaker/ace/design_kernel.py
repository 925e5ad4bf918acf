"""The compiled part of the design matrix: every basis function of an atom, and its gradients.

For one atom, A_v = Σ_j R_v(r_j) Y_v(r̂_j) and D_v = ∂A_v/∂r_j are tabulated for all variables v = (species,
radial channel, l, m ≥ 0). A function B = Σ_q C_q Re Π_t A_{v_t} then has ∂B/∂r_j = Re Σ_v W_v D_v with W_v =
Σ_q C_q Σ_{t: v_t = v} Π_{s ≠ t} A_{v_s}; factors with m < 0 enter through A_{l,−m} = (−1)^m A*_{lm}.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from pyacemaker.ace.angular import harmonics_point, recurrence
from pyacemaker.ace.basis import Block
from pyacemaker.ace.model import MAX_RANK, Bond
from pyacemaker.structures import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class Tables:
    """The blocks of one centre species, flattened for the kernel.

    contractions: by neighbour species, (channels, nradbase): which sums of g_k the variables need. variables:
    (V, 4) species, channel, packed (l, m), m. species_ptr: (N + 1,) variables of each species. block_ptr:
    (blocks + 1, 3) starts in `local`, in `monomials` and in `coupling`. local: variables of each block.
    monomials: (Q, 1 + 2 MAX_RANK) rank, then for each factor its place in `local` and the sign (−1)^m for m <
    0, else 0. coupling: coefficients, function-major.
    """

    lmax: int
    functions: int
    contractions: tuple[FloatArray, ...]
    variables: IntArray
    species_ptr: IntArray
    block_ptr: IntArray
    local: IntArray
    monomials: IntArray
    coupling: FloatArray
    alpha: FloatArray
    beta: FloatArray


def build_tables(blocks: Sequence[Block], bonds: Sequence[Bond]) -> Tables:
    """The tables of one centre species. bonds: those from this species to each species."""
    channels = [_Channels(bond) for bond in bonds]
    wanted = sorted({key for block in blocks for key in _variable_keys(block, channels)})
    index = {key: number for number, key in enumerate(wanted)}
    local: list[int] = []
    monomials: list[list[int]] = []
    coupling: list[FloatArray] = [np.zeros(0)]
    pointers = [(0, 0, 0)]
    for block in blocks:
        keys = _variable_keys(block, channels)
        places = {key: number for number, key in enumerate(dict.fromkeys(keys))}
        monomials += _monomial_rows(block, channels, places)
        local += [index[key] for key in places]
        coupling.append(block.coupling.ravel())
        pointers.append((len(local), len(monomials), pointers[-1][2] + block.coupling.size))
    lmax = max((column[2] for block in blocks for column in block.columns), default=0)
    alpha, beta = recurrence(lmax)
    variables = np.array(
        [(mu, channel, angular * (angular + 1) // 2 + m, m) for mu, channel, angular, m in wanted],
        dtype=np.int64,
    ).reshape(-1, 4)
    return Tables(
        lmax,
        sum(len(block) for block in blocks),
        tuple(channel.matrix for channel in channels),
        variables,
        np.searchsorted(variables[:, 0], np.arange(len(bonds) + 1)).astype(np.int64),
        np.array(pointers, dtype=np.int64),
        np.array(local, dtype=np.int64),
        np.array(monomials, dtype=np.int64).reshape(-1, 1 + 2 * MAX_RANK),
        np.concatenate(coupling),
        alpha,
        beta,
    )


class _Channels:
    """The distinct radial functions of a bond: g_n for pair terms, R_nl for the others."""

    def __init__(self, bond: Bond) -> None:
        rows: dict[bytes, int] = {}
        unique: list[FloatArray] = []

        def place(row: FloatArray) -> int:
            key = np.ascontiguousarray(row + 0.0).tobytes()
            if key not in rows:
                rows[key] = len(unique)
                unique.append(row)
            return rows[key]

        self.pair = [place(row) for row in np.eye(bond.nradbase)]
        self.many = [[place(row) for row in of_n] for of_n in bond.coefficients]
        self.matrix = np.array(unique)

    def of(self, rank: int, n: int, angular: int) -> int:
        return self.pair[n - 1] if rank == 1 else self.many[n - 1][angular]


def _variable_keys(block: Block, channels: Sequence[_Channels]) -> list[tuple[int, int, int, int]]:
    return [
        (mu, channels[mu].of(block.rank, n, angular), angular, m)
        for mu, n, angular in block.columns
        for m in range(angular + 1)
    ]


def _monomial_rows(
    block: Block, channels: Sequence[_Channels], places: dict[tuple[int, int, int, int], int]
) -> list[list[int]]:
    rows = []
    for ms in block.ms:
        row = [block.rank] + [0] * (2 * MAX_RANK)
        for t, ((mu, n, angular), m) in enumerate(zip(block.columns, ms, strict=True)):
            key = (mu, channels[mu].of(block.rank, n, angular), angular, abs(int(m)))
            row[1 + 2 * t] = places[key]
            row[2 + 2 * t] = 0 if m >= 0 else (-1) ** int(m)
        rows.append(row)
    return rows


@njit(cache=True)
def _harmonics(unit, distance, lmax, alpha, beta, y, dy):  # type: ignore[no-untyped-def]
    """Y (2, lm, J) and ∂Y/∂r (2, 3, lm, J), real and imaginary parts, of one atom's neighbours."""
    columns = y.shape[1]
    value = np.empty(columns, np.complex128)
    gradient = np.empty((columns, 3), np.complex128)
    for j in range(len(distance)):
        harmonics_point(unit[j], lmax, alpha, beta, value, gradient)
        for column in range(columns):
            y[0, column, j] = value[column].real
            y[1, column, j] = value[column].imag
            for c in range(3):
                dy[0, c, column, j] = gradient[column, c].real / distance[j]
                dy[1, c, column, j] = gradient[column, c].imag / distance[j]


@njit(cache=True)
def _variables(tables, segments, unit, radial, slope, y, dy, a, d):  # type: ignore[no-untyped-def]
    """A_v, and D_v (2, V, 3J): for each neighbour species a stretch of x's, y's and z's."""
    variables, species_ptr = tables
    for mu in range(len(segments) - 1):
        first, last = segments[mu], segments[mu + 1]
        count = last - first
        for v in range(species_ptr[mu], species_ptr[mu + 1]):
            channel, column = variables[v, 1], variables[v, 2]
            r, dr = radial[channel, first:last], slope[channel, first:last]
            for part in range(1 if variables[v, 3] == 0 else 2):  # Y_l0 is real
                angular = y[part, column, first:last]
                total = 0.0
                for j in range(count):
                    total += r[j] * angular[j]
                a[part, v] = total
                for c in range(3):
                    start = 3 * first + c * count
                    along, turn, out = (
                        unit[c, first:last],
                        dy[part, c, column, first:last],
                        d[part, v, start : start + count],
                    )
                    for j in range(count):
                        out[j] = dr[j] * angular[j] * along[j] + r[j] * turn[j]


@njit(cache=True)
def _products(local, monomials, coupling, a, value, weight):  # type: ignore[no-untyped-def]
    """B of each function of a block into `value`, W of its variables into `weight` (2, functions,
    variables)."""
    functions, count = len(value), len(monomials)
    value[:] = 0.0
    weight[:, :, : len(local)] = 0.0
    factor = np.empty(6, np.complex128)
    for q in range(count):
        rank = monomials[q, 0]
        for t in range(rank):
            v, sign = local[monomials[q, 1 + 2 * t]], monomials[q, 2 + 2 * t]
            if sign == 0:
                factor[t] = complex(a[0, v], a[1, v])
            else:
                factor[t] = complex(sign * a[0, v], -sign * a[1, v])
        for t in range(rank):
            rest = complex(1.0, 0.0)
            for s in range(rank):
                if s != t:
                    rest *= factor[s]
            if t == 0:
                product = (rest * factor[0]).real
                for p in range(functions):
                    value[p] += coupling[p * count + q] * product
            place, sign = monomials[q, 1 + 2 * t], monomials[q, 2 + 2 * t]
            real = rest.real if sign == 0 else sign * rest.real
            imag = -rest.imag if sign == 0 else sign * rest.imag
            for p in range(functions):
                weight[0, p, place] += coupling[p * count + q] * real
                weight[1, p, place] += coupling[p * count + q] * imag


@njit(cache=True)
def _gradient(tables, local, weight, p, segments, d, out):  # type: ignore[no-untyped-def]
    """∂B/∂r of function `p` of a block, in the layout of D."""
    variables, _ = tables
    out[: 3 * segments[-1]] = 0.0
    for place in range(len(local)):
        v = local[place]
        mu = variables[v, 0]
        first, last = 3 * segments[mu], 3 * segments[mu + 1]
        real = weight[0, p, place]
        total, along = out[first:last], d[0, v, first:last]
        if variables[v, 3] == 0:
            for k in range(len(total)):
                total[k] += real * along[k]
        else:
            imag, across = weight[1, p, place], d[1, v, first:last]
            for k in range(len(total)):
                total[k] += real * along[k] + imag * across[k]


@njit(cache=True)
def _scatter(gradient, segments, vectors, force_rows, centre_row, virial_row, row):  # type: ignore[no-untyped-def]
    """Add −∂E/∂r to the force rows and Σ r ∂E/∂r to the virial rows (xx, yy, zz, yz, xz, xy)."""
    for mu in range(len(segments) - 1):
        first = segments[mu]
        count = segments[mu + 1] - first
        gx = gradient[3 * first : 3 * first + count]
        gy = gradient[3 * first + count : 3 * first + 2 * count]
        gz = gradient[3 * first + 2 * count : 3 * first + 3 * count]
        for j in range(count):
            target = force_rows[first + j]
            row[target] -= gx[j]
            row[target + 1] -= gy[j]
            row[target + 2] -= gz[j]
            row[centre_row] += gx[j]
            row[centre_row + 1] += gy[j]
            row[centre_row + 2] += gz[j]
        if virial_row >= 0:
            x, y, z = (
                vectors[0, first : first + count],
                vectors[1, first : first + count],
                vectors[2, first : first + count],
            )
            for j in range(count):
                row[virial_row] += x[j] * gx[j]
                row[virial_row + 1] += y[j] * gy[j]
                row[virial_row + 2] += z[j] * gz[j]
                row[virial_row + 3] += 0.5 * (y[j] * gz[j] + z[j] * gy[j])
                row[virial_row + 4] += 0.5 * (x[j] * gz[j] + z[j] * gx[j])
                row[virial_row + 5] += 0.5 * (x[j] * gy[j] + y[j] * gx[j])


@njit(cache=True)
def _add_core(gradient, segments, unit, switch, switch_slope, value):  # type: ignore[no-untyped-def]
    """∂(f B)/∂r = f ∂B/∂r + B ∂f/∂r."""
    for mu in range(len(segments) - 1):
        first, last = segments[mu], segments[mu + 1]
        count = last - first
        for c in range(3):
            start = 3 * first + c * count - first
            for j in range(first, last):
                gradient[start + j] = switch * gradient[start + j] + value * switch_slope[j] * unit[c, j]


@njit(cache=True)
def _workspace(block_ptr, variables, atoms):  # type: ignore[no-untyped-def]
    """Arrays that every atom reuses: D, A, the values and weights of a block, one gradient."""
    neighbours = 1
    for a in range(len(atoms)):
        neighbours = max(neighbours, atoms[a, -1] - atoms[a, 0])
    most, widest = 1, 1
    for b in range(len(block_ptr) - 1):
        most = max(most, block_ptr[b + 1, 0] - block_ptr[b, 0])
        terms = max(1, block_ptr[b + 1, 1] - block_ptr[b, 1])
        widest = max(widest, (block_ptr[b + 1, 2] - block_ptr[b, 2]) // terms)
    d = np.empty((2, len(variables), 3 * neighbours))
    sums = np.zeros((2, len(variables)))
    return d, sums, np.empty(widest), np.empty((2, widest, most)), np.empty(3 * neighbours)


@njit(cache=True)
def _neighbourhood(tables, harmonics, segments, vectors, distances, radial, slope, sums, d):  # type: ignore[no-untyped-def]
    """Fill A and D of one atom; returns the vectors and unit vectors to its neighbours, both (3, J)."""
    lmax, alpha, beta = harmonics
    count = len(distances)
    columns = (lmax + 1) * (lmax + 2) // 2
    apart = vectors.T.copy()
    unit = apart / distances
    y = np.empty((2, columns, count))
    dy = np.empty((2, 3, columns, count))
    _harmonics(unit.T.copy(), distances, lmax, alpha, beta, y, dy)
    _variables(tables, segments, unit, radial, slope, y, dy, sums, d)
    return apart, unit


@njit(cache=True)
def accumulate_atoms(tables, blocks, harmonics, atoms, edges, switches, rows, out):  # type: ignore[no-untyped-def]
    """Add the functions of some atoms of one species to their rows.

    tables: variables, species_ptr. blocks: block_ptr, local, monomials, coupling. harmonics: lmax, alpha,
    beta. atoms: (a, N + 1) first edge of each neighbour species, and the end. edges: vectors (P, 3),
    distances (P,), radial and slope (channels, P). switches: f (a,), df/dr (P,). rows: energy, centre's force
    and virial row (a, 3; −1: none) and the neighbour's force row (P,). out: (functions, rows).
    """
    block_ptr, local, monomials, coupling = blocks
    vectors, distances, radial, slope = edges
    switch, switch_slope = switches
    atom_rows, force_rows = rows
    d, sums, values, weights, gradient = _workspace(block_ptr, tables[0], atoms)
    for a in range(len(atoms)):
        begin, end = atoms[a, 0], atoms[a, -1]
        segments = atoms[a] - begin
        apart, unit = _neighbourhood(
            tables,
            harmonics,
            segments,
            vectors[begin:end],
            distances[begin:end],
            radial[:, begin:end],
            slope[:, begin:end],
            sums,
            d,
        )
        near_slope, near_rows = switch_slope[begin:end], force_rows[begin:end]
        core = switch[a] != 1.0 or np.any(near_slope != 0.0)
        function = 0
        for b in range(len(block_ptr) - 1):
            mine = local[block_ptr[b, 0] : block_ptr[b + 1, 0]]
            terms = monomials[block_ptr[b, 1] : block_ptr[b + 1, 1]]
            mix = coupling[block_ptr[b, 2] : block_ptr[b + 1, 2]]
            width = len(mix) // len(terms)
            _products(mine, terms, mix, sums, values[:width], weights)
            for p in range(width):
                row = out[function]
                function += 1
                row[atom_rows[a, 0]] += switch[a] * values[p]
                if atom_rows[a, 1] < 0:
                    continue
                _gradient(tables, mine, weights, p, segments, d, gradient)
                if core:
                    _add_core(gradient, segments, unit, switch[a], near_slope, values[p])
                _scatter(gradient, segments, apart, near_rows, atom_rows[a, 1], atom_rows[a, 2], row)
