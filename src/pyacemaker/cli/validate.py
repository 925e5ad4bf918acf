"""`pyacemaker validate`."""

from pathlib import Path
from typing import Annotated

import typer


def validate(config: Annotated[Path, typer.Argument(help="The YAML file to check.")]) -> None:
    """Check a config file, the files it names and its DFT settings without running anything."""
    from pyacemaker.config import load_config
    from pyacemaker.workflow.preflight import check_run

    settings = load_config(config)
    model = settings.foundation.resolve()
    engine = settings.dft.version()
    check_run(settings)
    typer.echo(
        f"{config} is valid: {settings.label.n_train} + {settings.label.n_test} labels by {engine}, "
        f"foundation {model}, run directory {settings.default_run_dir()}"
    )
