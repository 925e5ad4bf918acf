"""The configuration: defaults, round trips, rehearsals, budgets, and complaints that name the line."""

import json
from pathlib import Path

import pytest

from conftest import TINY, write_tiny
from pyacemaker.config import LabelSettings, PyAceConfig, load_config, load_labelling
from pyacemaker.errors import ConfigError, InsufficientDataError, UserError
from pyacemaker.execution import Execution, InlineExecutor
from pyacemaker.oracles import EmtOracle, PyscfOracle, TbliteOracle
from pyacemaker.structures.formats import read_structures


def problem(folder, *changes) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(write_tiny(folder, *changes))
    return str(caught.value)


def test_paths_count_from_the_config_file(tiny, tmp_path):
    config = load_config(tiny())
    assert config.foundation.model == str(tmp_path / "foundation.model")
    assert config.sample.generators[0].reactant == tmp_path / "reactant.xyz"


def test_writing_out_and_reading_back_gives_the_same(tiny, tmp_path):
    config = load_config(tiny())
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    again = load_config(folder / "config.yaml")
    assert again == config
    assert again.fingerprint() == config.fingerprint()


def test_the_fingerprint_follows_the_content_of_files_not_their_place(tmp_path):
    first, second = load_config(write_tiny(tmp_path / "a")), load_config(write_tiny(tmp_path / "b"))
    assert first != second
    assert first.fingerprint() == second.fingerprint()
    with (tmp_path / "b" / "reactant.xyz").open("a") as handle:
        handle.write("\n")
    assert load_config(tmp_path / "b" / "config.yaml").fingerprint() != first.fingerprint()


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("sn2/config.yaml", "sn2"),
        ("sn2/copper.yaml", "copper"),
        ("my project (2)/config.yaml", "my-project-2-"),
        (".hidden.yaml", "hidden"),
        ("öl.yaml", "l"),
        ("sn2-rehearsal/config.yaml", "sn2"),
        ("...yaml", "run"),
    ],
)
def test_a_run_without_a_name_is_called_after_its_file_or_folder(tmp_path, path, name):
    target = tmp_path / path
    write_tiny(target.parent, ("name: tiny\n", "")).rename(target)
    config = load_config(target)
    assert config.name == name
    assert str(config.default_run_dir()) == f"runs/{name}"


@pytest.mark.parametrize("name", ["../up", "a/b", ".", "-x", "''", "x-rehearsal", "a b"])
def test_names_that_are_no_directories_are_refused(tmp_path, name):
    assert "line 1: name: " in problem(tmp_path, ("name: tiny", f"name: {name}"))


def test_a_rehearsal_is_the_same_run_with_a_cheap_oracle(tiny):
    config = load_config(
        tiny(("kind: tblite\n  method: GFN1-xTB", "kind: pyscf\n  xc: PBE0\n  basis: def2-SVPD"))
    )
    assert isinstance(config.dft, PyscfOracle)
    rehearsed = config.rehearsed()
    assert rehearsed.dft == TbliteOracle(method="GFN1-xTB", limits=config.dft.limits)
    assert rehearsed.planned_labels() == config.planned_labels() == 32
    assert str(rehearsed.default_run_dir()) == "runs/tiny-rehearsal"
    assert PyAceConfig.model_validate(rehearsed.model_dump()) == rehearsed


def crystal(tmp_path, formula: str) -> Path:
    reaction = TINY[TINY.index("    - kind: reaction") : TINY.index("  n_pool")]
    return write_tiny(tmp_path, (reaction, f"    - {{kind: crystal, formula: {formula}}}\n"))


def test_the_rehearsal_of_a_metal_is_played_by_emt(tmp_path):
    config = load_config(crystal(tmp_path, "Cu3Au"))
    assert config.rehearsed().dft == EmtOracle(limits=config.dft.limits)


def test_where_nothing_can_stand_in_a_rehearsal_says_what_to_do(tmp_path):
    with pytest.raises(
        ConfigError, match="no built-in oracle can stand in for DFT on crystals of Mg, O"
    ) as told:
        load_config(crystal(tmp_path, "MgO")).rehearsed()
    assert "leave --rehearse out" in str(told.value)


def test_a_rehearsal_names_the_generator_whose_input_is_wrong(tmp_path):
    with pytest.raises(UserError, match=r"^sample\.generators\.0: .*H2O"):
        load_config(crystal(tmp_path, "H2O")).rehearsed()


def test_dimers_take_no_labels_unless_asked():
    assert LabelSettings(n_train=40).max_dimers() == 0
    assert [LabelSettings(n_train=n, dimer_share=0.1).max_dimers() for n in (9, 10, 40)] == [0, 1, 4]


def test_labelling_needs_two_keys_only(tmp_path):
    path = tmp_path / "label.yaml"
    path.write_text("dft: {kind: tblite}\nsomething: else\n")
    settings = load_labelling(path)
    assert settings.dft == TbliteOracle()
    assert settings.execution == Execution()
    path.write_text("execution: {kind: inline}\n")
    with pytest.raises(ConfigError, match="dft: this key is required"):
        load_labelling(path)
    assert load_labelling(write_tiny(tmp_path)).execution == InlineExecutor()


