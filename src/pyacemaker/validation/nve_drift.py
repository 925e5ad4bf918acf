"""Is the total energy conserved without a thermostat?"""

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from ase.data import atomic_masses
from pydantic import PositiveFloat, PositiveInt

from pyacemaker.generators.supercells import compact_supercell
from pyacemaker.potentials.base import Potential
from pyacemaker.structures import AtomStructure, FloatArray
from pyacemaker.units import BOLTZMANN_EV_PER_KELVIN, MEV_PER_EV
from pyacemaker.validation.gate import Gate, Limit, Measured, Subject
from pyacemaker.validation.md_stability import calm_starts

if TYPE_CHECKING:
    from ase import Atoms

_STORED = 400  # energies of a trajectory that are kept
_CELL_ATOMS = 32  # crystals are repeated to about so many


class NveDrift(Gate):
    """Velocity Verlet at constant energy from calm structures, at half of the highest temperature.

    value: the largest slope of a straight line through the total energy. A potential whose forces are not
    the gradient of its energy, or that is not smooth, drifts.
    """

    name: ClassVar[str] = "nve_drift"
    unit: ClassVar[str] = "meV/atom/ps"
    limit: Limit = 2.0
    """meV/atom/ps."""
    blocks: bool = True
    """Whether a potential that does not pass is not delivered."""
    n_trajectories: PositiveInt = 2
    """Trajectories, each from another structure."""
    steps: PositiveInt = 4000
    """Steps of each."""
    timestep: PositiveFloat | None = None
    """fs; default: 0.5 times the square root of the lightest mass in atomic mass units, 3 at most."""

    def measure(self, subject: Subject) -> Measured | None:
        """The drift of the student."""
        starts = calm_starts(subject.train, self.n_trajectories)
        if not starts:
            return None
        lightest = min(float(atomic_masses[start.numbers].min()) for start in starts)
        step = self.timestep or min(0.5 * lightest**0.5, 3.0)
        stride = max(1, self.steps // _STORED)
        curves = []
        for number, start in enumerate(starts):
            large = compact_supercell(start, _CELL_ATOMS) if start.volume is not None else start
            rng = np.random.default_rng([subject.seed, number])
            curves.append(
                total_energies(
                    large, subject.student, 0.5 * subject.temperature, step, self.steps, stride, rng
                )
            )
        slopes = [MEV_PER_EV * drift(energies, 1e-3 * step * stride) for energies in curves]
        return Measured(
            float(np.max(np.abs(slopes))),
            self.unit,
            f"{len(starts)} × {1e-3 * step * self.steps:.3g} ps from {0.5 * subject.temperature:g} K",
            student=slopes,
            curves={"timestep_fs": step * stride, "ev_per_atom": [energies.tolist() for energies in curves]},
        )


def total_energies(
    start: AtomStructure,
    potential: Potential,
    temperature: float,
    timestep: float,
    steps: int,
    stride: int,
    rng: np.random.Generator,
) -> FloatArray:
    """eV/atom, potential and kinetic, every `stride` steps of velocity Verlet, the start included.

    temperature: K, of the Maxwell–Boltzmann velocities at the start. timestep: fs.
    """
    from ase import units
    from ase.md.verlet import VelocityVerlet

    atoms = start.to_atoms()
    atoms.calc = potential.calculator()
    masses = atoms.get_masses()[:, None]
    momenta = np.sqrt(masses * BOLTZMANN_EV_PER_KELVIN * temperature) * rng.standard_normal((len(atoms), 3))
    atoms.set_momenta(momenta - masses * momenta.sum(axis=0) / masses.sum())
    dynamics = VelocityVerlet(atoms, timestep * units.fs)
    found = [_per_atom(atoms)]
    for _ in range(steps // stride):
        dynamics.run(stride)
        found.append(_per_atom(atoms))
        if not np.isfinite(found[-1]):
            break
    return np.array(found)


def _per_atom(atoms: "Atoms") -> float:
    return float(atoms.get_total_energy()) / len(atoms)


def drift(energies: FloatArray, interval: float) -> float:
    """The slope of the straight line of least squares through values `interval` apart."""
    time = interval * np.arange(len(energies))
    return float(np.polyfit(time, energies, 1)[0]) if np.isfinite(energies).all() else float("inf")
