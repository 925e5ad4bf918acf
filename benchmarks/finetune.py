"""What a few labels make of a foundation model, by strategy: raw commands of mace-torch and `MaceTrainer`.

    python benchmarks/finetune.py [--quick] [--seeds 1 2 3] [--systems sn2 alloy] [--only WORD …]

- `sn2`: PBE/def2-SVPD labels of F⁻ + CH3Cl (30 to train, 25 to test) on a foundation of GFN2-xTB. They lie
  beside this script; `--relabel` computes them anew with PySCF (10 CPU-minutes).
- `alloy`: EMT labels of strained and rattled Al-Cu cells (30 and 60) on an under-trained foundation of the
  same method, with stress.

Raw commands are those a user of mace-torch would type, by its recommendations: 50 epochs, batches of 10,
energy weight 10, `E0s=estimated` unless the name says otherwise. Errors are RMSEs on the test set, the mean
over the seeds: meV/atom, meV/Å, GPa; `drift` is the RMS change of the forces on systems that were not
labelled (the other halides; the elements alone), meV/Å. `--quick`: four rows, eight epochs, one seed.

Ends with one JSON object; `ratio`: errors of our default over those of the best raw command (the one of
smallest force error), the larger one of energy and forces, on the first system.
"""

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np

from pyacemaker.errors import OracleError, PyacemakerError
from pyacemaker.oracles import EmtOracle, PyscfOracle
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.selection.active_set import spread_over_tags
from pyacemaker.structures import Accuracy, AtomStructure, Dataset
from pyacemaker.structures.formats import read_structures, write_structures
from pyacemaker.trainers.mace import MaceTrainer
from pyacemaker.trainers.mace_run import MaceRun, write_training_file
from pyacemaker.trainers.mace_strategies import FrozenTuning, LoraTuning, ReplayTuning
from pyacemaker.trainers.reference_energies import align_reference_energies, is_lone_atom

ROOT = Path(__file__).parents[1]
LABELS = Path(__file__).with_name("finetune_pbe.xyz.gz")
GFN2 = ROOT / "examples" / "sn2" / "foundation"
EMT = ROOT / "examples" / "aluminium" / "foundation" / "emt_train.xyz.gz"
MODELS = ROOT / "tests" / "data"
N_TRAIN, N_TEST = 30, 25
MAX_FORCE = 5.0  # eV/Å


@dataclass(frozen=True, eq=False)
class System:
    """Labels to learn and to be judged by, the model to start from, and what it should not forget."""

    foundation: MacePotential
    atoms: Mapping[str, float]
    train: Dataset
    test: Dataset
    known: Dataset
    other: Dataset
    irreps: str

    def errors(self, model: MacePotential) -> dict[str, float]:
        found = Accuracy.between(model.evaluate(self.test), self.test.labels)
        pairs = zip(model.evaluate(self.other), self.foundation.evaluate(self.other), strict=True)
        drift = np.concatenate([(ours.forces - theirs.forces).ravel() for ours, theirs in pairs])
        return {
            "energy": found.energy_rmse_mev_per_atom,
            "forces": found.forces_rmse_mev_per_angstrom,
            "stress": found.stress_rmse_gpa or float("nan"),
            "drift": 1000 * float(np.sqrt(np.mean(drift**2))),
        }


Strategy = Callable[[System, int, Path, int | None], MacePotential]
"""A system, a seed, a directory, and the epochs of a quick run; the trained model."""


