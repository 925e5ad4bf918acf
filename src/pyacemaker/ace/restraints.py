"""Invented rows for the repulsive wall: what happens where the core has ended and no data comes.

There a fit is free to dig holes. For every pair of elements the force in dimers, and for solids the virial of
uniformly compressed crystals, are compared with those of a pair repulsion,

    f(r) = s(r) f_ZBL(r),  s from `INNER_SHARE` at the window's end a to `OUTER_SHARE` at c, linear in log s,

with f_ZBL the universal screened repulsion (Ziegler, Biersack, Littmark, The Stopping and Range of Ions in
Solids (1985)), which bonding weakens the more the farther apart the atoms are. For dimers c is the closest
distance of the pair in the data, or `SHORT` times the typical one where that is longer; crystals go up to the
most compressed close packing in the data. Only slopes are compared, no energies: they need no reference.

f is a rough guess, so a row is content while it lies between `LOWEST` and `HIGHEST` times f, and beyond adds
(`STRENGTH` × the excess)² to the loss: a row that the data already satisfies changes nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement

import numpy as np

from pyacemaker.ace.cores import core_pair
from pyacemaker.ace.design import Design
from pyacemaker.ace.model import Bond
from pyacemaker.ace.pairs import PairStatistics
from pyacemaker.ace.posterior import Posterior
from pyacemaker.structures import AtomStructure, FloatArray, IntArray, Labels

INNER_SHARE = 0.5
"""Share of the screened repulsion at the window's end."""
OUTER_SHARE = 0.2
"""… and at the closest distance of the data."""
LOWEST, HIGHEST = 0.3, 3.0
"""Bounds of a slope as multiples of its guess."""
STRENGTH = 40.0
"""Weight of a row that is off by once its guess beyond a bound, in standard deviations of the data's weighted
residuals: what the data knows well, a guess does not change."""
STEP = 0.08
"""Å between distances."""
SHORT = 0.8
"""Share of the typical nearest-neighbour distance below which two atoms alone repel each other: their bond is
shorter than those in a crystal, but not by that much."""
MAX_ROUNDS = 200
"""Newton steps at most; each changes which rows are beyond their bounds."""
SHORTEST_STEP = 1e-6
"""Share of a Newton step below which no further gain is expected."""


@dataclass(frozen=True)
class Wall:
    """The repulsion between two elements.

    start: where the core's window begins, below which the core acts alone. inner: the window's end, outer: c,
    all Å.
    """

    numbers: tuple[int, int]
    start: float
    inner: float
    outer: float

    def force(self, r: float) -> float:
        """f(r), eV/Å, positive = repulsive, at a distance r (Å)."""
        bare = Bond(100.0, 0.0, "ChebPow", (1.0,), np.zeros((1, 1, 1)), prehc=1.0, inner_cutoff="zbl")
        slope = 2.0 * float(core_pair(bare, self.numbers, np.array([r]))[1][0])
        depth = (self.outer - r) / (self.outer - self.inner)
        share = OUTER_SHARE * (INNER_SHARE / OUTER_SHARE) ** min(max(depth, 0.0), 1.0)
        return float(-slope * share)


@dataclass(frozen=True, eq=False)
class RestraintRows:
    """R slopes as multiples of their guesses: q = rowsᵀ c + offset.

    rows: (K, R). offset: (R,), what the core and an additive baseline contribute. lowest, highest: (R,)
    bounds.
    """

    rows: FloatArray
    offset: FloatArray
    lowest: FloatArray
    highest: FloatArray


def walls(
    elements: Sequence[str],
    statistics: PairStatistics,
    windows: Mapping[tuple[int, int], tuple[float, float]],
    cutoff: float,
) -> dict[tuple[int, int], Wall]:
    """The wall of every pair (a ≤ b) that has room for one.

    windows: end and width (Å) of the core's window by pair. Pairs that the data does not hold are repulsive
    up to the sum of their covalent radii.
    """
    from ase.data import atomic_numbers, covalent_radii

    found = {}
    for a, b in combinations_with_replacement(range(len(elements)), 2):
        numbers = atomic_numbers[elements[a]], atomic_numbers[elements[b]]
        outer = max(float(statistics.closest[a, b]), SHORT * float(statistics.typical[a, b]))
        if not np.isfinite(outer):
            outer = float(covalent_radii[numbers[0]] + covalent_radii[numbers[1]])
        end, width = windows[a, b]
        if min(outer, cutoff) > end + 0.5 * STEP:
            found[a, b] = Wall(numbers, end - width, end, min(outer, cutoff))
    return found


def restraint_structures(
    pairs: Mapping[tuple[int, int], Wall], statistics: PairStatistics
) -> list[AtomStructure]:
    """Dimers of all pairs and, of condensed elements, compressed fcc and bcc cells.

    pairs: by pair of species (a ≤ b), as `walls` gives them. The labels are the guesses: forces of dimers
    along x, the isotropic stress of crystals, and 0 for what is not asked for.
    """
    found = [dimer for wall in pairs.values() for dimer in _dimers(wall)]
    for (a, b), wall in pairs.items():
        densest = float(statistics.dense[a])
        if a == b and np.isfinite(densest) and densest > wall.inner + STEP:
            found += _crystals(wall, densest)
    return found


