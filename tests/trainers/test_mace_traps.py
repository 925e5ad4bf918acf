"""The traps of mace-torch that a fine-tuning has to step around, by number.

1. E0s given on its command line are dropped when they are as many as the foundation's.
2. A float32 foundation cannot be trained in float64 with estimated E0s.
3. Fewer structures than a batch holds end in a crash, incomplete batches are dropped.
4. The tuned model keeps only the elements that were in the labels.
5. Several heads are the default, with a learning rate of their own, and are given up silently without a file.
6. Estimated E0s are no energies of atoms where all structures have one stoichiometry.
7. A restart goes on from the best checkpoint, and results are appended to those of an earlier run.
8. `--patience` ends nothing unless the training is distributed.

What each test shows without the handling was tried, and stands in its docstring.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pyacemaker.errors import TrainingError
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.structures import Dataset, Labels
from pyacemaker.structures.formats import read_structures, write_structures
from pyacemaker.trainers.base import TrainedPotential
from pyacemaker.trainers.mace import MaceTrainer
from pyacemaker.trainers.mace_checks import check_learning_rate, single_headed
from pyacemaker.trainers.mace_child import WatchedLog, _NoGain
from pyacemaker.trainers.mace_run import MaceRun
from pyacemaker.trainers.mace_strategies import FrozenTuning, LoraTuning, ReplayTuning
from pyacemaker.trainers.reference_energies import estimate_reference_energies, is_lone_atom

DATA = Path(__file__).parents[1] / "data"
SN2 = DATA / "sn2_foundation.model"
TOTAL = {"C": -1027.8, "H": -13.6, "F": -2714.1, "Cl": -12520.5, "Br": -70045.2}
"""eV: isolated atoms with all their electrons, about as PBE has them; a model of GFN2-xTB is far off."""


@pytest.fixture(scope="module")
def molecules() -> Dataset:
    """Structures of CH3ClF with GFN2-xTB labels, without isolated atoms."""
    return read_structures(DATA / "sn2_small.xyz").filter(lambda structure: len(structure) > 1)


@pytest.fixture(scope="module")
def other_level(molecules) -> Dataset:
    """The first ten, and the isolated atoms of their elements in front, on the scale of all electrons."""
    own = MacePotential(SN2).reference_energies
    shift = {symbol: TOTAL[symbol] - own[symbol] for symbol in own}
    atoms = read_structures(DATA / "sn2_small.xyz").filter(is_lone_atom)
    some = atoms.filter(lambda atom: atom.symbols[0] in molecules.elements) + molecules[:10]
    labels = [
        Labels(labels.energy + extra, labels.forces)
        for labels, extra in zip(some.labels, some.reference_energies(shift), strict=True)
    ]
    return some.with_labels(labels, "other level")


def train(trainer: MaceTrainer, dataset: Dataset, workdir: Path, seed: int = 1, **more) -> TrainedPotential:
    arguments = {"foundation": SN2, "out": workdir / "tuned.model", **more}
    return trainer.train(dataset, seed=seed, workdir=workdir, **arguments)


def records(workdir: Path, seed: int = 1) -> list[dict]:
    lines = (workdir / "mace" / "results" / f"tuned_run-{seed}_train.txt").read_text().splitlines()
    return [json.loads(line) for line in lines]


def weights(path: Path) -> dict[str, torch.Tensor]:
    """All numbers of a model by name; whether a scalar has a dimension is MACE's affair."""
    return {name: value.reshape(-1) for name, value in MacePotential(path).model.state_dict().items()}


@pytest.fixture(scope="module")
def short(other_level, tmp_path_factory) -> tuple[TrainedPotential, Path]:
    """Two epochs on ten structures in batches of at most 64, without reference energies."""
    workdir = tmp_path_factory.mktemp("short")
    return train(MaceTrainer(epochs=2, batch_size=64, lr=1e-3), other_level, workdir), workdir


