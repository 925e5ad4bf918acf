"""Oracles that are ASE calculators: the calculator's own keyword arguments, and keys that all codes share."""

import re
from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

import numpy as np
from pydantic import Field, model_validator

from pyacemaker.base import fingerprint
from pyacemaker.environment import expand, hide
from pyacemaker.errors import (
    ConfigError,
    ConvergenceError,
    EngineError,
    OracleCrashError,
    OracleError,
    PyacemakerError,
)
from pyacemaker.files import sha256_file
from pyacemaker.oracles.base import label_key
from pyacemaker.oracles.dft import DftOracle
from pyacemaker.oracles.molecules import unpaired_electrons
from pyacemaker.oracles.scratch import Keep, scratch_directory
from pyacemaker.structures import AtomStructure, Labels
from pyacemaker.structures.boxes import Grid, boxed, kpoint_grid

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

Parameters = dict[str, Any]
KSpacing = Annotated[float, Field(gt=0)] | None

STRESS_MISSING = (NotImplementedError, KeyError)
"""What ASE calculators raise where they have no stress."""


@dataclass(frozen=True)
class Job:
    """One calculation about to run.

    structure: with its charge settled. atoms: the same in a periodic box, with initial magnetic moments.
    charge: e. unpaired: 2S to be held fixed, None where the spin is free or not polarised. grid: Γ-centred
    k-points, None where the parameters say. parameters: for the calculator, variables put in. directory: its
    scratch directory.
    """

    structure: AtomStructure
    atoms: "Atoms"
    charge: int
    unpaired: int | None
    grid: Grid | None
    parameters: Parameters
    directory: Path

    @property
    def is_polarised(self) -> bool:
        """Whether the two spins have orbitals of their own."""
        return bool(self.atoms.get_initial_magnetic_moments().any())


