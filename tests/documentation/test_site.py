"""The documentation builds without a warning, with every page and every setting in it."""

import html
import re
import subprocess
import sys

import pytest
from fenced_blocks import ROOT

from pyacemaker.config import PyAceConfig
from pyacemaker.docstrings import field_docs

sys.path.insert(0, str(ROOT / "docs"))
from settings_page import settings_places, settings_tables

sys.path.remove(str(ROOT / "docs"))


def test_the_site_builds_without_warnings(tmp_path):
    pytest.importorskip("sphinx")
    options = ["-q", "-W", "--keep-going", "-d", tmp_path / "trees"]
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, "docs", tmp_path / "site"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")}
    assert pages <= {page.stem for page in (tmp_path / "site").glob("*.html")}
    contents = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    for page in pages - {"index"}:
        assert f'href="{page}.html"' in contents, f"{page} is not in the contents"
    settings = html.unescape((tmp_path / "site" / "configuration.html").read_text(encoding="utf-8"))
    assert settings.count("<table") > 40
    assert "Total weight of the DFT-labelled structures" in settings


def test_every_setting_is_in_the_reference_with_its_meaning():
    tables = settings_tables()
    for model in settings_places():
        anchor = f"(settings-{model.__module__.rpartition('.')[2]}-{model.__name__})=".lower()
        section = tables.partition(anchor)[2].partition("\n(settings-")[0]
        assert section, model
        meanings = field_docs(model)
        for name, field in model.model_fields.items():
            if name == "kind":
                continue
            row = re.search(rf"^\| `{name}`.*\|$", section, re.M)
            assert row is not None, (model, name)
            meaning = " ".join(meanings.get(name, "").split()).replace("|", "\\|").replace("None", "null")
            assert meaning[:30] in row[0]
            assert ("**required**" in row[0]) == field.is_required()


def test_every_key_of_the_schema_is_in_the_reference():
    known = {name for model in settings_places() for name in model.model_fields}
    for definition in PyAceConfig.model_json_schema()["$defs"].values():
        assert set(definition.get("properties", {})) <= known


def test_links_of_the_readme_lead_to_files():
    for name in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\]\(([^)#:]+)[)#]", (ROOT / name).read_text(encoding="utf-8")):
            assert (ROOT / target).exists(), f"{name}: {target}"
