"""`pyacemaker fit`."""

from pathlib import Path
from typing import Annotated

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
    json_file: JsonFile = None,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
    quiet: Quiet = False,
) -> None:
    """Fit an ACE potential to labelled structures."""
    from pyacemaker.cli.display import shown
    from pyacemaker.errors import PotentialFormatError
    from pyacemaker.located_yaml import load_settings
    from pyacemaker.potentials.ace import ACEPotential
    from pyacemaker.structures import Accuracy
    from pyacemaker.structures.dataset import within
    from pyacemaker.structures.formats import read_labelled
    from pyacemaker.trainers.ace import AceTrainer

    if output.suffix != ".yace":
        raise PotentialFormatError(f"--output {output}: expected a name that ends in .yace")
    for path, option in ((output, "--output"), (json_file, "--json")):
        check_output(path, option, train, test, config)
    trainer = load_settings(config, AceTrainer, cure=CONFIG_CURE) if config is not None else AceTrainer()
    with shown(quiet=quiet) as display:
        data = read_labelled(train, energy_key=energy_key, forces_key=forces_key)
        held_out = read_labelled(test, energy_key=energy_key, forces_key=forces_key) if test else None
        with within(train):
            trained = trainer.train(
                data.structures, None, output, progress=lambda done, total: display("fitting", done, total)
            )
    errors = {"train": trained.metrics.train.as_dict()}
    if held_out is not None and test is not None:
        with within(test):
            predicted = ACEPotential.from_yace(output).evaluate(held_out.structures)
        errors["test"] = Accuracy.between(predicted, held_out.structures.labels).as_dict()
    counts = {"labels_found": {"train": data.n_labels, "test": held_out.n_labels if held_out else 0}}
    typer.echo(", ".join(f"{count} labels to {name}" for name, count in counts["labels_found"].items()))
    print_accuracy(errors)
    write_json(json_file, {**errors, **counts, "seconds": trained.metrics.seconds, **trained.facts})