class CalculatorOracle(DftOracle):
    """A periodic electronic-structure code behind an ASE calculator.

    `parameters` go to the calculator as they are; the other keys mean the same in every code. Molecules and
    atoms stand in a box with three different lengths, slabs and wires get `vacuum` along what is not
    periodic. Molecules have the multiplicity of the structure (or the lowest that fits), held fixed; crystals
    are spin-polarised where `magmoms` names one of their elements. `${VAR}` in a text stands for the
    environment variable VAR.
    """

    charge: int = 0
    """Total charge, e, of structures that name neither a charge nor a multiplicity."""
    kspacing: KSpacing = None
    """Largest distance of k-points, 1/Å with 2π: one Γ-centred grid, the same in every code.

    None: as `parameters` say."""
    magmoms: dict[str, float] = Field(default_factory=dict)
    """Initial magnetic moment, μ_B, of each atom of an element; elements that are not named start with 0."""
    vacuum: Annotated[float, Field(ge=2)] = 5.0
    """Å on both sides of the atoms along directions that are not periodic."""
    parameters: Parameters = Field(default_factory=dict)
    """Keyword arguments of the ASE calculator."""
    retries: tuple[Parameters, ...] = ()
    """Changes of `parameters` for further attempts where one did not converge: minimiser settings only."""
    scratch: str | None = None
    """Where each calculation gets a directory of its own; None: the system's temporary directory."""
    keep_files: Keep = "never"
    """Which of these directories stay: never, failed or always."""

    not_in_key = frozenset({"limits", "retries", "scratch", "keep_files"})
    tries = frozenset({"retries"})

    minimiser_keys: ClassVar[frozenset[str]] = frozenset()
    """Parameters that change how the solution is sought, never which one."""
    owned: ClassVar[Mapping[str, str]] = {}
    """Parameters that the oracle sets itself, and what to use instead."""

    @model_validator(mode="after")
    def _check_parameters(self) -> Self:
        for key, instead in self.owned.items():
            if key in self.parameters:
                raise ValueError(f"parameters.{key} is set by the oracle: {instead}")
        if self.kspacing is not None and "kpts" in self.parameters:
            raise ValueError("kspacing and parameters.kpts both name the k-points: remove one")
        for retry in self.retries:
            refused = sorted(self.refused_in_retry(retry))
            if refused:
                raise ValueError(
                    f"retries may change the minimiser only, not {', '.join(refused)}, which may change the "
                    f"answer; allowed here: {', '.join(sorted(self.minimiser_keys)) or 'nothing'}"
                )
        return self

    @abstractmethod
    def build(self, job: Job) -> "Calculator":
        """A new ASE calculator for one job, which writes into the job's directory only."""

    @abstractmethod
    def check_converged(self, calculator: "Calculator", job: Job) -> None:
        """`ConvergenceError` unless the code itself says that the electronic structure converged."""

    def in_cell(self, structure: AtomStructure) -> AtomStructure:
        """The structure as the code computes it: in a box that is periodic in all directions."""
        return boxed(structure, self.vacuum)

    def explain(self, error: Exception, job: Job) -> PyacemakerError:
        """The typed error for what the calculator raised."""
        return EngineError(f"the calculator failed: {type(error).__name__}: {one_line(str(error))}")

    def close(self, calculator: "Calculator") -> None:
        """End what the calculator keeps running; called once after every job."""

    def pseudopotentials(self, symbol: str) -> list[Path]:
        """The files that describe an element: their content is part of the keys."""
        return []

    def refused_in_retry(self, retry: Parameters) -> set[str]:
        """The keys of a retry that may change the answer."""
        return set(retry) - self.minimiser_keys

    def with_retry(self, parameters: Parameters, retry: Parameters) -> Parameters:
        """`parameters` with the changes of a retry."""
        return {**parameters, **retry}

    def rungs(self) -> int:
        """The first attempt and the retries."""
        return 1 + len(self.retries)

    def check_settings(self) -> None:
        """`ConfigError` for a variable that is not set, `EngineMissingError` without the engine."""
        for rung in range(self.rungs()):
            self.expanded_parameters(rung)
        if self.scratch is not None:
            expand(self.scratch)
        self.version()

    def check_structure(self, structure: AtomStructure) -> None:
        """Refuses spins that do not fit the electrons, and elements without a pseudopotential."""
        settled = self._settled(structure)
        if settled.multiplicity is not None or not settled.is_periodic:
            unpaired_electrons(settled)
        for symbol in sorted(set(settled.symbols)):
            self.pseudopotentials(symbol)

    def settings(self) -> dict[str, Any]:
        """As for every oracle; where parameters name variables, with the fingerprint of their values."""
        content = super().settings()
        expanded = expand_all(self.parameters)
        return content if expanded == self.parameters else {**content, "expanded": fingerprint(expanded)}

    def keys(self, structures: Iterable[AtomStructure]) -> list[str]:
        """As for every oracle, with the content of the pseudopotentials of each structure's elements."""
        method = self.method_key()
        hashes: dict[str, list[str]] = {}
        keys = []
        for structure in structures:
            for symbol in sorted(set(structure.symbols) - set(hashes)):
                hashes[symbol] = [file_hash(path) for path in self.pseudopotentials(symbol)]
            used = {symbol: hashes[symbol] for symbol in set(structure.symbols) if hashes[symbol]}
            keys.append(label_key(structure.id, fingerprint([method, used]) if used else method))
        return keys

    def expanded_parameters(self, rung: int) -> Parameters:
        """The parameters of attempt number `rung`, with the values of variables put in."""
        parameters = self.parameters
        if rung > 0:
            parameters = self.with_retry(parameters, self.retries[rung - 1])
        expanded: Parameters = expand_all(parameters)
        return expanded

    def attempt(self, structure: AtomStructure, rung: int) -> Labels:
        """Free energy (eV), forces (eV/Å), stress (eV/Å³, cells periodic in three directions).

        Raises `ConvergenceError`, `OracleError` for what else the code refuses, `OracleCrashError` where it
        was killed, `EngineMissingError`, `ConfigError`.
        """
        structure = self._settled(structure)
        for symbol in sorted(set(structure.symbols)):
            self.pseudopotentials(symbol)
        root = None if self.scratch is None else Path(expand(self.scratch))
        parameters = self.expanded_parameters(rung)
        with scratch_directory(root, structure.id, self.keep_files) as directory:
            try:
                return self._run(self._job(structure, parameters, directory))
            except OracleError as error:
                raise self._located(error, structure, directory) from error

    def _located(self, error: OracleError, structure: AtomStructure, directory: Path) -> OracleError:
        """The same error, with the structure (which the ladder adds itself) and where the files stay."""
        start = "" if isinstance(error, ConvergenceError) else f"structure {structure.id}: "
        end = "" if self.keep_files == "never" else f" (its files: {directory})"
        return type(error)(f"{start}{error}{end}")

    def _run(self, job: Job) -> Labels:
        try:
            calculator = self.build(job)
        except PyacemakerError:
            raise
        except Exception as error:  # calculators raise whatever they like
            raise ConfigError(f"{self._name()} refuses its parameters: {one_line(str(error))}") from error
        try:
            labels = self._labels(calculator, job)
            self.check_converged(calculator, job)
        except PyacemakerError:
            raise
        except Exception as error:
            raise self.explain(error, job) from error
        finally:
            self.close(calculator)
        return labels

    def _labels(self, calculator: "Calculator", job: Job) -> Labels:
        atoms = job.atoms
        atoms.calc = calculator
        energy = float(atoms.get_potential_energy(force_consistent=True))
        forces = np.array(atoms.get_forces(), dtype=np.float64)
        return Labels(energy, forces, self._stress(job))

    def _stress(self, job: Job) -> Any:
        if not job.structure.pbc.all():
            return None
        try:
            return np.array(job.atoms.get_stress(), dtype=np.float64)
        except STRESS_MISSING:  # PropertyNotImplementedError is a NotImplementedError
            return None

    def _job(self, structure: AtomStructure, parameters: Parameters, directory: Path) -> Job:
        atoms = self.in_cell(structure).to_atoms()
        atoms.info.clear()
        unpaired = None
        if structure.multiplicity is not None or not structure.is_periodic:
            unpaired = unpaired_electrons(structure)
            atoms.set_initial_magnetic_moments(spread_moments(structure.symbols, unpaired))
        elif self.magmoms:
            atoms.set_initial_magnetic_moments([self.magmoms.get(s, 0.0) for s in structure.symbols])
        grid = None if self.kspacing is None else kpoint_grid(structure, self.kspacing)
        if not structure.is_periodic:
            grid = (1, 1, 1)
        return Job(structure, atoms, structure.charge, unpaired, grid, parameters, directory)

    def _settled(self, structure: AtomStructure) -> AtomStructure:
        """The structure with the oracle's charge where it names neither charge nor multiplicity."""
        if structure.charge == 0 and structure.multiplicity is None and self.charge != 0:
            return structure.replace(charge=self.charge)
        return structure

    def _name(self) -> str:
        return str(getattr(self, "kind", type(self).__name__))


