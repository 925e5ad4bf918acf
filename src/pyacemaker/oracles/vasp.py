"""Density-functional theory with VASP: the user's own licence, program and pseudopotentials."""

import json
import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self
from xml.etree import ElementTree

import numpy as np
from pydantic import Field, model_validator

from pyacemaker.base import fingerprint
from pyacemaker.errors import (
    ConfigError,
    ConvergenceError,
    EngineError,
    EngineMissingError,
    OracleCrashError,
    OracleError,
    PyacemakerError,
    UnphysicalLabelError,
    UnsupportedElementError,
)
from pyacemaker.oracles.calculators import (
    CalculatorOracle,
    Job,
    KSpacing,
    Parameters,
    crash,
    did_you_mean,
    last_words,
    one_line,
)
from pyacemaker.oracles.molecules import installed_version
from pyacemaker.oracles.programs import existing_directory, program_command

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator
    from ase.calculators.vasp.create_input import GenerateVaspInput

_TAGS = (
    "algo ialgo nelm nelmin nelmdl time ldiag lsubrot nsim iwavpr weimin ebreak deper amix bmix amin "
    "amix_mag bmix_mag imix inimix maxmix mixpre wc lmaxmix"
)
MINIMISER_TAGS = frozenset(_TAGS.split())
"""INCAR tags of the electronic minimiser and the mixer."""

_LABELS_ARE_SINGLE_POINTS = "labels are single points: remove it"


DEFAULTS = (
    '{"xc": "PBE", "pp_version": "64", "setups": "recommended", "prec": "Accurate", "encut": 520, '
    '"ediff": 1e-6, "ismear": 0, "sigma": 0.05, "lreal": false, "lasph": true, "nelm": 100}'
)
"""JSON, so that nobody changes the defaults of another."""


