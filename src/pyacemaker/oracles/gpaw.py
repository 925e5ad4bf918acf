"""Density-functional theory with GPAW: projector augmented waves, periodic cells."""

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from pyacemaker.errors import ConvergenceError, EngineError, PyacemakerError, UnsupportedElementError
from pyacemaker.oracles.calculators import CalculatorOracle, Job, KSpacing, Parameters, one_line
from pyacemaker.oracles.molecules import installed_version

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator


DEFAULTS = (
    '{"mode": {"name": "pw", "ecut": 600}, "xc": "PBE", "occupations": {"name": "fermi-dirac", "width": 0.1}}'
)
"""JSON, so that nobody changes the defaults of another."""


class GpawOracle(CalculatorOracle):
    """GPAW with the keyword arguments of its ASE calculator in `parameters`.

    Plane waves (`mode: {name: pw, ecut: 600}`) have a stress; it needs a larger cutoff than the energy (an
    incomplete basis adds a pressure: 60 GPa for MgO at 400 eV). Repeats are equal to the last bit.
    """

    kind: Literal["gpaw"] = "gpaw"
    parameters: Parameters = Field(default_factory=lambda: json.loads(DEFAULTS))
    """Keyword arguments of GPAW, as a whole."""
    kspacing: KSpacing = 0.25
    """Largest distance of k-points, 1/Å with 2π: one Γ-centred grid, the same in every code.

    None: as `parameters` say."""
    retries: tuple[Parameters, ...] = (
        {"mixer": {"backend": "pulay", "beta": 0.02}, "maxiter": 500},
        {
            "mixer": {"backend": "pulay", "beta": 0.01, "nmaxold": 8},
            "eigensolver": "rmm-diis",
            "maxiter": 800,
        },
    )
    """Changes of `parameters` for further attempts: mixer, eigensolver, maxiter."""

    minimiser_keys: ClassVar[frozenset[str]] = frozenset({"mixer", "eigensolver", "maxiter"})
    owned: ClassVar[dict[str, str]] = {
        "txt": "use keep_files to see GPAW's output",
        "charge": "use charge, or the structures' own",
        "magmoms": "use magmoms",
        "spinpol": "use magmoms",
        "hund": "isolated atoms have their ground-state moment anyway",
    }

    def version(self) -> str:
        """GPAW's version; its PAW data are in the keys by their content."""
        install = 'CC=g++ pip install "pyacemaker[gpaw]"'
        return f"gpaw {installed_version('gpaw', 'the gpaw oracle', install)}"

    def build(self, job: Job) -> "Calculator":
        """GPAW, serial, writing `gpaw.txt` in the job's directory."""
        from gpaw import GPAW

        settings = dict(job.parameters)
        if job.grid is not None:
            settings["kpts"] = {"size": job.grid, "gamma": True}
        if job.charge:
            settings["charge"] = job.charge
        if job.unpaired:
            occupations = settings.get("occupations") or {"name": "fermi-dirac", "width": 0.0}
            settings["occupations"] = {**occupations, "fixmagmom": True}
        return GPAW(**settings, txt=str(job.directory / "gpaw.txt"))

    def check_converged(self, calculator: "Calculator", job: Job) -> None:
        """GPAW raises by itself; the text it wrote must say the same."""
        text = (job.directory / "gpaw.txt").read_text(errors="replace")
        if "Converged" not in text:
            raise ConvergenceError("GPAW's output does not say that the SCF converged")

    def explain(self, error: Exception, job: Job) -> PyacemakerError:
        """GPAW's own kinds of errors as ours."""
        kind = type(error).__name__
        if kind in ("KohnShamConvergenceError", "ConvergenceError", "LinAlgError"):
            return ConvergenceError(f"the SCF did not converge: {one_line(str(error)) or kind}")
        if kind in ("FileNotFoundError", "SetupDataError"):
            elements = ", ".join(sorted(set(job.structure.symbols)))
            return UnsupportedElementError(
                f"GPAW has no PAW data for all of {elements}: {one_line(str(error))}"
            )
        return EngineError(f"GPAW failed: {kind}: {one_line(str(error))}")

    def pseudopotentials(self, symbol: str) -> list[Path]:
        """All PAW data sets of an element in GPAW's search path; `UnsupportedElementError` without any."""
        found = _data_sets(symbol)
        if not found:
            raise UnsupportedElementError(
                f"GPAW finds no PAW data for {symbol}: add a folder that has some to GPAW_SETUP_PATH"
            )
        return found


@lru_cache(maxsize=128)
def _data_sets(symbol: str) -> list[Path]:
    from gpaw import setup_paths

    found = [path for folder in setup_paths for path in sorted(Path(folder).glob(f"{symbol}.*"))]
    return [path for path in found if path.is_file()]
