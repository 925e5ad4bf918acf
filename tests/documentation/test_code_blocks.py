"""Every code block of the README and of the pages is run, or parsed against the program, or says why not."""

import io
import re
import shutil
import tomllib
from contextlib import chdir, redirect_stdout

import click
import pytest
import typer
import yaml
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.io import write
from fenced_blocks import ROOT, Block, all_blocks, blocks_in, shell_commands

from pyacemaker.cli.main import app
from pyacemaker.config import PyAceConfig

LANGUAGES = {"bash", "python", "yaml", "", "{toctree}"}
RUN_ELSEWHERE = {"README.md": "tests/cli/test_cli_help.py", "docs/ace.md": "tests/ace/test_ace_docs.py"}
"""Pages whose Python blocks another test runs."""
TOOLS = {"source", "pytest", "ruff", "mypy", "lint-imports", "cd", "git", "sphinx-build"}
"""Programs whose options are not looked at."""
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

CONFIG = """\
foundation: {model: foundation.model}
dft: {kind: emt}
sample: {generators: [{kind: crystal, formula: Al}]}
execution: {kind: inline}
"""
TOO_LONG = {
    "run": "half a minute at least; `finished` runs all steps",
    "doctor": "computes with every engine",
}
"""Commands that are parsed only (`run --dry-run` is run)."""
PAGES_TO_RUN = ("README.md", "docs/getting-started.md", "docs/commands.md", "docs/report.md", "docs/ace.md")


def test_all_blocks_are_found_and_of_a_known_language():
    blocks = all_blocks()
    fences = sum(len(re.findall(r"^```", page.read_text(encoding="utf-8"), re.M)) for page in _pages())
    assert 2 * len(blocks) == fences
    for block in blocks:
        assert block.language in LANGUAGES, f"{block}: a block in {block.language!r} is not run by any test"
        if block.language == "":
            run = re.search(r"^(\$ |pyacemaker |python3? |pip )", block.text, re.M)
            assert run is None, (
                f"{block}: a command in a block without a language is not tested, name it bash"
            )


def _pages():
    return {ROOT / block.page for block in all_blocks()}


def test_blocks_that_are_not_run_are_few_and_say_why():
    skipped = [block for block in all_blocks() if block.reason is not None]
    assert all(len(block.reason) > 10 for block in skipped)
    assert len(skipped) <= 6


@pytest.mark.parametrize("block", blocks_in("bash"), ids=str)
def test_shell_commands_exist_and_so_do_their_options_and_files(block: Block):
    commands = shell_commands(block.text)
    assert commands
    for words in commands:
        program, *arguments = words
        program = program.removeprefix(".venv/bin/")
        if program == "pyacemaker":
            parse(arguments)
        elif program in ("python", "python3"):
            check_python(arguments)
        elif program == "pip":
            check_pip(arguments)
        else:
            assert program in TOOLS, f"{block}: nothing checks {program!r}; write <!-- not run: why --> above"


def parse(arguments: list[str]) -> None:
    """Parse a command line with the program's own parser, without running it."""
    group = typer.main.get_command(app)
    name, *rest = arguments
    assert name in group.commands, name
    with redirect_stdout(io.StringIO()):
        try:
            group.commands[name].make_context(name, list(rest))
        except click.exceptions.Exit:
            pass
        except click.UsageError as error:
            pytest.fail(f"pyacemaker {' '.join(arguments)}: {error.format_message()}")


def check_python(arguments: list[str]) -> None:
    if arguments[0] == "-m":
        assert arguments[1] in {"venv", "pytest", "build", "pip", "sphinx", "pyacemaker"}
        return
    script = ROOT / arguments[0]
    assert script.is_file(), script
    text = script.read_text(encoding="utf-8")
    for option in (word for word in arguments[1:] if word.startswith("--")):
        assert f'"{option}"' in text, f"{script} has no option {option}"


