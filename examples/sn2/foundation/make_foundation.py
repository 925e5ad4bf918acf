"""Train the example's foundation model: a small MACE on GFN2-xTB labels of X⁻ + CH₃Y (X, Y in F, Cl, Br).

It stands in for a published foundation model, whose weights are too large for an example. It knows the
chemistry at the level of GFN2-xTB only; the run brings it to DFT. The data beside this script are wells,
transition states, paths, dissociated fragments, molecular dynamics and off-path geometries, labelled with
tblite. The script makes six more of each: three with random displacements, three between the structure and
one of its neighbours, which fill what lies between the paths.

    python examples/sn2/foundation/make_foundation.py --work foundation_training

writes `examples/sn2/foundation.model` after an hour on one CPU core and prints its errors on the test set.
"""

import argparse
import gzip
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from ase.build.rotate import rotation_matrix_from_points

from pyacemaker.errors import OracleError
from pyacemaker.oracles import TbliteOracle
from pyacemaker.oracles.base import LabelLimits
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.processes import single_thread_environment
from pyacemaker.structures import Accuracy, AtomStructure, Dataset
from pyacemaker.structures.formats import read_labelled, write_structures
from pyacemaker.trainers.mace_run import write_training_file

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "foundation.model"

COPIES = 3
"""Displaced copies of every structure, and as many between it and others."""
DISPLACEMENTS = (0.01, 0.12)
"""Å, smallest and largest standard deviation of the displacements."""
NEIGHBOURS = 12
"""The structures that another one is mixed with are its nearest so many."""
ORACLE = TbliteOracle(method="GFN2-xTB", limits=LabelLimits(min_distance=0.55, max_force=35.0))

SETTINGS = {
    "model": "ScaleShiftMACE",
    "interaction_first": "RealAgnosticResidualInteractionBlock",
    "r_max": 6.0,
    "max_ell": 2,
    "num_interactions": 2,
    "hidden_irreps": "32x0e + 32x1o",
    "correlation": 2,
    "num_radial_basis": 8,
    "MLP_irreps": "16x0e",
    "loss": "weighted",
    "energy_weight": 10,
    "forces_weight": 100,
    "swa_energy_weight": 1000,
    "swa_forces_weight": 100,
    "swa_lr": 0.0005,
    "lr": 0.01,
    "scheduler": "ExponentialLR",
    "lr_scheduler_gamma": 0.94,
    "batch_size": 32,
    "valid_batch_size": 100,
    "ema_decay": 0.995,
    "clip_grad": 10,
    "weight_decay": 1e-7,
    "eval_interval": 5,
    "patience": 1000,
    "energy_key": "REF_energy",
    "forces_key": "REF_forces",
    "default_dtype": "float32",
    "device": "cpu",
    "plot": "False",
    "seed": 7,
}


def main() -> None:
    """Unpack the data, train, keep the model, print its errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("foundation_training"))
    parser.add_argument("--epochs", type=int, default=60)
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    for name in ("train", "valid", "test"):
        (work / f"{name}.xyz").write_bytes(gzip.decompress((HERE / f"gfn2_{name}.xyz.gz").read_bytes()))
    known = read_labelled(work / "train.xyz").structures
    if not (work / "more.xyz").is_file():
        write_structures(work / "more.xyz", Dataset(labelled(more(known))))
    write_training_file(work / "all.xyz", known + read_labelled(work / "more.xyz").structures)
    subprocess.run(command(work, arguments.epochs), cwd=work, env=single_thread_environment(), check=True)
    keep(work / "foundation_stagetwo.model", OUT)
    report(OUT, work / "test.xyz")


def command(work: Path, epochs: int) -> list[str]:
    """The call of MACE's own training program."""
    options = {**SETTINGS, "E0s": isolated_atoms(work / "train.xyz")}
    options |= {
        "name": "foundation",
        "train_file": str(work / "all.xyz"),
        "valid_file": str(work / "valid.xyz"),
        "max_num_epochs": epochs,
        "start_swa": int(0.75 * epochs),
        "work_dir": str(work),
        "model_dir": str(work),
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "mace.cli.run_train", *flags, "--ema", "--amsgrad", "--swa"]


def more(known: Dataset) -> Iterator[AtomStructure]:
    """Displaced copies of the structures, and mixtures of each with its neighbours of the same atoms."""
    rng = np.random.default_rng(7)
    families = defaultdict(list)
    for structure in known.filter(lambda structure: len(structure) > 1):
        families[tuple(structure.numbers)].append(structure)
    for family in families.values():
        shapes = np.array([np.sort(distances(structure.positions)) for structure in family])
        for structure, shape in zip(family, shapes, strict=True):
            nearest = np.argsort(np.linalg.norm(shapes - shape, axis=1), kind="stable")[1 : NEIGHBOURS + 1]
            for _ in range(COPIES):
                yield displaced(structure, np.exp(rng.uniform(*np.log(DISPLACEMENTS))), rng)
                other = family[rng.choice(nearest)]
                yield displaced(between(structure, other, rng.uniform(-0.2, 0.8)), DISPLACEMENTS[0], rng)


def distances(positions: np.ndarray) -> np.ndarray:
    """All pair distances, Å."""
    i, j = np.triu_indices(len(positions), 1)
    return np.linalg.norm(positions[i] - positions[j], axis=1)


def displaced(structure: AtomStructure, sigma: float, rng: np.random.Generator) -> AtomStructure:
    """With normally distributed displacements of standard deviation `sigma`, Å."""
    return structure.replace(
        positions=structure.positions + rng.normal(scale=sigma, size=(len(structure), 3))
    )


def between(first: AtomStructure, second: AtomStructure, share: float) -> AtomStructure:
    """`share` of the way from `first` to `second`, turned onto it."""
    centred = first.positions - first.positions.mean(axis=0)
    other = second.positions - second.positions.mean(axis=0)
    turned = other @ rotation_matrix_from_points(other.T, centred.T).T
    return first.replace(positions=(1.0 - share) * centred + share * turned)


def labelled(structures: Iterator[AtomStructure]) -> Iterator[AtomStructure]:
    """With GFN2-xTB energies and forces, those that have them."""
    for structure in structures:
        bare = structure.replace(labels=None)
        try:
            yield bare.replace(labels=ORACLE.label(bare))
        except OracleError:
            continue


def keep(trained: Path, out: Path) -> None:
    """Copy a model file. Every entry of the archive bears the file's name: a short one saves kilobytes."""
    short = trained.with_name("m.model")
    torch.save(torch.load(trained, map_location="cpu", weights_only=False), short)
    shutil.copyfile(short, out)


def isolated_atoms(path: Path) -> str:
    """The reference energies (eV) of the isolated atoms in the training file, by atomic number."""
    atoms = [s for s in read_labelled(path).structures if len(s) == 1]
    return str({int(s.numbers[0]): s.labels.energy for s in atoms if s.labels is not None})


def report(model: Path, test: Path) -> None:
    """Print the errors on the test set, and the size of the file."""
    data = read_labelled(test).structures.filter(lambda structure: len(structure) > 1)
    print(f"{model}: {model.stat().st_size} bytes")
    print(Accuracy.between(MacePotential(model).evaluate(data), data.labels))


if __name__ == "__main__":
    main()
