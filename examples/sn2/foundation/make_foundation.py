"""Train the example's foundation model: a small MACE on GFN2-xTB labels of X⁻ + CH₃Y (X, Y in F, Cl, Br).

It stands in for a published foundation model, whose weights are too large for an example. It knows the
chemistry at the level of GFN2-xTB only; the run brings it to DFT. The data beside this script are wells,
transition states, paths, dissociated fragments, molecular dynamics and off-path geometries, labelled with
tblite.

    python examples/sn2/foundation/make_foundation.py --work foundation_training

writes `examples/sn2/foundation.model` after half an hour on one CPU core and prints its errors on the test
set.
"""

import argparse
import gzip
import shutil
import subprocess
import sys
from pathlib import Path

from pyacemaker.potentials.mace import MacePotential
from pyacemaker.processes import single_thread_environment
from pyacemaker.structures import Accuracy
from pyacemaker.structures.formats import read_labelled

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "foundation.model"

SETTINGS = {
    "model": "MACE",
    "r_max": 6.0,
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
    "swa_lr": 0.001,
    "lr": 0.01,
    "scheduler": "ExponentialLR",
    "lr_scheduler_gamma": 0.98,
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
    parser.add_argument("--epochs", type=int, default=200)
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    for name in ("train", "valid", "test"):
        (work / f"{name}.xyz").write_bytes(gzip.decompress((HERE / f"gfn2_{name}.xyz.gz").read_bytes()))
    subprocess.run(command(work, arguments.epochs), cwd=work, env=single_thread_environment(), check=True)
    shutil.copyfile(work / "foundation_stagetwo.model", OUT)
    report(OUT, work / "test.xyz")


def command(work: Path, epochs: int) -> list[str]:
    """The call of MACE's own training program."""
    options = {**SETTINGS, "E0s": isolated_atoms(work / "train.xyz")}
    options |= {
        "name": "foundation",
        "train_file": str(work / "train.xyz"),
        "valid_file": str(work / "valid.xyz"),
        "max_num_epochs": epochs,
        "start_swa": int(0.75 * epochs),
        "work_dir": str(work),
        "model_dir": str(work),
    }
    flags = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "mace.cli.run_train", *flags, "--ema", "--amsgrad", "--swa"]


def isolated_atoms(path: Path) -> str:
    """The reference energies (eV) of the isolated atoms in the training file, by atomic number."""
    atoms = [s for s in read_labelled(path).structures if len(s) == 1]
    return str({int(s.numbers[0]): s.labels.energy for s in atoms if s.labels is not None})


def report(model: Path, test: Path) -> None:
    """Print the errors on the test set."""
    data = read_labelled(test).structures.filter(lambda structure: len(structure) > 1)
    print(Accuracy.between(MacePotential(model).evaluate(data), data.labels))


if __name__ == "__main__":
    main()
