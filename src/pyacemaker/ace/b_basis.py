"""Potentials in the B basis: one coefficient per invariant, in the functions and the order of `.asi` files.

A `.yace` file holds sums over the invariants of each product type (C-tilde). LAMMPS's
`pair_style pace/extrapolation` evaluates the invariants one by one, and reads them from a B-basis `.yaml`
file. Both span the same space, so that the change of basis is exact.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from pyacemaker.ace.basis import Basis, Block, blocks_of, groups_of
from pyacemaker.ace.coupling import canonical_ms
from pyacemaker.ace.model import ACEModel, BasisFunction, Bond, Embedding
from pyacemaker.ace.tree_coupling import tree_invariants
from pyacemaker.errors import PotentialFormatError
from pyacemaker.files import write_atomic
from pyacemaker.structures import FloatArray

SPAN_TOLERANCE = 1e-8
"""Largest share of a product type's coefficients that may lie outside the span of the invariants."""


@dataclass(frozen=True, eq=False)
class BBasis:
    """The B functions of a potential, whose elements are in alphabetical order here.

    basis: the functions, per species by rank, species, radial indices, l's and intermediate L's. lints: the
    intermediate L's of each function, by species and block. model: the potential with reordered elements.
    """

    model: ACEModel
    basis: Basis
    lints: tuple[tuple[tuple[tuple[int, ...], ...], ...], ...]

    @classmethod
    def of(cls, model: ACEModel) -> "BBasis":
        """The B functions of all product types of a potential.

        Raises `PotentialFormatError` where a product type of the potential has no invariants.
        """
        model = with_sorted_elements(model)
        try:
            types = blocks_of(model)
        except ValueError as error:
            raise PotentialFormatError(f"the potential is no sum of invariants: {error}") from error
        blocks, lints = [], []
        for of_species in types:
            found = [_tree_block(block) for block in of_species]
            blocks.append(tuple(block for block, _ in found))
            lints.append(tuple(lint for _, lint in found))
        return cls(model, Basis(model.elements, dict(model.bonds), tuple(blocks)), tuple(lints))

    @cached_property
    def coefficients(self) -> tuple[FloatArray, ...]:
        """By species (functions, ndensity): what the potential's densities are in these functions.

        Raises `PotentialFormatError` where they are not: its coefficients are not rotationally invariant.
        """
        return tuple(
            np.concatenate([np.zeros((0, self.model.embeddings[mu].ndensity)), *_expansions(self, mu)])
            for mu in range(len(self.model.elements))
        )


def with_sorted_elements(model: ACEModel) -> ACEModel:
    """The same potential with its elements in alphabetical order."""
    order = sorted(range(len(model.elements)), key=lambda mu: model.elements[mu])
    new = {old: number for number, old in enumerate(order)}
    functions = {
        new[mu]: tuple(
            replace(f, mu0=new[mu], mus=tuple(new[nu] for nu in f.mus)) for f in model.functions[mu]
        )
        for mu in new
    }
    return replace(
        model,
        elements=tuple(model.elements[mu] for mu in order),
        e0=model.e0[order],
        embeddings={new[mu]: embedding for mu, embedding in model.embeddings.items()},
        bonds={(new[mu], new[nu]): bond for (mu, nu), bond in model.bonds.items()},
        functions=functions,
    )


def write_b_yaml(model: ACEModel, path: str | Path) -> None:
    """Write the B-basis `.yaml` file of a potential, atomically; the same model gives the same bytes.

    The format has no place for E0: energies read from it lack Σ E0, forces are the same. Raises
    `PotentialFormatError` where the potential cannot be written in this format.
    """
    write_atomic(Path(path), b_yaml_text(model))


def b_yaml_text(model: ACEModel) -> str:
    """The content of the B-basis `.yaml` file of a potential."""
    b = BBasis.of(model)
    if len({bond.inner_cutoff for bond in b.model.bonds.values()}) > 1:
        raise PotentialFormatError(
            "the potential mixes inner cutoff types, which a B-basis .yaml file cannot hold; "
            "use one type for all pairs"
        )
    e0 = {symbol: repr(float(value)) for symbol, value in zip(b.model.elements, b.model.e0, strict=True)}
    lines = [
        f"metadata: {json.dumps({'E0_not_included_eV': json.dumps(e0)})}",
        f"global: {{DeltaSplineBins: {json.dumps(float(b.model.delta_spline_bins))}}}",
        "species:",
    ]
    for species, functions in _species_blocks(b):
        lines.append("  - " + "\n    ".join(_head(b.model, species)))
        lines.append("    nbody:" if functions else "    nbody: []")
        lines += [f"      - {function}" for function in functions]
    return "\n".join(lines) + "\n"


def _tree_block(block: Block) -> tuple[Block, tuple[tuple[int, ...], ...]]:
    found = tree_invariants(tuple(ell for _, _, ell in block.columns), groups_of(block.columns))
    return replace(block, ms=found.ms, coupling=found.coefficients), found.lints


