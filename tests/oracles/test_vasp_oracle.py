"""VASP is licensed: its command is played by a copy of real output, which lies in ASE's wheel."""

import importlib.util
from pathlib import Path

import ase
import numpy as np
import pytest
from ase.calculators.vasp.create_input import GenerateVaspInput
from ase.io import read
from pydantic import ValidationError

from pyacemaker.errors import (
    ConfigError,
    ConvergenceError,
    EngineError,
    EngineMissingError,
    OracleCrashError,
    OracleError,
    UnphysicalLabelError,
    UnsupportedElementError,
)
from pyacemaker.oracles import VaspOracle
from pyacemaker.oracles.vasp import check_drift, check_electronic_convergence
from pyacemaker.oracles.vasp_custodian import forbidden_changes, incar_tags, inputs
from pyacemaker.structures import AtomStructure

REAL = Path(ase.__file__).parent / "test" / "testdata" / "vasp"
VASPRUN = REAL / "vasprun_pstress.xml"
CONVERGED, UNCONVERGED = REAL / "convergence_OUTCAR_y_y", REAL / "convergence_OUTCAR_y_n"
DIAMOND = AtomStructure.from_atoms(read(VASPRUN))
POTCAR = """\
  PAW_PBE {symbol} 08Apr2002
   4.00000000000000
 parameters from PSCTR are:
   VRHFIN ={symbol}: s2p2
   LEXCH  = PE
   TITEL  = PAW_PBE {symbol} 08Apr2002
   LULTRA =        F    use ultrasoft PP ?
   IUNSCR =        1    unscreen: 0-lin 1-nonlin 2-no
   RPACOR =    1.200    partial core radius
   POMASS =   12.011; ZVAL   =    {valence:.3f}    mass and valenz
   ENMAX  =  400.000; ENMIN  =  300.000 eV
 END of PSCTR-controll parameters
 local part
  1.0 2.0 3.0 4.5
 End of Dataset
"""


def answers(outcar, vasprun=VASPRUN):
    return f"cp {outcar} OUTCAR; cp {vasprun} vasprun.xml"


@pytest.fixture
def pseudo_dir(tmp_path, monkeypatch):
    for symbol, valence in (("C", 4.0), ("Fe", 8.0), ("O", 6.0)):
        folder = tmp_path / "potentials" / "potpaw_PBE.64" / symbol
        folder.mkdir(parents=True)
        (folder / "POTCAR").write_text(POTCAR.format(symbol=symbol, valence=valence))
    monkeypatch.setenv("VASP_PP_PATH", str(tmp_path / "potentials"))
    return tmp_path / "potentials"


@pytest.fixture
def vasp(pseudo_dir, tmp_path):
    def make(command="", **settings):
        plain = {"xc": "PBE", "pp_version": "64", "encut": 400, "ediff": 1e-6}
        return VaspOracle(
            **{
                "command": command or answers(CONVERGED),
                "parameters": plain,
                "retries": (),
                "scratch": str(tmp_path / "scratch"),
                "keep_files": "always",
                **settings,
            }
        )

    return make


def written(oracle):
    (directory,) = Path(oracle.scratch).iterdir()
    return directory


