"""`pyacemaker template`."""

from importlib import resources
from typing import Annotated

import typer


def template(
    name: Annotated[str, typer.Argument(help="Which template; `list` names them.")] = "reaction",
) -> None:
    """Print a commented config to start from."""
    from pyacemaker.errors import ConfigError

    folder = resources.files("pyacemaker.cli") / "templates"
    names = sorted(
        item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml")
    )
    if name == "list":
        typer.echo("\n".join(names))
        return
    if name not in names:
        raise ConfigError(f"there is no template {name!r}; expected one of {', '.join(names)}")
    typer.echo((folder / f"{name}.yaml").read_text(encoding="utf-8"), nl=False)
