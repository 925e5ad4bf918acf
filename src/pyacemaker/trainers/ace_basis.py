"""The choice of an ACE basis: cutoff, radial functions, and which products of them."""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from pyacemaker.base import Spec
from pyacemaker.errors import ConfigError, InsufficientDataError
from pyacemaker.structures import Dataset
from pyacemaker.structures.accuracy import LabelCounts

if TYPE_CHECKING:
    from pyacemaker.ace.basis import Basis, Block, Column, Keep
    from pyacemaker.ace.model import Bond
    from pyacemaker.ace.pairs import PairStatistics

logger = logging.getLogger(__name__)

MAX_CUTOFF = 20.0
"""Å: beyond this a cutoff is a mistake; 4 to 8 is usual."""

RESOLUTION_LIMIT = 0.3
"""Typical shortest distance over cutoff below which `radial_basis: auto` takes ChebExpCos, finer at short
range."""

FEWEST_FUNCTIONS, MOST_FUNCTIONS = 30, 3500
"""Functions per element that are chosen automatically: at least, at most."""

ENVIRONMENT_SHARE = 0.8
"""Functions of an element in an automatic basis, at most, as a share of its atoms in the data."""

LARGEST_GRAM = 1.5e12
"""Rows × (functions of all elements)² at most in an automatic basis: minutes of multiplications."""

LEAN_SPECIES = 3
"""Different elements in one term, where a basis of many elements has to be made lean."""

SIZE_NAMES = ("UNARY", "BINARY", "TERNARY", "QUATERNARY", "QUINARY", "SENARY")
"""Names of terms with one to six different elements, the centre included."""

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Order = Annotated[int, Field(ge=0)]
FunctionNumber = Annotated[int, Field(ge=1, le=20000)]


