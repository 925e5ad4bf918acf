import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

import pyacemaker

HEAVY = {"torch", "mace", "pyscf", "matplotlib", "sklearn", "e3nn", "numba", "tblite", "vesin"}


def modules_after(statement: str) -> set[str]:
    """Top-level packages that a fresh interpreter holds after `statement`."""
    code = (
        f"{statement}\nimport sys, json; print(json.dumps(sorted({{n.split('.')[0] for n in sys.modules}})))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_all_is_sorted_and_every_name_in_it_can_be_had():
    assert pyacemaker.__all__ == sorted(pyacemaker.__all__)
    for name in pyacemaker.__all__:
        assert getattr(pyacemaker, name) is not None
    assert callable(pyacemaker.fit_ace)
    assert callable(pyacemaker.run)
    assert isinstance(pyacemaker.ACECalculator, type)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'fit_mace'"):
        _ = pyacemaker.fit_mace


@pytest.mark.parametrize(
    "statement",
    [
        "import pyacemaker",
        "import pyacemaker.config",
        "import pyacemaker.structures.formats",
        "import pyacemaker.baselines",
    ],
)
def test_importing_is_cheap(statement):
    assert not modules_after(statement) & HEAVY


def test_importing_leaves_logging_and_the_random_state_alone():
    code = (
        "import logging, numpy as np; before = np.random.get_state()[1].sum()\n"
        "import pyacemaker.config\n"
        "assert not logging.getLogger().handlers and not logging.getLogger('pyacemaker').handlers\n"
        "assert np.random.get_state()[1].sum() == before\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_package_is_typed_and_has_the_version_of_its_metadata():
    from importlib.metadata import version

    assert (Path(pyacemaker.__file__).parent / "py.typed").exists()
    assert pyacemaker.__version__ == version("pyacemaker")


def test_every_module_can_be_imported_and_says_what_it_is():
    root = Path(pyacemaker.__file__).parent
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root.parent).with_suffix("").parts
        if "templates" in parts:
            continue
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        module = importlib.import_module(name)
        assert module.__doc__, f"{name} has no docstring"


def test_the_package_runs_as_the_command_line():
    done = subprocess.run(
        [sys.executable, "-m", "pyacemaker", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == pyacemaker.__version__
