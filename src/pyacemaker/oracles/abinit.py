"""Density-functional theory with ABINIT: plane waves, periodic cells."""

import re
from collections.abc import Mapping
from pathlib import Path
from subprocess import CalledProcessError
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pyacemaker.errors import (
    ConvergenceError,
    EngineError,
    PyacemakerError,
    UnsupportedElementError,
)
from pyacemaker.oracles.calculators import CalculatorOracle, Job, KSpacing, Parameters, crash, one_line
from pyacemaker.oracles.programs import existing_directory, printed_version, program_command

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator

OUTPUT, LOG, ERRORS = "abinit.abo", "abinit.log", "abinit.err"


class AbinitOracle(CalculatorOracle):
    """ABINIT with the keyword arguments of ASE's `Abinit` (ABINIT's variables) in `parameters`.

    Energies among them (`ecut`, `tsmear`, `toldfe`) are in eV. ASE shifts even grids of k-points; this oracle
    writes its own, centred on Γ.
    """

    kind: Literal["abinit"] = "abinit"
    command: str = "abinit"
    """How ABINIT is started."""
    pseudo_dir: str = "${ABINIT_PP_PATH}"
    """Where the pseudopotentials lie; `parameters.pps` says which kind (psp8, pawxml, …)."""
    kspacing: KSpacing = 0.25
    """Largest distance of k-points, 1/Å with 2π: one Γ-centred grid, the same in every code.

    None: as `parameters` say."""
    retries: tuple[Parameters, ...] = (
        {"nstep": 150, "diemix": 0.3},
        {"nstep": 300, "diemix": 0.1, "diemac": 10, "nline": 8},
    )
    """Changes of `parameters` for further attempts: mixing, preconditioning, numbers of steps."""

    not_in_key = CalculatorOracle.not_in_key | {"command", "pseudo_dir"}
    minimiser_keys: ClassVar[frozenset[str]] = frozenset(
        {
            *("nstep", "diemix", "diemac", "diemixmag", "dielam", "dielng", "npulayit", "nline", "nnsclo"),
            *("iprcel", "diecut", "diegap", "densfor_pred", "wfoptalg"),
        }
    )
    owned: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("profile", "directory", "pp_paths"), "use command, pseudo_dir, scratch"),
        **dict.fromkeys(("charge", "cellcharge"), "use charge, or the structures' own"),
        **dict.fromkeys(
            ("nsppol", "spinat", "spinmagntarget"), "use magmoms, or the structures' multiplicity"
        ),
        **dict.fromkeys(("ionmov", "optcell", "ntime"), "labels are single points: remove it"),
    }

    def version(self) -> str:
        """The version that ABINIT prints."""
        asked, pattern = f"{self._command()} --version", r"\A\s*(\d+\.\d+\S*)"
        return f"abinit {printed_version(asked, pattern, named=self.command, program='ABINIT')}"

    def pseudopotentials(self, symbol: str) -> list[Path]:
        """The element's file, as ASE finds it; `UnsupportedElementError` where there is none."""
        from ase.data import atomic_numbers
        from ase.io.abinit import get_ppp_list

        settings = self.expanded_parameters(0)
        try:
            found = get_ppp_list(
                None,
                [atomic_numbers[symbol]],
                raise_exception=True,
                xc=settings.get("xc", "LDA"),
                pps=settings.get("pps", "fhi"),
                search_paths=[str(self._pseudo_dir())],
            )
        except RuntimeError as error:
            raise UnsupportedElementError(
                f"there is no {settings.get('pps', 'fhi')} pseudopotential for {symbol} in "
                f"{self.pseudo_dir!r}: correct pseudo_dir, parameters.pps or parameters.xc"
            ) from error
        return [Path(path) for path in found]

    def build(self, job: Job) -> "Calculator":
        """ABINIT in the job's directory."""
        from ase.calculators.abinit import Abinit, AbinitProfile

        settings: dict[str, Any] = {**_QUIET, **job.parameters}
        if job.grid is not None:
            settings.update(kptopt=1, ngkpt=list(job.grid), nshiftk=1, shiftk=[0.0, 0.0, 0.0])
        if job.charge:
            settings["charge"] = job.charge
        if job.unpaired and job.structure.symbols not in _ONE_ELECTRON:
            settings["spinmagntarget"] = job.unpaired
        profile = AbinitProfile(self._command(), pp_paths=[str(self._pseudo_dir())])
        return Abinit(profile=profile, directory=job.directory, **settings)

    def check_converged(self, calculator: "Calculator", job: Job) -> None:
        """No dataset may have run out of steps, which ABINIT only warns of, and the run must be complete."""
        text = _text(job)
        if _UNCONVERGED.search(text):
            raise ConvergenceError("ABINIT ran out of SCF steps")
        if "Calculation completed" not in text:
            raise EngineError("ABINIT's output is not complete")

    def explain(self, error: Exception, job: Job) -> PyacemakerError:
        """What ABINIT wrote before it ended."""
        text = _text(job)
        if _UNCONVERGED.search(text):
            return ConvergenceError("ABINIT ran out of SCF steps")
        complaint = _COMPLAINT.search(text)
        if complaint is not None:
            return EngineError(f"ABINIT refuses: {one_line(complaint.group(1))}")
        code = error.returncode if isinstance(error, CalledProcessError) else 0
        files = (job.directory / ERRORS, job.directory / LOG)
        return crash("ABINIT", code, *files) if code else super().explain(error, job)

    def _command(self) -> str:
        return program_command(self.command, "dft.command")

    def _pseudo_dir(self) -> Path:
        return existing_directory(self.pseudo_dir, "dft.pseudo_dir").resolve()


_ONE_ELECTRON = [[symbol] for symbol in ("H", "Li", "Na", "K", "Rb", "Cs", "Fr")]
"""Atoms whose moment is left free: ABINIT 9.6 cannot fix that of a single valence electron."""

_QUIET = {"prtwf": 0, "prtden": 0, "chksymtnons": 0, "chksymbreak": 0}
"""No large files, and no refusal of symmetries that a grid for other purposes would want aligned."""

_COMPLAINT = re.compile(r"(?: ERROR -\n|--- !(?:ERROR|BUG).*?message: \|\n)(.*?)\n(?:\n|\.\.\.)", re.S)
_UNCONVERGED = re.compile(r"not enough SCF cycles|ScfConvergenceWarning", re.I)


def _text(job: Job) -> str:
    files = [job.directory / name for name in (LOG, OUTPUT)]
    return "".join(path.read_text(errors="replace") for path in files if path.is_file())
