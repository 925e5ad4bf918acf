import re
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from pyacemaker.oracles import AnyOracle

PAGE = Path(__file__).parents[2] / "docs" / "oracles.md"
EXAMPLES = [
    yaml.safe_load(block)["dft"] for block in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.S)
]


@pytest.mark.parametrize("settings", EXAMPLES, ids=[example["kind"] for example in EXAMPLES])
def test_examples_of_the_page_are_valid(settings):
    oracle = TypeAdapter(AnyOracle).validate_python(settings)
    assert oracle.kind == settings["kind"]
    assert TypeAdapter(AnyOracle).validate_python(oracle.model_dump(mode="json")) == oracle


def test_every_kind_stands_on_the_page():
    with pytest.raises(ValueError) as caught:
        TypeAdapter(AnyOracle).validate_python({"kind": "dft"})
    kinds = set(re.findall(r"'(\w+)'", str(caught.value).partition("expected tags")[2].partition("[type")[0]))
    assert {"gpaw", "vasp", "ase", "tblite"} <= kinds
    table = PAGE.read_text().split("## Keys")[0]
    assert [kind for kind in kinds if f"`{kind}`" not in table] == []