class TestOutput:
    def test_the_free_energy_is_the_label(self, vasp):
        expected = read(VASPRUN).calc.results
        labels = vasp().label(DIAMOND)
        assert labels.energy == expected["free_energy"]
        assert abs(expected["free_energy"] - expected["energy"]) > 1e-4
        assert np.array_equal(labels.forces, expected["forces"])
        assert np.array_equal(labels.stress, expected["stress"])

    def test_unconverged_output_is_refused_though_it_reads_well(self, vasp):
        with pytest.raises(ConvergenceError, match="EDIFF not reached"):
            vasp(answers(UNCONVERGED)).label(DIAMOND)

    @pytest.mark.parametrize(
        ("name", "converged"),
        [("convergence_OUTCAR_y_y", True), ("convergence_OUTCAR_y_n", False), ("OUTCAR_example_1", True)],
    )
    def test_verdicts_of_real_files(self, name, converged):
        if converged:
            check_electronic_convergence(REAL / name)
            return
        with pytest.raises(ConvergenceError):
            check_electronic_convergence(REAL / name)

    def test_the_drift_that_vasp_takes_out_of_its_forces_is_judged(self):
        """ASE's own file says -0.0249 along one axis, while its forces sum to nothing."""
        check_drift(REAL / "OUTCAR_example_1", 0.03)
        with pytest.raises(UnphysicalLabelError, match=r"sum to 0\.025 eV/Å instead of zero \(total drift"):
            check_drift(REAL / "OUTCAR_example_1", 0.02)

    def test_an_outcar_that_ends_too_early_is_a_crash(self, tmp_path):
        text = CONVERGED.read_text()
        (tmp_path / "OUTCAR").write_text(text[: text.index("aborting")])
        with pytest.raises(OracleCrashError, match="ends within"):
            check_electronic_convergence(tmp_path / "OUTCAR")

    @pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
    def test_truncated_output_is_a_crash(self, vasp, tmp_path, share):
        text = VASPRUN.read_text()
        (tmp_path / "cut.xml").write_text(text[: int(share * len(text))])
        with pytest.raises(OracleCrashError, match="truncated"):
            vasp(answers(CONVERGED, tmp_path / "cut.xml")).label(DIAMOND)

    def test_the_ladder_ends_with_the_reasons(self, vasp):
        oracle = vasp(answers(UNCONVERGED), retries=({"algo": "All"}, {"amix": 0.1}))
        with pytest.raises(ConvergenceError, match=r"EDIFF not reached.*then.*then"):
            oracle.label(DIAMOND)
        incars = [(folder / "INCAR").read_text() for folder in Path(oracle.scratch).iterdir()]
        assert sorted("ALGO = All" in text for text in incars) == [False, False, True]
        assert sorted("AMIX = 0.1" in text for text in incars) == [False, False, True]

    @pytest.mark.parametrize(
        ("command", "error", "message"),
        [
            ("(exit 3)", EngineError, "exit code 3"),
            ("echo 'I REFUSE TO CONTINUE' && (exit 1)", EngineError, "I REFUSE TO CONTINUE"),
            ("kill -9 $$; true", OracleCrashError, "killed by signal 9"),
            ("true", EngineError, "wrote no vasprun.xml"),
            (f"cp {VASPRUN} vasprun.xml", EngineError, "wrote no OUTCAR"),
            ("no-such-vasp; exit $?", EngineMissingError, "does not find the program"),
        ],
    )
    def test_failures_are_typed(self, vasp, command, error, message):
        with pytest.raises(error, match=message):
            vasp(command).label(DIAMOND)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"numbers": np.array([6, 8])}, "holds C2, not CO"),
            ({"cell": 1.01 * DIAMOND.cell}, "another cell"),
            ({"positions": DIAMOND.positions + np.array([[0, 0, 0], [0.01, 0, 0]])}, "other positions"),
        ],
    )
    def test_the_output_of_another_structure_is_refused(self, vasp, change, message):
        with pytest.raises(EngineError, match=message):
            vasp().label(DIAMOND.replace(**change))

    def test_another_release_is_refused(self, vasp):
        assert vasp(release="6.3.0").label(DIAMOND).energy < 0
        assert vasp(release="6.3.0").version() == "vasp 6.3.0"
        with pytest.raises(ConfigError, match=r"release = 6.4.3, but the command runs VASP 6.3.0"):
            vasp(release="6.4.3").label(DIAMOND)


class TestInput:
    def test_it_is_what_ase_writes_and_the_grid(self, vasp, pseudo_dir, tmp_path):
        oracle = vasp(kspacing=0.5)
        oracle.label(DIAMOND)
        reference = GenerateVaspInput()
        reference.VASP_PP_PATH = "NOT_SET"
        reference.set(**oracle.parameters, lwave=False, lcharg=False, kpts=(7, 7, 7), gamma=True)
        reference.set(pp=str(pseudo_dir / "potpaw_PBE.64"))
        atoms = DIAMOND.to_atoms()
        reference.initialize(atoms)
        (tmp_path / "ase").mkdir()
        reference.write_input(atoms, directory=str(tmp_path / "ase"))
        for name in ("INCAR", "KPOINTS", "POSCAR", "POTCAR"):
            assert (written(oracle) / name).read_text() == (tmp_path / "ase" / name).read_text()
        assert "Gamma\n7 7 7" in (written(oracle) / "KPOINTS").read_text()

    def test_atoms_are_polarised_in_an_asymmetric_box(self, vasp):
        oracle = vasp()
        with pytest.raises(OracleError):  # the recorded output is another structure's
            oracle.label(oracle.isolated_atom("O"))
        tags = incar_tags((written(oracle) / "INCAR").read_text())
        assert (tags["ispin"], tags["nupdown"]) == ("2.0", "2.0")
        assert float(tags["magmom"].split("*")[-1]) == 2.0
        assert "Gamma\n1 1 1" in (written(oracle) / "KPOINTS").read_text()
        lengths = read(written(oracle) / "POSCAR").cell.lengths()
        assert len({round(length, 3) for length in lengths}) == 3

    def test_magnetic_crystals(self, vasp):
        iron = AtomStructure(np.array([26]), np.zeros((1, 3)), 2.5 * np.eye(3), np.ones(3, dtype=bool))
        oracle = vasp("true", magmoms={"Fe": 2.2})
        with pytest.raises(OracleError):
            oracle.label(iron)
        tags = incar_tags((written(oracle) / "INCAR").read_text())
        assert tags["ispin"] == "2.0"
        assert "nupdown" not in tags

    def test_charge_counts_electrons(self, vasp):
        oracle = vasp("true", charge=1)
        with pytest.raises(OracleError):
            oracle.label(DIAMOND)
        assert float(incar_tags((written(oracle) / "INCAR").read_text())["nelect"]) == 7.0

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"nsw": 3}, "single points"),
            ({"ispin": 2}, "use magmoms"),
            ({"kspacing": 0.2}, "use the oracle's kspacing"),
            ({"kpts": [2, 2, 2]}, "both name the k-points"),
            ({"setups": {"0": "_h"}}, "by element"),
        ],
    )
    def test_what_parameters_may_not_name(self, parameters, message):
        with pytest.raises(ValidationError, match=message):
            VaspOracle(parameters=parameters)

    def test_misspelt_tags_are_refused_but_not_those_that_ase_does_not_know(self, vasp):
        with pytest.raises(ValidationError, match=r"encutt is no INCAR tag .* did you mean encut\?"):
            VaspOracle(parameters={"encutt": 400})
        oracle = vasp(parameters={"xc": "PBE", "pp_version": "64", "custom": {"lfancy": ".TRUE."}})
        oracle.label(DIAMOND)
        assert incar_tags((written(oracle) / "INCAR").read_text())["lfancy"] == "T"

    @pytest.mark.parametrize("tag", ["ismear", "sigma", "encut", "prec", "lreal", "isym", "ispin", "nbands"])
    def test_retries_may_not_change_the_physics(self, tag):
        with pytest.raises(ValidationError, match=f"not {tag}, which may change the answer"):
            VaspOracle(retries=({tag: 1, "algo": "All"},))