def restraint_rows(
    design: Design, structures: Sequence[AtomStructure], baseline: Sequence[Labels] | None = None
) -> RestraintRows:
    """The slopes of structures from `restraint_structures` as functions of the coefficients.

    baseline: labels of an additive baseline on the same structures, None where there is none.
    """
    rows, offsets = [np.zeros((len(design.basis), 0))], [np.zeros(0)]
    for number, structure in enumerate(structures):
        found, labels = design.rows([structure]), structure.labels
        assert labels is not None
        # the sum of three stresses, or the force on the second atom along x
        chosen = [4] if labels.stress is None else range(len(found.core) - 6, len(found.core) - 3)
        guess = labels.forces[1, 0] if labels.stress is None else labels.stress[:3].sum()
        offset = found.core[list(chosen)].sum()
        if baseline is not None:
            extra = baseline[number]
            offset += extra.forces[1, 0] if labels.stress is None else np.asarray(extra.stress)[:3].sum()
        rows.append(found.matrix[:, list(chosen)].sum(axis=1, keepdims=True) / guess)
        offsets.append(np.array([offset / guess]))
    count = len(structures)
    matrix = np.ascontiguousarray(np.concatenate(rows, axis=1))
    return RestraintRows(matrix, np.concatenate(offsets), np.full(count, LOWEST), np.full(count, HIGHEST))


def restrain(posterior: Posterior, restraints: RestraintRows) -> Posterior:
    """The fit with the restraints.

    Minimises the fit's own loss plus w² Σ max(lowest − q, q − highest, 0)², w² = `STRENGTH`² σ² with σ² the
    noise of the data's weighted rows. With M = G + λS and H = Aᵀ M⁻¹ A of the restraints' rows, those that
    act (a) change c by M⁻¹ A_a μ, μ = (1/w² + H_aa)⁻¹ (bound − q)_a; which act is found by repetition. The
    covariance stays that of the data.
    """
    rows = _padded(restraints, len(posterior.mean))
    whitened = posterior.whitened(rows)
    free = rows.T @ posterior.mean + restraints.offset
    weight = max(STRENGTH**2 * posterior.noise, 1e-100)
    acting, multipliers = _multipliers(free, whitened.T @ whitened, restraints, weight)
    if not len(acting):
        return posterior
    mean = posterior.mean + posterior.unwhitened(whitened[:, acting] @ multipliers)
    return replace(posterior, mean=mean)


def acting(coefficients: FloatArray, restraints: RestraintRows) -> int:
    """How many rows lie beyond their bounds with the given coefficients: those that pull at them."""
    q = _padded(restraints, len(coefficients)).T @ coefficients + restraints.offset
    return int(np.sum((q < restraints.lowest) | (q > restraints.highest)))


def _padded(restraints: RestraintRows, unknowns: int) -> FloatArray:
    """(unknowns, R): further unknowns (shifts of E0) have no slope."""
    rows = np.zeros((unknowns, restraints.rows.shape[1]))
    rows[: len(restraints.rows)] = restraints.rows
    return rows


def _multipliers(
    free: FloatArray, overlap: FloatArray, restraints: RestraintRows, weight: float
) -> tuple[IntArray, FloatArray]:
    """The rows that act, and their μ; free: (R,) q without restraints, overlap: (R, R) H.

    Newton steps on the convex loss μᵀHμ + weight Σ excess², which is quadratic while the same rows act;
    a step is halved until the loss falls.
    """

    def state(multipliers: FloatArray) -> tuple[FloatArray, float]:
        """What each row lacks to its nearest bound, and the loss."""
        q = free + overlap @ multipliers
        lacking = np.clip(q, restraints.lowest, restraints.highest) - q
        return lacking, float(multipliers @ (q - free) + weight * (lacking @ lacking))

    multipliers = np.zeros(len(free))
    lacking, loss = state(multipliers)
    for _ in range(MAX_ROUNDS):
        acting = np.flatnonzero(lacking)
        bound = (free + overlap @ multipliers + lacking)[acting]
        matrix = overlap[np.ix_(acting, acting)] + np.eye(len(acting)) / weight
        aim = np.zeros(len(free))
        aim[acting] = np.linalg.solve(matrix, bound - free[acting])
        step, reached = 1.0, np.inf
        while reached >= loss and step > SHORTEST_STEP:
            trial = multipliers + step * (aim - multipliers)
            lacking, reached = state(trial)
            step *= 0.5
        if reached >= loss * (1.0 - 1e-12):
            break
        multipliers, loss = trial, reached
    acting = np.flatnonzero(multipliers).astype(np.int64)
    return acting, multipliers[acting]


def _dimers(wall: Wall) -> Iterator[AtomStructure]:
    for r in _distances(wall.start, wall.outer):
        forces = wall.force(r) * np.array([[-1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
        positions = np.array([[0.0, 0.0, 0.0], [r, 0.0, 0.0]])
        yield _invented(wall.numbers, positions, Labels(0.0, forces))


def _crystals(wall: Wall, densest: float) -> Iterator[AtomStructure]:
    """fcc and bcc of an element, with nearest neighbours up to `densest` (Å)."""
    fcc = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / np.sqrt(2.0)
    bcc = np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]) / np.sqrt(3.0)
    for lattice, coordination in ((fcc, 12), (bcc, 8)):
        for nearest in _distances(wall.start, densest):
            cell = nearest * lattice
            virial = 0.5 * coordination * nearest * wall.force(nearest)
            pressure = virial / (3.0 * float(abs(np.linalg.det(cell))))
            stress = -pressure * np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
            labels = Labels(0.0, np.zeros((1, 3)), stress)
            yield _invented(wall.numbers[:1], np.zeros((1, 3)), labels, cell)


def _distances(inner: float, outer: float) -> list[float]:
    return [float(r) for r in np.linspace(inner, outer, max(2, round((outer - inner) / STEP) + 1))]


def _invented(
    numbers: Sequence[int], positions: FloatArray, labels: Labels, cell: FloatArray | None = None
) -> AtomStructure:
    return AtomStructure(
        np.array(numbers),
        positions,
        np.zeros((3, 3)) if cell is None else cell,
        np.full(3, cell is not None),
        tag="restraint",
        source="invented",
        labels=labels,
    )