def test_traps_1_and_2_energies_are_those_asked_for_in_the_precision_asked_for(short) -> None:
    """Without the copy of the foundation: MACE raises on the mixed precisions, or (all elements present)
    starts from errors of thousands of eV per atom, which the check of the start refuses."""
    result, _ = short
    tuned = MacePotential(result.path)
    assert next(tuned.model.parameters()).dtype == torch.float64
    assert next(torch.load(SN2, weights_only=False).parameters()).dtype == torch.float32
    assert tuned.reference_energies == pytest.approx(result.facts["reference_energies"], abs=1e-9)
    assert result.facts["errors_before"]["energy_rmse_mev_per_atom"] < 100


def test_trap_3_a_batch_larger_than_the_data(short) -> None:
    """Without `even_batch_size` MACE ends with exit code 1: no batch at all in an epoch."""
    _, workdir = short
    steps = [record["epoch"] for record in records(workdir) if record["mode"] == "opt"]
    assert steps == [0, 1]  # all ten in one batch


def test_trap_4_elements_without_a_label_stay(molecules, tmp_path) -> None:
    """Without `--atomic_numbers` the model covers C, Cl, F and H only, and step 4 fails on what has Br."""
    energies = MacePotential(SN2).reference_energies
    result = train(
        MaceTrainer(epochs=1, lr=1e-3, strategy=FrozenTuning(layers="interactions")),
        molecules[:8],
        tmp_path,
        reference_energies=energies,
    )
    tuned = MacePotential(result.path)
    assert set(tuned.elements) == {"Br", "C", "Cl", "F", "H"}
    numbers = molecules[0].numbers.copy()
    numbers[numbers == 17] = 35
    bromide = molecules[0].replace(numbers=numbers, labels=None)
    start = MacePotential(SN2).evaluate([bromide])[0].energy
    assert tuned.evaluate([bromide])[0].energy == pytest.approx(start, abs=1.0)
    before, after = weights(tmp_path / "mace" / "foundation.model"), weights(result.path)
    moved = {name.partition(".")[0] for name in after if not torch.equal(before[name], after[name])}
    assert moved == {"products", "readouts"}  # the frozen layers are as before


def test_trap_5_replay_that_mace_gave_up_is_noticed(tmp_path) -> None:
    """Without the checks a replay without its file trains one head, and several heads train at lr 1e-4."""
    with pytest.raises(TrainingError, match="the heads Default instead of pt_head, Default"):
        single_headed(SN2, replayed=True)
    assert single_headed(SN2, replayed=False) == SN2
    run = MaceRun(tmp_path, [], epochs=1, seed=1)
    (tmp_path / "train.log").write_text("INFO: Learning rate: 0.0001, weight decay: 0.0\n")
    with pytest.raises(TrainingError, match=r"the learning rate 0\.0001 instead of 0\.005"):
        check_learning_rate(run, 0.005)
    (tmp_path / "train.log").write_text("nothing\n")
    with pytest.raises(TrainingError, match="the learning rate None"):
        check_learning_rate(run, 0.005)


def test_trap_6_estimated_energies_stay_energies_of_atoms(other_level, molecules) -> None:
    """Least squares on total energies, as MACE's `estimated` has it, gives hydrogen thousands of eV too much
    here: the difference between two levels of theory, divided evenly among the elements of one formula."""
    foundation = MacePotential(SN2)
    found = estimate_reference_energies(
        other_level, foundation.evaluate(other_level), foundation.reference_energies
    )
    for symbol in other_level.elements:
        assert found.energies[symbol] == pytest.approx(TOTAL[symbol], abs=1.0), symbol
    assert found.residual_mev_per_atom < 100
    alone = other_level.filter(lambda structure: len(structure) > 1)
    even = estimate_reference_energies(alone, foundation.evaluate(alone), foundation.reference_energies)
    assert even.residual_mev_per_atom == pytest.approx(found.residual_mev_per_atom, abs=5.0)