class VaspOracle(CalculatorOracle):
    """VASP with the keyword arguments of ASE's `Vasp` (INCAR tags in lower case) in `parameters`.

    Energies are the free energies that belong to the forces ("free energy TOTEN"), not those extrapolated to
    zero smearing.
    """

    kind: Literal["vasp"] = "vasp"
    command: str = "${ASE_VASP_COMMAND}"
    """How VASP is started, such as `srun vasp_std`."""
    pseudo_dir: str = "${VASP_PP_PATH}"
    """The folder that holds potpaw_PBE.64, potpaw_LDA.64, …"""
    release: str | None = None
    """VASP's version, such as 6.4.3: part of the keys; output of another version is then refused."""
    custodian: bool = False
    """Watch the electronic minimisation with custodian (extra `vasp`) and repair it while it runs."""
    kspacing: KSpacing = 0.25
    """Largest distance of k-points, 1/Å with 2π: one Γ-centred grid, the same in every code.

    None: as `parameters` say."""
    parameters: Parameters = Field(default_factory=lambda: json.loads(DEFAULTS))
    """Keyword arguments of ASE's `Vasp`, as a whole."""
    retries: tuple[Parameters, ...] = (
        {"algo": "All", "nelm": 200},
        {"algo": "Normal", "nelm": 300, "amix": 0.1, "bmix": 0.0001, "amix_mag": 0.2, "bmix_mag": 0.0001},
    )
    """Changes of `parameters` for further attempts: the minimiser's and the mixer's tags."""

    not_in_key = CalculatorOracle.not_in_key | {"command", "pseudo_dir", "custodian"}
    tries = frozenset({"retries", "custodian"})
    minimiser_keys: ClassVar[frozenset[str]] = MINIMISER_TAGS
    owned: ClassVar[dict[str, str]] = {
        **dict.fromkeys(
            ("command", "txt", "directory", "label", "restart"), "use command, scratch, keep_files"
        ),
        **dict.fromkeys(("charge", "net_charge", "nelect"), "use charge, or the structures' own"),
        **dict.fromkeys(("ispin", "magmom", "nupdown"), "use magmoms, or the structures' multiplicity"),
        **dict.fromkeys(("kspacing", "kgamma", "gamma"), "use the oracle's kspacing"),
        **dict.fromkeys(("nsw", "ibrion", "isif"), _LABELS_ARE_SINGLE_POINTS),
    }

    @model_validator(mode="after")
    def _setups_by_element(self) -> Self:
        setups = self.parameters.get("setups")
        if isinstance(setups, dict) and any(str(key).isdigit() for key in setups):
            raise ValueError("parameters.setups has to go by element, not by the number of an atom")
        return self

    @model_validator(mode="after")
    def _known_tags(self) -> Self:
        from ase.calculators.vasp.create_input import GenerateVaspInput

        plain = vars(GenerateVaspInput())
        known = {tag for name, tags in plain.items() if name.endswith("_params") for tag in tags}
        for tag in {**self.parameters, **{tag: 1 for retry in self.retries for tag in retry}}:
            if tag not in known:
                raise ValueError(
                    f"parameters.{tag} is no INCAR tag that ASE knows{did_you_mean(tag, known)} (what VASP "
                    f"knows and ASE does not belongs in parameters.custom: {{{tag}: value}})"
                )
        return self

    def version(self) -> str:
        """`vasp` and the release that the settings name: VASP says its version only when it runs."""
        return "vasp" if self.release is None else f"vasp {self.release}"

    def check_settings(self) -> None:
        """Command, pseudopotential folder, and custodian where it is asked for."""
        super().check_settings()
        self._command()
        self._potentials_folder()
        if self.custodian:
            installed_version("custodian", "dft.custodian", 'pip install "pyacemaker[vasp]"')

    def pseudopotentials(self, symbol: str) -> list[Path]:
        """The element's POTCAR."""
        from ase import Atoms

        generator = self._generator(self.expanded_parameters(0))
        try:
            found = generator._build_pp_list(Atoms(symbol))
        except RuntimeError as error:
            raise UnsupportedElementError(
                f"there is no POTCAR for {symbol} with the setups of dft.parameters in {self.pseudo_dir!r}: "
                "correct pseudo_dir, xc, pp, pp_version or setups"
            ) from error
        return [Path(path) for path in found]

    def build(self, job: Job) -> "Calculator":
        """ASE's `Vasp` in the job's directory."""
        from ase.calculators.vasp import Vasp

        settings = {"lwave": False, "lcharg": False, **job.parameters}
        if job.grid is not None:
            settings.update(kpts=job.grid, gamma=True)
        if job.charge:
            settings["charge"] = job.charge
        if job.is_polarised:
            settings["ispin"] = 2
        if job.unpaired:
            settings["nupdown"] = job.unpaired
        settings["pp"] = self._generator(job.parameters).input_params["pp"]
        return _settled_paths(Vasp(directory=str(job.directory), command=self._full_command(), **settings))

    def effort_key(self) -> str:
        """Also the limit of the net force, by which VASP's own account of it is judged."""
        return fingerprint([super().effort_key(), self.limits.max_net_force])

    def check_converged(self, calculator: "Calculator", job: Job) -> None:
        """OUTCAR has to say that EDIFF was reached; vasprun.xml has to be whole and of the named release."""
        check_finished(job.directory)
        check_same_structure(job)
        check_electronic_convergence(job.directory / "OUTCAR")
        check_drift(job.directory / "OUTCAR", self.limits.max_net_force)
        found = vasp_release(job.directory / "vasprun.xml")
        if self.release is not None and found != self.release:
            raise ConfigError(f"dft.release = {self.release}, but the command runs VASP {found}: correct one")

    def explain(self, error: Exception, job: Job) -> PyacemakerError:
        """What VASP left behind when it failed."""
        output = job.directory / "vasp.out"
        if (job.directory / "OUTCAR").is_file():
            try:
                check_electronic_convergence(job.directory / "OUTCAR")
            except ConvergenceError as unconverged:
                return unconverged
            except OracleCrashError:  # the exit code may say more
                pass
        ended = re.search(r"returned an error: (-?\d+)", str(error))
        if ended is not None:
            code = int(ended.group(1))
            if code == 127:
                return EngineMissingError("the shell does not find the program of dft.command: correct it")
            complaints = job.directory / "vasp.err"
            complaints.write_text(str(error).partition("stderr")[2])
            if self.custodian and "custodian gave up" in last_words(output):
                return ConvergenceError("custodian found no setting with which VASP converges")
            files = (output, complaints) if self.custodian else (complaints, output)
            return crash("VASP", code, *files)
        try:
            check_finished(job.directory)
            check_same_structure(job)
            check_electronic_convergence(job.directory / "OUTCAR")
        except OracleError as unusable:
            return unusable
        return EngineError(f"VASP's output cannot be read: {type(error).__name__}: {one_line(str(error))}")

    def _command(self) -> str:
        return program_command(self.command, "dft.command")

    def _full_command(self) -> str:
        command = self._command()
        if not self.custodian:
            return command
        return shlex.join([sys.executable, "-m", "pyacemaker.oracles.vasp_custodian", command])

    def _potentials_folder(self) -> Path:
        return existing_directory(self.pseudo_dir, "dft.pseudo_dir").resolve()

    def _generator(self, parameters: Parameters) -> "GenerateVaspInput":
        """ASE's writer of input files, its pseudopotentials found below `pseudo_dir`."""
        from ase.calculators.vasp.create_input import GenerateVaspInput

        generator = _settled_paths(GenerateVaspInput())
        generator.set(**parameters)
        generator.check_xc()
        named = str(generator.input_params["pp"])
        release = generator.input_params["pp_version"]
        folders = {"lda": ("potpaw", "potpaw_LDA."), "pbe": ("potpaw_PBE", "potpaw_PBE.")}
        if named.lower() in folders:
            plain, dotted = folders[named.lower()]
            named = f"{dotted}{release}" if release else plain
        generator.set(pp=str(self._potentials_folder() / named))
        return generator


