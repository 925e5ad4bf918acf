"""Any ASE calculator as an oracle: `kind: ase`, `calculator: module:Class`."""

import importlib
import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.metadata import packages_distributions, version
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from ase import __version__ as ase_version
from pydantic import Field

from pyacemaker.errors import ConfigError, ConvergenceError, EngineError, EngineMissingError, PyacemakerError
from pyacemaker.oracles.base import Oracle
from pyacemaker.oracles.calculators import CalculatorOracle, Job, Parameters, did_you_mean, one_line
from pyacemaker.structures import AtomStructure, Labels
from pyacemaker.structures.boxes import boxed

if TYPE_CHECKING:
    from ase.calculators.calculator import Calculator


class AnyCalculatorOracle(CalculatorOracle):
    """An ASE calculator that this package has no adapter for, called with `parameters`.

    Force fields and machine-learnt potentials too: molecules stay molecules unless `box` is set. The
    calculator gets `directory` where its constructor knows that, and `kpts` where `kspacing` is set; charge
    and spin reach it as `atoms.info["charge"]`, `atoms.info["spin"]` (2S + 1) and initial magnetic moments.
    It has to raise an error when it does not converge, or to have an attribute or method `converged` that
    says so: nothing else can be checked.
    """

    kind: Literal["ase"] = "ase"
    calculator: Annotated[str, Field(pattern=r"^[\w.]+:[\w.]+$")]
    """`module:Class`, or a function that returns a calculator, of an installed module."""
    box: bool = False
    """Whether the calculator needs a cell that is periodic in all directions."""
    minimiser: tuple[str, ...] = ()
    """The parameters that `retries` may change: those that cannot change the answer."""

    not_in_key = CalculatorOracle.not_in_key | {"minimiser"}
    owned: ClassVar[Mapping[str, str]] = {"directory": "use scratch", "atoms": "remove it"}

    def version(self) -> str:
        """The class, ASE's version, and that of the package which the class comes from."""
        package = _package(self._load().__module__.partition(".")[0])
        return f"{self.calculator} (ase {ase_version}{package})"

    def check_settings(self) -> None:
        """Also refuses a calculator without forces, and parameters that one of ASE's own would ignore."""
        super().check_settings()
        make = self._load()
        able = getattr(make, "implemented_properties", None)
        if able and "forces" not in able:
            raise ConfigError(
                f"dft.calculator {self.calculator} has no forces, only {', '.join(able)}: a label needs "
                "forces too, choose a calculator or a method with analytic forces"
            )
        known = _known_parameters(make)
        for name in self.parameters if known else ():
            if name not in known:
                raise ConfigError(
                    f"dft.parameters.{name} is no parameter of {self.calculator}{did_you_mean(name, known)}"
                )

    def refused_in_retry(self, retry: Parameters) -> set[str]:
        """What `minimiser` does not name."""
        return set(retry) - set(self.minimiser)

    def in_cell(self, structure: AtomStructure) -> AtomStructure:
        """In a box where the calculator needs one, else as it is."""
        return boxed(structure, self.vacuum) if self.box else structure

    def build(self, job: Job) -> "Calculator":
        """A new calculator; the atoms carry charge and spin."""
        make = self._load()
        settings = dict(job.parameters)
        if "directory" in _arguments(make):
            settings["directory"] = str(job.directory)
        if self.kspacing is not None:
            settings["kpts"] = {"size": job.grid, "gamma": True}
        job.atoms.info["charge"] = job.charge
        if job.unpaired is not None:
            job.atoms.info["spin"] = job.unpaired + 1
        calculator: Calculator = make(**settings)
        return calculator

    def check_converged(self, calculator: "Calculator", job: Job) -> None:
        """The calculator's own `converged`, where it has one, must not be false."""
        converged = getattr(calculator, "converged", None)
        if callable(converged):
            converged = converged()
        if converged is not None and not converged:
            raise ConvergenceError(f"{self.calculator} did not converge")

    def explain(self, error: Exception, job: Job) -> PyacemakerError:
        """ASE's kinds of errors, and any whose name speaks of convergence."""
        kind = type(error).__name__
        if kind == "SCFError" or "Converge" in kind:
            return ConvergenceError(f"{self.calculator} did not converge: {one_line(str(error))}")
        return EngineError(f"{self.calculator} failed: {kind}: {one_line(str(error))}")

    def _labels(self, calculator: "Calculator", job: Job) -> Labels:
        known = getattr(calculator, "implemented_properties", ("free_energy", "stress"))
        atoms = job.atoms
        atoms.calc = calculator
        energy = float(atoms.get_potential_energy(force_consistent="free_energy" in known))
        forces = np.array(atoms.get_forces(), dtype=np.float64)
        return Labels(energy, forces, self._stress(job) if "stress" in known else None)

    def _load(self) -> Callable[..., Any]:
        found = load_object(self.calculator)
        if not callable(found):
            raise ConfigError(
                f"dft.calculator {self.calculator!r} cannot be called: name a calculator's class"
            )
        return found  # type: ignore[no-any-return]


