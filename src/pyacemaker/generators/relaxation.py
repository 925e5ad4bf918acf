"""Relaxing crystals on a potential: single cells to their minimum, many structures a few steps downhill."""

import logging
from collections.abc import Sequence

import numpy as np

from pyacemaker.potentials.base import Potential
from pyacemaker.structures import AtomStructure, FloatArray

log = logging.getLogger(__name__)

_RELAXED = 0.01  # eV/Å, of the forces on atoms and cell
_LARGEST_CHANGE = 3.0  # factor on the volume beyond which a relaxation has left the structure
_FAR = 1.25  # factor on the volume by which a stage may change the cell without another one
_STAGES = 3
_LONGEST_STEP = 0.1  # Å


def relaxed_cell(structure: AtomStructure, teacher: Potential, steps: int = 60) -> AtomStructure:
    """Cell and positions at the nearest minimum; unchanged, with a warning, where that explodes.

    A stage has `steps` steps at most; after one that ends before the minimum with a volume far from its
    start, the next begins anew there. A volume of more than three times the first, or of less than a third,
    is no minimum of the same structure any more.
    """
    found, converged = _stage(structure, teacher, steps)
    previous = structure
    for _ in range(_STAGES - 1):
        if converged or not _FAR < _change(previous, found) < _LARGEST_CHANGE:
            break
        previous = found
        found, converged = _stage(found, teacher, steps)
    change = _change(structure, found)
    if not change < _LARGEST_CHANGE:
        log.warning(
            "%s has no minimum near its cell on this potential (the volume went from %.1f to %.1f Å³) and "
            "stays as given",
            structure.tag,
            structure.volume or np.nan,
            found.volume or np.nan,
        )
        return structure
    if change > _FAR:
        log.info(
            "%s: the cell relaxed from %.1f to %.1f Å³, far from where it began",
            *(structure.tag, structure.volume or np.nan, found.volume or np.nan),
        )
    return found


def _stage(structure: AtomStructure, teacher: Potential, steps: int) -> tuple[AtomStructure, bool]:
    """The structure after some steps of BFGS on cell and positions, and whether it is at the minimum."""
    from ase.filters import FrechetCellFilter
    from ase.optimize import BFGS

    atoms = structure.to_atoms()
    atoms.calc = teacher.calculator()
    optimizer = BFGS(FrechetCellFilter(atoms), logfile=None, maxstep=_LONGEST_STEP)
    converged = bool(optimizer.run(fmax=_RELAXED, steps=steps))
    positions, cell = atoms.get_positions(), np.array(atoms.cell)
    return structure.replace(positions=positions, cell=cell, labels=None, label_weights=None), converged


def _change(before: AtomStructure, after: AtomStructure) -> float:
    """The factor, at least 1, between two volumes; NaN where one is missing."""
    ratio = (after.volume or np.nan) / (before.volume or np.nan)
    return float(max(ratio, 1.0 / ratio))


def downhill(structures: Sequence[AtomStructure], teacher: Potential, steps: int) -> list[AtomStructure]:
    """Every structure after `steps` steps of FIRE (Bitzek et al., Phys. Rev. Lett. 97, 170201 (2006)).

    The cells stay. All structures share the potential's batches and do not influence each other. One that
    runs into forces that are not finite comes back as it was before.
    """
    walkers = [_Fire(structure) for structure in structures]
    for _ in range(steps):
        labels = teacher.evaluate([walker.structure() for walker in walkers]) if walkers else []
        for walker, label in zip(walkers, labels, strict=True):
            walker.step(label.forces)
    return [walker.structure() for walker in walkers]


class _Fire:
    """The fast inertial relaxation engine for one structure; unit masses, the paper's parameters."""

    def __init__(self, structure: AtomStructure) -> None:
        self.blank = structure.replace(labels=None, label_weights=None, source="")
        self.positions = structure.positions.copy()
        self.velocity = np.zeros_like(self.positions)
        self.dt, self.mixing, self.downhill_steps = 0.1, 0.1, 0

    def structure(self) -> AtomStructure:
        return self.blank.replace(positions=self.positions)

    def step(self, forces: FloatArray) -> None:
        if not np.isfinite(forces).all():
            return
        if float(np.sum(forces * self.velocity)) < 0.0:
            self.velocity[:] = 0.0
            self.dt, self.mixing, self.downhill_steps = 0.5 * self.dt, 0.1, 0
        else:
            self.downhill_steps += 1
            if self.downhill_steps > 5:
                self.dt, self.mixing = min(1.1 * self.dt, 1.0), 0.99 * self.mixing
        self.velocity += self.dt * forces
        along = forces / max(float(np.linalg.norm(forces)), 1e-12)
        speed = float(np.linalg.norm(self.velocity))
        self.velocity = (1.0 - self.mixing) * self.velocity + self.mixing * speed * along
        move = self.dt * self.velocity
        longest = float(np.linalg.norm(move, axis=1).max())
        self.positions = self.positions + move * min(1.0, _LONGEST_STEP / max(longest, 1e-12))
