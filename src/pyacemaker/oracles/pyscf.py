"""Density-functional theory and Hartree-Fock for molecules, with PySCF."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from pyacemaker.base import Spec
from pyacemaker.errors import ConfigError, ConvergenceError, UnsupportedElementError
from pyacemaker.oracles.dft import DftOracle
from pyacemaker.oracles.molecules import installed_version, refuse_periodic, unpaired_electrons
from pyacemaker.structures import AtomStructure, Labels
from pyacemaker.units import BOHR_ANGSTROM, HARTREE_EV

if TYPE_CHECKING:
    from pyscf.gto import Mole

SAME_STATE_HARTREE = 1e-5
"""Solutions whose energies differ by less are the same state (a degenerate one turned, on a finite grid)."""


_PROBES = ("H", "C", "Cl", "Au")  # every basis set covers one of them


class Minimiser(Spec):
    """How the orbitals are optimised; cannot change the solution that is sought."""

    level_shift: Annotated[float, Field(ge=0)] = 0.0
    """Raises the virtual orbitals while iterating, Hartree."""
    damping: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the former Fock matrix that is mixed in."""
    newton: bool = False
    """Second-order optimisation instead of DIIS: slow and sure."""
    max_cycle: Annotated[int, Field(ge=1)] = 60
    """Most iterations."""


