"""The tutorial is a well-formed notebook in the percent format; that it runs, CI shows."""

import ast
import re
from dataclasses import dataclass
from functools import cache

import pytest
from fenced_blocks import ROOT

TUTORIAL = ROOT / "examples" / "UAT_AND_TUTORIAL.py"
MARK = re.compile(r"^# %%(?P<kind>.*)\n", re.MULTILINE)


@dataclass(frozen=True)
class Cell:
    kind: str
    text: str
    line: int

    def __str__(self) -> str:
        return f"line {self.line}"


@cache
def cells() -> tuple[Cell, ...]:
    text = TUTORIAL.read_text(encoding="utf-8")
    marks = list(MARK.finditer(text))
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    return tuple(
        Cell(mark["kind"].strip(), text[mark.end() : end], text.count("\n", 0, mark.start()) + 1)
        for mark, end in zip(marks, ends, strict=True)
    )


def test_it_starts_with_what_notebooks_read():
    head = TUTORIAL.read_text(encoding="utf-8")[: MARK.search(TUTORIAL.read_text(encoding="utf-8")).start()]
    assert "format_name: percent" in head
    assert all(line == "" or line.startswith("#") for line in head.splitlines())
    assert len(cells()) > 15


@pytest.mark.parametrize("cell", cells(), ids=str)
def test_a_cell_is_text_or_python_that_parses_alone(cell):
    assert cell.kind in {"", "[markdown]"}
    if cell.kind:
        assert cell.text.strip()
        assert all(line == "" or line == "#" or line.startswith("# ") for line in cell.text.splitlines())
    else:
        assert ast.parse(cell.text).body, "a cell without a statement"


@pytest.mark.parametrize(
    "number",
    [k for k, cell in enumerate(cells()) if "**Scenario" in cell.text],
    ids=lambda k: str(cells()[k]),
)
def test_a_scenario_prints_what_it_measured_and_asserts_it(number):
    tree = ast.parse(cells()[number + 1].text)
    asserts = [node for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    assert len(asserts) >= 2
    for node in asserts:
        assert any(isinstance(part, ast.Name) for part in ast.walk(node.test)), ast.unparse(node)
    calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    printed_before = "print(" in cells()[number - 1].text
    assert "print" in calls or printed_before


def test_there_is_a_scenario_for_all_that_it_promises():
    text = TUTORIAL.read_text(encoding="utf-8")
    named = re.findall(r"\*\*Scenario: ([^*]+)\.\*\*", text)
    assert {"the labels", "resuming costs no label", "the verdict", "the profile", "LAMMPS"} <= set(named)
    assert re.search(r"^[^#\n]*LammpsDriver\(", text, re.M)


def test_ci_runs_it_in_rehearsal():
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if TUTORIAL.name in line]
    assert line.startswith("python examples/")
    assert "--full" not in line
