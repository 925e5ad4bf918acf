"""The JSON schema agrees with what the settings accept, and explains every key."""

import jsonschema
import pytest
import yaml

from conftest import ROOT, TINY
from pyacemaker.config import PyAceConfig
from pyacemaker.json_schema import config_schema


@pytest.fixture(scope="module")
def validator():
    schema = config_schema(PyAceConfig)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def complaints(validator, text) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(yaml.safe_load(text))]


CONFIGS = sorted(
    [*ROOT.glob("examples/*/config.yaml"), *ROOT.glob("src/pyacemaker/cli/templates/*.yaml")],
    key=lambda path: path.as_posix(),
)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_examples_and_templates_fit_the_schema(validator, path):
    assert complaints(validator, path.read_text()) == []


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("seed: 7", "sead: 7", "sead"),
        ("seed: 7", "seed: seven", "$.seed"),
        ("kind: tblite", "kind: tblit", "$.dft"),
        ("  kind: tblite\n", "", "$.dft"),
        ("method: GFN1-xTB", "method: GFN3-xTB", "$.dft.method"),
        ("method: GFN1-xTB", "xc: PBE0", "xc"),
        ("n_path: 8", "n_paths: 8", "n_paths"),
        ("n_train: 12", "n_train: 0", "$.label.n_train"),
        ("epochs: 4", "epochs: many", "$.finetune.epochs"),
        ("kind: inline", "kind: inlined", "$.execution"),
        ("foundation:\n  model: foundation.model\n", "", "foundation"),
    ],
)
def test_what_the_settings_refuse_the_schema_refuses_too(validator, old, new, where):
    assert old in TINY
    found = complaints(validator, TINY.replace(old, new))
    assert any(where in complaint for complaint in found), found


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("kind: tblite\n  method: GFN1-xTB", "kind: my_lab.oracles:Ours\n  speed: 3"),
        ("kind: inline", "backend: local"),
        ("kind: inline", "kind: local\n  workers: 2"),
        ("functions: 80", "cutoff: 5.0"),
    ],
)
def test_what_the_settings_accept_the_schema_accepts(validator, old, new):
    assert old in TINY
    assert complaints(validator, TINY.replace(old, new)) == []


def test_every_kind_is_named_and_every_key_explained(validator):
    schema = validator.schema
    kinds = schema["properties"]["dft"]["properties"]["kind"]["anyOf"][0]["enum"]
    assert {"pyscf", "gpaw", "vasp", "espresso", "cp2k", "abinit"} <= set(kinds)
    for name, definition in schema["$defs"].items():
        for key, content in definition.get("properties", {}).items():
            explained = "description" in content or key in ("kind", "limits", "element") or "$ref" in content
            assert explained, (name, key)
    assert schema["properties"]["seed"]["description"] == "Every random number of the run follows from it."
