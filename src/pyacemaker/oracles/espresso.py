"""Density-functional theory with Quantum ESPRESSO's pw.x: plane waves, periodic cells."""

import re
from pathlib import Path
from subprocess import CalledProcessError
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import model_validator

from pyacemaker.environment import expand
from pyacemaker.errors import (
    ConfigError,
    ConvergenceError,
    EngineError,
    PyacemakerError,
    UnsupportedElementError,
)
from pyacemaker.oracles.calculators import (
    CalculatorOracle,
    Job,
    KSpacing,
    Parameters,
    crash,
    did_you_mean,
    merged,
    one_line,
)
from pyacemaker.oracles.programs import existing_directory, printed_version, program_command

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

OUTPUT, ERRORS = "espresso.pwo", "espresso.err"
_ENTRIES = (
    "electron_maxstep mixing_mode mixing_beta mixing_ndim diagonalization diago_thr_init diago_cg_maxiter "
    "diago_david_ndim diago_rmm_ndim diago_gs_nblock adaptive_thr startingpot startingwfc"
)
_ELECTRONS = frozenset(_ENTRIES.split())
"""Entries of the ELECTRONS namelist that belong to the mixing and the diagonalisation."""


class EspressoOracle(CalculatorOracle):
    """pw.x with the keyword arguments of ASE's `Espresso` in `parameters`.

    `parameters.pseudopotentials` names a file for each element, `parameters.input_data` holds the namelists.
    """

    kind: Literal["espresso"] = "espresso"
    command: str = "pw.x"
    """How pw.x is started; many serial runs side by side beat one on several processes."""
    pseudo_dir: str = "${ESPRESSO_PSEUDO}"
    """Where the pseudopotentials lie."""
    kspacing: KSpacing = 0.25
    """Largest distance of k-points, 1/Å with 2π: one Γ-centred grid, the same in every code.

    None: as `parameters` say."""
    retries: tuple[Parameters, ...] = (
        {"input_data": {"electrons": {"mixing_beta": 0.2, "electron_maxstep": 300}}},
        {
            "input_data": {
                "electrons": {"mixing_beta": 0.05, "diagonalization": "cg", "electron_maxstep": 500}
            }
        },
    )
    """Changes of `parameters` for further attempts: mixing, diagonalisation, electron_maxstep."""

    not_in_key = CalculatorOracle.not_in_key | {"command", "pseudo_dir"}
    minimiser_keys: ClassVar[frozenset[str]] = _ELECTRONS
    owned: ClassVar[dict[str, str]] = {
        "profile": "use command and pseudo_dir",
        "directory": "use scratch",
        "koffset": "the grid is centred on Γ",
    }

    @model_validator(mode="after")
    def _single_points_only(self) -> Self:
        settings = flat_input(self.parameters)
        _refuse_unknown(settings)
        if settings.get("calculation", "scf") != "scf":
            raise ValueError(f"calculation = {settings['calculation']!r} moves the atoms: labels need scf")
        for key in ("pseudo_dir", "outdir", "tot_charge", "tot_magnetization", "nspin"):
            if key in settings:
                raise ValueError(f"parameters.input_data.{key} is set by the oracle: remove it")
        if not isinstance(self.parameters.get("pseudopotentials", {}), dict):
            raise ValueError("parameters.pseudopotentials has to name a file for each element")
        return self

    def version(self) -> str:
        """The version that pw.x prints."""
        pattern, program = r"Program PWSCF\s+v\.(\S+)", "pw.x of Quantum ESPRESSO"
        version = printed_version(self._command(), pattern, named=self.command, program=program)
        return f"espresso {version}"

    def check_settings(self) -> None:
        """Also looks whether every pseudopotential that is named lies in its directory."""
        super().check_settings()
        for symbol in self.parameters.get("pseudopotentials", {}):
            self.pseudopotentials(symbol)

    def pseudopotentials(self, symbol: str) -> list[Path]:
        """The element's file; `UnsupportedElementError` where none is named, `ConfigError` without it."""
        named = self.parameters.get("pseudopotentials", {})
        if symbol not in named:
            raise UnsupportedElementError(
                f"parameters.pseudopotentials names no file for {symbol}: add {symbol}: and its file"
            )
        path = self._pseudo_dir() / expand(str(named[symbol]))
        if not path.is_file():
            raise ConfigError(
                f"the pseudopotential {named[symbol]} of {symbol} is not in {self.pseudo_dir!r}"
            )
        return [path]

    def refused_in_retry(self, retry: Parameters) -> set[str]:
        """All namelist entries but those of the mixing and the diagonalisation."""
        return (set(flat_input(retry)) - self.minimiser_keys) | (set(retry) & _ASE_KEYS)

    def with_retry(self, parameters: Parameters, retry: Parameters) -> Parameters:
        """`parameters` with a retry's entries in the ELECTRONS namelist."""
        electrons = {"electrons": flat_input(retry)}
        return {**parameters, "input_data": merged(nested_input(parameters), electrons)}

    def build(self, job: Job) -> "Calculator":
        """pw.x in the job's directory, with forces and stress."""
        from ase.calculators.espresso import Espresso, EspressoProfile

        control = {
            "calculation": "scf",
            "outdir": "./out",
            "tprnfor": True,
            "tstress": bool(job.structure.pbc.all()),
        }
        settings = {key: value for key, value in job.parameters.items() if key in _ASE_KEYS}
        sections = merged({"control": {"disk_io": "none"}}, nested_input(job.parameters))
        settings["input_data"] = merged(sections, {"control": control, "system": _system(job)})
        if job.grid is not None:
            settings.update(kpts=job.grid, koffset=(0, 0, 0))
        profile = EspressoProfile(command=self._command(), pseudo_dir=str(self._pseudo_dir().resolve()))
        return Espresso(profile=profile, directory=job.directory, **settings)

    def check_converged(self, calculator: "Calculator", job: Job) -> None:
        """pw.x has to say that convergence was achieved, and nowhere that it was not."""
        text = _read(job.directory / OUTPUT)
        if "convergence NOT achieved" in text:
            raise ConvergenceError("the SCF of pw.x did not converge")
        if "convergence has been achieved" not in text:
            raise EngineError("pw.x does not say whether the SCF converged: its output is cut off")

    def explain(self, error: Exception, job: Job) -> PyacemakerError:
        """What pw.x wrote before it ended."""
        text = _read(job.directory / OUTPUT)
        if "convergence NOT achieved" in text:
            return ConvergenceError("the SCF of pw.x did not converge")
        complaint = re.search(r"Error in routine (.*?)%%%%", text, re.S)
        if complaint is not None and "cholesky" not in complaint.group(1):
            return EngineError(f"pw.x refuses: {one_line(complaint.group(1))}")
        if complaint is not None:
            return ConvergenceError(f"the diagonalisation failed: {one_line(complaint.group(1))}")
        files = (job.directory / ERRORS, job.directory / OUTPUT)
        code = error.returncode if isinstance(error, CalledProcessError) else 0
        return crash("pw.x", code, *files) if code else super().explain(error, job)

    def _command(self) -> str:
        return program_command(self.command, "dft.command")

    def _pseudo_dir(self) -> Path:
        return existing_directory(self.pseudo_dir, "dft.pseudo_dir")


