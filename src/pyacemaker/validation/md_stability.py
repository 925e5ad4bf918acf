"""Does molecular dynamics at the highest temperature stay physical?"""

import math
from collections import Counter
from typing import Any, ClassVar

import numpy as np
from pydantic import PositiveInt

from pyacemaker.generators.langevin import TrajectoryPlan
from pyacemaker.structures import AtomStructure, Dataset
from pyacemaker.units import BOLTZMANN_EV_PER_KELVIN
from pyacemaker.validation.gate import Gate, Limit, Measured, Subject

_FRAMES = 25  # kept of each trajectory, for the extrapolation grades


class MdStability(Gate):
    """Langevin dynamics of the final potential at the exploration's highest temperature, under its guards.

    Atoms that come too close, forces, temperatures and energies off all measure, or numbers that are not
    finite end one (`explore.dynamics.guards`). value: the share of trajectories that ended so.
    """

    name: ClassVar[str] = "md_stability"
    unit: ClassVar[str] = "% of trajectories"
    limit: Limit = 0.0
    """%."""
    blocks: bool = True
    """Whether a potential that does not pass is not delivered."""
    n_trajectories: PositiveInt = 4
    """Trajectories, from DFT-labelled structures of low energy, each from another one."""
    steps: PositiveInt = 2000
    """Steps of each."""

    def measure(self, subject: Subject) -> Measured | None:
        """How many trajectories were ended, and of the teacher's own in the exploration."""
        found = subject.trajectories()
        if not found:
            return None
        events = [f"step {one.steps}: {one.event}" for one in found if one.event]
        n, ended = subject.explored
        time = 1e-3 * self.steps * subject.dynamics.timestep
        note = f"{len(found)} × {time:g} ps at {subject.temperature:g} K"
        return Measured(
            100.0 * len(events) / len(found),
            self.unit,
            "; ".join([note, *events[:2]]),
            student=100.0 * len(events) / len(found),
            teacher=100.0 * ended / n if n else None,
            curves={"events": events},
        )

    def plans(self, train: Dataset, temperature: float, seed: int) -> tuple[TrajectoryPlan, ...]:
        """The trajectories, from labelled structures with small forces and energies; temperature: K."""
        rng = np.random.default_rng(seed)
        starts = calm_starts(train, self.n_trajectories, temperature)
        interval = math.ceil(self.steps / _FRAMES)
        return tuple(
            TrajectoryPlan(
                start=start,
                temperature=temperature,
                seed=int(rng.integers(2**31)),
                n_frames=math.ceil(self.steps / interval),
                interval=interval,
                equilibration=0,
                tag="gate/md",
            )
            for start in starts
        )


def calm_starts(train: Dataset, n: int, temperature: float) -> Dataset:
    """`n` labelled structures of at least two atoms to start from, the one with the smallest force first.

    From the calmer half, evenly over the order of their largest forces; isolated atoms and dimers are left
    out, and so is what lies higher above the lowest energy of its composition than thermal motion carries
    atoms, 3/2 k_B T each (`temperature`: K): a start that is strained by some eV heats up beyond all bounds
    with a perfect potential too. Where that leaves fewer than `n`, the next lowest follow.
    """
    fit = [
        s for s in train if s.labels is not None and len(s) > 1 and s.tag not in ("dimer", "isolated_atom")
    ]
    lowest: dict[_Composition, float] = {}
    for structure in fit:
        key, energy = _composition(structure), _energy_per_atom(structure)
        lowest[key] = min(energy, lowest.get(key, math.inf))

    def excess(structure: AtomStructure) -> float:
        return _energy_per_atom(structure) - lowest[_composition(structure)]

    calm = sorted(fit, key=_largest_force)[: max(1, (len(fit) + 1) // 2)]
    thermal = sum(excess(structure) <= 1.5 * BOLTZMANN_EV_PER_KELVIN * temperature for structure in calm)
    kept = sorted(sorted(calm, key=excess)[: max(n, thermal)], key=_largest_force)
    if not kept:
        return Dataset()
    return Dataset(kept[int(k)] for k in np.unique(np.linspace(0, len(kept) - 1, n).round()))


_Composition = frozenset[tuple[str, float]]


def _composition(structure: AtomStructure) -> _Composition:
    """The shares of the elements."""
    counts = Counter(structure.symbols)
    return frozenset((symbol, count / len(structure)) for symbol, count in counts.items())


def _energy_per_atom(structure: Any) -> float:
    return float(structure.labels.energy / len(structure))


def _largest_force(structure: Any) -> float:
    return float(np.abs(structure.labels.forces).max())
