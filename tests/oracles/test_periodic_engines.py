import importlib.util
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from engines import BOND, PlaneWaveEngine
from pydantic import ValidationError

from pyacemaker.errors import ConfigError, EngineMissingError, OracleError, UnsupportedElementError
from pyacemaker.oracles import AbinitOracle, Cp2kOracle, EspressoOracle, GpawOracle
from pyacemaker.oracles.cp2k import gamma_centred, merged_input, parse_input
from pyacemaker.oracles.espresso import flat_input
from pyacemaker.structures import AtomStructure
from pyacemaker.testing import OracleContract

ESPRESSO_PSEUDO = Path(os.environ.get("ESPRESSO_PSEUDO", "/usr/share/espresso/pseudo"))
ABINIT_PSEUDO = Path(os.environ.get("ABINIT_PP_PATH", "/usr/share/abinit/psp"))


def crystal(number):
    """One atom in a cube."""
    return AtomStructure(np.array([number]), np.zeros((1, 3)), 4 * np.eye(3), np.ones(3, dtype=bool))


def needs(found, what):
    return pytest.mark.skipif(not found, reason=f"needs {what}")


def scf_input(*lines):
    return "\n".join(["&FORCE_EVAL", "&DFT", "&SCF", *lines, "&END SCF", "&END DFT", "&END FORCE_EVAL"])


def espresso(**electrons):
    system = {"ecutwfc": 25, "occupations": "smearing", "smearing": "gauss", "degauss": 0.01}
    return {
        "pseudopotentials": {"H": "H.pz-vbc.UPF", "Si": "Si.pz-vbc.UPF"},
        "input_data": {"system": system, "electrons": {"conv_thr": 1e-9, **electrons}},
    }


GPAW = {
    "mode": {"name": "pw", "ecut": 300},
    "xc": "PBE",
    "occupations": {"name": "fermi-dirac", "width": 0.1},
    "convergence": {"density": 1e-6, "eigenstates": 1e-9},
}
CP2K = {
    "xc": "PBE",
    "cutoff": 4000,
    "basis_set": "SZV-MOLOPT-SR-GTH",
    "inp": scf_input("EPS_SCF 1e-8", "&MIXING", "METHOD BROYDEN_MIXING", "&END MIXING"),
}
ABINIT = {"pps": "tm", "xc": "LDA", "ecut": 300, "occopt": 3, "tsmear": 0.1, "toldff": 1e-6}


@pytest.mark.gpaw
@needs(importlib.util.find_spec("gpaw") is not None, "GPAW")
class TestGpaw(PlaneWaveEngine):
    @pytest.fixture
    def oracle(self):
        return GpawOracle(parameters=GPAW, kspacing=1.3, vacuum=2.5)

    @pytest.fixture
    def hasty(self):
        return GpawOracle(parameters={**GPAW, "maxiter": 3}, kspacing=1.3, retries=({"maxiter": 4},))

    def test_repeats_are_equal_to_the_last_bit(self, oracle):
        first, second = oracle.label(BOND), oracle.label(BOND)
        assert first.energy == second.energy
        assert first.forces.tobytes() == second.forces.tobytes()

    @pytest.mark.parametrize("retry", GpawOracle().retries)
    def test_the_default_retries_find_the_same_solution(self, oracle, retry):
        other = oracle.model_copy(update={"parameters": {**GPAW, **retry}})
        assert other.label(BOND).energy == pytest.approx(oracle.label(BOND).energy, abs=1e-5)

    def test_elements_and_parameters_it_does_not_know(self, oracle):
        with pytest.raises(UnsupportedElementError, match="no PAW data for Am"):
            oracle.label(crystal(95))
        with pytest.raises(ConfigError, match="nonsense"):
            GpawOracle(parameters={**GPAW, "nonsense": 1}).label(BOND)