def check_pip(arguments: list[str]) -> None:
    """The files are there, and so are the extras; named packages are dependencies with the pinned version."""
    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    )
    assert arguments[0] == "install"
    for word in arguments[1:]:
        name, _, version = word.partition("==")
        if word in ("-c", "-e"):
            continue
        if word.startswith((".", "pyacemaker")):
            extras = re.findall(r"[\w-]+", word.partition("[")[2])
            assert set(extras) <= set(PROJECT["optional-dependencies"]), word
        elif word.endswith(".txt"):
            assert (ROOT / word).is_file()
        else:
            assert pins[name] == version, f"{word}: constraints.txt pins {pins.get(name)}"


@pytest.fixture
def workplace(tmp_path, finished):
    """A folder with the files that the pages' commands name."""
    folder = tmp_path
    (folder / "config.yaml").write_text(CONFIG, encoding="utf-8")
    (folder / "fit.yaml").write_text("functions: 20\nrefinement: none\ncutoff: 4.0\n", encoding="utf-8")
    shutil.copyfile(ROOT / "tests" / "data" / "cual_foundation.model", folder / "foundation.model")
    for name, n in {"train": 8, "test": 2, "pool": 60, "new": 2}.items():
        frames = []
        for seed in range(n):
            atoms = bulk("Cu", "fcc", a=3.4 + 0.4 * seed / n, cubic=True)
            atoms.rattle(0.02 + 0.1 * seed / n, seed=seed)
            atoms.calc = EMT()
            atoms.get_forces(), atoms.get_stress()
            frames.append(atoms)
        write(folder / f"{name}.extxyz", frames)
    write(folder / "POSCAR", bulk("Cu", cubic=True), format="vasp")
    write(folder / "structure.xyz", molecule("CH3Cl"))
    for name in ("a.xyz", "b.xyz"):
        source = {"a.xyz": "reactant.xyz", "b.xyz": "product.xyz"}[name]
        shutil.copyfile(ROOT / "examples" / "sn2" / source, folder / name)
    for name in ("NAME", "OTHER", "sn2", "sn2-rehearsal"):
        shutil.copytree(finished.directory, folder / "runs" / name)
    return folder


def test_commands_of_the_pages_run(cli, workplace):
    """All but those that take too long, in the order of the pages."""
    ran = set()
    with chdir(workplace):
        for block in [block for page in PAGES_TO_RUN for block in blocks_in("bash") if block.page == page]:
            for words in shell_commands(block.text):
                if not words[0].endswith("pyacemaker"):
                    continue
                name, *arguments = words[1:]
                if name in TOO_LONG and "--dry-run" not in arguments:
                    continue
                if name == "fit" and "--config" not in arguments:
                    arguments += ["--config", "fit.yaml"]  # its defaults take minutes of two cores
                answer = cli(name, *arguments)
                assert answer.code == 0, f"{block}: pyacemaker {name} {arguments}: {answer.err}"
                ran.add(name)
    assert ran == set(typer.main.get_command(app).commands) - {"doctor"}


@pytest.mark.parametrize("block", blocks_in("yaml"), ids=str)
def test_settings_are_valid(block: Block, tmp_path):
    (tmp_path / "foundation.model").touch()
    content = yaml.safe_load(CONFIG)
    given = yaml.safe_load(block.text)
    if isinstance(given, list):
        given = {"sample": {"generators": given}}
    PyAceConfig.model_validate({**content, **given}, context={"base_dir": tmp_path})


def python_pages() -> list[str]:
    pages = {block.page for block in blocks_in("python")} - set(RUN_ELSEWHERE) - {"docs/extending.md"}
    return sorted(pages)


@pytest.mark.parametrize("page", python_pages())
def test_python_blocks_run(page, finished, workplace):
    """One after the other, in one namespace, with the files of a finished run."""
    shutil.copyfile(finished.directory / "output" / "potential.yace", workplace / "potential.yace")
    names: dict[str, object] = {}
    with chdir(workplace), redirect_stdout(io.StringIO()):
        for block in blocks_in("python"):
            if block.page == page:
                exec(compile(block.text, str(block), "exec"), names)


@pytest.mark.parametrize(("page", "test"), RUN_ELSEWHERE.items())
def test_other_pages_have_a_test_of_their_own(page, test):
    assert any(block.page == page for block in blocks_in("python"))
    text = (ROOT / test).read_text(encoding="utf-8")
    assert page.rpartition("/")[2] in text
    assert "exec(" in text