class BlockRule(Spec):
    """Limits on the terms of one set of elements."""

    nradmax: Annotated[tuple[Count, ...], Field(min_length=1, max_length=6)] | None = None
    """Largest n for each rank; there are no terms of higher ranks. Needs `lmax`."""
    lmax: Annotated[tuple[Order, ...], Field(min_length=1, max_length=6)] | None = None
    """Largest l for each rank; needs `nradmax`."""
    functions: Annotated[int, Field(ge=0, le=20000)] | None = None
    """Functions around one element that the terms may have at most: those of the lowest degree stay."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_ranks(self.nradmax, self.lmax)
        return self

    def allows(self, columns: "tuple[Column, ...]") -> bool:
        """Whether a product of these factors (species, n, l) keeps within n and l."""
        if self.nradmax is None or self.lmax is None:
            return True
        rank = len(columns)
        if rank > len(self.nradmax):
            return False
        return all(n <= self.nradmax[rank - 1] and ell <= self.lmax[rank - 1] for _, n, ell in columns)


class BasisSettings(Spec):
    """Which basis functions a potential has."""

    cutoff: Annotated[float, Field(gt=0, le=MAX_CUTOFF)] | Literal["auto"] = "auto"
    """Å: how far an atom sees. `auto`: as far as holds about 36 neighbours in bulk, 5 without bulk."""
    radial_basis: Literal["auto", "ChebExpCos", "SBessel"] = "auto"
    """Family of the radial functions; `auto`: ChebExpCos where the shortest bonds are short against the
    cutoff (molecules with hydrogen), SBessel otherwise."""
    exponent: Positive = 2.5
    """λ of ChebExpCos; larger: more detail at short range. SBessel has none."""
    functions: FunctionNumber | None = None
    """About how many functions per element; chosen from the amount of data where it is not set."""
    functions_of: dict[str, FunctionNumber] = Field(default_factory=dict)
    """About how many functions single elements have, like `{Al: 200}`, over `functions`."""
    max_rank: Annotated[int, Field(ge=1, le=6)] = 4
    """Largest number of neighbours in one term: body order minus one."""
    max_species: Annotated[int, Field(ge=1, le=7)] | None = None
    """Different elements in one term at most, the centre included; None: no limit, unless an automatic basis
    of many elements has to be made lean."""
    nradbase: Annotated[int, Field(ge=1, le=40)] = 10
    """Number of radial functions of the pair terms."""
    nradmax: Annotated[tuple[Count, ...], Field(min_length=1, max_length=6)] | None = None
    """Largest n for each rank, instead of `functions`; needs `lmax`."""
    lmax: Annotated[tuple[Order, ...], Field(min_length=1, max_length=6)] | None = None
    """Largest l for each rank, instead of `functions`; needs `nradmax`."""
    blocks: dict[str, BlockRule] = Field(default_factory=dict)
    """Limits on the terms by the set of elements in them, centre and neighbours: `Al`, `Al-Cu`, or by their
    number, `UNARY`, `BINARY`, `TERNARY` …, or `ALL`; the most specific one counts."""
    max_total_functions: Count = 5000
    """Cap on the functions of all elements together: the fit holds several matrices of its square."""

    @model_validator(mode="after")
    def _check_basis(self) -> Self:
        check_ranks(self.nradmax, self.lmax)
        if self.nradmax is not None and (self.functions is not None or self.functions_of):
            raise ValueError("functions and nradmax/lmax are two ways to say the same; set one")
        sets = [_elements_of(name) for name in self.blocks]
        for name, members in zip(self.blocks, sets, strict=True):
            if members is not None and sets.count(members) > 1:
                raise ValueError(f"blocks names the elements {name!r} twice; keep one")
        return self

    @property
    def is_explicit(self) -> bool:
        """Whether the user chose the number of functions."""
        return self.functions is not None or self.nradmax is not None or bool(self.functions_of)

    def cutoff_for(self, training: Dataset) -> float:
        """Å: the cutoff, chosen from the data where it is `auto`."""
        if self.cutoff != "auto":
            return self.cutoff
        from pyacemaker.ace.pairs import natural_cutoff

        return natural_cutoff(training)

    def choose(self, elements: tuple[str, ...], statistics: "PairStatistics", training: Dataset) -> "Basis":
        """The basis of these elements, without cores.

        statistics: of the training data, by element, within the cutoff. Raises `ConfigError` for a basis
        above `max_total_functions` or elements that `functions_of` lacks.
        """
        from pyacemaker.ace.basis import Basis

        blocks = self.product_blocks(elements, statistics, training)
        bond = self._bond(statistics, [block for of_element in blocks for block in of_element])
        pairs = [(a, b) for a in range(len(elements)) for b in range(len(elements))]
        return Basis(elements, dict.fromkeys(pairs, bond), blocks)

    def product_blocks(
        self, elements: tuple[str, ...], statistics: "PairStatistics", training: Dataset
    ) -> "tuple[tuple[Block, ...], ...]":
        """The blocks of every element; errors as in `choose`."""
        if not self.is_explicit:
            return self._automatic(elements, statistics, training)
        blocks = self._blocks(elements, statistics, self._wanted(elements), self.max_species)
        if _total(blocks) > self.max_total_functions:
            raise ConfigError(
                f"the basis has {_total(blocks)} functions for {len(elements)} elements, above "
                f"max_total_functions = {self.max_total_functions}; ask for fewer functions per element or "
                "raise the cap"
            )
        return blocks

    def _wanted(self, elements: tuple[str, ...]) -> dict[str, int]:
        """How many functions each element shall have; empty where nradmax and lmax say it."""
        if self.nradmax is not None:
            return {}
        wanted = {symbol: self.functions_of.get(symbol, self.functions) for symbol in elements}
        missing = [symbol for symbol, number in wanted.items() if number is None]
        if missing:
            raise ConfigError(
                f"functions_of names {', '.join(sorted(self.functions_of))}, but the data also holds "
                f"{', '.join(missing)}; add them, or set functions for all others"
            )
        return {symbol: number for symbol, number in wanted.items() if number is not None}

    def _automatic(
        self, elements: tuple[str, ...], statistics: "PairStatistics", training: Dataset
    ) -> "tuple[tuple[Block, ...], ...]":
        """As many functions as the data can carry and the cap allows."""
        count = max(1, int(np.sum(statistics.neighbours.sum(axis=1) > 0)))  # atoms that are never alone
        affordable = affordable_functions(training, count)
        wanted = max(1, min(affordable, MOST_FUNCTIONS, self.max_total_functions // count))
        species = self.max_species
        blocks = self._blocks(elements, statistics, _limited(wanted, training, elements), species)
        if _total(blocks) > self.max_total_functions and species is None and count > LEAN_SPECIES:
            species = LEAN_SPECIES
        while _total(blocks) > self.max_total_functions:
            if all(block.rank == 1 for of_element in blocks for block in of_element):
                raise ConfigError(
                    f"even the pair terms of {count} elements are {_total(blocks)} functions, above "
                    f"max_total_functions = {self.max_total_functions}; lower nradbase or raise the cap"
                )
            wanted = max(1, int(0.9 * wanted))
            blocks = self._blocks(elements, statistics, _limited(wanted, training, elements), species)
        if wanted < affordable and count >= 3:
            lean = "" if species is None else f" with at most {species} different elements in a term"
            logger.warning(
                "%d elements: the %d functions per element that the data could carry would make %d; using "
                "about %d per element, %d in all%s (set functions and max_total_functions to change this)",
                count,
                affordable,
                affordable * count,
                wanted,
                _total(blocks),
                lean,
            )
        return blocks

    def _blocks(
        self,
        elements: tuple[str, ...],
        statistics: "PairStatistics",
        wanted: Mapping[str, int],
        species: int | None,
    ) -> "tuple[tuple[Block, ...], ...]":
        from pyacemaker.ace.basis import graded_blocks, rectangular_blocks

        found = []
        rules = _Rules(self.blocks, elements, species, BlockRule(nradmax=self.nradmax, lmax=self.lmax))
        for mu, symbol in enumerate(elements):
            limits, keep = statistics.neighbours[mu], rules.keep(mu)
            if self.nradmax is not None:
                blocks = rectangular_blocks(mu, limits, *rules.widest(), keep=keep)
            else:
                blocks = graded_blocks(mu, limits, wanted[symbol], self.max_rank, self.nradbase, keep=keep)
            found.append(rules.thinned(blocks))
        return tuple(found)

    def _bond(self, statistics: "PairStatistics", blocks: "Sequence[Block]") -> "Bond":
        from pyacemaker.ace.basis import orthonormal_bond

        columns = [(block.rank, n, angular) for block in blocks for _, n, angular in block.columns]
        nradbase = max((n for _, n, _ in columns), default=1)
        nradmax = max((n for rank, n, _ in columns if rank > 1), default=1)
        lmax = max((angular for _, _, angular in columns), default=0)
        cutoff = statistics.cutoff
        shortest = min(float(statistics.typical.min()), cutoff)
        family = self.radial_basis
        if family == "auto":
            family = "ChebExpCos" if shortest < RESOLUTION_LIMIT * cutoff else "SBessel"
        start = 0.7 * min(shortest, 0.5 * cutoff)
        return orthonormal_bond(cutoff, family, self.exponent, (nradmax, lmax, nradbase), start)


class _Rules:
    """`BasisSettings.blocks` for given elements: which products are kept.

    species: different elements in a term at most. otherwise: what holds where no rule names a term.
    """

    def __init__(
        self,
        rules: Mapping[str, BlockRule],
        elements: tuple[str, ...],
        species: int | None,
        otherwise: BlockRule,
    ) -> None:
        self._by_set = {_elements_of(name): rule for name, rule in rules.items() if _elements_of(name)}
        self._by_size = {size: rules.get(name) for size, name in enumerate(SIZE_NAMES, start=1)}
        self._all = rules.get("ALL", otherwise)
        self._elements, self._species, self._otherwise = elements, species, otherwise

    def keep(self, mu0: int) -> "Keep | None":
        """Which products around a centre are kept; None where all are."""
        unlimited = self._species is None or self._species >= len(self._elements)
        ruled = self._by_set or any(self._by_size.values()) or self._all is not self._otherwise
        if unlimited and not ruled:
            return None

        def wanted(columns: "tuple[Column, ...]") -> bool:
            members = frozenset((mu0, *(mu for mu, _, _ in columns)))
            if self._species is not None and len(members) > self._species:
                return False
            levels = [self._rule(members), self._all, self._otherwise]
            limits = [rule for rule in levels if rule.nradmax is not None]
            return not limits or limits[0].allows(columns)

        return wanted

    def _rule(self, members: frozenset[int]) -> BlockRule:
        symbols = frozenset(self._elements[mu] for mu in members)
        return self._by_set.get(symbols) or self._by_size.get(len(symbols)) or self._all

    def widest(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The largest n and l of each rank that any rule allows."""
        rules = [*self._by_set.values(), *self._by_size.values(), self._all, self._otherwise]
        shapes = [rule for rule in rules if rule is not None and rule.nradmax is not None]
        ranks = max(len(rule.nradmax or ()) for rule in shapes)
        pick = [[(rule.nradmax or (), rule.lmax or ()) for rule in shapes] for _ in range(ranks)]
        nradmax = [max(n[k] for n, _ in pick[k] if k < len(n)) for k in range(ranks)]
        lmax = [max(ell[k] for _, ell in pick[k] if k < len(ell)) for k in range(ranks)]
        return tuple(nradmax), tuple(lmax)

    def thinned(self, blocks: "tuple[Block, ...]") -> "tuple[Block, ...]":
        """The blocks without those beyond the number of functions of their rule; lowest degrees first."""
        spent: dict[frozenset[int], int] = {}
        kept = set()
        for index, block in sorted(enumerate(blocks), key=lambda item: (item[1].degree, item[0])):
            members = frozenset((block.mu0, *(mu for mu, _, _ in block.columns)))
            limit, used = self._rule(members).functions, spent.get(members, 0)
            if limit is None or used + len(block) <= limit:
                spent[members] = used + len(block)
                kept.add(index)
        return tuple(block for index, block in enumerate(blocks) if index in kept)