_ASE_KEYS = frozenset({"pseudopotentials", "kpts", "crystal_coordinates", "additional_cards"})
"""Keyword arguments of ASE's writer that are no entries of a namelist."""


def flat_input(parameters: Parameters) -> dict[str, Any]:
    """All namelist entries in `parameters`, however deep: {entry: value}."""
    entries: dict[str, Any] = {}
    for key, value in parameters.items():
        if key in _ASE_KEYS:
            continue
        if isinstance(value, dict) and key.lower() in ("input_data", *_SECTIONS):
            entries.update(flat_input(value))
        else:
            entries[key.lower()] = value
    return entries


def nested_input(parameters: Parameters) -> dict[str, dict[str, Any]]:
    """The namelists {section: {entry: value}} of all entries in `parameters`."""
    from ase.io.espresso import Namelist

    sections = Namelist(flat_input(parameters))
    sections.to_nested("pw")
    return {str(name).lower(): dict(content) for name, content in sections.items()}


def _refuse_unknown(entries: Parameters) -> None:
    """`ValueError` for an entry of no namelist of pw.x: ASE would leave it out and say nothing."""
    from ase.io.espresso_namelist.keys import ALL_KEYS

    known = {name.lower() for names in ALL_KEYS["pw"].values() for name in names}
    for entry in entries:
        if entry.partition("(")[0].strip() not in known:
            raise ValueError(
                f"parameters.input_data.{entry} is in no namelist of pw.x{did_you_mean(entry, known)}"
            )


_SECTIONS = ("control", "system", "electrons", "ions", "cell")


def _system(job: Job) -> dict[str, Any]:
    """What charge and spin add to the SYSTEM namelist."""
    system: dict[str, Any] = {}
    if job.charge:
        system["tot_charge"] = job.charge
    if job.is_polarised:
        system["nspin"] = 2
    if job.unpaired:
        system["tot_magnetization"] = job.unpaired
    return system


def _read(path: Path) -> str:
    return path.read_text(errors="replace") if path.is_file() else ""
