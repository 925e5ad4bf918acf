"""Runs VASP under custodian in the current directory: `python -m pyacemaker.oracles.vasp_custodian COMMAND`.

Only handlers of the electronic minimisation take part, and what they did is looked at afterwards: a run whose
k-points, positions, potentials or physical INCAR tags differ from what was asked for gives no label.
"""

import subprocess
import sys
from pathlib import Path
from typing import Any

from pyacemaker.oracles.vasp import MINIMISER_TAGS

HANDLED = ("amin", "edddav", "eddrmm", "eddiag", "zheev", "pssyevx", "pdsyevx")
"""VASP's complaints that another ALGO or mixing answers; the cures of the others change the physics."""

MAY_CHANGE = MINIMISER_TAGS | {"isearch", "icharg", "istart", "ncore", "npar", "kpar"}
"""INCAR tags of the minimiser, of its starting point, and of the parallelisation."""
OUTPUT = "custodian.out"
CHANGED_PHYSICS = 3
"""Exit code of a run whose input was changed beyond the minimiser."""

_INPUTS = ("KPOINTS", "POSCAR", "POTCAR")


def incar_tags(text: str) -> dict[str, str]:
    """The tags of an INCAR: {name in lower case: value in upper case}, comments left out."""
    tags = {}
    for line in text.replace(";", "\n").splitlines():
        name, equals, value = line.partition("#")[0].partition("!")[0].partition("=")
        if equals:
            tags[name.strip().lower()] = _canonical(value)
    return tags


def forbidden_changes(before: dict[str, str], directory: Path) -> list[str]:
    """What differs from the input `before` (from `inputs`) that may change the answer."""
    after = inputs(directory)
    changed = [name for name in _INPUTS if before[name] != after[name]]
    old, new = incar_tags(before["INCAR"]), incar_tags(after["INCAR"])
    tags = {tag for tag in set(old) | set(new) if old.get(tag) != new.get(tag)}
    return changed + sorted(tag.upper() for tag in tags - MAY_CHANGE)


def inputs(directory: Path) -> dict[str, str]:
    """The content of VASP's input files, empty where there is none."""
    paths = {name: directory / name for name in ("INCAR", *_INPUTS)}
    return {name: path.read_text() if path.is_file() else "" for name, path in paths.items()}


def run(command: str, directory: Path) -> int:
    """Run VASP under custodian in `directory`; the exit code for the caller."""
    from custodian.custodian import Custodian, CustodianError
    from custodian.vasp.handlers import NonConvergingErrorHandler, UnconvergedErrorHandler, VaspErrorHandler

    before = inputs(directory)
    handlers = [
        VaspErrorHandler(output_filename=OUTPUT, errors_subset_to_catch=list(HANDLED)),
        UnconvergedErrorHandler(),
        NonConvergingErrorHandler(),
    ]
    code = 0
    try:
        Custodian(handlers, [_job(command)], max_errors=4, directory=str(directory)).run()
    except CustodianError as error:
        sys.stdout.write(f"custodian gave up: {error}\n")
        code = 1
    changed = forbidden_changes(before, directory)
    if changed:
        sys.stdout.write(f"custodian changed {', '.join(changed)}, which may change the answer\n")
        return CHANGED_PHYSICS
    return code


def _job(command: str) -> Any:
    """A job of custodian's that stays in this process's group, so that a timeout ends VASP too."""
    import psutil
    from custodian.custodian import Job

    class Vasp(Job):  # type: ignore[misc]
        def __init__(self, command: str) -> None:
            self.command = command
            self.process: subprocess.Popen[bytes] | None = None

        def setup(self, directory: str = "./") -> None:
            pass

        def run(self, directory: str = "./") -> "subprocess.Popen[bytes]":
            with Path(directory, OUTPUT).open("wb") as output:
                self.process = subprocess.Popen(
                    self.command, shell=True, cwd=directory, stdout=output, stderr=subprocess.STDOUT
                )
            return self.process

        def terminate(self, directory: str = "./") -> None:
            if self.process is not None and self.process.poll() is None:
                for child in psutil.Process(self.process.pid).children(recursive=True):
                    child.terminate()
                self.process.terminate()

        def postprocess(self, directory: str = "./") -> None:
            pass

    return Vasp(command)


def _canonical(value: str) -> str:
    words = value.upper().split()
    return " ".join(_canonical_word(word) for word in words)


def _canonical_word(word: str) -> str:
    """Numbers and truth values in one spelling."""
    truth = word.strip(".")
    if truth in ("T", "TRUE", "F", "FALSE"):
        return truth[0]
    try:
        return repr(float(word.replace("D", "E")))
    except ValueError:
        return word


if __name__ == "__main__":
    sys.exit(run(" ".join(sys.argv[1:]), Path.cwd()))