def check_ranks(nradmax: Sequence[int] | None, lmax: Sequence[int] | None) -> None:
    """`ValueError` unless both are there, of one length, or neither."""
    if (nradmax is None) != (lmax is None):
        raise ValueError("nradmax and lmax belong together: set both or neither")
    if nradmax is not None and lmax is not None and len(nradmax) != len(lmax):
        raise ValueError(f"nradmax has {len(nradmax)} ranks, lmax {len(lmax)}; give as many of each")


def affordable_functions(training: Dataset, elements: int) -> int:
    """Functions per element that the labels can carry: a third of the rows, at least `FEWEST_FUNCTIONS`.

    Of very many rows fewer, see `LARGEST_GRAM`.
    """
    rows = sum(1 + 3 * len(structure) for structure in training)
    total = min(rows / 3, (LARGEST_GRAM / max(rows, 1)) ** 0.5)
    return max(FEWEST_FUNCTIONS, int(total / elements))


def _limited(wanted: int, training: Dataset, elements: tuple[str, ...]) -> dict[str, int]:
    """`wanted` functions for every element, fewer for those with few atoms in the data.

    An active set (`pyacemaker activeset`) needs as many environments as functions.
    """
    from ase.data import atomic_numbers

    numbers = np.concatenate([structure.numbers for structure in training])
    atoms = {symbol: int(np.sum(numbers == atomic_numbers[symbol])) for symbol in elements}
    return {
        symbol: max(1, min(wanted, max(FEWEST_FUNCTIONS, int(ENVIRONMENT_SHARE * atoms[symbol]))))
        for symbol in elements
    }


