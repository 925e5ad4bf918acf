"""Programs that oracles start: their commands, versions and files."""

import re
import shlex
import shutil
import subprocess
import tempfile
from functools import lru_cache
from pathlib import Path

from pyacemaker.environment import expand
from pyacemaker.errors import ConfigError, EngineMissingError
from pyacemaker.oracles.calculators import one_line


def program_command(command: str, setting: str) -> str:
    """`command` with its variables put in; `EngineMissingError` when its program is not installed.

    setting: what to call it in messages.
    """
    expanded = expand(command).strip()
    if re.search(r"[;&|<>()`]", expanded):  # for a shell, which will say what is missing
        return expanded
    words = [word for word in shlex.split(expanded) if not re.match(r"\w+=", word)]
    if not words:
        raise ConfigError(f"{setting} is empty: name the program, such as `mpiexec -n 4 program`")
    if shutil.which(words[0]) is None:
        raise EngineMissingError(
            f"the program of {setting} {command!r} is not installed here: install it, load its module, or "
            "correct the command"
        )
    return expanded


@lru_cache(maxsize=32)
def program_output(command: str, timeout: float = 60.0) -> str:
    """What a command prints without input, run once per process in an empty directory."""
    with tempfile.TemporaryDirectory() as directory:
        try:
            done = subprocess.run(
                shlex.split(command),
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=timeout,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = type(error).__name__
            raise EngineMissingError(
                f"an engine's command cannot be run here ({reason}): correct it"
            ) from error
    return done.stdout.decode(errors="replace")


def printed_version(command: str, pattern: str, *, named: str, program: str) -> str:
    """The first group of `pattern` in what a command prints; `ConfigError` where it is not there.

    named: the command as `dft.command` has it, its variables not put in. program: what it should start.
    """
    text = program_output(command)
    found = re.search(pattern, text)
    if found is None:
        raise ConfigError(
            f"dft.command {named!r} does not start {program}; it says: {one_line(text) or 'nothing'}"
        )
    return found.group(1)


def existing_directory(path: str, setting: str) -> Path:
    """The directory that a setting names, variables put in; `ConfigError` when there is none."""
    found = Path(expand(path)).expanduser()
    if not found.is_dir():
        raise ConfigError(f"{setting}: the directory {path!r} does not exist: correct it")
    return found
