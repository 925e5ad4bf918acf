"""`pyacemaker`: the entry point, and what happens to errors."""

import os
import sys

from pyacemaker.processes import use_single_threads

use_single_threads()  # before numpy and torch read the variables

import typer  # noqa: E402

from pyacemaker.cli.activeset import activeset  # noqa: E402
from pyacemaker.cli.compare import compare  # noqa: E402
from pyacemaker.cli.completion import COMPLETION_VARIABLE, completion  # noqa: E402
from pyacemaker.cli.doctor import doctor  # noqa: E402
from pyacemaker.cli.evaluate import evaluate  # noqa: E402
from pyacemaker.cli.export import export  # noqa: E402
from pyacemaker.cli.fit import fit  # noqa: E402
from pyacemaker.cli.label import label  # noqa: E402
from pyacemaker.cli.report import report  # noqa: E402
from pyacemaker.cli.run import run  # noqa: E402
from pyacemaker.cli.schema import schema  # noqa: E402
from pyacemaker.cli.select import select  # noqa: E402
from pyacemaker.cli.status import status  # noqa: E402
from pyacemaker.cli.template import template  # noqa: E402
from pyacemaker.cli.validate import validate  # noqa: E402
from pyacemaker.environment import hide  # noqa: E402
from pyacemaker.errors import PyacemakerError  # noqa: E402

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""

app = typer.Typer(
    help="Distil a MACE foundation model and a small DFT budget into an ACE potential.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
COMMANDS = (
    *(template, validate, schema, doctor, run, status, report, compare),
    *(fit, evaluate, activeset, select, label, export),
    completion,
)
for command in COMMANDS:
    app.command()(command)


@app.callback(invoke_without_command=True)
def _options(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        from pyacemaker import __version__

        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run a command; errors become one message and an exit code (2 = the user's mistake).

    Only errors that nobody foresaw, in a command that keeps no log, show their traceback.
    """
    if COMPLETION_VARIABLE in os.environ:
        from typer._completion_classes import completion_init

        completion_init()
    try:
        app()
    except PyacemakerError as error:
        typer.echo(hide(f"Error: {error}"), err=True)
        sys.exit(error.exit_code)
    except SystemExit as end:
        if end.code == INTERRUPTED:  # typer makes this of KeyboardInterrupt
            typer.echo(
                "Interrupted. Nothing that finished is lost: the same command goes on from here.", err=True
            )
        raise
    except Exception as error:
        notes = getattr(error, "__notes__", [])
        if not notes and not isinstance(error, OSError):
            raise
        typer.echo(hide("; ".join([f"Error: {type(error).__name__}: {error}", *notes])), err=True)
        sys.exit(1)
