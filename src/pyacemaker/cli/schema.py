"""`pyacemaker schema`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pyacemaker.cli.options import check_output


def schema(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it to this file.")] = None,
) -> None:
    """Print the JSON schema of config files, with which editors complete and check them.

    With a YAML language server, the first line of the config names the file:
    `# yaml-language-server: $schema=pyacemaker.schema.json`.
    """
    from pyacemaker.config import PyAceConfig
    from pyacemaker.files import write_atomic
    from pyacemaker.json_schema import config_schema

    check_output(output, "--output")
    text = json.dumps(config_schema(PyAceConfig), indent=2, ensure_ascii=False) + "\n"
    if output is None:
        typer.echo(text, nl=False)
        return
    write_atomic(output, text)
    typer.echo(f"{output}; first line of a config: # yaml-language-server: $schema={output}", err=True)
