"""The `dft` section of a template: settings that serve the system, code by code."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ase.data import atomic_numbers

from pyacemaker.errors import ConfigError
from pyacemaker.oracles.rehearsal import EMT_METALS
from pyacemaker.templates.system import System

MOMENTS = {"Fe": 2.5, "Co": 1.8, "Ni": 0.7, "Mn": 3.5, "Cr": 1.0, "Gd": 7.0, "Eu": 7.0, "V": 0.5}
"""μ_B: initial moments of the elements whose crystals are often magnetic."""
_HARD = frozenset({"B", "C", "N", "O", "F", "Li", "Mn", "Fe", "Co", "Ni", "Cu", "Zn"})
"""Elements whose pseudopotentials want a large cutoff."""
_HARDEST = frozenset({"N", "O", "F"})
"""Elements with which GPAW's stress wants an even larger one."""


@dataclass(frozen=True)
class Reference:
    """The lines of a `dft` section, and what the user has to give: variables, files."""

    lines: tuple[str, ...]
    to_give: tuple[str, ...] = ()


def reference(engine: str, system: System) -> Reference:
    """The settings of an engine for a system; `ConfigError` for one that cannot compute it."""
    if engine not in ENGINES:
        raise ConfigError(f"--dft {engine}: expected one of {', '.join(ENGINES)}")
    if engine in MOLECULAR and system.is_periodic:
        others = ", ".join(name for name in ENGINES if name not in MOLECULAR and name != "emt")
        raise ConfigError(
            f"--dft {engine} computes molecules only, and {system.title} is periodic: choose one of {others}"
        )
    if engine == "emt" and not set(system.elements) <= EMT_METALS:
        raise ConfigError(f"--dft emt covers {', '.join(sorted(EMT_METALS))} only: choose another engine")
    found = ENGINES[engine](system)
    return Reference(
        (f"kind: {engine}", *found.lines, *_magnetism(engine, system), *_limits(system)), found.to_give
    )


def default_engine(system: System) -> str:
    """The engine that is installed most easily: GPAW for crystals, PySCF for molecules."""
    return "gpaw" if system.is_periodic else "pyscf"


def _magnetism(engine: str, system: System) -> tuple[str, ...]:
    found = {symbol: MOMENTS[symbol] for symbol in system.elements if symbol in MOMENTS}
    if not system.is_periodic or engine == "emt":
        return ()
    if engine == "cp2k" and not found:  # it wants two spins where the number of electrons is odd
        odd = [symbol for symbol in system.elements if atomic_numbers[symbol] % 2]
        text = ", ".join(f"{symbol}: 0.5" for symbol in odd)
        return (f"magmoms: {{{text}}}    # μ_B: cells may have an odd number of electrons",) if odd else ()
    moments = ", ".join(f"{symbol}: {moment}" for symbol, moment in found.items())
    return (
        ()
        if not moments
        else (
            f"magmoms: {{{moments}}}    # μ_B to start with, ferromagnetic; without them not spin-polarised",
        )
    )


def _limits(system: System) -> tuple[str, ...]:
    if system.kind != "reaction":
        return ()
    return ("limits:", "  max_failed_fraction: 0.1    # bonds that break do not always converge")


def _kspacing(system: System) -> tuple[str, ...]:
    if not system.is_periodic:
        return ()  # Γ alone
    value = 0.2 if system.is_metallic else 0.3
    return (f"kspacing: {value}    # 1/Å with 2π, one Γ-centred grid for every cell; converge it",)


def _width(system: System) -> float:
    """eV, of the smearing."""
    return 0.1 if system.is_metallic else 0.05


def _is_hard(system: System) -> bool:
    return not _HARD.isdisjoint(system.elements)


def _pyscf(system: System) -> Reference:
    basis = "def2-SVPD    # diffuse functions: the system is an anion" if system.charge < 0 else "def2-SVPD"
    return Reference(
        (
            "xc: PBE0",
            f"basis: {basis}",
            "dispersion: d3bj    # attraction between molecules that the functional lacks; or d4",
        )
    )


def _tblite(system: System) -> Reference:
    return Reference(("method: GFN2-xTB    # tight binding: to try things out, not for production",))


def _emt(system: System) -> Reference:
    return Reference(("# effective medium theory: to try things out, not for production",))


def _gpaw(system: System) -> Reference:
    ecut = 600 if _is_hard(system) else 450
    if not _HARDEST.isdisjoint(system.elements):
        ecut = 800
    return Reference(
        (
            *_kspacing(system),
            "parameters:",
            f"  mode: {{name: pw, ecut: {ecut}}}    # eV; stress needs more than energy does: converge it",
            "  xc: PBE",
            f"  occupations: {{name: fermi-dirac, width: {_width(system)}}}    # eV",
        )
    )


