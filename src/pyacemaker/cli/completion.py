"""`pyacemaker completion`."""

import os
from pathlib import Path
from typing import Annotated

import typer

COMPLETION_VARIABLE = "_PYACEMAKER_COMPLETE"
"""The environment variable by which a shell asks for completions."""
SHELLS = ("bash", "zsh", "fish")
"""The shells that have a completion script."""


def completion(
    shell: Annotated[
        str | None, typer.Argument(help="bash, zsh or fish; default: the one in $SHELL.")
    ] = None,
) -> None:
    """Print the shell's completion script: commands and options complete with the Tab key.

    In bash: eval "$(pyacemaker completion bash)", in ~/.bashrc for good; likewise in zsh; in fish:
    pyacemaker completion fish > ~/.config/fish/completions/pyacemaker.fish
    """
    from typer._completion_shared import get_completion_script

    from pyacemaker.errors import UserError

    chosen = shell or Path(os.environ.get("SHELL", "")).name
    if chosen not in SHELLS:
        found = f"{chosen!r} has no completion script" if chosen else "$SHELL names no shell"
        raise UserError(f"{found}; expected one of {', '.join(SHELLS)}")
    script = get_completion_script(prog_name="pyacemaker", complete_var=COMPLETION_VARIABLE, shell=chosen)
    typer.echo(script)