def sn2(foundation: Path) -> System:
    labelled = read_structures(LABELS)
    molecules = labelled.filter(lambda structure: not is_lone_atom(structure))
    known = read_structures(GFN2 / "gfn2_train.xyz.gz").filter(lambda structure: not is_lone_atom(structure))
    halides = read_structures(GFN2 / "gfn2_test.xyz.gz").filter(
        lambda s: len({*s.symbols} & {"F", "Cl"}) == 1
    )
    return System(
        MacePotential(foundation),
        _energies(labelled),
        molecules[:N_TRAIN],
        molecules[N_TRAIN:],
        known[:: len(known) // 200],
        halides.filter(lambda structure: "Br" not in structure.symbols)[:40],
        "32x0e + 32x1o",
    )


def alloy(foundation: Path) -> System:
    """Cells of at most 16 atoms, strained by 2 % and rattled by 0.05 Å so that the foundation saw none."""
    rng, oracle = np.random.default_rng(0), EmtOracle()
    source = read_structures(EMT)
    cells = source.filter(lambda structure: 1 < len(structure) <= 16 and structure.is_periodic)
    mixed = cells[spread_over_tags(cells, 110, rng)]
    found = Dataset(_labelled(oracle, _distorted(cell, rng)) for cell in mixed[rng.permutation(len(mixed))])
    found = found.filter(lambda s: s.labels is not None and np.abs(s.labels.forces).max() < MAX_FORCE)
    return System(
        MacePotential(foundation),
        {symbol: oracle.compute(oracle.isolated_atom(symbol)).energy for symbol in ("Al", "Cu")},
        found[:N_TRAIN],
        found[N_TRAIN : N_TRAIN + 60],
        cells,
        cells.filter(lambda structure: len({*structure.symbols}) == 1)[:30],
        "32x0e",
    )


def _energies(labelled: Dataset) -> dict[str, float]:
    return {s.symbols[0]: s.labels.energy for s in labelled if s.labels and is_lone_atom(s)}


def _distorted(cell: AtomStructure, rng: np.random.Generator) -> AtomStructure:
    strain = np.eye(3) + rng.normal(scale=0.02, size=(3, 3))
    positions = cell.positions @ strain + rng.normal(scale=0.05, size=cell.positions.shape)
    return cell.replace(cell=cell.cell @ strain, positions=positions, labels=None, info={})


def _labelled(oracle: EmtOracle, structure: AtomStructure) -> AtomStructure:
    return structure.replace(labels=oracle.compute(structure))


def relabel() -> None:
    """Isolated atoms, N_TRAIN and N_TEST structures with PBE/def2-SVPD labels; what fails is left out."""
    oracle, found = PyscfOracle(xc="PBE", basis="def2-SVPD"), []
    for symbol in ("C", "H", "F", "Cl"):
        atom = oracle.isolated_atom(symbol)
        found.append(atom.replace(labels=oracle.label(atom)))
    for name, n in (("train", N_TRAIN), ("test", N_TEST)):
        # fragments far apart are left out: PBE has no bound state of the anion there
        pool = read_structures(GFN2 / f"gfn2_{name}.xyz.gz").filter(
            lambda s: {*s.symbols} == {"C", "H", "F", "Cl"} and s.tag != "dissoc"
        )
        for structure in pool[spread_over_tags(pool, n, np.random.default_rng(0))]:
            bare = structure.replace(labels=None, info={})
            try:
                found.append(bare.replace(labels=oracle.label(bare)))
            except OracleError as error:
                print(f"left out: {error}")
    write_structures(LABELS, Dataset(found))


def raw(*changes: str, replay: bool = False, scratch: bool = False) -> Strategy:
    """`mace_run_train` by its recommendations, with `changes` to them."""

    def strategy(system: System, seed: int, directory: Path, epochs: int | None) -> MacePotential:
        write_training_file(directory / "train.xyz", system.train)
        own = system.foundation.reference_energies
        start = system.foundation.with_reference_energies(directory / "float64.model", own)
        arguments = {
            "foundation_model": str(start.path),
            "multiheads_finetuning": "False",
            "E0s": "estimated",
            "train_file": str(directory / "train.xyz"),
            "valid_file": str(directory / "train.xyz"),
            "energy_key": "REF_energy",
            "forces_key": "REF_forces",
            "stress_key": "REF_stress",
            "lr": "1e-3",
            "batch_size": "10",
            "ema_decay": "0.99",
            "clip_grad": "1.0",
            "weight_decay": "0",
            "loss": "weighted",
            "energy_weight": "10",
            "forces_weight": "100",
            "scheduler": "ExponentialLR",
            "lr_scheduler_gamma": "0.98",
            "default_dtype": "float64",
            "plot": "False",
        }
        if any(labels.stress is not None for labels in system.train.labels):
            arguments |= {"loss": "stress", "stress_weight": "100"}
        if replay:
            known = system.known[:: max(1, len(system.known) // 100)][:100]
            write_training_file(directory / "replay.xyz", system.foundation.label(known))
            arguments |= {"multiheads_finetuning": "True", "pt_train_file": str(directory / "replay.xyz")}
            arguments |= {"pt_valid_file": str(directory / "replay.xyz")}
        if scratch:
            numbers = {_number(symbol): energy for symbol, energy in system.atoms.items()}
            arguments |= {"foundation_model": "", "E0s": str(numbers), "hidden_irreps": system.irreps}
            arguments |= {"r_max": str(system.foundation.cutoff), "lr": "1e-2"}
        arguments |= dict(change.split("=", 1) for change in changes)
        given = [f"--{name}={value}" for name, value in arguments.items() if value]
        model, _ = MaceRun(directory, ["--ema", *given], epochs or 50, seed).execute()
        return MacePotential(model)

    return strategy


def _number(symbol: str) -> int:
    from ase.data import atomic_numbers

    return int(atomic_numbers[symbol])


def ours(trainer: MaceTrainer) -> Strategy:
    """`MaceTrainer` on aligned reference energies, as step 3 of a run has it."""

    def strategy(system: System, seed: int, directory: Path, epochs: int | None) -> MacePotential:
        foundation = system.foundation
        aligned = align_reference_energies(
            system.train, foundation.evaluate(system.train), foundation.reference_energies, system.atoms
        )
        chosen = trainer if epochs is None else trainer.model_copy(update={"epochs": epochs})
        result = chosen.train(
            system.train,
            foundation=foundation.path,
            reference_energies=aligned.energies,
            out=directory / "ours.model",
            seed=seed,
            workdir=directory,
            known=system.known,
        )
        return MacePotential(result.path)

    return strategy


def untuned(system: System, seed: int, directory: Path, epochs: int | None) -> MacePotential:
    """The foundation on the reference energies of the labels."""
    foundation = system.foundation
    aligned = align_reference_energies(
        system.train, foundation.evaluate(system.train), foundation.reference_energies, system.atoms
    )
    return foundation.with_reference_energies(directory / "aligned.model", aligned.energies)


RAW: dict[str, Strategy] = {
    "raw naive, lr 1e-3": raw(),
    "raw naive, lr 1e-2": raw("lr=1e-2"),
    "raw naive, E0s=average": raw("E0s=average"),
    "raw LoRA r4, lr 1e-2": raw("lora=True", "lora_rank=4", "lr=1e-2"),
    "raw multihead": raw(replay=True),
    "raw multihead, lr 1e-3": raw("force_mh_ft_lr=True", replay=True),
    "raw from scratch": raw(scratch=True),
}
OURS: dict[str, Strategy] = {
    "ours: default": ours(MaceTrainer()),
    "ours: replay": ours(MaceTrainer(strategy=ReplayTuning())),
    "ours: lora": ours(MaceTrainer(strategy=LoraTuning())),
    "ours: frozen": ours(MaceTrainer(strategy=FrozenTuning())),
}
TABLE: dict[str, Strategy] = {"foundation": untuned, **RAW, **OURS}
QUICK = ("foundation", "raw naive, lr 1e-3", "raw multihead, lr 1e-3", "ours: default")
DEFAULT = "ours: default"


def measure(
    system: System, rows: Sequence[str], seeds: Sequence[int], folder: Path, epochs: int | None
) -> dict[str, dict[str, float]]:
    """Errors and seconds of each row, the mean over the seeds; printed as they come."""
    print(f"{'':26} {'energy':>8} {'forces':>8} {'stress':>8} {'drift':>8} {'cpu s':>7}")
    table = {}
    for name in rows:
        found = []
        for seed in seeds:
            directory = folder / name.replace(" ", "-").replace(":", "") / str(seed)
            directory.mkdir(parents=True, exist_ok=True)
            started = _processor_time()
            try:
                model = TABLE[name](system, seed, directory, epochs)
            except PyacemakerError as error:
                print(f"{name:26} failed: {str(error).splitlines()[-1][:70]}")
                continue
            found.append({**system.errors(model), "seconds": _processor_time() - started})
        if found:
            mean = {key: float(np.mean([one[key] for one in found])) for key in found[0]}
            spread = float(np.ptp([one["forces"] for one in found])) if len(found) > 1 else 0.0
            table[name] = {**mean, "forces_spread": spread}
            figures = (f"{mean[key]:8.2f}" for key in ("energy", "forces", "stress", "drift"))
            print(f"{name:26} {' '.join(figures)} {mean['seconds']:7.0f}", flush=True)
    return table


def _processor_time() -> float:
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in usage)


def comparison(table: Mapping[str, Mapping[str, float]]) -> tuple[float | None, str | None]:
    """Our default's errors over those of the best raw command, the larger of two, and its name."""
    candidates = [name for name in table if name in RAW]
    if DEFAULT not in table or not candidates:
        return None, None
    best = min(candidates, key=lambda name: table[name]["forces"])
    ratio = max(table[DEFAULT][key] / table[best][key] for key in ("energy", "forces"))
    return round(ratio, 3), best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="four rows, eight epochs, one seed")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--systems", nargs="+", choices=("sn2", "alloy"), default=["sn2", "alloy"])
    parser.add_argument("--only", nargs="+", help="rows whose name holds one of these words")
    parser.add_argument("--sn2-foundation", type=Path, default=MODELS / "sn2_foundation.model")
    parser.add_argument("--alloy-foundation", type=Path, default=MODELS / "cual_foundation.model")
    parser.add_argument("--folder", type=Path, help="keep the trainings here")
    parser.add_argument("--relabel", action="store_true", help="compute the PBE labels anew")
    options = parser.parse_args()
    if options.relabel:
        relabel()
    rows = QUICK if options.quick else [*TABLE]
    if options.only:
        rows = [name for name in TABLE if any(word in name for word in options.only)]
    systems = options.systems[:1] if options.quick else options.systems
    seeds, epochs = (options.seeds[:1], 8) if options.quick else (options.seeds, None)
    makers = {"sn2": (sn2, options.sn2_foundation), "alloy": (alloy, options.alloy_foundation)}
    tables, started = {}, time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        for name in systems:
            maker, foundation = makers[name]
            system = maker(foundation)
            print(f"\n{name}: {len(system.train)} labels, {len(system.test)} to test, seeds {seeds}")
            folder = (options.folder or Path(temporary)) / name
            tables[name] = measure(system, rows, seeds, folder, epochs)
    ratio, reference = comparison(tables[systems[0]])
    usage = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    result = {
        "seconds": round(tables[systems[0]].get(DEFAULT, {}).get("seconds", 0.0), 1),
        "wall_seconds": round(time.perf_counter() - started, 1),
        "peak_mb": round(max(usage) / 1024, 1),
        "ratio": ratio,
        "reference": reference,
        "tables": tables,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