class TestPotentials:
    def test_their_content_is_in_the_key_and_their_place_is_not(self, vasp, pseudo_dir, tmp_path):
        key = vasp().key(DIAMOND)
        moved = tmp_path / "elsewhere"
        pseudo_dir.rename(moved)
        assert vasp(pseudo_dir=str(moved), command="srun vasp_std").key(DIAMOND) == key
        path = moved / "potpaw_PBE.64" / "O" / "POTCAR"
        path.write_text("another oxygen")
        assert vasp(pseudo_dir=str(moved)).key(DIAMOND) == key
        path = moved / "potpaw_PBE.64" / "C" / "POTCAR"
        path.write_text("another carbon")
        assert vasp(pseudo_dir=str(moved)).key(DIAMOND) != key

    def test_an_element_without_one(self, vasp):
        silicon = DIAMOND.replace(numbers=np.array([14, 14]))
        for call in (vasp().check_structure, vasp().label):
            with pytest.raises(UnsupportedElementError, match="no POTCAR for Si"):
                call(silicon)

    def test_settings_are_checked_before_a_run(self, vasp, monkeypatch):
        vasp().check_settings()
        with pytest.raises(EngineMissingError, match="no-such-program"):
            vasp("no-such-program -x").check_settings()
        with pytest.raises(ConfigError, match="pseudo_dir"):
            vasp(pseudo_dir="/no/such/folder").check_settings()
        monkeypatch.delenv("VASP_PP_PATH")
        with pytest.raises(ConfigError, match="VASP_PP_PATH"):
            vasp().check_settings()

    def test_no_place_and_no_command_is_in_what_is_recorded(self, vasp, pseudo_dir):
        assert str(pseudo_dir) not in str(vasp().settings())
        assert "command" not in vasp().settings()


class TestCustodian:
    def test_changes_beyond_the_minimiser_are_found(self, tmp_path):
        (tmp_path / "INCAR").write_text("ENCUT = 400.000000\nALGO = Fast # first\nLREAL = .FALSE.\n")
        (tmp_path / "KPOINTS").write_text("grid")
        before = inputs(tmp_path)
        (tmp_path / "INCAR").write_text("ALGO = All\nENCUT = 400\nLREAL = False\nISEARCH = 1\nNCORE = 2\n")
        assert forbidden_changes(before, tmp_path) == []
        (tmp_path / "INCAR").write_text("ALGO = All; ENCUT = 500\nISMEAR = 0\n")
        (tmp_path / "KPOINTS").write_text("another grid")
        assert forbidden_changes(before, tmp_path) == ["KPOINTS", "ENCUT", "ISMEAR", "LREAL"]

    def test_it_has_to_be_installed(self, vasp):
        if importlib.util.find_spec("custodian") is not None:
            pytest.skip("custodian is installed")
        with pytest.raises(EngineMissingError, match="custodian"):
            vasp(custodian=True).check_settings()

    @pytest.mark.slow  # custodian looks every ten seconds
    @pytest.mark.skipif(importlib.util.find_spec("custodian") is None, reason="needs custodian")
    def test_it_repairs_and_what_it_may_not_change_is_refused(self, vasp):
        complaint = "echo 'Error EDDDAV: Call to ZHEGV failed. Returncode = 7'; sleep 1"
        repaired = f"if grep -q 'ALGO = All' INCAR; then {answers(CONVERGED)}; else {complaint}; fi"
        assert vasp(repaired, custodian=True).label(DIAMOND).energy == pytest.approx(-20.24696, abs=1e-5)
        with pytest.raises(OracleError, match="custodian changed ISMEAR"):
            vasp(f"echo 'ISMEAR = 1' >> INCAR; {answers(CONVERGED)}", custodian=True).label(DIAMOND)
