"""The programs of a pacemaker installation, all reached through the one command that the settings name."""

import json
import logging
import os
import shlex
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pyacemaker.environment import expand, hide
from pyacemaker.errors import ConfigError, EngineMissingError, TrainingError
from pyacemaker.processes import die_with_parent

TABLE_SCRIPT = Path(__file__).with_name("pacemaker_table.py")
_TAIL_LINES = 15
_CURE = "install it (docs/pacemaker.md), or correct the command"
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PacemakerPrograms:
    """Where pacemaker and its companions are.

    command: what starts `pacemaker`, as words; its last word names the program, and the companions are found
    in its place: `conda run -n ace pacemaker` gives `conda run -n ace pace_yaml2yace`. python: the same for
    the installation's Python, found beside the program where it is not given. threads: of each program.
    """

    command: tuple[str, ...]
    python: tuple[str, ...]
    threads: int = 1

    @classmethod
    def find(cls, command: str, python: str | None = None, threads: int = 1) -> "PacemakerPrograms":
        """The programs behind a command such as `pacemaker`, `${PACEMAKER}` or `conda run -n ace pacemaker`.

        Raises `EngineMissingError` where its first word is no program, `ConfigError` where it is empty.
        """
        words = _words(command, "command")
        found = _python_of(words) if python is None else _words(python, "python")
        return cls(words, found, threads)

    def companion(self, name: str) -> tuple[str, ...]:
        """The words that start another program of the same installation."""
        return (*self.command[:-1], _beside(self.command[-1], name))

    def environment(self) -> dict[str, str]:
        """The present environment with the number of threads, and without what redirects pacemaker's data."""
        environment = {**os.environ, **dict.fromkeys(_THREADS, str(self.threads))}
        environment |= {"TF_NUM_INTEROP_THREADS": "1", "PYTHONHASHSEED": "0", "TF_CPP_MIN_LOG_LEVEL": "2"}
        environment.pop("PACEMAKERDATAPATH", None)
        # the installation has a Python of its own, which must not load this one's packages
        environment.pop("PYTHONPATH", None)
        environment.pop("PYTHONHOME", None)
        return environment

    def write_table(self, source: Path, target: Path) -> None:
        """The extended XYZ file `source` as a table that this pacemaker reads."""
        self.run((*self.python, str(TABLE_SCRIPT), "write", source.name, target.name), source.parent)

    def to_yace(self, potential: Path, out: Path) -> None:
        """Convert a B-basis `.yaml` into the `.yace` file `out`."""
        words = (*self.companion("pace_yaml2yace"), potential.name, "-o", str(out.absolute()))
        self.run(words, potential.parent)
        if not out.is_file():
            raise TrainingError(
                f"pace_yaml2yace left no {out.name} of {potential}; look into its output there"
            )

    def active_set(self, potential: Path, table: Path) -> Path:
        """The active set of a B-basis `.yaml` in the environments of a table: `.asi`, beside it."""
        words = (*self.companion("pace_activeset"), "-d", table.name, "-a", potential.name)
        self.run(words, potential.parent)
        return potential.with_suffix(".asi")

    def select(self, potential: Path, table: Path, elements: tuple[str, ...], most: int = -1) -> list[int]:
        """Rows of a table that extend the potential's active set most (MaxVol), at most so many; -1: all.

        The active set is the `.asi` file beside the potential; without one, rows are chosen from scratch.
        """
        directory = potential.parent
        words = [*self.companion("pace_select"), "-p", potential.name, "-e", " ".join(elements)]
        words += ["-m", str(most), "-o", "selected.pkl.gz", table.name]
        self.run(tuple(words), directory)
        self.run((*self.python, str(TABLE_SCRIPT), "selected", "selected.pkl.gz", "selected.json"), directory)
        rows: list[int] = json.loads((directory / "selected.json").read_text(encoding="utf-8"))
        return rows

    def version(self) -> str:
        """What `pacemaker --version` says, on one line."""
        done = subprocess.run(
            [*self.command, "--version"],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=120,
        )
        lines = [line for line in done.stdout.decode(errors="replace").splitlines() if "version" in line]
        if done.returncode != 0 or not lines:
            raise EngineMissingError(
                f"`{hide(shlex.join(self.command))} --version` ended with exit code {done.returncode} and no "
                f"version: it is no working pacemaker; {_CURE}"
            )
        return "; ".join(" ".join(line.split()) for line in lines)

    def start(self, words: tuple[str, ...], directory: Path, log: Path) -> "subprocess.Popen[bytes]":
        """Start a program in a session of its own; what it says goes to `log`."""
        with log.open("ab") as handle:
            try:
                return subprocess.Popen(
                    words,
                    cwd=directory,
                    env=self.environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=handle,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=die_with_parent,  # noqa: PLW1509 - the child only calls prctl before exec
                )
            except OSError as error:
                named = hide(shlex.join(words))
                raise EngineMissingError(f"`{named}` cannot be started ({error}): {_CURE}") from error

    def run(self, words: tuple[str, ...], directory: Path, timeout_s: float | None = None) -> None:
        """Run a program to its end; `TrainingError` with the end of its output where it fails."""
        log = directory / f"{Path(words[-1]).stem if len(words) == 1 else 'programs'}.log"
        process = self.start(words, directory, log)
        try:
            process.wait(timeout_s)
        finally:
            end_group(process)
        if process.returncode != 0:
            named = hide(shlex.join(words))
            raise TrainingError(
                f"`{named}` ended with exit code {process.returncode}; the end of {log}:\n{tail(log)}"
            )


def tail(path: Path) -> str:
    """The last lines of a text file; empty where there is none."""
    if not path.is_file():
        return ""
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL_LINES:])


def end_group(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process and its children, where it still runs."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _words(command: str, setting: str) -> tuple[str, ...]:
    words = tuple(shlex.split(expand(command)))
    if not words:
        raise ConfigError(
            f"trainer.{setting} is empty: name the program, such as `conda run -n ace pacemaker`"
        )
    if shutil.which(words[0]) is None:
        raise EngineMissingError(
            f"the program of trainer.{setting} {command!r} is not installed here: {_CURE}"
        )
    return words


def _beside(program: str, name: str) -> str:
    return str(Path(program).with_name(name)) if "/" in program else name


def _python_of(words: tuple[str, ...]) -> tuple[str, ...]:
    """The Python of an installation: that of the program's first line, or `python` in its place."""
    script = shutil.which(words[-1]) if len(words) == 1 else None
    if script is not None:
        with open(script, "rb") as handle:
            first = handle.readline(512).decode(errors="replace").strip()
        named = shlex.split(first[2:]) if first.startswith("#!") else []
        if named and Path(named[0]).name.startswith("python"):
            return (named[0],)
        beside = Path(script).with_name("python")
        return (str(beside) if beside.exists() else "python",)
    return (*words[:-1], _beside(words[-1], "python"))
