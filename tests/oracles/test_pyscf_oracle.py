import numpy as np
import pytest
from ase.build import bulk, molecule
from pydantic import ValidationError

from pyacemaker.errors import ConfigError, ConvergenceError, OracleError, UnsupportedElementError
from pyacemaker.oracles import PyscfOracle
from pyacemaker.oracles.pyscf import Minimiser
from pyacemaker.structures import AtomStructure
from pyacemaker.units import BOHR_ANGSTROM, HARTREE_EV

TINY = PyscfOracle(xc="HF", basis="STO-3G")


def hydrogen(distance=0.74, **fields):
    return AtomStructure(np.array([1, 1]), np.array([[0.0, 0, 0], [0, 0, distance]]), **fields)


class TestEnergies:
    def test_hydrogen_molecule(self):
        """Szabo and Ostlund, Modern Quantum Chemistry: −1.1167 Hartree at 1.4 Bohr with STO-3G."""
        oracle = TINY.model_copy(update={"density_fit": False})
        energy = oracle.label(hydrogen(1.4 * BOHR_ANGSTROM)).energy
        assert energy / HARTREE_EV == pytest.approx(-1.1167, abs=5e-5)

    def test_hydrogen_atom(self):
        """−½ Hartree in the limit of a complete basis."""
        oracle = PyscfOracle(xc="HF", basis="cc-pVQZ", density_fit=False)
        labels = oracle.label(oracle.isolated_atom("H"))
        assert labels.energy / HARTREE_EV == pytest.approx(-0.5, abs=1e-4)
        assert np.abs(labels.forces).max() < 1e-8

    def test_electron_affinity_of_chlorine(self):
        """Measured: 3.61 eV."""
        oracle = PyscfOracle(xc="PBE0")
        atom = oracle.isolated_atom("Cl")
        anion = atom.replace(charge=-1, multiplicity=1)
        assert oracle.label(atom).energy - oracle.label(anion).energy == pytest.approx(3.61, abs=0.15)

    @pytest.mark.parametrize("symbol", ["C", "O", "F"])
    def test_isolated_atoms_converge_and_do_not_pull_themselves(self, symbol):
        oracle = PyscfOracle(xc="PBE")
        labels = oracle.label(oracle.isolated_atom(symbol))
        assert np.abs(labels.forces).max() < 1e-8
        closed = oracle.isolated_atom(symbol).replace(multiplicity=None)
        if symbol != "F":  # Hund's rule
            assert labels.energy < oracle.label(closed).energy - 0.5

    def test_density_fitting_is_a_small_error(self):
        water = AtomStructure.from_atoms(molecule("H2O"))
        exact = PyscfOracle(xc="HF", density_fit=False).label(water)
        fitted = PyscfOracle(xc="HF").label(water)
        assert abs(fitted.energy - exact.energy) < 0.005
        assert np.abs(fitted.forces - exact.forces).max() < 0.002

    def test_dispersion_binds_argon(self):
        pair = AtomStructure(np.array([18, 18]), np.array([[0.0, 0, 0], [0, 0, 3.8]]))
        plain = PyscfOracle(xc="PBE", basis="STO-3G", grid_level=1)
        corrected = plain.model_copy(update={"dispersion": "d3bj"})
        shift = corrected.label(pair).energy - plain.label(pair).energy
        assert -0.05 < shift < -0.003
        assert "pyscf-dispersion" in corrected.version()
        assert corrected.key(pair) != plain.key(pair)

    def test_forces_of_an_anion_sum_to_zero(self):
        """The integration grid's response is part of the gradient."""
        positions = np.array([[0.0, 0, 0], [0, 0.1, 1.0], [0.3, 2.0, -0.4]])
        structure = AtomStructure(np.array([8, 1, 9]), positions, charge=-2)
        labels = PyscfOracle(xc="PBE", basis="def2-SVP", grid_level=1).label(structure)
        assert np.abs(labels.forces).max() > 1.0
        assert np.abs(labels.forces.sum(axis=0)).max() < 1e-6

    def test_heavy_elements_get_their_core_potential(self):
        iodide = AtomStructure(np.array([53]), np.zeros((1, 3)), charge=-1)
        energy = PyscfOracle(xc="HF").label(iodide).energy
        assert -330 < energy / HARTREE_EV < -280  # 26 electrons outside the core, not 54


