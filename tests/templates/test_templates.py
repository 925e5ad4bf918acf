"""Templates are configs that work: for each sort of system, by each engine that can compute it."""

import jsonschema
import pytest
import yaml
from ase.build import bulk, fcc111
from ase.io import write

from conftest import EXAMPLE
from pyacemaker.config import PyAceConfig
from pyacemaker.errors import ConfigError, DataError, FoundationModelError
from pyacemaker.generators.prototypes import ground_state
from pyacemaker.json_schema import config_schema
from pyacemaker.templates import ENGINES, System, write_template
from pyacemaker.templates.reference import MOLECULAR
from pyacemaker.workflow.plausible import implausible

ENDS = EXAMPLE / "reactant.xyz", EXAMPLE / "product.xyz"


@pytest.fixture(scope="module")
def schema():
    return jsonschema.Draft202012Validator(config_schema(PyAceConfig))


def loaded(text, base_dir) -> PyAceConfig:
    return PyAceConfig.model_validate(yaml.safe_load(text), context={"base_dir": base_dir})


def kinds(config) -> list[str]:
    return [generator.kind for generator in config.sample.generators]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("formula", ["Al", "Fe", "MgO", "AlCu3", "NiAl", "Si", "CH4"])
def test_every_engine_has_settings_for_every_system(schema, tmp_path, engine, formula):
    system = System.from_composition(formula)
    metals = {"Al", "AlCu3", "NiAl"}
    if (engine in MOLECULAR and system.is_periodic) or (engine == "emt" and formula not in metals):
        with pytest.raises(ConfigError, match=f"--dft {engine} "):
            write_template(system, engine, base_dir=tmp_path)
        return
    text = write_template(system, engine, base_dir=tmp_path).text
    config = loaded(text, tmp_path)
    assert config.dft.kind == engine
    assert list(schema.iter_errors(yaml.safe_load(text))) == []
    assert list(implausible(yaml.safe_load(text))) == []
    assert max(map(len, text.splitlines())) <= 120
    if engine == "cp2k":  # its check of odd numbers of electrons
        for generator in config.sample.generators:
            for structure in generator.inputs():
                config.dft._check_even(structure)


def test_metals_are_taken_for_an_alloy_and_may_be_molten(tmp_path):
    config = loaded(write_template(System.from_composition("AlCu3", melt=True)).text, tmp_path)
    assert kinds(config) == ["crystal", "alloy", "melt"]
    assert config.dft.kind == "gpaw"
    assert (
        config.label.n_train
        > loaded(write_template(System.from_composition("Al")).text, tmp_path).label.n_train
    )
    salt = loaded(write_template(System.from_composition("MgO", melt=True)).text, tmp_path)
    assert kinds(salt) == ["crystal", "melt"]
    assert salt.dft.kspacing > config.dft.kspacing
    assert salt.dft.parameters["mode"]["ecut"] == 800


def test_spin_and_time_steps_follow_the_elements(tmp_path):
    iron = loaded(write_template(System.from_composition("Fe"), "vasp").text, tmp_path)
    assert iron.dft.magmoms == {"Fe": 2.5}
    assert iron.explore.dynamics.timestep == 2.0
    assert ground_state("Fe").name == "bcc"
    nitric_oxide = loaded(write_template(System.from_molecule("NO")).text, tmp_path)
    assert nitric_oxide.sample.generators[0].molecule == "NO"
    ethanol = loaded(write_template(System.from_molecule("C2H6O")).text, tmp_path)
    assert (ethanol.explore.dynamics.timestep, ethanol.foundation.model) == (0.5, "mh-1")


def test_files(tmp_path):
    write(tmp_path / "POSCAR", bulk("Cu", cubic=True), format="vasp")
    config = loaded(
        write_template(System.from_structure(tmp_path / "POSCAR", tmp_path), "vasp").text, tmp_path
    )
    assert kinds(config) == ["crystal"]
    assert config.foundation.model == "medium-mpa-0"
    write(tmp_path / "big.xyz", bulk("Al", cubic=True) * 3, format="extxyz")
    slab = fcc111("Al", (2, 2, 3), vacuum=6.0)
    slab.info.clear()
    write(tmp_path / "slab 1.xyz", slab, format="extxyz")
    write(tmp_path / "mid.xyz", bulk("NiAl", "cesiumchloride", a=2.9) * 3, format="extxyz")
    for name, expected in (("big.xyz", ["md"]), ("slab 1.xyz", ["md"]), ("mid.xyz", ["crystal", "alloy"])):
        system = System.from_structure(tmp_path / name, tmp_path)
        assert kinds(loaded(write_template(system, base_dir=tmp_path).text, tmp_path)) == expected


def test_paths_are_relative_to_the_config(tmp_path):
    here = tmp_path / "configs"
    here.mkdir()
    reaction = System.from_reaction(*ENDS, here)
    text = write_template(reaction, foundation=EXAMPLE / "foundation.model", base_dir=here).text
    config = loaded(text, here)
    assert kinds(config) == ["reaction"]
    assert config.sample.generators[0].reactant.samefile(ENDS[0])
    assert config.foundation.sha256
    assert "the system is an anion" in text
    config.foundation.resolve()


def test_what_no_template_is_for(tmp_path):
    with pytest.raises(ConfigError, match="--composition: 'Xx' is no formula"):
        System.from_composition("Xx")
    with pytest.raises(ConfigError, match="--molecule: 'unobtainium' is neither"):
        System.from_molecule("unobtainium")
    with pytest.raises(ConfigError, match="--melt is for crystals and alloys, not for the molecule H2O"):
        System.from_composition("H2O", melt=True)
    with pytest.raises(DataError, match="does not exist"):
        System.from_structure(tmp_path / "POSCAR", tmp_path)
    with pytest.raises(ConfigError, match="--dft abacus: expected one of pyscf"):
        write_template(System.from_composition("Al"), "abacus")
    with pytest.raises(ConfigError, match="give its cell as a `structure` file"):
        write_template(System.from_composition("Mg17Al12O5"))
    with pytest.raises(FoundationModelError, match="no published foundation model covers Ra"):
        write_template(System.from_composition("Ra"))
    write(tmp_path / "cell.xyz", bulk("Cu"), format="extxyz")
    with pytest.raises(DataError, match="is periodic: a reaction goes from molecules"):
        System.from_reaction(ENDS[0], tmp_path / "cell.xyz", tmp_path)


def test_espresso_finds_the_files_that_are_there(tmp_path, monkeypatch):
    monkeypatch.delenv("ESPRESSO_PSEUDO", raising=False)
    system = System.from_composition("NiAl")
    assert len(write_template(system, "espresso").to_give) == 2
    for name in ("al.pbe.UPF", "Ni_ONCV.upf", "Ni.other.UPF"):
        (tmp_path / name).write_text("")
    monkeypatch.setenv("ESPRESSO_PSEUDO", str(tmp_path))
    written = write_template(system, "espresso")
    assert "Al: al.pbe.UPF" in written.text
    assert written.to_give == ("dft.parameters.pseudopotentials: the names of your files (PBE) for Ni",)