def check_carried(functions: int, training: Dataset) -> None:
    """`InsufficientDataError` where there are more functions than labels to determine them."""
    counts = LabelCounts.of(training)
    labels = counts.energies + counts.forces + counts.stresses
    if functions > labels:
        raise InsufficientDataError(
            f"the basis has {functions} functions, but the data has only {labels} labels (energies, force "
            "and stress components) to determine them; ask for fewer functions or add structures"
        )


def _elements_of(name: str) -> frozenset[str] | None:
    """The elements in the name of a block rule, None for `ALL` and the like; `ValueError` for no name."""
    from ase.data import atomic_numbers

    if name == "ALL" or name in SIZE_NAMES:
        return None
    symbols = name.split("-")
    if any(atomic_numbers.get(symbol, 0) < 1 for symbol in symbols):
        raise ValueError(
            f"blocks: {name!r} is neither elements like Al or Al-Cu nor ALL, {', '.join(SIZE_NAMES)}"
        )
    return frozenset(symbols)


def _total(blocks: "Sequence[Sequence[Block]]") -> int:
    return int(np.sum([len(block) for of_element in blocks for block in of_element]))


def window_indices(windows: Mapping[str, float], elements: tuple[str, ...]) -> dict[tuple[int, int], float]:
    """`windows` by pair of species; `ConfigError` for a name that is no pair. Other elements are left out."""
    from ase.data import atomic_numbers

    found = {}
    for pair, end in windows.items():
        symbols = pair.split("-")
        if len(symbols) != 2 or any(atomic_numbers.get(symbol, 0) < 1 for symbol in symbols):
            raise ConfigError(f"windows: {pair!r} is not a pair of elements like C-H")
        if all(symbol in elements for symbol in symbols):
            found[elements.index(symbols[0]), elements.index(symbols[1])] = end
    return found