@pytest.mark.espresso
@needs(shutil.which("pw.x") and ESPRESSO_PSEUDO.is_dir(), "Quantum ESPRESSO with pseudopotentials")
class TestEspresso(PlaneWaveEngine):
    @pytest.fixture
    def oracle(self):
        return EspressoOracle(
            pseudo_dir=str(ESPRESSO_PSEUDO), parameters=espresso(), kspacing=1.3, vacuum=2.5
        )

    @pytest.fixture
    def hasty(self, oracle):
        return oracle.model_copy(
            update={"parameters": espresso(electron_maxstep=2), "retries": ({"mixing_beta": 0.3},)}
        )

    @pytest.mark.parametrize("retry", EspressoOracle().retries)
    def test_the_default_retries_find_the_same_solution(self, oracle, retry):
        other = oracle.model_copy(update={"parameters": oracle.with_retry(oracle.parameters, retry)})
        assert other.label(BOND).energy == pytest.approx(oracle.label(BOND).energy, abs=1e-5)

    def test_what_it_refuses(self, oracle):
        with pytest.raises(UnsupportedElementError, match="names no file for Ga"):
            oracle.label(crystal(31))
        bad = oracle.model_copy(update={"parameters": {**espresso(), "input_data": {"ecutwfc": -3}}})
        with pytest.raises(OracleError, match=r"pw\.x refuses"):
            bad.label(BOND)
        with pytest.raises(ConfigError, match=r"does not start pw\.x"):
            oracle.model_copy(update={"command": "true"}).version()


def test_odd_electrons_need_moments_in_cp2k():
    aluminium = crystal(13)
    with pytest.raises(ConfigError, match=r"odd number of electrons.* add dft.magmoms.*Al"):
        Cp2kOracle().check_structure(aluminium)
    Cp2kOracle(magmoms={"Al": 0.5}).check_structure(aluminium)
    Cp2kOracle().check_structure(crystal(12))
    Cp2kOracle(charge=1).check_structure(aluminium)


def test_misspelt_namelist_entries_are_refused():
    for entries in ({"ecutwf": 30}, {"system": {"ecutwf": 30}}, {"sistem": {"ecutwfc": 30}}):
        with pytest.raises(ValidationError, match=r"no namelist of pw\.x"):
            EspressoOracle(parameters={"input_data": entries})
    known = {"system": {"ecutwfc": 30, "starting_magnetization(1)": 0.5}, "Degauss": 0.01}
    assert EspressoOracle(parameters={"input_data": known}).parameters["input_data"] == known


@pytest.mark.slow
@pytest.mark.espresso
@needs(shutil.which("pw.x") and ESPRESSO_PSEUDO.is_dir(), "Quantum ESPRESSO with pseudopotentials")
class TestEspressoContract(OracleContract):
    gradient_tolerance = 5e-3
    invariance_tolerance = 5e-3  # the grid of the density does not move with the atoms

    @pytest.fixture
    def oracle(self):
        parameters = espresso()
        parameters["input_data"]["system"]["ecutwfc"] = 14
        return EspressoOracle(pseudo_dir=str(ESPRESSO_PSEUDO), parameters=parameters, kspacing=1.5)

    @pytest.fixture
    def changed_oracle(self, oracle):
        return oracle.model_copy(update={"kspacing": 1.4})

    @pytest.fixture
    def structure(self):
        atoms = bulk("Si")
        atoms.rattle(0.1, seed=5)
        return AtomStructure.from_atoms(atoms)

    def test_stress_is_the_strain_derivative(self, oracle, structure):
        """With so few plane waves the energy's derivative lacks the pressure of the basis."""
        assert oracle.label(structure).stress.shape == (6,)


@pytest.mark.slow
@pytest.mark.cp2k
@needs(shutil.which("cp2k_shell.psmp"), "CP2K")
class TestCp2k(PlaneWaveEngine):
    @pytest.fixture
    def oracle(self):
        return Cp2kOracle(parameters=CP2K, kspacing=1.3, vacuum=3.0)

    @pytest.fixture
    def hasty(self, oracle):
        return oracle.model_copy(update={"parameters": {**CP2K, "max_scf": 2}, "retries": ({"max_scf": 3},)})

    def test_what_it_refuses(self, oracle):
        with pytest.raises(OracleError, match=r"CP2K refuses: .*NOSUCH"):
            Cp2kOracle(parameters={**CP2K, "basis_set": "NOSUCH"}).label(BOND)
        with pytest.raises(ConfigError, match="nonsense"):
            Cp2kOracle(parameters={**CP2K, "nonsense": 1}).label(BOND)


@pytest.mark.abinit
@needs(shutil.which("abinit") and ABINIT_PSEUDO.is_dir(), "ABINIT with pseudopotentials")
class TestAbinit(PlaneWaveEngine):
    @pytest.fixture
    def oracle(self):
        return AbinitOracle(pseudo_dir=str(ABINIT_PSEUDO), parameters=ABINIT, kspacing=1.3, vacuum=2.5)

    @pytest.fixture
    def hasty(self, oracle):
        return oracle.model_copy(update={"parameters": {**ABINIT, "nstep": 2}, "retries": ({"nstep": 3},)})

    def test_what_it_refuses(self, oracle):
        with pytest.raises(OracleError, match=r"ABINIT refuses: .*NONSENSE"):
            oracle.model_copy(update={"parameters": {**ABINIT, "nonsense": 1}}).label(BOND)
        with pytest.raises(UnsupportedElementError, match="no tm pseudopotential for U"):
            oracle.label(crystal(92))


