"""The wheel and the source distribution build, hold every file, and work where they are installed."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from conftest import ROOT
from pyacemaker import __version__

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = PROJECT["project"]["optional-dependencies"]
NOT_DATA = shutil.ignore_patterns(
    ".git", ".venv", ".*_cache", ".hypothesis", "__pycache__", "*.egg-info", "build", "dist", "runs", "_build"
)


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {normalised(item.name): str(item.specifier).removeprefix("==") for item in found}


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def distributions(tmp_path_factory) -> dict[str, Path]:
    """The source distribution, and the wheel made from it."""
    pytest.importorskip("build")
    source = tmp_path_factory.mktemp("source") / "tree"
    shutil.copytree(ROOT, source, ignore=NOT_DATA)
    out = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.suffix: path for path in out.iterdir()}


def test_the_wheel_holds_every_file_of_the_package(distributions):
    source = ROOT / "src" / "pyacemaker"
    expected = {
        str(path.relative_to(source.parent))
        for path in source.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(distributions[".whl"]) as wheel:
        names = set(wheel.namelist())
    assert expected == {name for name in names if ".dist-info/" not in name}
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_source_distribution_holds_what_the_tests_and_examples_need(distributions):
    with tarfile.open(distributions[".gz"]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"constraints.txt", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "README.md"} <= names
    left_over = {"__pycache__", ".hypothesis", "runs", "_build"}
    for folder in ("benchmarks", "containers", "docs", "examples", "tests"):
        files = [path.relative_to(ROOT) for path in (ROOT / folder).rglob("*") if path.is_file()]
        assert not {str(path) for path in files if not left_over & set(path.parts)} - names


def test_the_installed_wheel_works_without_the_sources(distributions, tmp_path):
    target = tmp_path / "site"
    with zipfile.ZipFile(distributions[".whl"]) as wheel:
        wheel.extractall(target)
    for arguments in (["--version"], ["template"], ["schema"]):
        done = subprocess.run(
            [sys.executable, "-m", "pyacemaker", *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(target)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()
    where = "import pyacemaker, importlib.metadata as m; print(pyacemaker.__file__, m.version('pyacemaker'))"
    found = subprocess.run(
        [sys.executable, "-c", where],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(target)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert Path(found[0]).is_relative_to(target)
    assert found[1] == __version__


def test_the_version_stands_in_one_place():
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert "version" not in PROJECT["project"]
    tree = ast.parse((ROOT / "src" / "pyacemaker" / "__init__.py").read_text(encoding="utf-8"))
    values = [
        node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__version__"
    ]
    assert values == [__version__]


def test_the_changelog_and_the_citation_are_of_this_version():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    releases = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", changelog, re.M)
    assert releases[0][0] == __version__
    assert releases == sorted(releases, key=lambda item: tuple(map(int, item[0].split("."))), reverse=True)
    groups = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)$", changelog, re.M)) <= groups
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["version"], str(citation["date-released"])) == releases[0]


def test_the_citation_has_what_its_format_requires():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["cff-version"] == "1.2.0"
    assert citation["license"] == PROJECT["project"]["license"]
    for work in [citation, *citation["references"]]:
        assert {"type", "title", "authors"} <= set(work)
        assert all({"name"} <= set(author) or {"family-names"} <= set(author) for author in work["authors"])
        assert re.fullmatch(r"10\.\d{4,}/\S+", work.get("doi", "10.1000/none"))


def test_extras_are_those_that_are_promised_and_every_package_is_pinned():
    assert {"pyscf", "gpaw", "vasp", "lammps", "report", "all", "test", "docs"} <= set(EXTRAS)
    named = [*PROJECT["project"]["dependencies"], *(item for extra in EXTRAS.values() for item in extra)]
    for item in map(Requirement, named):
        if item.name == "pyacemaker":
            assert item.extras <= set(EXTRAS)
            continue
        pinned = pins().get(normalised(item.name))
        assert pinned is not None, f"{item.name} has no pin in constraints.txt"
        assert pinned in item.specifier, f"{item.name}: the pin {pinned} is outside {item.specifier}"


def test_all_names_no_package_that_is_under_the_gpl_or_needs_a_compiler():
    (whole,) = map(Requirement, EXTRAS["all"])
    names = {Requirement(item).name for extra in whole.extras for item in EXTRAS[extra]}
    assert not names & {"gpaw", "lammps"}


def test_the_plain_install_brings_the_extras_that_the_example_needs():
    plain = {Requirement(item).name for item in PROJECT["project"]["dependencies"]}
    for extra in ("pyscf", "report"):
        assert {Requirement(item).name for item in EXTRAS[extra]} <= plain