def _settled_paths(generator: Any) -> Any:
    """The same writer of input files, which now looks for no variables of its own: `pp` is a whole path."""
    generator.VASP_PP_PATH = generator.VASP_PP_VERSION = "PYACEMAKER_NAMES_THE_WHOLE_PATH"
    return generator


def check_electronic_convergence(outcar: Path) -> None:
    """`ConvergenceError` unless the last electronic loop of an OUTCAR ended because EDIFF was reached.

    `EngineError` without an OUTCAR, `OracleCrashError` for one that ends earlier.
    The energy changes between steps do not decide: VASP's own verdict does.
    """
    if not outcar.is_file():
        raise EngineError("VASP wrote no OUTCAR")
    verdicts = [line for line in outcar.read_text(errors="replace").splitlines() if "aborting loop" in line]
    if not verdicts:
        raise OracleCrashError("OUTCAR ends within the electronic minimisation")
    if "EDIFF is reached" not in verdicts[-1]:
        raise ConvergenceError("the electronic minimisation of VASP ended with EDIFF not reached")


def check_drift(outcar: Path, limit: float) -> None:
    """`UnphysicalLabelError` where the last `total drift` of an OUTCAR has a component above `limit`, eV/Å.

    VASP takes the net force out of the forces that it writes, so that their sum shows nothing.
    """
    drifts = re.findall(r"total drift:\s+(\S+)\s+(\S+)\s+(\S+)", outcar.read_text(errors="replace"))
    largest = max((abs(float(part)) for part in drifts[-1]), default=0.0) if drifts else 0.0
    if largest > limit:
        raise UnphysicalLabelError(
            f"the forces sum to {largest:.3f} eV/Å instead of zero (total drift in OUTCAR), above "
            f"limits.max_net_force = {limit}: a finer grid (PREC = Accurate, ADDGRID) or a larger ENCUT helps"
        )


def check_finished(directory: Path) -> None:
    """`OracleError` where VASP stopped early: no vasprun.xml, or one without its end."""
    path = directory / "vasprun.xml"
    if not path.is_file() or path.stat().st_size == 0:
        raise EngineError(f"VASP wrote no vasprun.xml: {last_words(directory / 'vasp.out')}")
    try:
        ElementTree.parse(path)
    except ElementTree.ParseError as error:
        raise OracleCrashError(f"vasprun.xml is truncated: {last_words(directory / 'vasp.out')}") from error


def check_same_structure(job: Job) -> None:
    """`EngineError` where vasprun.xml is another structure's: elements, cell, or positions (10⁻³ Å)."""
    from ase.geometry import find_mic
    from ase.io import read

    found, wanted = read(job.directory / "vasprun.xml"), read(job.directory / "POSCAR")
    differs = ""
    if found.get_chemical_symbols() != wanted.get_chemical_symbols():
        differs = f"{found.get_chemical_formula()}, not {wanted.get_chemical_formula()}"
    elif not np.allclose(found.cell, wanted.cell, atol=SAME):
        differs = "another cell"
    elif find_mic(found.positions - wanted.positions, wanted.cell)[1].max() > SAME:
        differs = "other positions"
    if differs:
        raise EngineError(
            f"vasprun.xml holds {differs}: it is not the output of this calculation; look at what "
            "dft.command runs, and where"
        )


SAME = 1e-3
"""Å: what the digits of VASP's files may take from a cell or a position."""


def vasp_release(vasprun: Path) -> str:
    """The version of VASP that wrote a vasprun.xml."""
    for _, element in ElementTree.iterparse(vasprun):
        if element.tag == "i" and element.get("name") == "version":
            return (element.text or "").strip()
    return "unknown"
