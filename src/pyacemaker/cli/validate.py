"""`pyacemaker validate`."""

from pathlib import Path
from typing import Annotated

import typer


def validate(config: Annotated[Path, typer.Argument(help="The YAML file to check.")]) -> None:
    """Check a config file, its model file and its DFT engine without running anything."""
    from pyacemaker.config import load_config

    settings = load_config(config)
    model = settings.foundation.resolve()
    engine = settings.dft.version()
    typer.echo(
        f"{config} is valid: {settings.label.n_train} + {settings.label.n_test} labels by {engine}, "
        f"foundation {model}, run directory {settings.default_run_dir()}"
    )
