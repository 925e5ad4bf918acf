"""Numbers that are possible but never meant: a time step in seconds, a temperature in electron volts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pyacemaker.located_yaml import Location


@dataclass(frozen=True)
class Range:
    """What is plausible for a setting in its own unit.

    others: other units that people think in, {name: how many of ours one of them is}.
    """

    least: float
    most: float
    unit: str
    others: Mapping[str, float]

    def complaint(self, value: float) -> str:
        """What is wrong with a value and what was probably meant; empty where it is plausible."""
        if self.least <= value <= self.most:
            return ""
        text = f"{value:g} {self.unit} is not plausible: expected {self.least:g} to {self.most:g} {self.unit}"
        for name, factor in self.others.items():
            meant = value * factor
            if self.least <= meant <= self.most:
                return f"{text}; if {value:g} {name} is meant, write {meant:.6g}"
        return f"{text}; the unit is {self.unit}, correct the number"


_TIME = {"ps": 1e3, "ns": 1e6, "s": 1e15, "as": 1e-3, "atomic units": 0.02418884}
_LENGTH = {"nm": 10.0, "pm": 0.01, "Bohr": 0.5291772, "m": 1e10}
_TEMPERATURE = {"eV": 11604.5, "meV": 11.6045, "Hartree": 315775.0, "mK": 1e-3}
_PRESSURE = {"Pa": 1e-9, "bar": 1e-4, "atm": 1.01325e-4, "kbar": 0.1, "MPa": 1e-3, "eV/Å³": 160.2177}
_ENERGY = {"Ry": 13.605693, "Hartree": 27.211386, "meV": 1e-3, "K": 8.617333e-5, "kJ/mol": 0.01036427}
_RYDBERG = {"eV": 1 / 13.605693, "Hartree": 2.0, "meV": 1e-3 / 13.605693}
_FORCE = {"meV/Å": 1e-3, "Hartree/Bohr": 51.42207, "Ry/Bohr": 25.71103}
_RECIPROCAL = {"1/Å without 2π": 6.283185, "1/Bohr": 1.889726, "1/nm": 0.1}

RANGES: Mapping[str, Range] = {
    "timestep": Range(0.02, 20.0, "fs", _TIME),
    "barostat_time": Range(10.0, 1e5, "fs", _TIME),
    "temperatures": Range(1.0, 2e4, "K", _TEMPERATURE),
    "thermal_temperatures": Range(1.0, 2e4, "K", _TEMPERATURE),
    "md_temperatures": Range(1.0, 2e4, "K", _TEMPERATURE),
    "melting_temperature": Range(5.0, 6000.0, "K", _TEMPERATURE),
    "electronic_temperature": Range(0.0, 3e4, "K", _TEMPERATURE),
    "pressures": Range(-50.0, 1000.0, "GPa", _PRESSURE),
    "bulk_modulus": Range(0.05, 2000.0, "GPa", _PRESSURE),
    "cutoff": Range(2.0, 20.0, "Å", _LENGTH),
    "a": Range(1.5, 40.0, "Å", _LENGTH),
    "rattle_amplitudes": Range(1e-3, 1.5, "Å", _LENGTH),
    "separations": Range(0.5, 30.0, "Å", _LENGTH),
    "vacuum": Range(2.0, 60.0, "Å", _LENGTH),
    "slab_thickness": Range(1.0, 60.0, "Å", _LENGTH),
    "mode_energies": Range(1e-3, 5.0, "eV", _ENERGY),
    "max_force": Range(0.0, 2000.0, "eV/Å", _FORCE),
    "max_net_force": Range(1e-5, 10.0, "eV/Å", _FORCE),
    "max_stress": Range(0.01, 50.0, "eV/Å³", {"GPa": 1 / 160.2177}),
    "density": Range(0.05, 25.0, "g/cm³", {"kg/m³": 1e-3}),
    "kspacing": Range(0.04, 1.5, "1/Å (with 2π)", _RECIPROCAL),
    "timeout_s": Range(1.0, 1e7, "s", {"hours": 3600.0, "ms": 1e-3}),
    "energy_mev_per_atom": Range(0.01, 1e3, "meV/atom", {"eV/atom": 1e3}),
    "forces_mev_per_angstrom": Range(0.1, 1e4, "meV/Å", {"eV/Å": 1e3}),
}
"""By the name of the setting, wherever it stands."""

_ANY_ENERGY = Range(0.0, 3.0, "eV", {"K": 8.617333e-5, "meV": 1e-3})
PARAMETERS: Mapping[str, Mapping[str, Range]] = {
    "gpaw": {"ecut": Range(100.0, 3000.0, "eV", _ENERGY), "width": _ANY_ENERGY},
    "vasp": {"encut": Range(100.0, 3000.0, "eV", _ENERGY), "sigma": _ANY_ENERGY},
    "espresso": {
        "ecutwfc": Range(10.0, 250.0, "Ry", _RYDBERG),
        "ecutrho": Range(40.0, 3000.0, "Ry", _RYDBERG),
        "degauss": Range(0.0, 0.3, "Ry", _RYDBERG),
    },
    "cp2k": {"cutoff": Range(2000.0, 60000.0, "eV", _ENERGY)},
    "abinit": {"ecut": Range(100.0, 5000.0, "eV", _ENERGY), "tsmear": _ANY_ENERGY},
}
"""By the oracle's kind, inside `parameters`: in the units of ASE's calculators."""

_IN_OTHER_UNITS = frozenset({("motion", "temperatures"), ("filters", "max_stress"), ("dft", "cutoff")})
"""Sections where a name means something else: `temperatures` in melting temperatures, GPa, units of σ."""


def implausible(content: Any, location: Location = ()) -> Iterator[tuple[Location, str]]:
    """Every number in the content of a config file that no one can mean: its place and a sentence.

    The content is walked as it was read, so that what is wrong elsewhere hides nothing. location: where the
    content stands in the file.
    """
    if isinstance(content, list):
        for index, item in enumerate(content):
            yield from implausible(item, (*location, index))
    if not isinstance(content, Mapping):
        return
    section = next((part for part in reversed(location) if isinstance(part, str)), "")
    for key, value in content.items():
        place = (*location, str(key))
        if key == "parameters" and isinstance(value, Mapping):
            yield from _in_mapping(value, PARAMETERS.get(str(content.get("kind")), {}), place)
        elif key in RANGES and (section, key) not in _IN_OTHER_UNITS:
            yield from _in_value(value, RANGES[key], place)
        else:
            yield from implausible(value, place)


def _in_value(value: Any, plausible: Range, location: Location) -> Iterator[tuple[Location, str]]:
    number = _number(value)
    complaint = "" if number is None else plausible.complaint(number)
    if complaint:
        yield location, complaint
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _in_value(item, plausible, (*location, index))


def _number(value: Any) -> float | None:
    """The number that a setting takes a value for: YAML reads `1.0e5` as a text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _in_mapping(
    content: Mapping[str, Any], ranges: Mapping[str, Range], location: Location
) -> Iterator[tuple[Location, str]]:
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield from _in_mapping(value, ranges, (*location, key))
        elif key in ranges:
            yield from _in_value(value, ranges[key], (*location, key))
