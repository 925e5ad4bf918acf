"""Boxes that divide a set of points: a few for many points, in time that hardly grows with their number.

What needs time or memory in proportion to the square of the number of points works on the boxes instead.
"""

import numpy as np

from pyacemaker.structures import BoolArray, FloatArray, IntArray

_NEAR_LARGEST = 0.7  # of the largest diagonal: boxes at least this large are halved together


def divide_evenly(points: FloatArray, count: int) -> IntArray:
    """(points,) labels 0 … k−1 of boxes of about equal diagonal that hold `points` (points, m), none empty.

    k = min(`count`, points). The largest boxes, each shrunk to the points inside, are halved across their
    longest side until there are so many: dense regions get as many boxes as thin ones of the same extent, and
    an outlier has one of its own. Points that coincide are told apart by their place in the array.
    """
    tree = _Boxes(points)
    while len(tree.starts) < min(count, len(points)):
        tree.halve(tree.largest(min(count, len(points)) - len(tree.starts)))
    return tree.labels()


def divide_by_number(points: FloatArray, most: int) -> list[IntArray]:
    """Groups of at most `most` indices of `points` (points, m), halved at medians of longest sides."""
    waiting, done = [np.arange(len(points), dtype=np.int64)], []
    while waiting:
        group = waiting.pop()
        if len(group) <= most:
            done.append(group)
            continue
        inside = points[group]
        axis = int(np.argmax(np.ptp(inside, axis=0)))
        ranked = group[np.argsort(inside[:, axis], kind="stable")]
        waiting += [ranked[len(ranked) // 2 :], ranked[: len(ranked) // 2]]
    return done


class _Boxes:
    """The boxes so far: `order` lists the points box by box, each box from its entry in `starts` on."""

    def __init__(self, points: FloatArray) -> None:
        self.points = points
        self.order = np.arange(len(points), dtype=np.int64)
        self.starts = np.zeros(1, dtype=np.int64)
        self.low, self.high = points.min(axis=0)[None], points.max(axis=0)[None]

    @property
    def sizes(self) -> IntArray:
        return np.diff(self.starts, append=len(self.order))

    def labels(self) -> IntArray:
        found = np.empty(len(self.order), dtype=np.int64)
        found[self.order] = np.repeat(np.arange(len(self.starts)), self.sizes)
        return found

    def largest(self, most: int) -> IntArray:
        """At most `most` boxes that are to be halved next, in increasing order."""
        diagonal = np.linalg.norm(self.high - self.low, axis=1)
        diagonal[self.sizes == 1] = -1.0
        ranked = np.argsort(-diagonal, kind="stable")[:most]
        return np.sort(ranked[diagonal[ranked] >= _NEAR_LARGEST * diagonal[ranked[0]]])

    def halve(self, boxes: IntArray) -> None:
        """Replace each of `boxes` by its two halves, which keep its place."""
        sizes = self.sizes[boxes]
        firsts = np.cumsum(sizes) - sizes
        owner = np.repeat(np.arange(len(boxes)), sizes)
        slots = np.arange(len(owner)) - firsts[owner] + self.starts[boxes][owner]
        members = self.order[slots]
        upper = self._is_upper(boxes, members, owner, np.arange(len(owner)) - firsts[owner])
        members = members[np.lexsort((upper, owner))]
        self.order[slots] = members
        below = sizes - np.bincount(owner, weights=upper, minlength=len(boxes)).astype(np.int64)
        children = np.stack([firsts, firsts + below], axis=1).ravel()
        inside = self.points[members]
        low, high = np.minimum.reduceat(inside, children), np.maximum.reduceat(inside, children)
        self.low[boxes], self.high[boxes] = low[::2], high[::2]
        self.low = np.insert(self.low, boxes + 1, low[1::2], axis=0)
        self.high = np.insert(self.high, boxes + 1, high[1::2], axis=0)
        self.starts = np.insert(self.starts, boxes + 1, self.starts[boxes] + below)

    def _is_upper(self, boxes: IntArray, members: IntArray, owner: IntArray, rank: IntArray) -> BoolArray:
        """Whether each of `members` belongs to the upper half of its box; `rank`: its number in the box."""
        sides = self.high[boxes] - self.low[boxes]
        axis = np.argmax(sides, axis=1)
        each = np.arange(len(boxes))
        middle = 0.5 * (self.low[boxes][each, axis] + self.high[boxes][each, axis])
        # a middle that rounds to the upper end would leave the upper half empty
        middle = np.where(middle >= self.high[boxes][each, axis], self.low[boxes][each, axis], middle)
        upper = self.points[members, axis[owner]] > middle[owner]
        flat = sides[each, axis] == 0.0
        return np.where(flat[owner], rank >= self.sizes[boxes][owner] // 2, upper)
