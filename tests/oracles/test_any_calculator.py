from pathlib import Path

import numpy as np
import pytest
import toy_calculators
from ase.build import bulk, molecule
from pydantic import TypeAdapter, ValidationError

from pyacemaker.errors import ConfigError, ConvergenceError, EngineMissingError, OracleError
from pyacemaker.oracles import AnyCalculatorOracle, AnyOracle, LennardJonesOracle
from pyacemaker.oracles.calculators import expand_all, merged, spread_moments
from pyacemaker.structures import AtomStructure

WATER = AtomStructure.from_atoms(molecule("H2O"))
SPRINGS = "toy_calculators:Springs"


def springs(**settings):
    return AnyCalculatorOracle(**{"calculator": SPRINGS, **settings})


def started():
    return toy_calculators.STARTED[-1]


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)


def test_the_energy_is_the_one_that_belongs_to_the_forces():
    labels = springs().label(WATER)
    x = WATER.positions - WATER.positions.mean(axis=0)
    assert labels.energy == pytest.approx(0.5 * np.sum(x**2) - 1.0)
    assert np.allclose(labels.forces, -x)
    assert labels.stress is None


def test_an_ase_calculator_gives_what_the_built_in_oracle_gives():
    argon = AtomStructure.from_atoms(bulk("Ar", a=5.3, cubic=True))
    built_in = LennardJonesOracle()
    oracle = AnyCalculatorOracle(
        calculator="ase.calculators.lj:LennardJones",
        parameters={"sigma": 3.4, "epsilon": 0.0104, "rc": 3 * 3.40, "smooth": True},
    )
    first, second = built_in.label(argon), oracle.label(argon)
    assert first.energy == second.energy
    assert np.array_equal(first.stress, second.stress)
    assert "ase" in oracle.version()


def test_files_are_written_to_scratch_and_nowhere_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    springs(scratch=str(tmp_path / "scratch")).label(WATER)
    assert list(tmp_path.iterdir()) == [tmp_path / "scratch"]
    assert list((tmp_path / "scratch").iterdir()) == []
    assert Path(started()["directory"]).parent == tmp_path / "scratch"


def test_failed_calculations_can_be_kept_and_are_told(tmp_path):
    oracle = springs(scratch=str(tmp_path), keep_files="failed", parameters={"failure": "out of luck"})
    with pytest.raises(OracleError, match=rf"structure {WATER.id}: .*out of luck .*{tmp_path}"):
        oracle.label(WATER)
    (kept,) = tmp_path.iterdir()
    assert (kept / "output").read_text() == "energies"


class TestConvergence:
    @pytest.mark.parametrize("parameters", [{"steps": 3}, {"failure": "scf"}])
    def test_unconverged_answers_are_refused(self, parameters):
        with pytest.raises(ConvergenceError, match="did not converge"):
            springs(parameters=parameters).label(WATER)

    def test_the_ladder_is_climbed_until_one_converges(self):
        oracle = springs(
            parameters={"steps": 1}, retries=({"steps": 3}, {"steps": 7}, {"steps": 9}), minimiser=("steps",)
        )
        before = len(toy_calculators.STARTED)
        oracle.label(WATER)
        assert [job["steps"] for job in toy_calculators.STARTED[before:]] == [1, 3, 7]

    def test_retries_may_not_change_the_physics(self):
        with pytest.raises(ValidationError, match="minimiser only, not needs, which may change the answer"):
            springs(retries=({"needs": 1, "steps": 2},), minimiser=("steps",))

    def test_other_errors_are_not_retried(self):
        oracle = springs(parameters={"failure": "x"}, retries=({"steps": 3},), minimiser=("steps",))
        before = len(toy_calculators.STARTED)
        with pytest.raises(OracleError, match="failed: CalculatorError: x"):
            oracle.label(WATER)
        assert len(toy_calculators.STARTED) == before + 1


class TestChargeAndSpin:
    @pytest.mark.parametrize(
        ("fields", "charge", "spin"),
        [({}, -1, 2), ({"charge": 1}, 1, 2), ({"multiplicity": 3}, 0, 3), ({"charge": 0}, -1, 2)],
    )
    def test_the_structure_overrides_the_oracle(self, fields, charge, spin):
        springs(charge=-1).label(WATER.replace(**fields))
        assert (started()["info"]["charge"], started()["info"]["spin"]) == (charge, spin)
        assert sum(started()["moments"]) == pytest.approx(spin - 1)

    def test_isolated_atoms_are_neutral_and_polarised(self):
        oracle = springs(charge=-1, box=True)
        oracle.label(oracle.isolated_atom("O"))
        assert started()["info"] == {"charge": 0, "spin": 3}
        assert started()["moments"] == pytest.approx([2.0])

    def test_crystals_start_with_the_moments_of_their_elements(self):
        iron = AtomStructure.from_atoms(bulk("Fe", cubic=True))
        springs(magmoms={"Fe": 2.2}).label(iron)
        assert started()["moments"] == pytest.approx([2.2, 2.2])
        assert "spin" not in started()["info"]
        springs(magmoms={"Ni": 0.6}).label(iron)
        assert not np.any(started()["moments"])

    def test_moments_go_to_the_atoms_that_have_one(self):
        assert spread_moments(["O", "H", "H"], 0) == [0, 0, 0]
        assert spread_moments(["O", "H"], 1) == pytest.approx([2 / 3, 1 / 3])
        assert spread_moments(["He", "He"], 2) == pytest.approx([1, 1])

    def test_impossible_spins_are_known_beforehand(self):
        with pytest.raises(OracleError, match="does not fit"):
            springs().check_structure(WATER.replace(multiplicity=2))


