"""What a LAMMPS run keeps constant: energy, temperature, pressure, or a ramp of these."""

from abc import ABC, abstractmethod
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from pyacemaker.base import Spec

_BAR_PER_GPA = 1e4


class Ensemble(Spec, ABC):
    """A run of molecular dynamics. Subclasses say which fix moves the atoms."""

    steps: PositiveInt = 1000
    """Time steps."""
    timestep: PositiveFloat = 0.5
    """fs."""
    interval: PositiveInt = 100
    """Steps from one stored state to the next."""
    start_temperature: PositiveFloat | None = None
    """K, of new random velocities, without momentum; None: the velocities stay as they are."""
    seed: Annotated[int, Field(ge=1, lt=900_000_000)] = 4711
    """Of these velocities."""

    @abstractmethod
    def fix(self) -> str:
        """The `fix` that moves the atoms, without its ID and group; `units metal`: ps and bar."""


class Nve(Ensemble):
    """Constant energy."""

    kind: Literal["nve"] = "nve"

    def fix(self) -> str:
        """`fix nve`."""
        return "nve"


class Nvt(Ensemble):
    """Constant temperature (Nosé–Hoover chains), or a ramp of it."""

    kind: Literal["nvt"] = "nvt"
    temperature: PositiveFloat
    """K, at the beginning."""
    final_temperature: PositiveFloat | None = None
    """K, at the end; default: the same."""
    damping: PositiveFloat = 100.0
    """fs, of the thermostat."""

    def fix(self) -> str:
        """`fix nvt`."""
        return f"nvt {self._thermostat()}"

    def _thermostat(self) -> str:
        final = self.temperature if self.final_temperature is None else self.final_temperature
        return f"temp {self.temperature!r} {final!r} {1e-3 * self.damping!r}"


class Npt(Nvt):
    """Constant temperature and pressure (Nosé–Hoover, Martyna–Tobias–Klein), or ramps of them."""

    kind: Literal["npt"] = "npt"  # type: ignore[assignment]
    pressure: float = 0.0
    """GPa, at the beginning."""
    final_pressure: float | None = None
    """GPa, at the end; default: the same."""
    pressure_damping: PositiveFloat = 1000.0
    """fs, of the barostat."""
    coupling: Literal["iso", "aniso", "tri"] = "iso"
    """Whether the cell's shape stays, its axes change each by itself, or all its components do."""

    def fix(self) -> str:
        """`fix npt`."""
        final = self.pressure if self.final_pressure is None else self.final_pressure
        ends = f"{_BAR_PER_GPA * self.pressure!r} {_BAR_PER_GPA * final!r}"
        return f"npt {self._thermostat()} {self.coupling} {ends} {1e-3 * self.pressure_damping!r}"


AnyEnsemble = Annotated[Nve | Nvt | Npt, Field(discriminator="kind")]
"""A run as a config file names it."""
