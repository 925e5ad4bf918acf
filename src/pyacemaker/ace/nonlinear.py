"""Rows and exact Jacobian of ACE potentials that are not linear in their parameters.

E_i = f_i Σ_p w_p F(ρ_p; m_p) + e_i + E0_i with the densities ρ_p = Σ_f c_pf B_f, f_i and e_i the core's
switch and energy (`pyacemaker.ace.cores`), and R_nl = Σ_k c_nlk g_k the radial functions of ranks ≥ 2.
Parameters are the c_pf and, if wanted, the c_nlk.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np

from pyacemaker.ace.basis import Basis
from pyacemaker.ace.cores import core_terms
from pyacemaker.ace.design_batch import Batch, core_rows, layout
from pyacemaker.ace.design_tables import Channels, Tables, build_tables
from pyacemaker.ace.model import EMBEDDINGS, ACEModel, BasisFunction, Embedding
from pyacemaker.ace.nonlinear_kernel import Densities, Radials, accumulate_nonlinear
from pyacemaker.structures import AtomStructure, FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class DensityModel:
    """A potential of P densities as a point in the space of its parameters.

    basis: functions, with the present radial coefficients in its bonds. coefficients: (P, K), c_pf.
    embeddings: by species, each of P densities. e0: (N,), eV.
    Bonds (i, j) and (j, i) must hold the same radial coefficients: they are one set of parameters.
    """

    basis: Basis
    coefficients: FloatArray
    embeddings: Mapping[int, Embedding]
    e0: FloatArray

    def __post_init__(self) -> None:
        counts = {embedding.ndensity for embedding in self.embeddings.values()}
        if self.coefficients.shape != (next(iter(counts), 0), len(self.basis)) or len(counts) != 1:
            raise ValueError(
                f"coefficients have shape {self.coefficients.shape}; expected ({sorted(counts)}, "
                f"{len(self.basis)}): the densities of every embedding, and the functions of the basis"
            )
        for i, j in self.pairs:
            if not np.array_equal(self.basis.bonds[i, j].coefficients, self.basis.bonds[j, i].coefficients):
                raise ValueError(f"bonds ({i}, {j}) and ({j}, {i}) differ in their radial coefficients")

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """The unordered pairs of species (a ≤ b), in the order of `radial`."""
        count = len(self.basis.elements)
        return tuple((a, b) for a in range(count) for b in range(a, count))

    @property
    def radial_starts(self) -> IntArray:
        """(pairs,) where the coefficients of each pair start in `radial`."""
        sizes = [self.basis.bonds[pair].coefficients.size for pair in self.pairs]
        return np.cumsum([0, *sizes[:-1]]).astype(np.int64)

    def to_model(self) -> ACEModel:
        """The potential itself, for the evaluator and for `.yace` files."""
        return self.basis.to_model(self.coefficients, self.e0, self.embeddings)

    @property
    def radial(self) -> FloatArray:
        """(M,) the independent radial coefficients: of each pair a ≤ b in order, c_nlk ravelled."""
        return np.concatenate([self.basis.bonds[pair].coefficients.ravel() for pair in self.pairs])

    def moved(self, coefficients: FloatArray, radial: FloatArray | None = None) -> "DensityModel":
        """The same model at other parameters. coefficients: (P, K). radial: (M,); as they are where None."""
        if radial is None:
            return replace(self, coefficients=coefficients)
        if radial.shape != self.radial.shape:
            raise ValueError(f"{radial.shape} radial coefficients; expected {self.radial.shape}")
        bonds = dict(self.basis.bonds)
        for (a, b), part in zip(self.pairs, np.split(radial, self.radial_starts[1:]), strict=True):
            for pair in ((a, b), (b, a)):
                shape = bonds[pair].coefficients.shape
                bonds[pair] = replace(bonds[pair], coefficients=part.reshape(shape).copy())
        return replace(self, basis=replace(self.basis, bonds=bonds), coefficients=coefficients)


@dataclass(frozen=True, eq=False)
class NonlinearRows:
    """Rows of several structures, laid out as `pyacemaker.ace.design.DesignRows`.

    values: (R,) predicted energies (eV), forces (eV/Å) and stresses (eV/Å³), cores included, E0 left out.
    jacobian: (P·K [+ M], R), C-contiguous, their derivatives: of c_pf density by density, then of c_nlk in
    the order of `DensityModel.radial`. starts: (S + 1,) first row of each structure.
    """

    values: FloatArray
    jacobian: FloatArray
    starts: IntArray


class NonlinearDesign:
    """Computes values and Jacobian of one model; `at` reuses its tables for other parameters.

    radial: whether the Jacobian has the columns of the radial coefficients. As with `Design`, the result of
    `rows` is dense: 8 (P K + M) R bytes.
    """

    def __init__(self, model: DensityModel, *, radial: bool = False) -> None:
        self.model = model
        self.has_radial = radial
        self._centres = tuple(_Centre.of(model, mu, radial) for mu in range(len(model.basis.elements)))

    def at(self, model: DensityModel) -> "NonlinearDesign":
        """The design of the same functions at other parameters (`DensityModel.moved`)."""
        if _products(model) != _products(self.model):
            raise ValueError("the model has another set of basis functions; make a new design for it")
        other = copy(self)
        other.model = model
        return other

    def rows(self, structures: Sequence[AtomStructure]) -> NonlinearRows:
        """Values and Jacobian of energy, forces and, for structures with a volume, stress."""
        basis, densities = self.model.basis, len(self.model.coefficients)
        batch, places = Batch.of(structures, basis.elements, basis.cutoff), layout(structures)
        rows, linear = int(places.starts[-1]), densities * len(basis)
        count = linear + (len(self.model.radial) if self.has_radial else 0)
        values, jacobian = np.zeros(rows), np.zeros((count, rows))
        terms = core_terms(self._frame(), batch.species, batch.edges)
        for mu, centre in enumerate(self._centres):
            atoms = np.flatnonzero(batch.species == mu)
            if len(atoms) and centre.tables.functions:
                mine = slice(basis.offsets[mu], basis.offsets[mu + 1])
                accumulate_nonlinear(
                    centre.tables,
                    batch.sites(
                        atoms, batch.channel_values(mu, basis.bonds, self._mixes(mu)), places.atom_rows, terms
                    ),
                    self._densities(mu, mine),
                    centre.radials,
                    values,
                    jacobian[:linear].reshape(densities, len(basis), rows)[:, mine],
                    jacobian[linear:],
                )
        values += core_rows(terms, batch.edges, places.atom_rows, rows)
        stress = np.flatnonzero(places.volumes != 1.0)
        values /= places.volumes
        jacobian[:, stress] /= places.volumes[stress]
        return NonlinearRows(values, jacobian, places.starts)

    def _mixes(self, mu: int) -> list[FloatArray]:
        basis = self.model.basis
        return [Channels(basis.bonds[mu, nu], shared=False).matrix for nu in range(len(basis.elements))]

    def _densities(self, mu: int, mine: slice) -> Densities:
        embedding = self.model.embeddings[mu]
        return Densities(
            np.ascontiguousarray(self.model.coefficients[:, mine], dtype=float),
            np.array(embedding.weights, dtype=float),
            np.array(embedding.exponents, dtype=float),
            EMBEDDINGS.index(embedding.function),
        )

    def _frame(self) -> ACEModel:
        """The model without functions: all that the cores need."""
        basis = self.model.basis
        none: dict[int, tuple[BasisFunction, ...]] = {mu: () for mu in range(len(basis.elements))}
        return ACEModel(
            basis.elements, self.model.e0, 0.001, dict(self.model.embeddings), dict(basis.bonds), none
        )


def _products(model: DensityModel) -> list[tuple[int, tuple[tuple[int, int, int], ...], int]]:
    return [(block.mu0, block.columns, len(block)) for blocks in model.basis.blocks for block in blocks]


@dataclass(frozen=True, eq=False)
class _Centre:
    """What depends on the species of the centre and not on the parameters."""

    tables: Tables
    radials: Radials

    @classmethod
    def of(cls, model: DensityModel, mu: int, radial: bool) -> "_Centre":
        basis, count = model.basis, len(model.basis.elements)
        bonds = [basis.bonds[mu, nu] for nu in range(count)]
        channels = [Channels(bond, shared=False) for bond in bonds]
        blocks = basis.blocks[mu]
        columns = {column for block in blocks if block.rank > 1 for column in block.columns}
        wanted = sorted(columns) if radial else []
        primitives = {
            (nu, k, angular, m)
            for nu, _, angular in wanted
            for k in range(bonds[nu].nradbase)
            for m in range(angular + 1)
        }
        tables = build_tables(blocks, channels, sorted(primitives))
        index = {tuple(component): place for place, component in enumerate(tables.components.tolist())}
        first_of = dict(zip(model.pairs, model.radial_starts, strict=True))
        entries = []
        for nu, n, angular in wanted:
            packed, bond = angular * (angular + 1) // 2, bonds[nu]
            place = index[nu, channels[nu].of(2, n, angular), packed, 0]
            first = first_of[min(mu, nu), max(mu, nu)]
            first += ((n - 1) * (bond.lmax + 1) + angular) * bond.nradbase
            entries += [
                (place, index[nu, k, packed, 0], 2 * angular + 1, first + k) for k in range(bond.nradbase)
            ]
        return cls(tables, Radials(np.array(entries, dtype=np.int64).reshape(-1, 4)))
