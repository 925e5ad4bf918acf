"""The active set: which structures get a DFT label, and the frozen test set.

Anchors, then DIRECT over the more uncertain part of the tags. Never the n most uncertain: that picks
broken geometries and their neighbours, and loses to random selection.
"""

import logging
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from pyacemaker.base import Spec, plugin
from pyacemaker.errors import ConfigError, InsufficientDataError
from pyacemaker.selection.base import Selector
from pyacemaker.selection.direct import DirectSelector
from pyacemaker.selection.farthest_point import FarthestPointSelector
from pyacemaker.selection.maxvol import MaxvolSelector
from pyacemaker.selection.random import RandomSelector
from pyacemaker.structures import Dataset, FloatArray, IntArray

log = logging.getLogger(__name__)

_Selector = Annotated[
    DirectSelector | FarthestPointSelector | RandomSelector | MaxvolSelector, Field(discriminator="kind")
]
_EXPONENTS = {"share": 1.0, "sqrt": 0.5, "equal": 0.0}


@dataclass(frozen=True)
class ActiveSet:
    """What was chosen, and why.

    indices: (n,) into the pool: the anchors, then the others, most uncertain first. reasons: one per index.
    """

    indices: IntArray
    reasons: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.indices)


class ActiveSetSelector(Spec):
    """Anchors + a selector over each tag's more uncertain part, with every tag represented."""

    drop_certain_fraction: float = Field(default=0.5, ge=0.0, lt=1.0)
    """Share of each tag's candidates, the least uncertain, that is left out (more than half is unwise)."""
    quota: Literal["coverage", "share", "sqrt", "equal"] = "coverage"
    """Coverage: the selector sees all tags together, and every tag it leaves out gets one place. Otherwise it
    works inside each tag, whose places follow its size, the square root of it, or are equal."""
    selector: Annotated[_Selector, plugin(Selector)] = DirectSelector()
    """What picks."""

    def select(
        self,
        pool: Dataset,
        features: FloatArray,
        uncertainty: FloatArray,
        anchors: Sequence[int] | IntArray,
        n: int,
        rng: np.random.Generator,
        exclude: Sequence[int] | IntArray = (),
        labelled: Sequence[int] | IntArray = (),
    ) -> ActiveSet:
        """`n` structures of `pool`, the `anchors` (indices) among them, none of `exclude` and `labelled`.

        labelled: what earlier rounds have chosen. As many more are picked as these are, and each of them
        takes away the pick most like it, so that the rounds together cover the pool.

        features: (pool, d); uncertainty: (pool,), larger = less certain, any unit. Raises `ConfigError` when
        `n` has no room for the anchors, `InsufficientDataError` when the pool has too few candidates.
        """
        fixed = list(dict.fromkeys(int(index) for index in anchors))
        if n < len(fixed):
            raise ConfigError(f"the active set has {n} places but {len(fixed)} anchors: raise its size")
        features = self.selector.features_of(pool, features)
        earlier = np.array(sorted({int(index) for index in labelled}), dtype=np.int64)
        groups = _candidates(pool, {*fixed, *(int(index) for index in exclude), *earlier.tolist()})
        available, wanted = sum(len(members) for members in groups.values()), n - len(fixed)
        _require(wanted, available)
        more = 0 if isinstance(self.selector, RandomSelector) else min(len(earlier), available - wanted)
        by_quota = self._cover if self.quota == "coverage" else self._divide
        chosen = by_quota(groups, features, uncertainty, wanted + more, rng) if wanted else []
        chosen = _unlike(features, chosen, earlier, wanted)
        chosen.sort(key=lambda index: (-uncertainty[index], index))
        reasons = ["anchor" for _ in fixed] + [
            f"{_kind(self.selector)} in {pool[index].tag}, uncertainty {uncertainty[index]:.4g}"
            for index in chosen
        ]
        for index, reason in zip(fixed + chosen, reasons, strict=True):
            log.debug("active set: structure %d (%s): %s", index, pool[index].id, reason)
        return ActiveSet(np.array(fixed + chosen, dtype=np.int64), tuple(reasons))

    def _cover(
        self,
        groups: Mapping[str, IntArray],
        features: FloatArray,
        uncertainty: FloatArray,
        n: int,
        rng: np.random.Generator,
    ) -> list[int]:
        """One selection from all tags; a tag without a place takes over that of the most certain structure
        of the tag with the most."""
        everything = np.sort(np.concatenate(list(groups.values())))
        doubtful = np.sort(
            np.concatenate([self._doubtful(group, uncertainty, 1) for group in groups.values()])
        )
        if len(doubtful) < n:
            doubtful = self._doubtful(everything, uncertainty, n)
        tag_of = {int(index): tag for tag, members in groups.items() for index in members}
        chosen = self._pick(doubtful, everything, features, n, rng)
        for tag in [tag for tag in groups if tag not in {tag_of[index] for index in chosen}]:
            counts = Counter(tag_of[index] for index in chosen)
            largest, most = counts.most_common(1)[0]
            if most == 1:
                break
            given_up = [index for index in chosen if tag_of[index] == largest]
            chosen.remove(min(given_up, key=lambda index: (uncertainty[index], index)))
            chosen += self._pick(self._doubtful(groups[tag], uncertainty, 1), groups[tag], features, 1, rng)
        return chosen

    def _divide(
        self,
        groups: Mapping[str, IntArray],
        features: FloatArray,
        uncertainty: FloatArray,
        n: int,
        rng: np.random.Generator,
    ) -> list[int]:
        """A selection inside each tag."""
        sizes = {tag: len(members) for tag, members in groups.items()}
        mean = {tag: float(np.mean(uncertainty[members])) for tag, members in groups.items()}
        places = quotas(sizes, n, _EXPONENTS[self.quota], mean)
        chosen: list[int] = []
        for tag, members in groups.items():
            if places[tag]:
                doubtful = self._doubtful(members, uncertainty, places[tag])
                chosen.extend(self._pick(doubtful, members, features, places[tag], rng))
        return chosen

    def _doubtful(self, members: IntArray, uncertainty: FloatArray, places: int) -> IntArray:
        """The more uncertain part of `members`, at least `places` of them, in increasing order."""
        kept = max(len(members) - int(self.drop_certain_fraction * len(members)), places)
        ranked = members[np.argsort(-uncertainty[members], kind="stable")]
        return np.sort(ranked[:kept])

    def _pick(
        self, doubtful: IntArray, members: IntArray, features: FloatArray, n: int, rng: np.random.Generator
    ) -> list[int]:
        """`n` of `doubtful`, of all `members` where too few of those differ, at random as the last resort."""
        for candidates in (doubtful, members):
            try:
                return [int(i) for i in candidates[self.selector.select(features[candidates], n, rng)]]
            except InsufficientDataError as error:
                log.warning("active set: %s", error)
        return [int(i) for i in members[RandomSelector().select(features[members], n, rng)]]


