"""`pyacemaker evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pyacemaker.cli.options import (
    EnergyKey,
    ForcesKey,
    JsonFile,
    check_output,
    print_accuracy,
    print_grades,
    write_json,
)

if TYPE_CHECKING:
    from pyacemaker.potentials.base import Potential
    from pyacemaker.potentials.extrapolation import ActiveSet
    from pyacemaker.structures import Dataset, Labels


def evaluate(
    potential: Annotated[Path, typer.Argument(help="A potential: .yace (ACE) or .model (MACE).")],
    structures: Annotated[Path, typer.Argument(help="Structures (extxyz or what ASE reads).")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the predictions to this extxyz file.")
    ] = None,
    active_set: Annotated[
        Path | None,
        typer.Option(help="The .asi file of the potential: extrapolation grades, in a column gamma."),
    ] = None,
    json_file: JsonFile = None,
    energy_key: EnergyKey = None,
    forces_key: ForcesKey = None,
) -> None:
    """Energies, forces and stress by a potential; its errors where the file has labels."""
    from pyacemaker.cli.display import shown
    from pyacemaker.potentials.loading import load_potential
    from pyacemaker.structures import Accuracy
    from pyacemaker.structures.dataset import within
    from pyacemaker.structures.formats import read_structures, write_predictions

    for path, option in ((output, "--output"), (json_file, "--json")):
        check_output(path, option, structures, potential, active_set)
    with shown():
        model = load_potential(potential)
        graded = _active_set(model, active_set) if active_set is not None else None
        dataset = read_structures(
            structures, energy_key=energy_key, forces_key=forces_key, warn_without_labels=True
        )
        with within(structures):
            predicted = _evaluate(model, dataset)
            gamma = graded.grades(dataset) if graded is not None else None
    if output is not None:
        write_predictions(output, dataset, predicted, gamma)
    labelled = [index for index, structure in enumerate(dataset) if structure.labels is not None]
    typer.echo(f"{len(dataset)} structures, {len(labelled)} with labels")
    content: dict[str, Any] = {"structures": len(dataset), "labels_found": len(labelled)}
    if labelled:
        errors = Accuracy.on(dataset[labelled], [predicted[i] for i in labelled]).as_dict()
        print_accuracy({potential.name: errors})
        content["errors"] = errors
    if gamma is not None:
        content["grades"] = print_grades(gamma, structures)
    write_json(json_file, content)


def _active_set(model: "Potential", path: Path) -> "ActiveSet":
    from pyacemaker.errors import UserError
    from pyacemaker.potentials.ace import ACEPotential
    from pyacemaker.potentials.extrapolation import ActiveSet

    if not isinstance(model, ACEPotential):
        raise UserError(
            f"--active-set {path}: only ACE potentials have one; give a .yace file or leave it out"
        )
    return ActiveSet.load(path, model)


def _evaluate(model: "Potential", dataset: "Dataset") -> "list[Labels]":
    """The labels of all structures; by all cores where there is much to do."""
    from pyacemaker.potentials.ace import ACEPotential
    from pyacemaker.processes import available_cores

    if isinstance(model, ACEPotential):
        return model.evaluate(dataset, model.worthwhile_processes(dataset, available_cores()))
    return model.evaluate(dataset)