class TestKpoints:
    def test_one_grid_centred_on_gamma(self):
        springs(kspacing=0.5).label(AtomStructure.from_atoms(bulk("Cu", cubic=True, a=4.0)))
        assert started()["kpts"] == {"size": (4, 4, 4), "gamma": True}
        springs(kspacing=0.5).label(WATER)
        assert started()["kpts"] == {"size": (1, 1, 1), "gamma": True}
        springs().label(WATER)
        assert started()["kpts"] is None

    def test_only_one_key_may_name_them(self):
        with pytest.raises(ValidationError, match="both name the k-points"):
            springs(kspacing=0.5, parameters={"kpts": [2, 2, 2]})


class TestKeys:
    @pytest.mark.parametrize(
        "change",
        [{"parameters": {"needs": 4}}, {"kspacing": 0.3}, {"charge": 1}, {"vacuum": 7.0}, {"box": True}],
    )
    def test_what_changes_the_answer_changes_the_key(self, change):
        assert springs(**change).key(WATER) != springs().key(WATER)

    @pytest.mark.parametrize(
        "change",
        [{"retries": ({"steps": 1},), "minimiser": ("steps",)}, {"scratch": "/x"}, {"keep_files": "always"}],
    )
    def test_what_does_not_does_not(self, change):
        assert springs(**change).key(WATER) == springs().key(WATER)

    def test_values_of_variables_are_in_no_message(self, monkeypatch):
        monkeypatch.setenv("TOY_SECRET", "hunter2-of-messages")
        with pytest.raises(OracleError) as caught:
            springs(parameters={"failure": "${TOY_SECRET}"}).label(WATER)
        assert "hunter2" not in str(caught.value)
        assert "${TOY_SECRET}" in str(caught.value)

    def test_variables_count_by_value_and_are_not_written_down(self, monkeypatch):
        oracle = springs(parameters={"label": "${TOY_SECRET}"})
        monkeypatch.setenv("TOY_SECRET", "hunter2")
        first, settings = oracle.key(WATER), oracle.settings()
        assert "hunter2" not in str(settings)
        assert settings["parameters"] == {"label": "${TOY_SECRET}"}
        monkeypatch.setenv("TOY_SECRET", "hunter3")
        assert oracle.key(WATER) != first
        monkeypatch.delenv("TOY_SECRET")
        with pytest.raises(ConfigError, match="TOY_SECRET"):
            oracle.check_settings()


class TestPlugins:
    def test_a_plain_calculator_class_is_a_kind(self):
        found = TypeAdapter(AnyOracle).validate_python({"kind": SPRINGS, "parameters": {"needs": 4}})
        assert found == springs(parameters={"needs": 4})
        assert TypeAdapter(AnyOracle).validate_python(found.model_dump(mode="json")) == found

    @pytest.mark.parametrize(
        "kind", ["toy_calculators:no_calculator", "toy_calculators:Nothing", "no.module:X"]
    )
    def test_what_is_neither_oracle_nor_calculator(self, kind):
        with pytest.raises(ValidationError, match=r"is not a subclass|cannot be imported"):
            TypeAdapter(AnyOracle).validate_python({"kind": kind})

    def test_missing_modules_and_names(self):
        with pytest.raises(EngineMissingError, match=r"no_such_module .* cannot be imported"):
            AnyCalculatorOracle(calculator="no_such_module:X").check_settings()
        with pytest.raises(ConfigError, match="has no Nothing"):
            AnyCalculatorOracle(calculator="toy_calculators:Nothing").check_settings()

    def test_a_calculator_without_forces(self):
        oracle = AnyCalculatorOracle(calculator="ase.calculators.acn:ACN")
        oracle.check_settings()
        oracle = AnyCalculatorOracle(calculator="toy_calculators:EnergyOnly")
        with pytest.raises(ConfigError, match="has no forces, only energy"):
            oracle.check_settings()

    def test_settings_that_the_calculator_does_not_know(self):
        for name, wrong, right in (
            ("emt:EMT", "nonsense", "asap_cutoff"),
            ("lj:LennardJones", "sigmaa", "sigma"),
        ):
            calculator = f"ase.calculators.{name}"
            AnyCalculatorOracle(calculator=calculator, parameters={right: 1}).check_settings()
            with pytest.raises(ConfigError, match=f"{wrong} is no parameter"):
                AnyCalculatorOracle(calculator=calculator, parameters={wrong: 1}).check_settings()
        with pytest.raises(OracleError, match=r"failed|refuses"):
            AnyCalculatorOracle(calculator=SPRINGS, parameters={"failure": "bad"}).label(WATER)


def test_merging_and_expanding():
    assert merged({"a": {"b": 1, "c": 2}, "d": 3}, {"a": {"c": 4}, "d": {"e": 5}}) == {
        "a": {"b": 1, "c": 4},
        "d": {"e": 5},
    }
    assert expand_all({"a": ["x", 1, {"b": None}]}) == {"a": ["x", 1, {"b": None}]}