@lru_cache(maxsize=32)
def _package(module: str) -> str:
    """`, name version` of the installed package that a module belongs to; empty where there is none."""
    names = packages_distributions().get(module, [])
    return f", {names[0]} {version(names[0])}" if names and module != "ase" else ""


def load_object(name: str) -> Any:
    """What `module:Name` names; `EngineMissingError` without the module, `ConfigError` without the name."""
    module_name, _, attribute = name.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except ImportError as error:
        raise EngineMissingError(
            f"the module {module_name} of dft.calculator {name!r} cannot be imported ({error}): install it"
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ConfigError(f"the module {module_name} has no {attribute}: correct dft.calculator {name!r}")
        found = getattr(found, part)
    return found


def plain_calculator(value: Any) -> Any:
    """`kind: module:Class` of a plain ASE calculator as `kind: ase`; anything else as it is.

    A class that is an `Oracle` stays what it is; so does what cannot be imported, for the error it deserves.
    """
    kind = value.get("kind") if isinstance(value, dict) else None
    if not isinstance(kind, str) or ":" not in kind:
        return value
    try:
        found = load_object(kind)
    except PyacemakerError:
        return value
    is_oracle = isinstance(found, type) and issubclass(found, Oracle)
    if is_oracle or not _is_calculator(found):
        return value
    return {**value, "kind": "ase", "calculator": kind}


def _is_calculator(found: Any) -> bool:
    return isinstance(found, type) and hasattr(found, "get_potential_energy")


def _known_parameters(make: Callable[..., Any]) -> set[str]:
    """The names of all parameters of one of ASE's force fields; empty where they cannot be known.

    Programs that ASE writes input files for, and Psi4, take more than their `default_parameters` name.
    """
    from ase.calculators.calculator import Calculator, FileIOCalculator

    if not isinstance(make, type) or not issubclass(make, Calculator):
        return set()
    is_open = issubclass(make, FileIOCalculator) or make.__module__ == "ase.calculators.psi4"
    defaults = set(getattr(make, "default_parameters", ()))
    if is_open or not defaults or not make.__module__.startswith("ase."):
        return set()
    return defaults | (_arguments(make) - {"self", "kwargs"})


def _arguments(make: Callable[..., Any]) -> set[str]:
    """Names of the arguments of a class or function, those of its base classes' constructors included."""
    classes = inspect.getmro(make) if isinstance(make, type) else (make,)
    names: set[str] = set()
    for found in classes:
        try:
            arguments = inspect.signature(found).parameters
        except (TypeError, ValueError):
            break
        names |= set(arguments)
        if not any(argument.kind is argument.VAR_KEYWORD for argument in arguments.values()):
            break
    return names
