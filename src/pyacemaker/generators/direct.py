"""Generators, filters and a selector in one: a diverse pool from nothing but settings."""

import logging
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field, PositiveInt

from pyacemaker.errors import InsufficientDataError
from pyacemaker.generators.anchors import ANCHOR_TAGS, always
from pyacemaker.generators.base import Generator
from pyacemaker.generators.dimers import DIMER, ISOLATED_ATOM
from pyacemaker.potentials.base import Potential
from pyacemaker.processes import release_memory
from pyacemaker.selection import AnySelector, DirectSelector
from pyacemaker.selection.direct import distinct_points
from pyacemaker.selection.filters import HardFilters
from pyacemaker.structures import Dataset, FloatArray, IntArray

if TYPE_CHECKING:
    from pyacemaker.generators import AnyGenerator

log = logging.getLogger(__name__)


class DirectGenerator(Generator):
    """A pool of candidates from several generators, of which the anchors and a diverse choice are kept.

    Tags: those of its generators, and `dimer`.
    """

    kind: Literal["direct"] = "direct"
    generators: Annotated[tuple["AnyGenerator", ...], Field(min_length=1)]
    """What makes the candidates."""
    n: PositiveInt = 400
    """Structures wanted, anchors included; fewer candidates than this are all kept."""
    selector: AnySelector = DirectSelector()
    """How they are picked from the candidates."""
    filters: HardFilters = HardFilters()
    """What no candidate may violate, by its geometry and by the teacher's labels."""
    atoms_and_dimers: bool = True
    """Whether isolated atoms and dimer curves of all elements are added to the candidates; charged systems go
    without the dimers, which are neutral: a potential cannot tell charges apart."""

    def generate(self, teacher: Potential, rng: np.random.Generator) -> Dataset:
        """Exactly `n` structures, fewer where fewer candidates differ, more where more are anchors: logged.

        Raises `InsufficientDataError` where no candidate passes the filters.
        """
        made = self.candidates(teacher, int(rng.integers(2**31)))
        kept, _ = self.filtered(made, teacher)
        return self.diverse(kept, teacher, rng)

    def inputs(self) -> Dataset:
        """The structures that the settings of its generators name."""
        return Dataset(structure for generator in self.generators for structure in generator.inputs())

    def candidates(self, teacher: Potential, seed: int) -> Dataset:
        """What the generators make, each geometry once; generator k draws from the seed (seed, k)."""
        found = self.made(teacher, seed)
        if self.atoms_and_dimers:
            charged = any(structure.charge for structure in found)
            extra = always(found.elements, self.inputs())
            found = found + extra.filter(lambda added: not (charged and added.tag == DIMER))
        return found.unique()

    def made(
        self, teacher: Potential, seed: int, progress: Callable[[int, int], None] | None = None
    ) -> Dataset:
        """What the generators make, nothing added or left out. progress: generators done, and all."""
        found, total = Dataset(), len(self.generators)
        for index, generator in enumerate(self.generators):
            if progress is not None:
                progress(index, total)
            found = found + generator.generate(teacher, np.random.default_rng([seed, index]))
        if progress is not None:
            progress(total, total)
        return found

    def filtered(self, candidates: Dataset, teacher: Potential) -> tuple[Dataset, dict[str, int]]:
        """The candidates that pass the filters, and how many each reason rejected.

        Of atoms and dimers no energy is unreasonable: the median of a dimer curve is that of atoms apart, and
        a strong bond lies far below it.
        """
        small = np.array([s.tag in (ISOLATED_ATOM, DIMER) for s in candidates], dtype=bool)
        lenient = self.filters.model_copy(update={"max_energy": None})
        passed, rejected = np.zeros(len(candidates), dtype=bool), Counter[str]()
        for filters, members in ((self.filters, np.flatnonzero(~small)), (lenient, np.flatnonzero(small))):
            geometry = filters.check(candidates[members])
            sane = members[geometry.kept]
            found = filters.check(candidates[sane], teacher.evaluate_lazily(candidates[sane]))
            passed[sane[found.kept]] = True
            rejected += geometry.reasons + found.reasons
        if not passed[~small if not small.all() else small].any():
            listed = ", ".join(f"{count} {reason}" for reason, count in rejected.items())
            raise InsufficientDataError(
                f"no candidate is left of the {len(candidates)} that the generators made "
                f"({listed or 'none were made'}): check the input structures, or relax label.filters"
            )
        return candidates[passed], dict(rejected)

    def diverse(self, candidates: Dataset, teacher: Potential, rng: np.random.Generator) -> Dataset:
        """The anchors, and a diverse choice of the others, `n` in all, in the order of the candidates.

        Isolated atoms are left out: they are labelled for the reference energies in any case.
        """
        candidates = candidates.filter(lambda structure: structure.tag != ISOLATED_ATOM)
        is_anchor = np.array([structure.tag in ANCHOR_TAGS for structure in candidates], dtype=bool)
        others = np.flatnonzero(~is_anchor)
        places = self.n - int(is_anchor.sum())
        if places >= len(others):
            return candidates
        if places < 1:
            if places < 0:
                log.warning("%d structures are kept, not %d: all are anchors", is_anchor.sum(), self.n)
            return candidates[is_anchor]
        features = self.selector.features_of(candidates, structure_features(candidates, teacher))[others]
        release_memory()  # before the selector's distances
        chosen = others[_choose(self.selector, features, places, rng)]
        return candidates[np.sort(np.concatenate([np.flatnonzero(is_anchor), chosen]))]


def _choose(selector: AnySelector, features: FloatArray, n: int, rng: np.random.Generator) -> IntArray:
    """`n` rows by `selector`, or as many as differ where the selector finds too few."""
    try:
        return selector.select(features, n, rng)
    except InsufficientDataError as error:
        distinct = len(distinct_points(features, 1)[1])
        if distinct >= n:
            raise
        log.warning("%s; %d are kept", error, distinct)
        return selector.select(features, distinct, rng)


def structure_features(structures: Dataset, teacher: Potential) -> FloatArray:
    """(structures, d): the teacher's own averaged descriptors, or those of a default ACE basis."""
    from pyacemaker.potentials.mace import MacePotential

    if isinstance(teacher, MacePotential):
        return teacher.structure_features(structures)
    from pyacemaker.ace.design import design_features

    return design_features(structures)
