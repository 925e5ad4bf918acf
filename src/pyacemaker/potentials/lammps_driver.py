"""LAMMPS driven from Python, with an ACE potential, whether or not it has ML-PACE.

::

    with LammpsDriver(structure, ACEPotential.from_yace("potential.yace")) as driver:
        print(driver.route, driver.labels().energy)
        states = driver.run(Npt(temperature=300, final_temperature=600, steps=5000, start_temperature=300))

Where LAMMPS has the pair style `pace`, it computes everything itself; otherwise LAMMPS moves the atoms, and
this package evaluates the potential through `fix external` (one process, `units metal`).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from ase.data import atomic_masses, atomic_numbers

from pyacemaker.errors import (
    ConfigError,
    DataError,
    EngineMissingError,
    PotentialFormatError,
    UnsupportedElementError,
)
from pyacemaker.potentials.ace import ACEPotential
from pyacemaker.potentials.extrapolation import ActiveSet
from pyacemaker.potentials.fix_external import FixExternal, box_to_cell
from pyacemaker.potentials.lammps_ensembles import Ensemble
from pyacemaker.potentials.lammps_library import has_pace, load_lammps
from pyacemaker.potentials.lammps_styles import AceStyle, pair_commands
from pyacemaker.structures import AtomStructure, FloatArray, Labels
from pyacemaker.units import GPA_PER_EV_PER_CUBIC_ANGSTROM

logger = logging.getLogger(__name__)

Route = Literal["pace", "external"]
"""Who evaluates the potential: LAMMPS itself, or this package through `fix external`."""
BaselineRoute = Literal["overlay", "python"]
"""Who evaluates an additive baseline: a pair style in a `hybrid/overlay`, or this package with the rest."""

MARGIN = 15.0
"""Å: empty space around what has no cell."""
_BAR_PER_GPA = 1e4
_SKIN = 1.0  # Å, beyond the cutoff, of LAMMPS's own neighbour lists


@dataclass(frozen=True)
class LammpsState:
    """One moment of a run.

    step: of LAMMPS. potential_energy, total_energy: eV. temperature: K. pressure: GPa. structure: as LAMMPS
    turned it (first cell vector along x, second in the xy plane), unlabelled.
    gamma: (n,) extrapolation grades, None without an active set.
    """

    step: int
    potential_energy: float
    total_energy: float
    temperature: float
    pressure: float
    structure: AtomStructure
    gamma: FloatArray | None = None


class LammpsDriver:
    """A LAMMPS instance that holds one structure and one potential; close it, or use it as a context.

    structure: periodic in any directions, with a box that follows the atoms in the others. potential: its
    baseline comes along. route: None takes `pace` where LAMMPS has it, else `external`. baseline_route: of
    route `external`; with `pace` a baseline is a pair style. active_set: grades of every stored state, by
    `pace/extrapolation` where LAMMPS has it, else by this package; `graded_by` says which.
    Raises `EngineMissingError` where LAMMPS, or the route asked for, is not there, and
    `UnsupportedElementError` for elements that the potential lacks.
    """

    def __init__(
        self,
        structure: AtomStructure,
        potential: ACEPotential,
        *,
        route: Route | None = None,
        baseline_route: BaselineRoute = "overlay",
        active_set: ActiveSet | None = None,
        log: Path | None = None,
    ) -> None:
        self.structure, self.potential, self.active_set = structure, potential, active_set
        self.elements = sorted(set(structure.symbols), key=lambda symbol: atomic_numbers[symbol])
        missing = sorted(set(self.elements) - set(potential.elements))
        if missing:
            raise UnsupportedElementError(
                f"the structure holds {', '.join(missing)}, which the ACE potential for "
                f"{', '.join(potential.elements)} does not cover"
            )
        self._prism, self._shift = _oriented(structure)
        self._callback: FixExternal | None = None
        self.graded_by: Literal["lammps", "python"] = "python"
        self._left_out = 0.0  # eV: Σ E0, which pace/extrapolation does not know
        lammps = load_lammps()
        self._folder = TemporaryDirectory(prefix="pyacemaker-lammps-")
        self.lmp = lammps(cmdargs=["-screen", "none", "-log", "none" if log is None else str(log), "-nocite"])
        try:
            self.route: Route = self._route(route)
            self._box()
            self._pair_style(baseline_route)
            self._settle()
        except BaseException:
            self.close()
            raise

    def labels(self) -> Labels:
        """Energy (eV), forces (eV/Å) and, with three periodic directions, stress (eV/Å³) now, in the
        structure's own orientation and order."""
        self._command("run 0 post no")
        forces = self._prism.vector_to_ase(self._gathered("f", 1))
        energy = float(self.lmp.get_thermo("pe")) + self._left_out
        return Labels(energy, np.asarray(forces), self._stress())

    def run(self, ensemble: Ensemble) -> list[LammpsState]:
        """Molecular dynamics; the states at the start and every `ensemble.interval` steps.

        Raises the error of an evaluation that failed, and `DataError` where atoms were lost.
        """
        if "npt" in ensemble.fix() and not self.structure.pbc.all():
            raise ConfigError(
                "pressure needs three periodic directions; give the structure a cell, or use nvt"
            )
        self._command(f"timestep {1e-3 * ensemble.timestep!r}")
        self._command(f"thermo {ensemble.interval}")
        if ensemble.start_temperature is not None:
            velocities = f"{ensemble.start_temperature!r} {ensemble.seed} mom yes rot yes dist gaussian"
            self._command(f"velocity all create {velocities}")
        self._command(f"fix move all {ensemble.fix()}")
        try:
            return self._states(ensemble)
        finally:
            self.lmp.command("unfix move")

    def _states(self, ensemble: Ensemble) -> list[LammpsState]:
        self._command("run 0 post no")
        first = int(self.lmp.extract_global("ntimestep"))
        states, last = [self._state()], first + ensemble.steps
        done = first
        while done < last:
            chunk = min(ensemble.interval, last - done)
            self._command(f"run {chunk} start {first} stop {last} post no")
            done += chunk
            states.append(self._state())
        return states

    def close(self) -> None:
        """End LAMMPS and remove its files."""
        self.lmp.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _route(self, wanted: Route | None) -> Route:
        if wanted == "pace" and not has_pace(self.lmp):
            raise EngineMissingError(
                "this LAMMPS has no pair style pace: build it with ML-PACE, or leave the route out"
            )
        return wanted or ("pace" if has_pace(self.lmp) else "external")

    def _box(self) -> None:
        """The cell, the atoms and their masses, in LAMMPS's orientation."""
        pbc = self.structure.pbc
        xhi, yhi, zhi, xy, xz, yz = (float(value) for value in self._prism.get_lammps_prism())
        skewed = self._prism.is_skewed()
        tilt = f" {xy!r} {xz!r} {yz!r}" if skewed else ""
        kind = "prism" if skewed else "block"
        positions = self._prism.vector_to_lammps(self.structure.positions + self._shift)
        self._commands(
            [
                "units metal",
                "atom_style atomic",
                "atom_modify map array sort 0 0",
                f"boundary {' '.join('p' if periodic else 's' for periodic in pbc)}",
                "box tilt large",
                f"region box {kind} 0 {xhi!r} 0 {yhi!r} 0 {zhi!r}{tilt}",
                f"create_box {len(self.elements)} box",
                *(
                    f"mass {k} {float(atomic_masses[atomic_numbers[symbol]])!r}"
                    for k, symbol in enumerate(self.elements, start=1)
                ),
            ]
        )
        kinds = [self.elements.index(symbol) + 1 for symbol in self.structure.symbols]
        n = len(kinds)
        self.lmp.create_atoms(n, list(range(1, n + 1)), kinds, np.asarray(positions).ravel().tolist())
        if self.lmp.get_natoms() != n:
            raise DataError(f"LAMMPS took {self.lmp.get_natoms()} of {n} atoms; are all within the cell?")

    def _pair_style(self, baseline_route: BaselineRoute) -> None:
        potential, files = self.potential, ""
        style: AceStyle = "zero"
        if self.route == "pace":
            style, files = self._written()
        elif baseline_route == "python":
            potential = potential.with_baseline(None)
        self._commands(pair_commands(potential, self.elements, style, files))
        if self.route == "external":
            evaluated = self.potential if baseline_route == "python" else self.potential.with_baseline(None)
            self._callback = FixExternal(evaluated, self.elements)
            self._command("fix pf all external pf/callback 1 1")
            self._command("fix_modify pf energy yes virial yes")
            self.lmp.set_fix_external_callback("pf", self._callback, self.lmp)

    def _written(self) -> tuple[AceStyle, str]:
        """The pair style and its files: the `.yace`, or the B-basis `.yaml` and the `.asi` for grades."""
        from pyacemaker.ace.b_basis import write_b_yaml

        yace, yaml, asi = (Path(self._folder.name) / f"potential.{end}" for end in ("yace", "yaml", "asi"))
        if self.active_set is not None and self.lmp.has_style("pair", "pace/extrapolation"):
            try:
                write_b_yaml(self.potential.model, yaml)
            except PotentialFormatError as error:
                logger.info("grades are computed outside of LAMMPS: %s", error)
            else:
                self.active_set.save(asi)
                model = self.potential.model
                e0 = dict(zip(model.elements, map(float, model.e0), strict=True))
                self.graded_by = "lammps"
                self._left_out = sum(e0[symbol] for symbol in self.structure.symbols)
                return "pace/extrapolation", f"{yaml} {asi}"
        self.potential.with_baseline(None).to_yace(yace)
        return "pace", str(yace)

    def _settle(self) -> None:
        self._commands(
            [
                f"neighbor {_SKIN!r} bin",
                "neigh_modify every 1 delay 0 check yes",
                "compute virial all pressure NULL virial",
                "thermo_style custom step pe etotal temp press c_virial[1]",
            ]
        )

    def _state(self) -> LammpsState:
        cell, pbc = box_to_cell(self.lmp.extract_box())
        positions = self._gathered("x", 1)
        cell = cell if self.structure.is_periodic else np.zeros((3, 3))
        now = self.structure.replace(
            positions=positions, cell=cell, pbc=pbc, labels=None, label_weights=None, tag="lammps"
        )
        thermo = {name: float(self.lmp.get_thermo(name)) for name in ("pe", "etotal", "temp", "press")}
        return LammpsState(
            int(self.lmp.extract_global("ntimestep")),
            thermo["pe"] + self._left_out,
            thermo["etotal"] + self._left_out,
            thermo["temp"],
            thermo["press"] / _BAR_PER_GPA,
            now,
            self._grades(now),
        )

    def _grades(self, now: AtomStructure) -> FloatArray | None:
        """(n,): γ of the atoms where they are now."""
        if self.active_set is None:
            return None
        if self.graded_by == "python":
            return self.active_set.grades([now])[0]
        self._commands(["fix gamma all pair 1 pace/extrapolation gamma 1", "run 0 post no"])
        grades = np.array(self.lmp.gather("f_gamma", 1, 1), dtype=np.float64)
        self._command("unfix gamma")
        return grades

    def _gathered(self, name: str, kind: int) -> FloatArray:
        """(n, 3): a property of all atoms in the structure's order."""
        return np.array(self.lmp.gather_atoms(name, kind, 3), dtype=np.float64).reshape(-1, 3)

    def _stress(self) -> FloatArray | None:
        if not self.structure.pbc.all():
            return None
        xx, yy, zz, xy, xz, yz = (self.lmp.extract_compute("virial", 0, 1)[k] for k in range(6))
        pressure = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        tensor = -self._prism.tensor2_to_ase(pressure) / _BAR_PER_GPA / GPA_PER_EV_PER_CUBIC_ANGSTROM
        voigt: FloatArray = np.asarray(tensor)[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]
        return voigt

    def _commands(self, commands: Sequence[str]) -> None:
        for command in commands:
            self._command(command)

    def _command(self, command: str) -> None:
        """One command; an error of the evaluation inside it comes first, then LAMMPS's own as `DataError`."""
        try:
            self.lmp.command(command)
        except Exception as error:
            if self._callback is not None:
                self._callback.check()
            raise DataError(f"LAMMPS: {str(error).strip()} (at `{command}`)") from error
        if self._callback is not None:
            self._callback.check()


def _oriented(structure: AtomStructure) -> tuple[Any, FloatArray]:
    """ASE's rotation into LAMMPS's orientation, and what to add to the positions before it, Å.

    Directions that are not periodic get cell vectors across the others, with room for the atoms.
    """
    from ase.calculators.lammps import Prism
    from ase.geometry import complete_cell

    cell = complete_cell(np.where(structure.pbc[:, None], structure.cell, 0.0))
    fractions, shift = structure.positions @ np.linalg.inv(cell), np.zeros(3)
    scale = np.ones(3)
    for k in np.flatnonzero(~structure.pbc):
        margin = MARGIN / float(np.linalg.norm(cell[k]))
        shift += (margin - fractions[:, k].min()) * cell[k]
        scale[k] = np.ptp(fractions[:, k]) + 2.0 * margin
    return Prism(scale[:, None] * cell, structure.pbc), shift