def test_a_training_set_that_is_too_small_is_refused_before_anything(tiny):
    with pytest.raises(InsufficientDataError, match=r"label\.n_train = 7 is fewer than min_train = 8"):
        load_config(tiny(("n_train: 12", "n_train: 7")))


BAD = {
    "unknown key": (("seed: 7", "sead: 7"), "line 2: sead: unknown key; did you mean seed?"),
    "unknown nested key": (("n_path: 8", "n_paths: 8"), "n_paths: unknown key; did you mean n_path?"),
    "wrong type": (("epochs: 4", "epochs: many"), "finetune.epochs: Input should be a valid integer"),
    "a list for a number": (("epochs: 4", "epochs: [4]"), "valid integer; found a list of 1"),
    "a number for a section": (
        ("foundation:\n  model: foundation.model", "foundation: 3"),
        "line 3: foundation: expected a section of keys and values; found 3",
    ),
    "nothing for a section": (
        ("  kind: inline", ""),
        "line 49: execution: expected a section of keys and values; found nothing",
    ),
    "negative count": (
        ("n_pool: 60", "n_pool: -1"),
        "sample.n_pool: Input should be greater than or equal to 1",
    ),
    "zero count": (("n_train: 12", "n_train: 0"), "label.n_train: "),
    "too small a test set": (
        ("n_test: 20", "n_test: 19"),
        "label.n_test: Input should be greater than or equal to 20",
    ),
    "negative seed": (("seed: 7", "seed: -7"), "line 2: seed: "),
    "not a number": (("lr: 0.0005", "lr: .nan"), "finetune.lr: "),
    "infinite": (("dft_emphasis: 0.3", "dft_emphasis: .inf"), "delta.dft_emphasis: "),
    "unknown oracle": (
        ("kind: tblite", "kind: gaussian"),
        "dft: kind 'gaussian' is not known; expected one of 'pyscf', ",
    ),
    "unknown method": (("GFN1-xTB", "GFN7-xTB"), "dft.method: "),
    "unknown generator": (("kind: reaction", "kind: reaktion"), "sample.generators"),
    "no such plug-in": (("kind: tblite", "kind: no_such_lab:Oracle"), "cannot be imported"),
    "plug-in of another family": (
        ("kind: tblite", "kind: pyacemaker.execution:InlineExecutor"),
        "not a subclass",
    ),
    "missing file": (("reactant: reactant.xyz", "reactant: reactants.xyz"), "reactants.xyz does not exist"),
    "directory for a file": (("reactant: reactant.xyz", "reactant: ."), "is a directory"),
    "missing key": (("      product: product.xyz\n", ""), "product: this key is required"),
    "a temperature of zero": (("temperatures: [200, 300]", "temperatures: [0]"), "explore.temperatures"),
    "no temperatures": (("temperatures: [200, 300]", "temperatures: []"), "explore.temperatures"),
    "bad checksum": (
        ("model: foundation.model", "model: foundation.model\n  sha256: abc"),
        "foundation.sha256",
    ),
    "unknown precision": (
        ("model: foundation.model", "model: foundation.model\n  dtype: half"),
        "foundation.dtype",
    ),
    "a date": (("seed: 7", "seed: 2001-99-99"), "not valid YAML"),
    "a key that is no text": (("seed: 7", "? [a, b]\n: 7"), "line 2 is not valid YAML: found unhashable key"),
    "a number as a key": (("seed: 7", "7: 7"), "line 2: 7: Keys should be strings"),
    "an alias of itself": (("seed: 7", "seed: &x [*x]"), "seed"),
    "tabs": (("  n_train: 12", "\tn_train: 12"), "config.yaml, line 26 is not valid YAML: found character"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_settings_are_named_with_their_line(tmp_path, name):
    change, expected = BAD[name]
    message = problem(tmp_path, change)
    assert expected in message
    assert "config.yaml" in message
    assert "Traceback" not in message
    assert len(message.splitlines()) == 1


def test_every_problem_is_reported_at_once(tmp_path):
    message = problem(
        tmp_path, ("seed: 7", "seed: x"), ("n_pool: 60", "n_pool: 0"), ("epochs: 4", "epoch: 4")
    )
    assert len(message.splitlines()) == 3


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "required"),
        (b"# nothing\n", "required"),
        (b"- 1\n", "expected keys and values"),
        (b"\xff\xfe\0", "text"),
    ],
)
def test_files_that_are_no_config(tmp_path, content, expected):
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=expected):
        load_config(path)


def test_the_defaults_are_valid_and_complete(tiny):
    keep = TINY.index("sample:")
    path = tiny()
    short = TINY[:keep] + TINY[keep : TINY.index("      n_path: 8")]
    path.write_text(short, encoding="utf-8")
    config = load_config(path)
    content = json.loads(config.model_dump_json(serialize_as_any=True))
    assert PyAceConfig.model_validate(content) == config
    assert len(read_structures(config.sample.generators[0].reactant)[-1]) == 6
