import inspect
import re

import pytest

from pyacemaker import errors
from pyacemaker.errors import PyacemakerError, UserError, described

CLASSES = [cls for _, cls in inspect.getmembers(errors, inspect.isclass) if cls.__module__ == errors.__name__]


def drawn_parents() -> dict[str, str]:
    """Child to parent, as the tree in the module's docstring draws them."""
    parents: dict[str, str] = {}
    branch: list[tuple[int, str]] = []
    for line in errors.__doc__.splitlines():
        match = re.match(r"^(?P<lead>[ │├└─]*)(?P<name>[A-Z]\w*Error)\b", line)
        if not match:
            continue
        depth = len(match["lead"])
        branch = [(at, name) for at, name in branch if at < depth]
        if branch:
            parents[match["name"]] = branch[-1][1]
        branch.append((depth, match["name"]))
    return parents


def test_the_drawn_tree_is_the_real_one():
    real = {cls.__name__: cls.__base__.__name__ for cls in CLASSES if cls is not PyacemakerError}
    assert drawn_parents() == real


@pytest.mark.parametrize("cls", CLASSES)
def test_the_user_s_mistakes_end_with_2_and_all_else_with_1(cls):
    assert cls.exit_code == (2 if issubclass(cls, UserError) else 1)
    assert issubclass(cls, PyacemakerError)


@pytest.mark.parametrize("cls", CLASSES)
def test_every_error_says_when_it_occurs(cls):
    assert cls.__doc__ is not None
    assert cls.__doc__.rstrip().endswith(".")


def test_no_empty_reasons():
    assert described(AssertionError()) == "AssertionError"
    assert described(ValueError("a number")) == "ValueError: a number"
