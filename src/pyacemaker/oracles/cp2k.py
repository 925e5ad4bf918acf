"""Density-functional theory with CP2K (Quickstep): Gaussians and plane waves, periodic cells."""

import os
import re
import shlex
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pyacemaker.errors import ConfigError, ConvergenceError, EngineError, OracleCrashError, PyacemakerError
from pyacemaker.oracles.calculators import CalculatorOracle, Job, KSpacing, Parameters, last_words, one_line
from pyacemaker.oracles.molecules import electron_count
from pyacemaker.oracles.programs import printed_version, program_command
from pyacemaker.structures import AtomStructure
from pyacemaker.structures.boxes import Grid

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator
    from ase.calculators.cp2k import InputSection

OUTPUT = "cp2k.out"
_SCF = ("FORCE_EVAL", "DFT", "SCF")
_MINIMISER = (
    "MAX_SCF",
    "MAX_DIIS",
    "EPS_DIIS",
    "MAX_SCF_HISTORY",
    "LEVEL_SHIFT",
    "MIXING",
    "OUTER_SCF",
    "OT",
)


class Cp2kOracle(CalculatorOracle):
    """CP2K's shell with the keyword arguments of ASE's `CP2K` in `parameters`.

    What they have no name for stands in `parameters.inp`, in CP2K's own language. Give the grid a generous
    `cutoff`: at 400 Ry the forces on MgO sum to 4 eV/Å, which `limits.max_net_force` refuses.
    """

    kind: Literal["cp2k"] = "cp2k"
    command: str = "cp2k_shell.psmp"
    """How CP2K's shell is started, such as `mpiexec -n 4 cp2k_shell.psmp`."""
    data_dir: str | None = None
    """Folder of basis sets and potentials; None: CP2K_DATA_DIR, or the one that CP2K was built with."""
    kspacing: KSpacing = 0.25
    """Largest distance of k-points, 1/Å with 2π: one Γ-centred grid, the same in every code.

    None: as `parameters` say."""
    retries: tuple[Parameters, ...] = (
        {
            "max_scf": 200,
            "inp": "&FORCE_EVAL\n&DFT\n&SCF\n&MIXING\nMETHOD BROYDEN_MIXING\nALPHA 0.1\nNBROYDEN 8\n"
            "&END MIXING\n&END SCF\n&END DFT\n&END FORCE_EVAL",
        },
    )
    """Changes of `parameters` for further attempts: max_scf, and the mixing and OT sections of `inp`."""

    not_in_key = CalculatorOracle.not_in_key | {"command", "data_dir"}
    minimiser_keys: ClassVar[frozenset[str]] = frozenset({"max_scf", "inp"})
    owned: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(("command", "label", "auto_write", "debug"), "use command, scratch, keep_files"),
        "charge": "use charge, or the structures' own",
        **dict.fromkeys(("uks", "multiplicity"), "use magmoms, or the structures' multiplicity"),
        "stress_tensor": "the oracle asks for it where it is defined",
    }

    def version(self) -> str:
        """The version that CP2K prints."""
        words = [word for word in shlex.split(self._command()) if word not in ("-s", "--shell")]
        asked, pattern = shlex.join([*words, "--version"]), r"CP2K version (\S+)"
        version = printed_version(asked, pattern, named=self.command, program="CP2K's shell")
        return f"cp2k {version}"

    def check_structure(self, structure: AtomStructure) -> None:
        """Also refuses crystals with an odd number of electrons whose spins share their orbitals."""
        super().check_structure(structure)
        self._check_even(self._settled(structure))

    def _check_even(self, structure: AtomStructure) -> None:
        if not structure.is_periodic or structure.multiplicity is not None:
            return
        polarised = any(self.magmoms.get(symbol) for symbol in structure.symbols)
        if electron_count(structure) % 2 and not polarised:
            raise ConfigError(
                f"structure {structure.id} has an odd number of electrons, for which CP2K needs spin "
                f"polarisation: add dft.magmoms, such as {{{structure.symbols[0]}: 0.5}}"
            )

    def pseudopotentials(self, symbol: str) -> list[Path]:
        """The files of basis sets and potentials, where they can be found: CP2K's version covers its own."""
        folder = self.data_dir or os.environ.get("CP2K_DATA_DIR")
        names = (("basis_set_file", "BASIS_MOLOPT"), ("potential_file", "POTENTIAL"))
        paths = [Path(str(self.parameters.get(key, default))) for key, default in names]
        places = [path if folder is None else Path(folder) / path for path in paths]
        return [path for path in places if path.is_file()]

    def refused_in_retry(self, retry: Parameters) -> set[str]:
        """All but max_scf and the entries of `inp` that belong to the minimisation."""
        refused = set(retry) - self.minimiser_keys
        for path in _entries(parse_input(str(retry.get("inp", "")))):
            if path[:3] != _SCF or len(path) < 4 or path[3] not in _MINIMISER:
                refused.add("inp: " + "/".join(path))
        return refused

    def with_retry(self, parameters: Parameters, retry: Parameters) -> Parameters:
        """`parameters` with a retry's `inp` merged into theirs."""
        text = merged_input(str(parameters.get("inp", "")), str(retry.get("inp", "")))
        return {**parameters, **retry, "inp": text}

    def build(self, job: Job) -> "Calculator":
        """CP2K's shell, started in the job's directory."""
        from ase.calculators.cp2k import CP2K

        self._check_even(job.structure)
        settings: dict[str, Any] = dict(job.parameters)
        settings["stress_tensor"] = bool(job.structure.pbc.all())
        settings["charge"] = job.charge
        if job.is_polarised:
            settings["uks"] = True
        if job.unpaired is not None:
            settings["multiplicity"] = job.unpaired + 1
        settings["inp"] = merged_input(str(settings.get("inp", "")), _own_input(job, self.magmoms))
        return CP2K(label="cp2k", command=self._shell_in(job.directory), **settings)

    def check_converged(self, calculator: "Calculator", job: Job) -> None:
        """The output has to say that the SCF converged, and nowhere that it did not."""
        text = _text(job)
        if _UNCONVERGED.search(text):
            raise ConvergenceError("the SCF of CP2K did not converge")
        if "SCF run converged" not in text:
            raise EngineError("CP2K does not say whether the SCF converged: its output is cut off")

    def explain(self, error: Exception, job: Job) -> PyacemakerError:
        """What CP2K wrote before its shell ended."""
        text = _text(job)
        if _UNCONVERGED.search(text):
            return ConvergenceError("the SCF of CP2K did not converge")
        if "ABORT" in text:
            complaint = re.sub(r"[*_/\\|\s]+", " ", text[text.rindex("ABORT") :])
            return EngineError(f"CP2K refuses: {one_line(complaint)}")
        if isinstance(error, AssertionError | BrokenPipeError | ValueError):
            return OracleCrashError(f"CP2K's shell died: {last_words(job.directory / OUTPUT)}")
        return super().explain(error, job)

    def close(self, calculator: "Calculator") -> None:
        """End the shell, dead or alive."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            try:
                calculator.close()
            except (AssertionError, OSError, ValueError):
                calculator._shell = None

    def _command(self) -> str:
        return program_command(self.command, "dft.command")

    def _shell_in(self, directory: Path) -> str:
        data = "" if self.data_dir is None else f"CP2K_DATA_DIR={shlex.quote(self.data_dir)} "
        return f"cd {shlex.quote(str(directory))} && {data}exec {self._command()} 2> cp2k.err"


_UNCONVERGED = re.compile(r"SCF run NOT converged", re.I)


def parse_input(text: str) -> "InputSection":
    """CP2K's input language as a tree of sections."""
    from ase.calculators.cp2k import parse_input as parse

    return parse(text)


