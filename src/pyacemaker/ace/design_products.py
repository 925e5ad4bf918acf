"""The compiled products of the design matrix: B and ∂B/∂a of all functions of an atom, from its components a.

See `pyacemaker.ace.design_tables` for the tables. For a monomial Re Π_t z_t, the derivative with respect to
the real part of z_t is Re Π_{s≠t} z_s, that with respect to the imaginary part −Im Π_{s≠t} z_s.
"""

import numpy as np
from numba import njit

from pyacemaker.ace.design_tables import COUPLING, FACTORS, FUNCTIONS, LOCAL, PRODUCTS, RANK, WEIGHTS
from pyacemaker.ace.model import MAX_RANK


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


@njit(cache=True, forceinline=True)
def _block_values(terms, coupling, z, value):  # type: ignore[no-untyped-def]
    value[:] = 0.0
    for q in range(len(terms)):
        real, imag = z[0, terms[q, 0]], z[1, terms[q, 0]]
        for t in range(1, terms.shape[1]):
            other_real, other_imag = z[0, terms[q, t]], z[1, terms[q, t]]
            real, imag = real * other_real - imag * other_imag, real * other_imag + imag * other_real
        for p in range(len(value)):
            value[p] += coupling[q, p] * real


@njit(cache=True, forceinline=True)
def _block_weights(terms, coupling, factors, z, rest, value, weight):  # type: ignore[no-untyped-def]
    """rest: (2, rank) room for the products of all factors but one."""
    value[:] = 0.0
    weight[:] = 0.0
    for q in range(len(terms)):
        product = _rests(terms[q], z, rest)
        for p in range(len(value)):
            value[p] += coupling[q, p] * product
        for t in range(terms.shape[1]):
            k = terms[q, t]
            at, across = factors[k, 0], factors[k, 1]
            for p in range(len(value)):
                weight[p, at] += coupling[q, p] * rest[0, t]
            if across >= 0:
                imag = -factors[k, 2] * rest[1, t]
                for p in range(len(value)):
                    weight[p, across] += coupling[q, p] * imag


@njit(cache=True, forceinline=True)
def _rests(term, z, rest):  # type: ignore[no-untyped-def]
    """Write the products of all factors but one to `rest`; returns the real part of the whole product."""
    rank = len(term)
    if rank == 1:
        rest[0, 0], rest[1, 0] = 1.0, 0.0
    elif rank == 2:
        rest[0, 0], rest[1, 0] = z[0, term[1]], z[1, term[1]]
        rest[0, 1], rest[1, 1] = z[0, term[0]], z[1, term[0]]
    else:
        _many_rests(term, z, rest)
    first = term[0]
    return z[0, first] * rest[0, 0] - z[1, first] * rest[1, 0]


@njit(cache=True, forceinline=True)
def _many_rests(term, z, rest):  # type: ignore[no-untyped-def]
    """The same for rank ≥ 3: products of the factors after each, then times those before."""
    last = len(term) - 1
    real, imag = z[0, term[last]], z[1, term[last]]
    for t in range(last - 1, -1, -1):
        rest[0, t], rest[1, t] = real, imag
        x, y = z[0, term[t]], z[1, term[t]]
        real, imag = real * x - imag * y, real * y + imag * x
    real, imag = z[0, term[0]], z[1, term[0]]
    for t in range(1, last):
        x, y = rest[0, t], rest[1, t]
        rest[0, t], rest[1, t] = real * x - imag * y, real * y + imag * x
        x, y = z[0, term[t]], z[1, term[t]]
        real, imag = real * x - imag * y, real * y + imag * x
    rest[0, last], rest[1, last] = real, imag
