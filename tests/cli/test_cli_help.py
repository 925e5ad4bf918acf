"""Help is instant, and the README tells the truth about the commands."""

import json
import re
import shlex
import subprocess
import sys
from importlib import resources

import pytest
import typer

from conftest import ROOT
from pyacemaker import __version__
from pyacemaker.cli.main import app

README = (ROOT / "README.md").read_text(encoding="utf-8")
HEAVY = {
    "torch",
    "mace",
    "e3nn",
    "pyscf",
    "tblite",
    "matplotlib",
    "sklearn",
    "scipy",
    "ase",
    "numba",
    "pebble",
}
MAIN = "import sys; sys.argv = ['pyacemaker', {arguments}]; from pyacemaker.cli.main import main\n"


def commands() -> dict[str, set[str]]:
    """The options (and a `-n` for `select`) of every command."""
    group = typer.main.get_command(app)
    return {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in group.commands.items()
    }


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.S)


def readme_commands() -> list[list[str]]:
    """Every `pyacemaker …` of the README's shell blocks and of its running text, split into words."""
    inline = re.findall(r"`(pyacemaker [^`]+)`", README)
    lines = [line for block in blocks("bash") for line in block.splitlines()] + inline
    found = [re.search(r"(?:^|/|\s)pyacemaker (.*)", line.partition("#")[0]) for line in lines]
    return [shlex.split(match[1]) for match in found if match]


def test_help_is_quick_and_imports_nothing_heavy():
    code = (
        MAIN.format(arguments="'--help'")
        + "try: main()\nexcept SystemExit: pass\n"
        + "import json, os; names = sorted({name.split('.')[0] for name in sys.modules})\n"
        + "print(json.dumps([sum(os.times()[:2]), names]))"
    )
    measured = []
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        seconds, modules = json.loads(done.stdout.splitlines()[-1])
        assert not HEAVY & set(modules)
        measured.append(seconds)
    assert min(measured) < 0.7


@pytest.mark.parametrize("name", commands())
def test_every_command_explains_itself(cli, name):
    answer = cli(name, "--help")
    assert answer.code == 0
    assert "Usage: " in answer.out
    group = typer.main.get_command(app)
    for parameter in group.commands[name].params:
        if parameter.param_type_name == "option" and "--help" not in parameter.opts:
            assert parameter.help, (name, parameter.name)


def test_no_arguments_show_the_help(cli):
    answer = cli()
    assert "Usage: " in answer.out + answer.err
    assert answer.code in (0, 2)


def test_the_version(cli):
    assert cli("--version").out.strip() == __version__


def test_the_commands_are_those_of_the_design():
    assert set(commands()) == {
        "run",
        "status",
        "validate",
        "template",
        "fit",
        "evaluate",
        "activeset",
        "select",
        "label",
        "export",
        "schema",
        "completion",
        "compare",
        "doctor",
        "report",
    }


def test_every_command_in_the_readme_exists():
    found = readme_commands()
    assert {words[0] for words in found} == set(commands())
    for name, *words in found:
        options = {word for word in words if word.startswith("-")}
        assert options <= commands()[name], (name, options)


def test_the_readme_names_files_that_exist():
    for name in re.findall(r"examples/[\w./]+|constraints\.txt", README):
        assert (ROOT / name).is_file(), name


@pytest.mark.parametrize("which", ["run", "test"])
def test_the_setup_commands_are_one_line_each(which):
    found = re.search(rf"<!-- {which} command -->\s*```bash\n(.*?)```", README, re.S)
    assert found is not None
    command = found[1].strip()
    assert "\n" not in command
    assert command.startswith("python3 -m venv .venv && ")
    assert "-c constraints.txt" in command


def test_ci_takes_the_test_command_from_the_readme():
    script = (ROOT / ".ci" / "run").read_text()
    assert "<!-- test command -->" in script
    assert "pip install" not in script
    assert subprocess.run(["bash", "-n", str(ROOT / ".ci" / "run")]).returncode == 0


def test_the_python_example_of_the_readme_runs(finished, monkeypatch):
    import ase.io
    from ase import Atoms

    (block,) = blocks("python")
    assert "ACECalculator(" in block
    structure = ase.io.read(finished.directory / "02_label" / "test.extxyz", index=0)
    code = block.replace('"potential.yace"', "potential").replace('"structure.xyz"', "structure")
    potential = str(finished.directory / "output" / "potential.yace")
    names = {"potential": potential, "structure": str(finished.directory / "02_label" / "test.extxyz")}
    exec(code, names)
    assert isinstance(names["atoms"], Atoms)
    assert names["forces"].shape == (len(structure), 3)
    assert abs(names["forces"].sum(axis=0)).max() < 1e-6


def test_the_tree_in_the_readme_is_what_a_run_leaves(finished):
    block = README.partition("## What a run leaves behind")[2].split("```")[1]
    for name in re.findall(r"[\w./]+\.(?:yaml|json|log|csv|yace|lammps)", block):
        assert list(finished.directory.glob(name)), name


def test_templates_are_valid_configs(cli, tiny, tmp_path):
    folder = tiny().parent
    names = cli("template", "list").out.split()
    files = resources.files("pyacemaker.cli") / "templates"
    assert sorted(f"{name}.yaml" for name in names) == sorted(item.name for item in files.iterdir())
    for name in names:
        text = cli("template", name).out
        (folder / "config.yaml").write_text(
            text.replace("medium-mpa-0", "foundation.model"), encoding="utf-8"
        )
        answer = cli("validate", folder / "config.yaml")
        assert answer.code == 0, answer.err
    assert cli("template").out == cli("template", "reaction").out


def test_an_unknown_template_lists_the_known_ones(cli):
    answer = cli("template", "reactions")
    assert answer.code == 2
    assert "expected one of reaction" in answer.complaint()


@pytest.mark.parametrize(
    "arguments",
    ["ruin", "run", "run a b", "fit --speed", "select x -n two", "select x -n 2 --method best", "evaluate a"],
)
def test_usage_errors_end_with_2(cli, arguments):
    answer = cli(*arguments.split())
    assert answer.code == 2
    assert "Usage:" in answer.complaint()