class TestSettingsWithoutEngines:
    @pytest.mark.parametrize(
        ("cls", "retry"),
        [
            (GpawOracle, {"mode": {"name": "pw", "ecut": 300}}),
            (GpawOracle, {"occupations": {"width": 0.5}}),
            (GpawOracle, {"convergence": {"density": 1}}),
            (EspressoOracle, {"input_data": {"electrons": {"conv_thr": 1e-2}}}),
            (EspressoOracle, {"degauss": 0.1}),
            (EspressoOracle, {"kpts": [1, 1, 1]}),
            (AbinitOracle, {"tsmear": 0.5}),
            (Cp2kOracle, {"inp": scf_input("EPS_SCF 1e-2")}),
            (Cp2kOracle, {"inp": scf_input("&SMEAR ON", "METHOD FERMI_DIRAC", "&END SMEAR")}),
            (Cp2kOracle, {"cutoff": 100}),
        ],
    )
    def test_retries_may_not_change_the_physics(self, cls, retry):
        with pytest.raises(ValidationError, match="minimiser only"):
            cls(retries=(retry,))

    @pytest.mark.parametrize(
        ("cls", "parameters", "message"),
        [
            (GpawOracle, {"txt": "x"}, "txt is set by the oracle"),
            (GpawOracle, {"kpts": [2, 2, 2]}, "both name the k-points"),
            (EspressoOracle, {"input_data": {"control": {"calculation": "relax"}}}, "labels need scf"),
            (EspressoOracle, {"input_data": {"nspin": 2}}, "nspin is set by the oracle"),
            (AbinitOracle, {"ionmov": 2}, "single points"),
            (Cp2kOracle, {"uks": True}, "use magmoms"),
        ],
    )
    def test_what_parameters_may_not_name(self, cls, parameters, message):
        with pytest.raises(ValidationError, match=message):
            cls(parameters=parameters)

    def test_the_defaults_of_one_are_not_those_of_another(self):
        assert GpawOracle().parameters == GpawOracle().parameters
        assert GpawOracle().parameters is not GpawOracle().parameters

    def test_missing_engines_are_told(self):
        with pytest.raises(EngineMissingError, match=r"no-such-pw\.x"):
            EspressoOracle(command="no-such-pw.x").check_settings()
        if importlib.util.find_spec("gpaw") is None:
            with pytest.raises(EngineMissingError, match="pip install"):
                GpawOracle().check_settings()

    def test_flat_and_nested_namelists_mean_the_same(self):
        nested = {
            "input_data": {"electrons": {"mixing_beta": 0.1}, "CONTROL": {"title": "x"}},
            "kpts": [1, 1, 1],
        }
        assert flat_input(nested) == {"mixing_beta": 0.1, "title": "x"}
        assert flat_input({"mixing_beta": 0.1, "input_data": {"title": "x"}}) == flat_input(nested)

    @pytest.mark.parametrize("grid", [(1, 1, 1), (2, 3, 4), (5, 6, 1)])
    def test_cp2k_points_hold_gamma(self, grid):
        """CP2K's MACDONALD points are (2i − n − 1)/2n + shift."""
        (line,) = [line for line in gamma_centred(grid).splitlines() if "SCHEME" in line]
        words = line.split()[2:]
        for n, shift in zip(map(int, words[:3]), map(float, words[3:]), strict=True):
            points = (2 * np.arange(1, n + 1) - n - 1) / (2 * n) + shift
            assert np.abs(points).min() < 1e-12
            assert np.allclose(np.diff(points), 1 / n)

    def test_cp2k_inputs_merge(self):
        first = scf_input("EPS_SCF 1e-6", "&MIXING", "ALPHA 0.4", "METHOD P", "&END MIXING")
        second = scf_input("&MIXING", "ALPHA 0.1", "&END MIXING", "MAX_SCF 5")
        expected = scf_input("EPS_SCF 1e-6", "MAX_SCF 5", "&MIXING", "METHOD P", "ALPHA 0.1", "&END MIXING")
        assert merged_input(first, second).split() == "\n".join(parse_input(expected).write()).split()