def _unlike(features: FloatArray, chosen: list[int], earlier: IntArray, n: int) -> list[int]:
    """`n` of `chosen`: without those that best pair with structures `earlier` labelled."""
    surplus = len(chosen) - n
    if surplus <= 0:
        return chosen
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    size = features.std(axis=0)
    scaled = features[:, size > 0.0] / size[size > 0.0]
    distance = cdist(scaled[chosen], scaled[earlier])
    rows, columns = linear_sum_assignment(distance)
    order = np.lexsort((rows, distance[rows, columns]))
    gone = {chosen[row] for row in rows[order][:surplus]}
    return [index for index in chosen if index not in gone]


def spread_over_tags(
    pool: Dataset, n: int, rng: np.random.Generator, exclude: Sequence[int] | IntArray = ()
) -> IntArray:
    """(n,) indices drawn at random within each tag, the tags in proportion to their size, at least one each.

    For a frozen test set: representative of the pool, so nothing but chance chooses inside a tag. `exclude`:
    indices that may not be drawn (anchors, structures already labelled). Raises `InsufficientDataError` when
    fewer than `n` are left.
    """
    groups = _candidates(pool, {int(index) for index in exclude})
    sizes = {tag: len(members) for tag, members in groups.items()}
    _require(n, sum(sizes.values()))
    places = quotas(sizes, n)
    drawn = [rng.choice(groups[tag], size=places[tag], replace=False) for tag in groups if places[tag]]
    return np.sort(np.concatenate([*drawn, np.empty(0, dtype=np.int64)])).astype(np.int64)


def quotas(
    sizes: Mapping[str, int], n: int, exponent: float = 1.0, priority: Mapping[str, float] | None = None
) -> dict[str, int]:
    """`n` places divided among groups in proportion to size**exponent, by largest remainders.

    Every group gets one while there are places, the groups of largest claim first, and none more than its
    size. `priority`: which group comes first where claims tie. `ValueError` when the sizes do not hold n.
    """
    if n > sum(sizes.values()):
        raise ValueError(f"{n} places cannot be filled from {sum(sizes.values())} structures")
    rank = priority or {}
    claims = {group: float(size) ** exponent for group, size in sizes.items() if size}
    total = sum(claims.values())
    places = dict.fromkeys(sizes, 0)
    for place in range(n):
        open_groups = [group for group in claims if places[group] < sizes[group]]

        def need(group: str, place: int = place) -> tuple[bool, float, float]:
            deficit = claims[group] / total * (place + 1) - places[group]
            return places[group] == 0, deficit, rank.get(group, 0.0)

        places[max(open_groups, key=need)] += 1
    return places


def _candidates(pool: Dataset, taken: set[int]) -> dict[str, IntArray]:
    """Indices by tag, in order of first appearance, without those in `taken`."""
    groups: dict[str, list[int]] = defaultdict(list)
    for index, structure in enumerate(pool):
        if index not in taken:
            groups[structure.tag].append(index)
    return {tag: np.array(members, dtype=np.int64) for tag, members in groups.items()}


def _require(n: int, available: int) -> None:
    if n > available:
        raise InsufficientDataError(
            f"{n} structures were asked for but only {available} candidates are left: ask for fewer, or "
            "make a larger pool"
        )


def _kind(selector: Selector) -> str:
    return str(getattr(selector, "kind", type(selector).__name__))