def _vasp(system: System) -> Reference:
    encut = 650 if "Li" in system.elements else 520
    return Reference(
        (
            "command: ${ASE_VASP_COMMAND}    # such as: srun vasp_std",
            "pseudo_dir: ${VASP_PP_PATH}    # holds potpaw_PBE.64, …",
            "# release: 6.4.3    # of your VASP: another one is then refused",
            *_kspacing(system),
            "parameters:    # of ASE's Vasp: INCAR tags in lower case",
            "  xc: PBE",
            '  pp_version: "64"',
            "  setups: recommended",
            f"  encut: {encut}    # eV, at least 1.3 times the largest ENMAX: stress needs it",
            "  prec: Accurate",
            "  ediff: 1.0e-6",
            "  ismear: 0",
            f"  sigma: {_width(system)}    # eV",
            "  lreal: false",
            "  lasph: true",
            "  nelm: 100",
        ),
        (
            "the environment variable ASE_VASP_COMMAND: how VASP is started",
            "the environment variable VASP_PP_PATH: the folder that holds potpaw_PBE.64",
        ),
    )


def _espresso(system: System) -> Reference:
    ecut = 80 if _is_hard(system) else 50
    files = {symbol: _pseudopotential(symbol) for symbol in system.elements}
    named = ", ".join(f"{symbol}: {file or f'{symbol}.UPF'}" for symbol, file in files.items())
    missing = [symbol for symbol, file in files.items() if file is None]
    to_give = []
    if "ESPRESSO_PSEUDO" not in os.environ:
        to_give.append("the environment variable ESPRESSO_PSEUDO: the folder of the pseudopotentials")
    if missing:
        names = ", ".join(missing)
        to_give.append(f"dft.parameters.pseudopotentials: the names of your files (PBE) for {names}")
    return Reference(
        (
            "command: pw.x",
            "pseudo_dir: ${ESPRESSO_PSEUDO}",
            *_kspacing(system),
            "parameters:",
            f"  pseudopotentials: {{{named}}}    # files in pseudo_dir",
            "  input_data:",
            "    system:",
            f"      ecutwfc: {ecut}    # Ry, as the pseudopotentials ask; stress needs more: converge it",
            f"      ecutrho: {8 * ecut}    # Ry; four times ecutwfc is enough for norm-conserving ones",
            "      occupations: smearing",
            "      smearing: gauss",
            f"      degauss: {0.0075 if system.is_metallic else 0.00375}    # Ry: {_width(system)} eV",
            "    electrons: {conv_thr: 1.0e-9}",
        ),
        tuple(to_give),
    )


def _pseudopotential(symbol: str) -> str | None:
    """The only file for an element in $ESPRESSO_PSEUDO, None where there is none or a choice."""
    folder = Path(os.environ.get("ESPRESSO_PSEUDO") or "/nowhere")
    files = [path.name for path in folder.glob("*.[uU][pP][fF]")] if folder.is_dir() else []
    own = [name for name in files if name.lower().startswith((f"{symbol}.".lower(), f"{symbol}_".lower()))]
    return own[0] if len(own) == 1 else None


def _cp2k(system: System) -> Reference:
    smearing = (
        *("            ADDED_MOS 20", "            &SMEAR ON", "              METHOD FERMI_DIRAC"),
        "              ELECTRONIC_TEMPERATURE [K] 1000",
        "            &END SMEAR",
    )
    return Reference(
        (
            "command: cp2k_shell.psmp",
            *_kspacing(system),
            "parameters:",
            "  xc: PBE",
            "  cutoff: 13600    # eV, as in ASE: 1000 Ry; forces on hard elements need it",
            "  basis_set: DZVP-MOLOPT-SR-GTH",
            "  pseudo_potential: GTH-PBE",
            "  inp: |",
            "    &FORCE_EVAL",
            "      &DFT",
            "        &SCF",
            "            EPS_SCF 1e-8",
            *(smearing if system.is_periodic else ()),
            "        &END SCF",
            "      &END DFT",
            "    &END FORCE_EVAL",
        )
    )


def _abinit(system: System) -> Reference:
    return Reference(
        (
            "command: abinit",
            "pseudo_dir: ${ABINIT_PP_PATH}",
            *_kspacing(system),
            "parameters:    # ABINIT's variables, energies in eV",
            "  pps: psp8",
            "  xc: PBE",
            f"  ecut: {1200 if _is_hard(system) else 800}    # eV; stress needs more than energy does",
            "  occopt: 3",
            f"  tsmear: {_width(system)}",
            "  toldff: 1.0e-6",
        ),
        ("the environment variable ABINIT_PP_PATH: the folder of the pseudopotentials (psp8, PBE)",),
    )


ENGINES: Mapping[str, Callable[[System], Reference]] = {
    "pyscf": _pyscf,
    "tblite": _tblite,
    "gpaw": _gpaw,
    "espresso": _espresso,
    "vasp": _vasp,
    "cp2k": _cp2k,
    "abinit": _abinit,
    "emt": _emt,
}
"""What writes the settings of each engine, by its kind."""
MOLECULAR = frozenset({"pyscf", "tblite"})
"""The engines that compute no crystals."""