class TestConvergence:
    def test_retries_find_the_same_solution(self):
        stretched = AtomStructure.from_atoms(molecule("CH3Cl")).replace(charge=0)
        hasty = Minimiser(max_cycle=1)
        plain = TINY.label(stretched)
        for rescue in (
            Minimiser(level_shift=0.3, max_cycle=200),
            Minimiser(newton=True),
            Minimiser(damping=0.5),
        ):
            oracle = TINY.model_copy(update={"minimiser": hasty, "retries": (rescue,)})
            found = oracle.label(stretched)
            assert found.energy == pytest.approx(plain.energy, abs=1e-5)
            assert np.abs(found.forces - plain.forces).max() < 1e-3

    def test_not_converged_is_said(self):
        hasty = Minimiser(max_cycle=1)
        oracle = TINY.model_copy(update={"minimiser": hasty, "retries": (hasty,)})
        with pytest.raises(ConvergenceError, match="did not converge in 1 cycles; then the SCF did not"):
            oracle.label(hydrogen())

    def test_an_unstable_solution_is_left(self):
        """Hydrogen with both electrons in the antibonding orbital is a saddle above the bond."""
        ground = TINY.label(hydrogen()).energy
        field = TINY._mean_field(TINY._molecule(hydrogen()), Minimiser())
        field.get_occ = lambda energies=None, orbitals=None: np.array([0.0, 2.0])
        field.kernel()
        assert field.converged
        assert field.e_tot * HARTREE_EV > ground + 10
        del field.get_occ
        assert TINY._stable(field).e_tot * HARTREE_EV == pytest.approx(ground, abs=1e-4)

    def test_a_solution_above_one_that_was_seen_is_refused(self, monkeypatch):
        """The orbitals are made to jump to the antibonding one after the first iterations."""
        original = PyscfOracle._mean_field

        def jumping(oracle, molecule, minimiser):
            field = original(oracle, molecule, minimiser)
            calls = []

            def occupations(energies=None, orbitals=None):
                calls.append(1)
                return np.array([2.0, 0.0] if len(calls) < 3 else [0.0, 2.0])

            field.get_occ = occupations
            return field

        monkeypatch.setattr(PyscfOracle, "_mean_field", jumping)
        with pytest.raises(ConvergenceError, match="excited state"):
            TINY.model_copy(update={"retries": ()}).label(hydrogen())


class TestRefusals:
    def test_periodic(self):
        with pytest.raises(OracleError, match=r"is periodic .* computes molecules only"):
            TINY.label(AtomStructure.from_atoms(bulk("Cu")))

    @pytest.mark.parametrize(("multiplicity", "charge"), [(2, 0), (5, 0), (0, 0), (1, 2)])
    def test_multiplicity_that_does_not_fit(self, multiplicity, charge):
        with pytest.raises(OracleError, match="does not fit"):
            TINY.label(hydrogen(multiplicity=multiplicity, charge=charge))

    def test_unknown_basis(self):
        with pytest.raises(ConfigError, match="basis 'def3-SVPD' is not known"):
            PyscfOracle(basis="def3-SVPD").label(hydrogen())

    def test_element_outside_the_basis(self):
        with pytest.raises(UnsupportedElementError, match="does not cover all of Og"):
            TINY.label(AtomStructure(np.array([118]), np.zeros((1, 3))))

    def test_unknown_functional(self):
        with pytest.raises(ConfigError, match="xc 'PBE7' is not known"):
            PyscfOracle(xc="PBE7").label(hydrogen())

    @pytest.mark.parametrize("settings", [{"xc": "PBE7"}, {"basis": "def3-SVPD"}])
    def test_unknown_names_are_found_without_a_calculation(self, settings):
        with pytest.raises(ConfigError, match="is not known to PySCF"):
            PyscfOracle(**settings).check_settings()

    @pytest.mark.parametrize("settings", [{}, {"xc": "HF"}, {"basis": "lanl2dz"}, {"xc": "wB97M-V"}])
    def test_known_names_pass(self, settings):
        PyscfOracle(**settings).check_settings()

    def test_structures_that_are_sure_to_fail_are_known_beforehand(self):
        TINY.check_structure(hydrogen())
        with pytest.raises(UnsupportedElementError, match="does not cover all of Og"):
            TINY.check_structure(AtomStructure(np.array([118]), np.zeros((1, 3))))
        with pytest.raises(OracleError, match="does not fit"):
            TINY.check_structure(hydrogen(charge=3))
        with pytest.raises(OracleError, match="molecules only"):
            TINY.check_structure(AtomStructure.from_atoms(bulk("Cu")))

    @pytest.mark.parametrize("settings", [{"grid_level": 10}, {"conv_tol": 0}, {"ecut": 400}])
    def test_bad_settings(self, settings):
        with pytest.raises(ValidationError):
            PyscfOracle(**settings)


def test_quiet_and_tidy(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    PyscfOracle(xc="PBE", basis="STO-3G").label(hydrogen())
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_memory_and_threads_do_not_change_the_key():
    key = TINY.key(hydrogen())
    assert TINY.model_copy(update={"max_memory_mb": 500, "threads": 2}).key(hydrogen()) == key
    assert TINY.model_copy(update={"conv_tol": 1e-9}).key(hydrogen()) != key
