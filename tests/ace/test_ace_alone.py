"""The ACE engine works without the pipeline and without what the pipeline is built on."""

import subprocess
import sys

HEAVY = ("torch", "mace", "sklearn", "pyscf", "tblite", "matplotlib", "pandas", "typer", "rich")
PIPELINE = ("potentials", "selection", "generators", "oracles", "trainers", "execution", "workflow", "cli")


def test_the_engine_loads_nothing_heavy_and_no_part_of_the_pipeline():
    script = (
        "import pkgutil, sys, importlib, pyacemaker.ace as ace\n"
        "for found in pkgutil.iter_modules(ace.__path__):\n"
        "    importlib.import_module(f'pyacemaker.ace.{found.name}')\n"
        "print(*sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "pyacemaker.ace.evaluator" in loaded
    assert not loaded & set(HEAVY)
    assert not loaded & {f"pyacemaker.{name}" for name in PIPELINE}


def test_reading_a_potential_needs_no_compiler():
    script = "import sys; from pyacemaker.ace.yace import read_yace; print('numba' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"