class PyscfOracle(DftOracle):
    """Kohn-Sham DFT or Hartree-Fock of one molecule: restricted for singlets, unrestricted otherwise.

    Forces are the exact gradient of the energy on its finite integration grid (grid response included), so
    they sum to zero. No smearing: the energy is force-consistent. Every calculation starts afresh from a
    superposition of atoms. A solution is refused when a lower one was seen on the way; after a retry, and for
    single atoms, it must pass a stability analysis too.
    """

    kind: Literal["pyscf"] = "pyscf"
    xc: str = "PBE0"
    """Exchange-correlation functional by PySCF's name, or HF for Hartree-Fock."""
    basis: str = "def2-SVPD"
    """Basis set by PySCF's name. Anions need diffuse functions (def2-SVPD, aug-cc-pVDZ, …)."""
    density_fit: bool = True
    """Resolution of the identity for Coulomb and exchange integrals: errors of a few 0.01 meV/atom."""
    dispersion: Literal["d3bj", "d4"] | None = None
    """Dispersion correction of the functional."""
    grid_level: Annotated[int, Field(ge=0, le=9)] = 3
    """Size of the integration grid."""
    conv_tol: Annotated[float, Field(gt=0)] = 1e-8
    """Convergence of the energy, Hartree; of the orbital gradient, its square root."""
    minimiser: Minimiser = Minimiser()
    """The first attempt."""
    retries: tuple[Minimiser, ...] = (Minimiser(level_shift=0.3, max_cycle=150), Minimiser(newton=True))
    """Further attempts, in order, where the one before did not converge."""
    max_memory_mb: Annotated[int, Field(ge=100)] = 2000
    """Memory that PySCF may use, MB; cannot change the answer."""
    threads: Annotated[int, Field(ge=1)] = 1
    """Threads; more than one may change the last digits."""

    not_in_key = frozenset({"limits", "max_memory_mb", "threads", "retries"})
    tries = frozenset({"retries"})

    def version(self) -> str:
        """PySCF's version, and the dispersion package's where it is used."""
        engine = f"pyscf {installed_version('pyscf', 'the pyscf oracle')}"
        if self.dispersion is None:
            return engine
        return f"{engine}, pyscf-dispersion {installed_version('pyscf-dispersion', 'dispersion')}"

    def check_settings(self) -> None:
        """`ConfigError` for a functional or basis that PySCF lacks; `EngineMissingError` without PySCF."""
        self.version()
        self._check_functional()
        if not any(self._covers(symbol) for symbol in _PROBES):
            raise self._unknown_basis()

    def check_structure(self, structure: AtomStructure) -> None:
        """Refuses periodic cells, spins that do not fit, and elements that the basis lacks."""
        refuse_periodic(structure, "pyscf")
        unpaired_electrons(structure)
        if not all(self._covers(symbol) for symbol in set(structure.symbols)):
            raise self._basis_error(structure)

    def rungs(self) -> int:
        """The first attempt and the retries."""
        return 1 + len(self.retries)

    def attempt(self, structure: AtomStructure, rung: int) -> Labels:
        """Energy (eV) and forces (eV/Å) with one minimiser.

        Raises `ConvergenceError`; `OracleError` for a periodic structure or a multiplicity that does not fit;
        `UnsupportedElementError` or `ConfigError` where the basis or the functional has no such entry.
        """
        refuse_periodic(structure, "pyscf")
        minimiser = (self.minimiser, *self.retries)[rung]
        with _session(self.threads):
            field = self._converged(self._molecule(structure), minimiser)
            if rung > 0 or len(structure) == 1:
                field = self._stable(field)
            gradient = self._gradient(field)
        return Labels(float(field.e_tot) * HARTREE_EV, -gradient * (HARTREE_EV / BOHR_ANGSTROM))

    def _molecule(self, structure: AtomStructure) -> "Mole":
        from pyscf import gto

        try:
            return gto.M(
                atom=list(zip(structure.symbols, structure.positions / BOHR_ANGSTROM, strict=True)),
                unit="Bohr",
                basis=self.basis,
                ecp=self._core_potentials(structure),
                charge=structure.charge,
                spin=unpaired_electrons(structure),
                max_memory=self.max_memory_mb,
                verbose=0,
                parse_arg=False,
                dump_input=False,
            )
        except gto.BasisNotFoundError as error:
            raise self._basis_error(structure) from error

    def _core_potentials(self, structure: AtomStructure) -> dict[str, str]:
        """The effective core potentials that belong to the def2 sets beyond krypton."""
        if not self.basis.lower().startswith("def2"):
            return {}
        return {symbol: self.basis for symbol in structure.symbols if _atomic_number(symbol) > 36}

    def _basis_error(self, structure: AtomStructure) -> Exception:
        if not any(self._covers(symbol) for symbol in (*_PROBES, *structure.symbols)):
            return self._unknown_basis()
        elements = ", ".join(sorted(set(structure.symbols)))
        return UnsupportedElementError(
            f"basis {self.basis!r} does not cover all of {elements} (structure {structure.id}): choose one "
            "that does, such as def2-SVPD"
        )

    def _unknown_basis(self) -> ConfigError:
        return ConfigError(f"basis {self.basis!r} is not known to PySCF: choose another (def2-SVPD, …)")

    def _covers(self, symbol: str) -> bool:
        from pyscf import gto

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                gto.basis.load(self.basis, symbol)
        except gto.BasisNotFoundError:
            return False
        return True

    def _mean_field(self, molecule: "Mole", minimiser: Minimiser) -> Any:
        from pyscf import dft, scf

        if self.xc.upper() == "HF":
            field = scf.UHF(molecule) if molecule.spin else scf.RHF(molecule)
        else:
            self._check_functional()
            field = dft.UKS(molecule) if molecule.spin else dft.RKS(molecule)
            field.xc = self.xc
            field.grids.level = self.grid_level
        if self.density_fit:
            field = field.density_fit()
        field.chkfile = None
        field.disp = self.dispersion
        field.conv_tol = self.conv_tol
        field.max_cycle = minimiser.max_cycle
        field.level_shift = minimiser.level_shift
        field.damp = minimiser.damping
        return field.newton() if minimiser.newton else field

    def _check_functional(self) -> None:
        from pyscf.dft import libxc

        if self.xc.upper() == "HF":
            return
        try:
            libxc.parse_xc(self.xc)
        except (KeyError, ValueError) as error:
            message = f"xc {self.xc!r} is not known to PySCF: choose another, such as PBE0, or HF"
            raise ConfigError(message) from error

    def _converged(self, molecule: "Mole", minimiser: Minimiser) -> Any:
        """The self-consistent field, refused where a lower energy was seen on the way.

        Every iteration's density belongs to a determinant, so its energy is an upper bound of the ground
        state's: a solution above one of them is an excited one.
        """
        field = self._mean_field(molecule, minimiser)
        seen: list[float] = []
        field.callback = lambda step: seen.append(float(step["e_tot"]))
        try:
            field.kernel()
        except np.linalg.LinAlgError as error:
            raise ConvergenceError(f"the orbital equations have no solution ({error})") from error
        if not field.converged:
            raise ConvergenceError(f"the SCF did not converge in {minimiser.max_cycle} cycles")
        if field.e_tot > min(seen, default=field.e_tot) + 1e-3:
            raise ConvergenceError("the SCF converged to an excited state")
        return field

    def _stable(self, field: Any) -> Any:
        """`field`, or the lower solution its instabilities lead to; `ConvergenceError` if that has no end."""
        for _ in range(3):
            orbitals, _, stable, _ = field.stability(return_status=True)
            if stable:
                return field
            lower = self._mean_field(field.mol, Minimiser(newton=True))
            lower.kernel(orbitals, field.mo_occ)
            if not lower.converged:
                raise ConvergenceError("the SCF is unstable, and what it leads to did not converge")
            if lower.e_tot > field.e_tot - SAME_STATE_HARTREE:
                return field
            field = lower
        raise ConvergenceError("the SCF stays unstable")

    def _gradient(self, field: Any) -> Any:
        """(n, 3) dE/dR, Hartree/Bohr."""
        gradients = field.nuc_grad_method()
        if hasattr(gradients, "grid_response"):
            gradients.grid_response = True
        return np.array(gradients.kernel(), dtype=np.float64)


def _atomic_number(symbol: str) -> int:
    from ase.data import atomic_numbers

    return int(atomic_numbers[symbol])


@contextmanager
def _session(threads: int) -> Iterator[None]:
    """PySCF uses this many threads inside, and keeps its advice on other packages to itself."""
    from pyscf import lib

    before = lib.num_threads()
    lib.num_threads(threads)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            yield
    finally:
        lib.num_threads(before)
