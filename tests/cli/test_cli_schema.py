"""`pyacemaker schema` and `completion`."""

import json
import os
import subprocess
import sys

import pytest

from pyacemaker.cli.completion import COMPLETION_VARIABLE, SHELLS
from pyacemaker.config import PyAceConfig


def test_the_schema_is_printed_or_written(cli, tmp_path):
    printed = cli("schema")
    assert printed.code == 0
    content = json.loads(printed.out)
    assert content["$schema"].startswith("https://json-schema.org/")
    assert set(PyAceConfig.model_fields) <= set(content["properties"])
    path = tmp_path / "new" / "pyacemaker.schema.json"
    path.parent.mkdir()
    answer = cli("schema", "-o", path)
    assert answer.code == 0
    assert answer.out == ""
    assert f"# yaml-language-server: $schema={path}" in answer.err
    assert path.read_text() == printed.out
    assert cli("schema", "-o", tmp_path).code == 2


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_scripts(cli, monkeypatch, shell):
    answer = cli("completion", shell)
    assert answer.code == 0
    assert COMPLETION_VARIABLE in answer.out
    monkeypatch.setenv("SHELL", f"/usr/bin/{shell}")
    assert cli("completion").out == answer.out


def test_shells_without_a_script(cli, monkeypatch):
    answer = cli("completion", "csh")
    assert answer.code == 2
    assert "'csh' has no completion script; expected one of bash, zsh, fish" in answer.complaint()
    monkeypatch.delenv("SHELL", raising=False)
    assert "$SHELL names no shell" in cli("completion").complaint()


@pytest.mark.parametrize(
    ("words", "expected"), [("pyacemaker val", "validate"), ("pyacemaker run --re", "--rehearse")]
)
def test_bash_completes(words, expected):
    asked = {COMPLETION_VARIABLE: "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; sys.argv[0] = 'pyacemaker'; import pyacemaker.cli.main as m; m.main()",
        ],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
    )
    assert expected in done.stdout.split(), done.stderr
