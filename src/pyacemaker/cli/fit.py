"""`pyacemaker fit`."""

from collections.abc import Mapping
from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from pyacemaker.cli.options import (
    EnergyKey,
    ForcesKey,
    JsonFile,
    Quiet,
    check_output,
    print_accuracy,
    write_json,
)

if TYPE_CHECKING:
    from pyacemaker.baselines import Baseline
    from pyacemaker.trainers.ace_labels import NamedReference

CONFIG_CURE = (
    "write the fit's settings into it, those that a run has under `base`, such as `cutoff: 5.5` and "
    "`functions: 300`, or leave --config out"
)
"""What to do about a missing --config."""


def fit(
    train: Annotated[Path, typer.Argument(help="Labelled structures (extxyz or what ASE reads).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The potential to write (.yace).")],
    test: Annotated[Path | None, typer.Option(help="Labelled structures to test on.")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings of the fit (YAML).")] = None,
    prior: Annotated[Path | None, typer.Option(help="A linear .yace to start from.")] = None,
    reference_energies: Annotated[
        str | None, typer.Option(help="auto, composition, fitted, or energies in eV like Si=-0.8,O=-2.1.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Worker processes; default: all available cores.")
    ] = None,
    shards: Annotated[
        Path | None, typer.Option(help="Directory for finished parts, so that a killed fit goes on.")
    ] = None,
    json_file: JsonFile = None,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    quiet: Quiet = False,
) -> None:
    """Fit an ACE potential to labelled structures."""
    from pyacemaker.cli.display import shown
    from pyacemaker.errors import ConfigError, PotentialFormatError
    from pyacemaker.located_yaml import load_settings
    from pyacemaker.potentials.ace import ACEPotential
    from pyacemaker.processes import available_cores
    from pyacemaker.structures import Dataset
    from pyacemaker.structures.dataset import within
    from pyacemaker.structures.formats import read_labelled
    from pyacemaker.trainers.ace import AceTrainer

    if output.suffix != ".yace":
        raise PotentialFormatError(f"--output {output}: expected a name that ends in .yace")
    for path, option in ((output, "--output"), (json_file, "--json")):
        check_output(path, option, train, test, config, prior)
    energies = parse_reference_energies(reference_energies)
    trainer = load_settings(config, AceTrainer, cure=CONFIG_CURE) if config is not None else AceTrainer()
    with shown(quiet=quiet) as display:
        start = None if prior is None else ACEPotential.from_yace(prior)
        if start is not None and start.baseline != trainer.additive_baseline:
            raise ConfigError(
                f"{prior} belongs to the baseline {_named(start.baseline)}, the settings of this fit to "
                f"{_named(trainer.additive_baseline)}; give both the same `baseline`"
            )
        data = read_labelled(train, energy_key=energy_key, forces_key=forces_key)
        held_out = read_labelled(test, energy_key=energy_key, forces_key=forces_key) if test else None
        structures = Dataset() if held_out is None else held_out.structures
        with within(train):
            trained = trainer.train(
                data.structures,
                start,
                out=output,
                reference_energies=energies,
                progress=lambda done, total: display("fitting", done, total),
                processes=processes or available_cores(),
                workdir=shards,
            )
        report = trained.report()
        if test is not None:
            with within(test):
                report |= trainer.tested(output, structures, report)
    errors: dict[str, dict[str, float]] = {name: report[name] for name in ("train", "test") if name in report}
    labels = {"train": data.n_labels, "test": len(structures)}
    typer.echo(", ".join(f"{count} labels to {name}" for name, count in labels.items()))
    print_accuracy(errors)
    if trainer.additive_baseline is not None:
        _say_how_to_use(output)
    write_json(json_file, {"labels_found": labels, "seconds": trained.metrics.seconds, **report})


def _named(baseline: "Baseline | None") -> str:
    return "none" if baseline is None else str(baseline.model_dump(mode="json"))


def _say_how_to_use(path: Path) -> None:
    """The file brings its baseline along in this package; LAMMPS has to be told."""
    from pyacemaker.potentials.ace import ACEPotential
    from pyacemaker.potentials.lammps_styles import pair_commands

    potential = ACEPotential.from_yace(path)
    typer.echo(f"{path} holds its baseline, which ASE calculators and `evaluate` add; in LAMMPS:")
    for command in pair_commands(potential, potential.elements, files=path.name):
        typer.echo(f"  {command}")


def parse_reference_energies(text: str | None) -> "Mapping[str, float] | NamedReference | None":
    """`auto`, `composition`, `fitted` or `Si=-0.8,O=-2.1` (eV); `ConfigError` for anything else."""
    from ase.data import atomic_numbers

    from pyacemaker.errors import ConfigError
    from pyacemaker.trainers.ace_labels import NamedReference

    if text is None:
        return None
    named: tuple[NamedReference, ...] = get_args(NamedReference)
    for name in named:
        if text == name:
            return name
    energies: dict[str, float] = {}
    for entry in text.split(","):
        symbol, _, value = entry.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = nan
        if not isfinite(number) or symbol.strip() in energies:
            energies = {}
            break
        energies[symbol.strip()] = number
    if not energies or any(atomic_numbers.get(symbol, 0) < 1 for symbol in energies):
        raise ConfigError(
            f"--reference-energies {text!r} is not understood; expected auto, composition, fitted, or "
            "energies in eV like Si=-0.8,O=-2.1"
        )
    return energies