def spread_moments(symbols: Sequence[str], unpaired: int) -> list[float]:
    """Initial moments, μ_B, that sum to `unpaired`: in proportion to those of the free atoms."""
    from ase.data import atomic_numbers, ground_state_magnetic_moments

    free = np.array([ground_state_magnetic_moments[atomic_numbers[symbol]] for symbol in symbols])
    weights = free if free.sum() > 0 else np.ones(len(symbols))
    return [float(moment) for moment in unpaired * weights / weights.sum()]


def expand_all(value: Any) -> Any:
    """`value` with the environment variables of every text in it put in."""
    if isinstance(value, str):
        return expand(value)
    if isinstance(value, Mapping):
        return {key: expand_all(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [expand_all(item) for item in value]
    return value


def merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> Parameters:
    """`first` updated by `second`, section by section."""
    result = dict(first)
    for key, value in second.items():
        inner = result.get(key)
        both = isinstance(value, Mapping) and isinstance(inner, Mapping)
        result[key] = merged(inner, value) if both else value  # type: ignore[arg-type]
    return result


def file_hash(path: Path) -> str:
    """SHA-256 of a file's content, remembered until the file changes."""
    status = path.stat()
    return _file_hash(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1024)
def _file_hash(path: Path, modified: int, size: int) -> str:
    return sha256_file(path)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`: did you mean X?` with the known name that is most like `name`, or `: remove it`."""
    close = get_close_matches(name, list(known), n=1)
    return f": did you mean {close[0]}?" if close else ": remove it"


def one_line(text: str, limit: int = 300) -> str:
    """The text on one line, shortened, without the values of variables."""
    flat = " ".join(hide(text).split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def last_words(*files: Path) -> str:
    """The last lines of the first of these files that says anything, on one line."""
    for path in files:
        if path.is_file():
            lines = [line.strip() for line in hide(path.read_text(errors="replace")).splitlines()]
            told = [line for line in lines if re.search(r"[A-Za-z]", line)]
            if told:
                return " | ".join(told[-6:])[-300:]
    return "it wrote nothing"


def ended_by_signal(return_code: int) -> bool:
    """Whether a process was killed rather than ended by itself (shells add 128 to the signal)."""
    return return_code < 0 or 128 < return_code < 160


def crash(name: str, return_code: int, *files: Path) -> OracleError:
    """The error for a program that ended with this code: a crash, or nothing that it explains."""
    words = last_words(*files)
    if ended_by_signal(return_code):
        number = -return_code if return_code < 0 else return_code - 128
        return OracleCrashError(f"{name} was killed by signal {number}: {words}")
    return EngineError(f"{name} ended with exit code {return_code}: {words}")
