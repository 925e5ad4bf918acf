"""`pyacemaker template`."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from pyacemaker.cli.options import Quiet, check_output

DEFAULT = "reaction"
"""The template that is printed where nothing is asked for."""


def template(
    name: Annotated[str | None, typer.Argument(help=f"Which template; default: {DEFAULT}.")] = None,
    structure: Annotated[
        Path | None, typer.Option(help="Write it for the crystal or molecule in this file.")
    ] = None,
    product: Annotated[
        Path | None, typer.Option(help="Write it for the reaction from --structure to this file.")
    ] = None,
    composition: Annotated[
        str | None, typer.Option(help="Write it for this composition: Al, MgO, AlCu3.")
    ] = None,
    molecule: Annotated[
        str | None, typer.Option(help="Write it for a molecule that ASE knows: CH3CH2OH, C2H6O.")
    ] = None,
    dft: Annotated[
        str | None,
        typer.Option(help="The engine of the labels; default: pyscf for molecules, gpaw for crystals."),
    ] = None,
    melt: Annotated[bool, typer.Option("--melt", help="With the liquid.")] = False,
    foundation: Annotated[
        Path | None, typer.Option(help="A MACE model file; default: a published model that fits.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write it to this file instead of printing it.")
    ] = None,
    list_names: Annotated[bool, typer.Option("--list", help="Name the templates.")] = False,
    quiet: Quiet = False,
) -> None:
    """Print a commented config to start from, written for your system where you name it."""
    from pyacemaker.errors import UserError

    if list_names or name == "list":
        typer.echo("\n".join(_names()))
        return
    named = {"--structure": structure, "--composition": composition, "--molecule": molecule, "NAME": name}
    given = [option for option, value in named.items() if value is not None]
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} name different systems: give one of them")
    _refuse_lonely(given, {"--product": product}, "--structure")
    if not given or given == ["NAME"]:
        more = {"--dft": dft, "--melt": melt or None, "--foundation": foundation, "--output": output}
        _refuse_lonely(given, more, "--structure, --composition or --molecule")
        typer.echo(_ready_made(name or DEFAULT), nl=False)
        return
    check_output(output, "--output", structure, product, foundation)
    _write(structure, product, composition, molecule, dft, foundation, output, melt=melt, quiet=quiet)


def _refuse_lonely(given: list[str], options: Mapping[str, object], needed: str) -> None:
    from pyacemaker.errors import UserError

    for option, value in options.items():
        if value is not None and not set(given) & set(needed.replace(" or ", ", ").split(", ")):
            raise UserError(f"{option} goes with {needed}: name the system")


def _write(
    structure: Path | None,
    product: Path | None,
    composition: str | None,
    molecule: str | None,
    dft: str | None,
    foundation: Path | None,
    output: Path | None,
    *,
    melt: bool,
    quiet: bool,
) -> None:
    from pyacemaker.files import write_atomic
    from pyacemaker.templates import System, write_template

    base_dir = output.parent if output is not None else Path()
    if structure is not None and product is not None:
        system = System.from_reaction(structure, product, base_dir)
    elif structure is not None:
        system = System.from_structure(structure, base_dir, melt=melt)
    elif composition is not None:
        system = System.from_composition(composition, melt=melt)
    else:
        system = System.from_molecule(str(molecule))
    written = write_template(system, dft, foundation, base_dir)
    if output is None:
        typer.echo(written.text, nl=False)
    else:
        write_atomic(output, written.text)
    for item in () if quiet else written.to_give:
        typer.echo(f"To give before it runs: {item}", err=True)


def _names() -> list[str]:
    folder = resources.files("pyacemaker.cli") / "templates"
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def _ready_made(name: str) -> str:
    from pyacemaker.errors import ConfigError

    if name not in _names():
        hint = f"for a file of yours: --structure {name}; " if Path(name).is_file() else ""
        raise ConfigError(f"there is no template {name!r}; {hint}expected one of {', '.join(_names())}")
    return (resources.files("pyacemaker.cli") / "templates" / f"{name}.yaml").read_text(encoding="utf-8")
