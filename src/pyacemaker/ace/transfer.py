"""An existing linear potential as the start of a fit: its basis, and its coefficients as the prior's mean.

A `.yace` file holds, for every product type (μ0; μ_t, n_t, l_t), the sum c̃[m] over all its functions. On the
monomials of a block c̃ = c · coupling with orthonormal rows, so c = c̃ · couplingᵀ is the least-squares
solution, exact for what is rotationally invariant.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from pyacemaker.ace.basis import Basis, Block, Column, basis_of, groups_of
from pyacemaker.ace.coupling import canonical_ms
from pyacemaker.ace.model import ACEModel, BasisFunction
from pyacemaker.errors import PotentialFormatError, UnsupportedElementError
from pyacemaker.structures import FloatArray

TOLERANCE = 1e-6
"""Largest part of a product's c̃, as a share of its norm, that may lie outside the invariants."""


def transfer(
    model: ACEModel, elements: Sequence[str], more: Sequence[Sequence[Block]] = ()
) -> tuple[Basis, FloatArray]:
    """The basis of a linear potential (its radial functions, cutoffs and core) and its (K,) coefficients.

    elements: those the data holds. more: blocks by species of `model.elements` that the basis gets as well,
    with the coefficient 0, where the potential's radial functions allow them.

    Raises `PotentialFormatError` for a potential that is not linear in its coefficients (several densities,
    an exponent other than 1) or not invariant, `UnsupportedElementError` for elements that it lacks.
    """
    _check_linear(model)
    missing = sorted(set(elements) - set(model.elements))
    if missing:
        raise UnsupportedElementError(
            f"the data holds {', '.join(missing)}, but the prior potential covers "
            f"{', '.join(model.elements)}; leave those structures out or choose another prior"
        )
    try:
        basis = basis_of(model)
    except ValueError as error:
        raise PotentialFormatError(
            f"the prior potential cannot be transferred: {error}; choose one without such terms"
        ) from error
    switches = tuple(
        (model.embeddings[mu].rho_core_cutoff, model.embeddings[mu].drho_core_cutoff)
        for mu in range(len(model.elements))
    )
    blocks = tuple(_united(model, mu, own, more[mu] if more else ()) for mu, own in enumerate(basis.blocks))
    basis = replace(basis, blocks=blocks, core_switches=switches)
    return basis, np.concatenate([np.zeros(0), *_coefficients(model, basis)])


def _check_linear(model: ACEModel) -> None:
    for mu, embedding in model.embeddings.items():
        used = [
            (weight, exponent)
            for p, (weight, exponent) in enumerate(zip(embedding.weights, embedding.exponents, strict=True))
            if any(np.any(function.ctildes[:, p] != 0.0) for function in model.functions[mu])
        ]
        if len(used) > 1 or any(exponent != 1.0 for _, exponent in used):
            raise PotentialFormatError(
                f"the prior potential has {embedding.ndensity} densities with the exponents "
                f"{', '.join(map(str, embedding.exponents))} for {model.elements[mu]}; a prior has to be "
                "linear: one density with the exponent 1"
            )


def _united(model: ACEModel, mu: int, own: Sequence[Block], more: Sequence[Block]) -> tuple[Block, ...]:
    there = {block.columns for block in own}
    new = [block for block in more if block.columns not in there and _is_allowed(model, mu, block.columns)]
    return tuple(sorted([*own, *new], key=lambda block: (block.rank, block.columns)))


def _is_allowed(model: ACEModel, mu: int, columns: Sequence[Column]) -> bool:
    def within(nu: int, n: int, ell: int) -> bool:
        bond = model.bonds[mu, nu]
        return n <= bond.nradbase if len(columns) == 1 else n <= bond.nradmax and ell <= bond.lmax

    return all(within(*column) for column in columns)


def _coefficients(model: ACEModel, basis: Basis) -> Iterator[FloatArray]:
    """The coefficients of every block, in the order of the basis."""
    for mu, blocks in enumerate(basis.blocks):
        sums: dict[tuple[Column, ...], dict[tuple[int, ...], float]] = {}
        for function in model.functions[mu]:
            _add(sums, function, model.embeddings[mu].weights)
        for block in blocks:
            yield _projected(model, block, sums.get(block.columns, {}))


def _add(
    sums: dict[tuple[Column, ...], dict[tuple[int, ...], float]],
    function: BasisFunction,
    weights: Sequence[float],
) -> None:
    """Add Σ_p w_p c̃_p of a function to the monomials of its product type."""
    columns = list(zip(function.mus, function.ns, function.ls, strict=True))
    order = sorted(range(len(columns)), key=lambda t: columns[t])
    key = tuple(columns[t] for t in order)
    groups = groups_of(key)
    total = sums.setdefault(key, {})
    for ms, values in zip(function.ms_combs, function.ctildes @ np.asarray(weights), strict=True):
        monomial = canonical_ms(tuple(int(ms[t]) for t in order), groups)
        total[monomial] = total.get(monomial, 0.0) + float(values)


def _projected(model: ACEModel, block: Block, sums: dict[tuple[int, ...], float]) -> FloatArray:
    ctildes = np.array([sums.get(tuple(map(int, ms)), 0.0) for ms in block.ms])
    coefficients: FloatArray = block.coupling @ ctildes
    whole = float(np.sqrt(sum(value**2 for value in sums.values())))
    explained = float(np.linalg.norm(coefficients))
    if whole**2 - explained**2 > (TOLERANCE * whole) ** 2 + 1e-14 * whole**2:
        raise PotentialFormatError(
            f"the prior potential is not invariant under rotations in its term {block.columns} (species, n, "
            f"l) around {model.elements[block.mu0]}; write it anew with the program that made it"
        )
    return coefficients