def merged_input(first: str, second: str) -> str:
    """Two inputs as one: where both have an entry, the second's counts."""
    tree = parse_input(first)
    _merge(tree, parse_input(second))
    return "\n".join(tree.write())


def gamma_centred(grid: Grid) -> str:
    """The section KPOINTS for a Γ-centred grid.

    CP2K's Monkhorst-Pack points are (2i − n − 1)/2n: for even n they miss Γ by half a step, which the shift
    1/2n of the MACDONALD scheme brings back.
    """
    shifts = [0.0 if n % 2 else 0.5 / n for n in grid]
    numbers = " ".join([*(str(n) for n in grid), *(f"{shift:.15f}" for shift in shifts)])
    return f"&FORCE_EVAL\n&DFT\n&KPOINTS\nSCHEME MACDONALD {numbers}\n&END KPOINTS\n&END DFT\n&END FORCE_EVAL"


def _own_input(job: Job, magmoms: Mapping[str, float]) -> str:
    """What the job adds to the user's input: k-points, and initial moments of a crystal's elements."""
    text = ""
    if job.grid is not None and job.grid != (1, 1, 1):
        text = gamma_centred(job.grid)
    if job.unpaired is None:
        for symbol in sorted(set(job.structure.symbols) & set(magmoms)):
            kind = f"&KIND {symbol}\nMAGNETIZATION {magmoms[symbol]}\n&END KIND"
            text = merged_input(text, f"&FORCE_EVAL\n&SUBSYS\n{kind}\n&END SUBSYS\n&END FORCE_EVAL")
    return text


def _merge(tree: "InputSection", other: "InputSection") -> None:
    names = {_word(line) for line in other.keywords}
    tree.keywords = [line for line in tree.keywords if _word(line) not in names] + other.keywords
    for section in other.subsections:
        same = [s for s in tree.subsections if (s.name, s.params) == (section.name, section.params)]
        if same:
            _merge(same[0], section)
        else:
            tree.subsections.append(section)


def _word(line: str) -> str:
    return line.split(maxsplit=1)[0].upper()


def _entries(tree: "InputSection", path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for line in tree.keywords:
        yield (*path, _word(line))
    for section in tree.subsections:
        inner = (*path, section.name.upper())
        found = list(_entries(section, inner))
        yield from found or [inner]


def _text(job: Job) -> str:
    path = job.directory / OUTPUT
    return path.read_text(errors="replace") if path.is_file() else ""
