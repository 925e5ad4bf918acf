"""Potentials added together: delta learning and baselines are addition."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pyacemaker.potentials.base import Potential
from pyacemaker.structures import AtomStructure, Labels

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator


class SumPotential(Potential):
    """E(R) = Σ_t E_t(R): the sum of several potentials, e.g. a teacher and its correction.

    Covers the elements that all terms cover.
    """

    def __init__(self, terms: Sequence[Potential], name: str | None = None) -> None:
        if not terms:
            raise ValueError("a sum needs at least one potential")
        self.terms = tuple(terms)
        self.name = name or "+".join(term.name for term in terms)
        shared = set.intersection(*(set(term.elements) for term in terms))
        self.elements = tuple(sorted(shared))

    def evaluate(self, structures: Sequence[AtomStructure]) -> list[Labels]:
        """The terms' labels, added."""
        totals = self.terms[0].evaluate(structures)
        for term in self.terms[1:]:
            parts = term.evaluate(structures)
            totals = [total + part for total, part in zip(totals, parts, strict=True)]
        return totals

    def calculator(self) -> "Calculator":
        """ASE's `SumCalculator` over the terms' calculators."""
        from ase.calculators.mixing import SumCalculator

        return SumCalculator([term.calculator() for term in self.terms])