def test_trap_7_an_earlier_run_in_the_same_place_changes_nothing(short, other_level) -> None:
    """Without an emptied directory the progress starts with the epochs of the earlier run; with
    `--restart_latest` besides, the weights are those of its best epoch, trained on."""
    first, workdir = short
    weights, seen = first.path.read_bytes(), []
    again = train(
        MaceTrainer(epochs=2, batch_size=64, lr=1e-3),
        other_level,
        workdir,
        progress=lambda done, total, _: seen.append((done, total)),
    )
    assert seen == [(1, 2), (2, 2)]
    assert again.path.read_bytes() == weights
    assert again.facts == first.facts
    assert [record["epoch"] for record in records(workdir) if record["mode"] == "eval"] == [None, 0, 1]


def test_trap_7_what_is_appended_is_read_from_where_it_begins(tmp_path) -> None:
    """A command that only appends to the results: entries of the run before do not count."""
    run = MaceRun(tmp_path, [], epochs=1, seed=1)
    results = tmp_path / "results" / "tuned_run-1_train.txt"
    line = '{"mode": "eval", "epoch": %s, "loss": %s, "rmse_e_per_atom": 1, "rmse_f": 1}\n'
    script = (
        "import pathlib; "
        f"open({str(results)!r}, 'a').write({line % ('null', 1) + line % (0, 0.5)!r}); "
        f"pathlib.Path({str(tmp_path / 'tuned.model')!r}).touch()"
    )
    (tmp_path / "mace").mkdir()
    (tmp_path / "mace" / "__init__.py").write_text(script)
    results.parent.mkdir()
    results.write_text(line % ("null", 9) + line % (0, "NaN"))
    (tmp_path / "mace" / "tools.py").touch()
    (tmp_path / "mace" / "cli").mkdir()
    (tmp_path / "mace" / "cli" / "__init__.py").touch()
    (tmp_path / "mace" / "cli" / "run_train.py").write_text("main = lambda: None\n")
    (tmp_path / "mace" / "tools.py").write_text("train = None\n")
    _, history = run.execute()
    assert [entry["loss"] for entry in history.entries] == [1.0, 0.5]


def test_trap_8_the_wait_for_a_lower_loss_ends() -> None:
    """Every loss below the lowest starts the wait anew; other heads and steps do not count."""
    kept: list[dict] = []
    log = WatchedLog(type("Log", (), {"log": lambda _, record: kept.append(record)})(), patience=2)
    for loss, head in (
        (3.0, "Default"),
        (2.0, "Default"),
        (2.5, "Default"),
        (9.0, "pt_head"),
        (1.9, "Default"),
    ):
        log.log({"mode": "eval", "epoch": 0, "head": head, "loss": loss})
    log.log({"mode": "opt", "epoch": 0, "loss": 9.0})
    log.log({"mode": "eval", "epoch": 0, "head": "Default", "loss": 1.9})
    with pytest.raises(_NoGain):
        log.log({"mode": "eval", "epoch": 0, "head": "Default", "loss": 2.0})
    assert len(kept) == 8


def test_trap_8_training_ends_early_and_the_best_epoch_by_validation_is_kept(molecules, tmp_path) -> None:
    """With `--patience` alone all 50 epochs are trained. This learning rate changes no weight."""
    energies = MacePotential(SN2).reference_energies
    result = train(
        MaceTrainer(epochs=50, patience=2, lr=1e-300),
        molecules[:8],
        tmp_path,
        reference_energies=energies,
        validation=molecules[20:28],
    )
    assert (result.facts["epochs"], result.facts["best_epoch"]) == (3, 0)
    assert result.facts["validation_structures"] == 8
    assert result.metrics.validation is not None
    found = result.metrics.validation.as_dict()
    kept = result.curves["labels"][1]
    assert found["energy_rmse_mev_per_atom"] == pytest.approx(kept["energy_rmse_mev_per_atom"], rel=1e-6)
    assert found == pytest.approx(result.facts["errors_before"], rel=1e-9)