def _expansions(b: BBasis, mu: int) -> Iterator[FloatArray]:
    """For each block the (functions, ndensity) coefficients."""
    ndensity = b.model.embeddings[mu].ndensity
    by_type: dict[Any, list[BasisFunction]] = {}
    for function in b.model.functions[mu]:
        columns = tuple(sorted(zip(function.mus, function.ns, function.ls, strict=True)))
        by_type.setdefault(columns, []).append(function)
    for block in b.basis.blocks[mu]:
        place = {tuple(ms): number for number, ms in enumerate(block.ms.tolist())}
        target, outside = np.zeros((len(place), ndensity)), 0.0
        for ms, ctilde in _canonical_terms(block, by_type[block.columns]):
            if ms in place:
                target[place[ms]] += ctilde
            else:
                outside = max(outside, float(np.abs(ctilde).max()))
        solution = np.linalg.lstsq(block.coupling.T, target, rcond=None)[0]
        outside = max(outside, float(np.abs(block.coupling.T @ solution - target).max()))
        if outside > SPAN_TOLERANCE * float(np.abs(target).max(initial=1e-300)):
            raise PotentialFormatError(
                f"the functions of {b.model.elements[mu]} with (species, n, l) {block.columns} are not "
                "rotationally invariant; expected coefficients that are sums of Clebsch–Gordan couplings"
            )
        yield np.asarray(solution, dtype=np.float64)


def _canonical_terms(
    block: Block, functions: Sequence[BasisFunction]
) -> Iterator[tuple[tuple[int, ...], FloatArray]]:
    groups = groups_of(block.columns)
    for function in functions:
        columns = list(zip(function.mus, function.ns, function.ls, strict=True))
        order = sorted(range(function.rank), key=lambda t, columns=columns: columns[t])  # type: ignore[misc]
        for ms, ctilde in zip(function.ms_combs[:, order].tolist(), function.ctildes, strict=True):
            yield canonical_ms(tuple(ms), groups), ctilde


def _species_blocks(b: BBasis) -> list[tuple[tuple[int, ...], list[str]]]:
    """Every set of species that the file has to list, centre first, with the lines of its functions.

    All elements and all ordered pairs are there, in this order and before the larger sets.
    """
    count = len(b.model.elements)
    pairs = [(mu, nu) for mu in range(count) for nu in range(count) if mu != nu]
    found: dict[tuple[int, ...], list[str]] = {(mu,): [] for mu in range(count)} | {p: [] for p in pairs}
    for mu, blocks in enumerate(b.basis.blocks):
        rows = iter(b.coefficients[mu])
        for block, lints in zip(blocks, b.lints[mu], strict=True):
            others = sorted({nu for nu, _, _ in block.columns} - {mu})
            lines = found.setdefault((mu, *others), [])
            lines += [_function_text(b.model, block, lint, next(rows)) for lint in lints]
    return list(found.items())


def _head(model: ACEModel, species: tuple[int, ...]) -> list[str]:
    names = " ".join(model.elements[mu] for mu in species)
    lines = [f"speciesblock: {json.dumps(names)}"]
    if len(species) == 1:
        lines += _embedding_lines(model.embeddings[species[0]])
    if len(species) <= 2:
        lines += _bond_lines(model.bonds[species[0], species[-1]])
    return lines


def _embedding_lines(embedding: Embedding) -> list[str]:
    return [
        f"ndensityi: {embedding.ndensity}",
        f"npoti: {embedding.function}",
        f"parameters: {json.dumps([float(value) for value in embedding.parameters])}",
        f"rho_core_cut: {json.dumps(float(embedding.rho_core_cutoff))}",
        f"drho_core_cut: {json.dumps(float(embedding.drho_core_cutoff))}",
    ]


def _bond_lines(bond: Bond) -> list[str]:
    numbers = {
        "nradmaxi": bond.nradmax,
        "lmaxi": bond.lmax,
        "rcutij": float(bond.rcut),
        "dcutij": float(bond.dcut),
        "NameOfCutoffFunctionij": "cos",
        "r_in": float(bond.rcut_in),
        "delta_in": float(bond.dcut_in),
        "inner_cutoff_type": bond.inner_cutoff,
        "nradbaseij": bond.nradbase,
        "radbase": bond.radial_basis,
        "radparameters": [float(value) for value in bond.radial_parameters],
        "radcoefficients": bond.coefficients.tolist(),
        "core-repulsion": [float(bond.prehc), float(bond.lambdahc)],
    }
    return [f"{key}: {json.dumps(value)}" for key, value in numbers.items()]


def _function_text(model: ACEModel, block: Block, lint: tuple[int, ...], c: FloatArray) -> str:
    mus, ns, ls = zip(*block.columns, strict=True)
    names = " ".join(model.elements[mu] for mu in (block.mu0, *mus))
    between = f"lint: {json.dumps(lint)}, " if lint else ""
    return (
        f"{{type: {json.dumps(names)}, nr: {json.dumps(ns)}, nl: {json.dumps(ls)}, "
        f"{between}c: {json.dumps([float(value) for value in c])}}}"
    )
