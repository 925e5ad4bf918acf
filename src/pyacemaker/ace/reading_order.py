"""In which order the readers of B-basis files put the functions of one product type.

They sort them by the number and the list of m's whose coefficient is not exactly 0.0 in double precision.
Some Clebsch–Gordan coefficients vanish without a symmetry that makes them do so, and come out as 0.0 or as
1e-17, depending on the algorithm. So what counts here is computed as the readers do it: 3j symbols f(j) =
(j₁ j₂ j; m₁ m₂ −m₁−m₂) for all j at once by a three-term recurrence X f(j + 1) + Y f(j) + Z f(j − 1) = 0
(Schulten, Gordon, J. Math. Phys. 16, 1961 (1975)), started from both ends (Luscombe, Luban, Phys. Rev. E 57,
7274 (1998)). The values themselves are only good for this; `coupling.clebsch_gordan` is exact.
"""

from collections.abc import Callable
from functools import cache
from itertools import product
from math import inf, sqrt

SMALLEST = 2.0**-255.5
"""A Y below this counts as zero: the fourth root of the smallest normal number."""

Order = tuple[int, list[tuple[int, ...]]]


def reading_order(ls: tuple[int, ...], lint: tuple[int, ...]) -> Order:
    """The sort key of the invariant with angular momenta `ls` and intermediate L's `lint`.

    How many m's have a coefficient, and which: those whose first non-zero m is positive (or that are all
    zero), the last m varying slowest.
    """
    listed = []
    for reverse in product(*(range(-ell, ell + 1) for ell in reversed(ls))):
        ms = reverse[::-1]
        if sum(ms) == 0 and next((m for m in ms if m), 1) > 0 and _has_coefficient(ls, lint, ms):
            listed.append(ms)
    return len(listed), listed


def _has_coefficient(ls: tuple[int, ...], lint: tuple[int, ...], ms: tuple[int, ...]) -> bool:
    """Whether no Clebsch–Gordan coefficient along the tree is 0.0."""
    nodes = list(zip(ls, ms, strict=True))
    totals = iter((*lint, 0))
    pairs: list[tuple[int, int]] = []
    while len(nodes) > 1:
        pairs.append((next(totals), nodes[0][1] + nodes[1][1]))
        if not counts(*nodes[0], *nodes[1], pairs[-1][0]):
            return False
        nodes = nodes[2:]
    pairs += nodes
    while len(pairs) > 1:
        joined = (next(totals), pairs[0][1] + pairs[1][1])
        if not counts(*pairs[0], *pairs[1], joined[0]):
            return False
        pairs = [joined, *pairs[2:]]
    return True


def counts(l1: int, m1: int, l2: int, m2: int, total: int) -> bool:
    """Whether a reader sees ⟨l₁ m₁ l₂ m₂ | L m₁+m₂⟩ as different from 0.0."""
    first = max(abs(l1 - l2), abs(m1 + m2))
    return first <= total <= l1 + l2 and _series(l1, m1, l2, m2)[total - first] != 0.0


@cache
def _series(l1: int, m1: int, l2: int, m2: int) -> tuple[float, ...]:
    """f(j) up to a common factor, j = max(|l₁ − l₂|, |m₁ + m₂|) … l₁ + l₂."""
    first, last = max(abs(l1 - l2), abs(m1 + m2)), l1 + l2
    if first == last:
        return (1.0,)
    top, slope = float(l1 + l2 + 1), float(m2 - m1)
    if first == 0:  # j (j + 1) is divided out
        return _solved(
            first,
            last,
            lambda j: (j + 1) * sqrt((top + (j + 1)) * (top - (j + 1))),
            lambda j: (2 * j + 1) * slope,
            lambda j: j * sqrt((top + j) * (top - j)),
        )
    low, m = float(l1 - l2), float(-m1 - m2)
    offset = m * (l1 * (l1 + 1) - l2 * (l2 + 1))

    def root(j: float) -> float:
        return sqrt((low + j) * (low - j) * (top + j) * (top - j) * (m - j) * (m + j))

    return _solved(
        first,
        last,
        lambda j: j * root(j + 1),
        lambda j: (2 * j + 1) * (j * (j + 1) * slope - offset),
        lambda j: (j + 1) * root(j),
    )


Term = Callable[[float], float]


def _solved(first: int, last: int, x: Term, y: Term, z: Term) -> tuple[float, ...]:
    """The solution f(first … last) of X f(j + 1) + Y f(j) + Z f(j − 1) = 0, up to a factor."""
    f = [0.0] * (last - first + 1)
    high = _ratios(f, float(last), -1, z, y, x, 0)
    if high > 0:
        low = _ratios(f, float(first), 1, x, y, z, high)
        if low < high:
            _join(f, float(first), low, high, (x, y, z))
    return tuple(f)


def _ratios(f: list[float], j: float, step: int, ahead: Term, y: Term, behind: Term, stop: int) -> int:
    """Fill `f` from one end while it grows towards the middle; returns the place where it is set to 1.

    step: −1 from the last j, 1 from the first; the place `stop` is not crossed.
    """
    end = place = len(f) - 1 if step < 0 else 0
    middle = y(j)
    if abs(middle) < SMALLEST:
        f[place] = 1.0
        return place
    f[place] = ratio = -ahead(j) / middle
    place += step
    while (place - stop) * step < 0:
        j += step
        divisor = y(j) + behind(j) * ratio
        ratio = -ahead(j) / divisor if divisor else inf
        if abs(ratio) > 1.0:
            break
        f[place] = ratio
        place += step
    f[place] = 1.0
    for k in range(place - step, end, -step):
        f[k - step] *= f[k]
    return place


def _join(f: list[float], j: float, low: int, high: int, terms: tuple[Term, Term, Term]) -> None:
    """The part between by the recurrence itself, and everything below on the scale of the upper end."""
    x, y, z = terms
    j += low
    if low == 0:
        f[1] = (-y(j) * f[0]) / x(j)
        j, low = j + 1, 1
    for k in range(low, high):
        f[k + 1] = (-y(j) * f[k] - z(j) * f[k - 1]) / x(j)
        j += 1
    scale = 1.0 / f[high]
    for k in range(high + 1):
        f[k] *= scale