def test_lora_moves_the_weights_by_matrices_of_low_rank(molecules, tmp_path) -> None:
    result = train(
        MaceTrainer(epochs=2, strategy=LoraTuning(rank=2)),
        molecules[:8],
        tmp_path,
        reference_energies=MacePotential(SN2).reference_energies,
    )
    assert result.facts["learning_rate"] == 0.01
    before, after = weights(tmp_path / "mace" / "foundation.model"), weights(result.path)
    assert before.keys() == after.keys()  # merged: a plain model again
    name = "interactions.0.conv_tp_weights.layer1.weight"
    shape = MacePotential(SN2).model.state_dict()[name].shape
    change = (after[name] - before[name]).reshape(shape).numpy()
    sizes = np.linalg.svd(change, compute_uv=False)
    assert sizes[0] > 1e-6
    assert sizes[2] < 1e-9 * sizes[0]


@pytest.fixture(scope="module")
def replayed(molecules, tmp_path_factory) -> tuple[TrainedPotential, Path]:
    """Labels shifted by 0.125 eV per atom; replayed are 12 of 20 structures with the foundation's labels."""
    workdir = tmp_path_factory.mktemp("replay")
    foundation = MacePotential(SN2)
    known = workdir / "known.extxyz"
    write_structures(known, foundation.label(molecules[20:40]))
    energies = {symbol: energy + 0.125 for symbol, energy in foundation.reference_energies.items()}
    strategy = ReplayTuning(structures=known, labels="file", n_structures=12)
    trainer = MaceTrainer(epochs=2, lr=1e-3, strategy=strategy)
    return train(trainer, molecules[:8], workdir, reference_energies=energies), workdir


def test_replay_holds_the_model_to_what_it_knew(replayed) -> None:
    """Labels of a file are moved to the references of the new labels: at first they are met exactly."""
    result, workdir = replayed
    assert result.facts["replayed_structures"] == 12
    assert result.curves["replay"][0]["energy_rmse_mev_per_atom"] < 1e-3
    assert result.curves["replay"][0]["forces_rmse_mev_per_angstrom"] < 1e-2
    assert len(result.curves["replay"]) == len(result.curves["labels"]) == 3
    assert "training_loss" in result.curves["labels"][1]
    log = (workdir / "mace" / "train.log").read_text()
    assert "Learning rate: 0.001" in log


def test_replay_leaves_one_head_that_says_what_the_second_of_two_said(replayed, molecules) -> None:
    result, workdir = replayed
    both = MacePotential(workdir / "mace" / "tuned.model", head="Default")
    tuned = MacePotential(result.path)
    assert (both.head_number, tuned.head_number, tuned.head) == (1, 0, "Default")
    for ours, theirs in zip(tuned.evaluate(molecules[:4]), both.evaluate(molecules[:4]), strict=True):
        assert ours.energy == pytest.approx(theirs.energy, abs=1e-9)
        np.testing.assert_allclose(ours.forces, theirs.forces, atol=1e-9)


def test_what_is_replayed_has_the_labels_of_the_foundation_on_the_new_references(molecules, tmp_path) -> None:
    original = MacePotential(SN2)
    energies = {symbol: energy - 2.0 for symbol, energy in original.reference_energies.items()}
    start = original.with_reference_energies(tmp_path / "start.model", energies)
    bare = Dataset(structure.replace(labels=None) for structure in molecules[:6])
    chosen = ReplayTuning(n_structures=4).replayed(original, start, bare, seed=1)
    assert len(chosen) == 4
    for structure, labels in zip(chosen, original.evaluate(chosen), strict=True):
        assert structure.labels is not None
        assert structure.labels.energy == pytest.approx(labels.energy - 2.0 * len(structure), abs=1e-9)
    shutil.rmtree(tmp_path)
