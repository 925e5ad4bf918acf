"""A sequence of structures that slices, filters and prints itself."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import overload

import numpy as np
from ase.data import chemical_symbols

from pyacemaker.errors import DataError, UnsupportedElementError
from pyacemaker.structures.structure import AtomStructure, FloatArray, IntArray, Labels


@contextmanager
def within(path: Path) -> Iterator[None]:
    """`DataError` and `UnsupportedElementError` from inside say which file holds the structures."""
    try:
        yield
    except (DataError, UnsupportedElementError) as error:
        raise type(error)(f"{path}: {error}") from error


@contextmanager
def locating(index: int, structure: AtomStructure) -> Iterator[None]:
    """`DataError` and `UnsupportedElementError` from inside say which structure of a sequence causes them."""
    try:
        yield
    except (DataError, UnsupportedElementError) as error:
        formula = structure.to_atoms().get_chemical_formula()
        place = f"structure {index} (counted from 0; {formula}, id {structure.id})"
        raise type(error)(f"{place}: {error}") from error


class Dataset(Sequence[AtomStructure]):
    """An immutable sequence of structures.

    ``data[3]`` is a structure; ``data[:10]``, ``data[[0, 4, 7]]`` and ``data[mask]`` are datasets; ``a + b``
    concatenates. The order is meaningful and is kept.
    """

    def __init__(self, structures: Iterable[AtomStructure] = ()) -> None:
        self._structures = tuple(structures)

    def __len__(self) -> int:
        return len(self._structures)

    def __iter__(self) -> Iterator[AtomStructure]:
        return iter(self._structures)

    @overload
    def __getitem__(self, index: int) -> AtomStructure: ...
    @overload
    def __getitem__(self, index: slice | Sequence[int] | IntArray) -> "Dataset": ...
    def __getitem__(self, index: int | slice | Sequence[int] | IntArray) -> "AtomStructure | Dataset":
        if isinstance(index, int | np.integer):
            return self._structures[int(index)]
        if isinstance(index, slice):
            return Dataset(self._structures[index])
        chosen = np.asarray(index)
        if chosen.dtype == bool:
            if chosen.shape != (len(self),):
                raise IndexError(f"a mask of shape {chosen.shape} for {len(self)} structures")
            chosen = np.flatnonzero(chosen)
        return Dataset(self._structures[int(i)] for i in chosen)

    def __add__(self, other: "Dataset") -> "Dataset":
        return Dataset(self._structures + tuple(other))

    def __repr__(self) -> str:
        counts = ", ".join(f"{tag} {count}" for tag, count in self.tag_counts().items())
        return (
            f"Dataset({len(self)} structures, {self.n_atoms} atoms, "
            f"elements {'-'.join(self.elements) or 'none'}, {len(self.labelled())} labelled; {counts})"
        )

    @property
    def n_atoms(self) -> int:
        """Number of atoms over all structures."""
        return sum(len(structure) for structure in self)

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols that occur, in alphabetical order."""
        numbers = {int(number) for structure in self for number in structure.numbers}
        return tuple(sorted(chemical_symbols[number] for number in numbers))

    @property
    def ids(self) -> list[str]:
        """Content hash of each structure."""
        return [structure.id for structure in self]

    @property
    def labels(self) -> list[Labels]:
        """The labels of all structures; `ValueError` if one has none."""
        found = [structure.labels for structure in self]
        if any(labels is None for labels in found):
            raise ValueError(f"{found.count(None)} of {len(self)} structures have no labels")
        return [labels for labels in found if labels is not None]

    def tag_counts(self) -> Counter[str]:
        """How many structures each tag has, in order of first appearance."""
        return Counter(structure.tag for structure in self)

    def filter(self, keep: Callable[[AtomStructure], bool]) -> "Dataset":
        """The structures for which `keep` is true."""
        return Dataset(structure for structure in self if keep(structure))

    def labelled(self) -> "Dataset":
        """The structures that have labels."""
        return self.filter(lambda structure: structure.labels is not None)

    def unique(self) -> "Dataset":
        """The first structure of every id, in order."""
        first: dict[str, AtomStructure] = {}
        for structure in self:
            first.setdefault(structure.id, structure)
        return Dataset(first.values())

    def with_labels(self, labels: Sequence[Labels], source: str) -> "Dataset":
        """The same structures with new `labels` made by `source`."""
        pairs = zip(self, labels, strict=True)
        return Dataset(structure.replace(labels=label, source=source) for structure, label in pairs)

    def composition(self, elements: Sequence[str]) -> FloatArray:
        """(structures, elements): how many atoms of each element each structure has."""
        numbers = [chemical_symbols.index(symbol) for symbol in elements]
        counts = np.zeros((len(self), len(numbers)))
        for row, structure in zip(counts, self, strict=True):
            row[:] = np.bincount(structure.numbers, minlength=len(chemical_symbols))[numbers]
        return counts

    def reference_energies(self, energies: Mapping[str, float]) -> FloatArray:
        """(structures,), eV: the sum of the atoms' reference energies; `KeyError` for a missing element."""
        symbols = self.elements
        return np.asarray(self.composition(symbols) @ np.array([energies[symbol] for symbol in symbols]))
