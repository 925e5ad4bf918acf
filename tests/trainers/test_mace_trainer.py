"""Fine-tuning with the real `mace_run_train`: what it reads, keeps, refuses, and leaves behind."""

import contextlib
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyacemaker.errors import (
    ConfigError,
    DataError,
    FoundationModelError,
    InsufficientDataError,
    OracleError,
    TrainingDivergenceError,
    TrainingError,
    UnsupportedElementError,
)
from pyacemaker.oracles.tblite import TbliteOracle
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.potentials.mace_model import load_model, quiet_mace, save_model
from pyacemaker.structures import Accuracy, Dataset, Labels
from pyacemaker.structures.formats import read_structures
from pyacemaker.trainers.base import TrainedPotential
from pyacemaker.trainers.mace import MaceTrainer, even_batch_size
from pyacemaker.trainers.mace_checks import check_labels
from pyacemaker.trainers.mace_run import MaceRun, write_training_file
from pyacemaker.trainers.reference_energies import align_reference_energies

DATA = Path(__file__).parents[1] / "data"
SN2 = DATA / "sn2_foundation.model"
CUAL = DATA / "cual_foundation.model"
SHIFTED = {"Al": -1000.25, "Cu": 17.5}
QUICK = MaceTrainer(epochs=2, lr=1e-3)


@pytest.fixture(scope="module")
def molecules() -> Dataset:
    """Labelled structures of CH3ClF, with the isolated atoms, including Br, in front."""
    return read_structures(DATA / "sn2_small.xyz")


@pytest.fixture(scope="module")
def crystals() -> Dataset:
    return read_structures(DATA / "cual_small.xyz")[2:]


@pytest.fixture(scope="module")
def energies() -> dict[str, float]:
    """E0s that the foundation does not have: as after aligning levels of theory."""
    own = MacePotential(SN2).reference_energies
    return {symbol: value + 0.125 * len(symbol) for symbol, value in own.items()}


@pytest.fixture(scope="module")
def trained(molecules, energies, tmp_path_factory) -> tuple[TrainedPotential, Path, list]:
    """Two epochs on 18 structures with isolated atoms among them, over the ruins of an earlier run."""
    workdir = tmp_path_factory.mktemp("work")
    ruins = workdir / "mace" / "results"
    ruins.mkdir(parents=True)
    (ruins / "tuned_run-3_train.txt").write_text('{"mode": "eval", "epoch": 0, "loss": NaN}\n')
    seen: list = []
    here = Path.cwd()
    result = QUICK.train(
        molecules[1:23],
        foundation=SN2,
        reference_energies=energies,
        out=workdir / "tuned.model",
        seed=3,
        workdir=workdir,
        progress=lambda *arguments: seen.append(arguments),
    )
    assert Path.cwd() == here
    return result, workdir, seen


def test_training_lowers_the_errors(trained) -> None:
    result, _, _ = trained
    before = result.facts["errors_before"]
    after = result.metrics.train
    assert after.energy_rmse_mev_per_atom < before["energy_rmse_mev_per_atom"]
    assert 0 < result.metrics.seconds < 300
    assert result.metrics.validation is None


def test_the_saved_reference_energies_are_those_asked_for(trained, energies) -> None:
    result, _, _ = trained
    tuned = MacePotential(result.path)
    assert set(tuned.elements) == {"C", "H", "F", "Cl", "Br"}  # MACE alone keeps the elements it saw
    for symbol, energy in tuned.reference_energies.items():
        assert energy == pytest.approx(energies[symbol], abs=1e-9)
    assert next(tuned.model.parameters()).dtype == torch.float64


def test_the_reported_errors_are_those_of_the_saved_model(trained, molecules) -> None:
    result, _, seen = trained
    tuned = MacePotential(result.path)
    training = molecules[5:23]
    errors = [
        (label.energy - structure.labels.energy) / len(structure)
        for label, structure in zip(tuned.evaluate(training), training, strict=True)
    ]
    found = 1000 * np.sqrt(np.mean(np.square(errors)))
    assert found == pytest.approx(result.metrics.train.energy_rmse_mev_per_atom)
    assert found == pytest.approx(seen[-1][2]["energy_rmse_mev_per_atom"], rel=1e-3)


def test_progress_counts_epochs(trained) -> None:
    _, _, seen = trained
    assert [(done, total) for done, total, _ in seen] == [(1, 2), (2, 2)]
    assert seen[-1][2]["forces_rmse_mev_per_angstrom"] > 0


def test_all_labels_and_only_the_settings_meant_are_used(trained) -> None:
    result, workdir, _ = trained
    log = (workdir / "mace" / "train.log").read_text()
    assert result.facts["structures"] == 18
    assert "energy: 18" in log
    assert "Learning rate: 0.001" in log  # multi-head fine-tuning would override it
    assert json.loads(json.dumps(dict(result.facts))) == dict(result.facts)


def test_this_process_is_as_it_was(trained) -> None:
    assert torch.get_default_dtype() == torch.float32
    assert logging.root.manager.disable == 0


def test_the_same_seed_gives_the_same_bits(trained, molecules, energies, tmp_path) -> None:
    first, _, _ = trained
    again = QUICK.train(
        molecules[1:23],
        foundation=SN2,
        reference_energies=energies,
        out=tmp_path / "again.model",
        seed=3,
        workdir=tmp_path / "other",
    )
    ours, theirs = (MacePotential(result.path).model.state_dict() for result in (first, again))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert MacePotential(first.path).sha256 == MacePotential(again.path).sha256


def test_reference_energies_hold_when_all_elements_are_present(crystals, tmp_path) -> None:
    """MACE discards E0s from its command line in just this case. The foundation made the labels."""
    potential = MacePotential(CUAL)
    shift = {symbol: SHIFTED[symbol] - potential.reference_energies[symbol] for symbol in SHIFTED}
    moved = [
        Labels(label.energy + extra, label.forces, label.stress)
        for label, extra in zip(potential.evaluate(crystals), crystals.reference_energies(shift), strict=True)
    ]
    result = MaceTrainer(epochs=1, batch_size=64, lr=1e-6).train(
        crystals.with_labels(moved, "shifted"),
        foundation=CUAL,
        reference_energies=SHIFTED,
        out=tmp_path / "tuned.model",
        seed=1,
        workdir=tmp_path,
    )
    assert result.facts["errors_before"]["energy_rmse_mev_per_atom"] < 1e-6
    assert result.metrics.train.energy_rmse_mev_per_atom < 1
    assert result.metrics.train.forces_rmse_mev_per_angstrom < 1
    assert result.metrics.train.stress_rmse_gpa is not None
    assert result.metrics.train.stress_rmse_gpa < 0.01
    assert MacePotential(result.path).reference_energies == pytest.approx(SHIFTED, abs=1e-9)
    history = (tmp_path / "mace" / "results" / "tuned_run-1_train.txt").read_text().splitlines()
    start = json.loads(history[0])
    assert start["rmse_e_per_atom"] < 1e-5
    assert start["rmse_f"] < 1e-5
    assert start["rmse_stress"] < 1e-6


def test_the_training_file_says_what_the_labels_say(crystals, molecules, tmp_path) -> None:
    """Read back by MACE's own reader: energy, forces, stress with its sign and order, charge, weight."""
    with quiet_mace():
        from mace import data, tools

    stress = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) / 100
    solid = crystals[3].replace(labels=Labels(-1234.567890123, np.full((len(crystals[3]), 3), 0.25), stress))
    written = Dataset([solid, molecules[9].replace(weight=2.5, info={"config_type": "IsolatedAtom"})])
    path = tmp_path / "train.xyz"
    write_training_file(path, written)
    keys = data.KeySpecification(
        {"energy": "REF_energy", "stress": "REF_stress", "head": "head", "total_charge": "total_charge"},
        {"forces": "REF_forces"},
    )
    _, found = data.load_from_xyz(str(path), keys, extract_atomic_energies=True)
    table = tools.AtomicNumberTable(sorted({int(z) for s in written for z in s.numbers}))
    assert len(found) == 2
    for configuration, structure in zip(found, written, strict=True):
        with quiet_mace():
            torch.set_default_dtype(torch.float64)
            graph = data.AtomicData.from_config(configuration, z_table=table, cutoff=4.0)
        assert graph.energy.item() == structure.labels.energy
        np.testing.assert_allclose(graph.forces, structure.labels.forces, atol=1e-8)
        assert graph.weight.item() == structure.weight
        assert configuration.properties["total_charge"] == structure.charge
        if structure.labels.stress is not None:
            xx, yy, zz, yz, xz, xy = stress
            np.testing.assert_allclose(graph.stress[0], [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
            assert graph.stress_weight.item() == 1


def test_labels_that_mace_did_not_read_are_noticed(molecules, tmp_path) -> None:
    run = MaceRun(tmp_path, [], epochs=1, seed=1)
    with pytest.raises(FileNotFoundError):
        run.labels_read()
    log = "INFO: Training set 1/1 [energy: 9]\nINFO: Total Training set [energy: 3, stress: 0, forces: 2]\n"
    (tmp_path / "train.log").write_text(log)
    assert run.labels_read() == {"energy": 3, "stress": 0, "forces": 2}
    with pytest.raises(TrainingError, match=r"read .*'forces': 2.*expected .*'forces': 3"):
        check_labels(run, molecules[5:8])
    (tmp_path / "train.log").write_text("nothing of the kind\n")
    with pytest.raises(TrainingError, match="an unknown number"):
        check_labels(run, molecules[5:8])


def test_a_huge_learning_rate_is_a_divergence_and_leaves_nothing(molecules, energies, tmp_path) -> None:
    out = tmp_path / "tuned.model"
    out.write_text("from an earlier run")
    with pytest.raises(TrainingDivergenceError, match="lower lr"):
        MaceTrainer(epochs=3, lr=30.0, batch_size=2).train(
            molecules[5:15],
            foundation=SN2,
            reference_energies=energies,
            out=out,
            seed=1,
            workdir=tmp_path / "work",
        )
    assert not out.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["work"]


def test_a_time_limit_ends_the_process(molecules, energies, tmp_path) -> None:
    with pytest.raises(TrainingError, match=r"limit of 0\.3 s"):
        MaceTrainer(timeout_s=0.3).train(
            molecules,
            foundation=SN2,
            reference_energies=energies,
            out=tmp_path / "tuned.model",
            seed=1,
            workdir=tmp_path,
        )
    assert not (tmp_path / "tuned.model").exists()
    assert not _processes_mentioning(tmp_path)


def test_a_failed_process_shows_the_end_of_its_log(tmp_path) -> None:
    (tmp_path / "mace.py").write_text("raise SystemExit('MACE is broken today')")  # found before the real one
    with pytest.raises(TrainingError, match=r"exit code 1 and no model(?s:.*)MACE is broken today"):
        MaceRun(tmp_path, [], epochs=1, seed=1).execute()


def test_a_killed_parent_takes_the_training_along(tmp_path) -> None:
    script = (
        "from pathlib import Path; from pyacemaker.trainers.mace import MaceTrainer;"
        "from pyacemaker.potentials.mace import MacePotential;"
        "from pyacemaker.structures.formats import read_structures;"
        f"energies = MacePotential(Path({str(SN2)!r})).reference_energies;"
        f"work = Path({str(tmp_path)!r}); data = read_structures({str(DATA / 'sn2_small.xyz')!r});"
        f"MaceTrainer(epochs=500).train(data, foundation=Path({str(SN2)!r}), reference_energies=energies,"
        "out=work / 'o.model', seed=1, workdir=work)"
    )
    parent = subprocess.Popen([sys.executable, "-W", "ignore", "-c", script], stdout=subprocess.DEVNULL)
    started = time.monotonic()
    while not _processes_mentioning(tmp_path / "mace" / "train.xyz") and time.monotonic() - started < 90:
        assert parent.poll() is None
        time.sleep(0.1)
    assert _processes_mentioning(tmp_path / "mace" / "train.xyz")
    parent.kill()
    parent.wait()
    while _processes_mentioning(tmp_path) and time.monotonic() - started < 90:
        time.sleep(0.05)
    assert not _processes_mentioning(tmp_path)


def _processes_mentioning(path: Path) -> list[str]:
    """Process ids whose command line holds `path`, this one and zombies aside."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if str(path).encode() in command:
                found.append(entry.name)
    return found


def refuse(error: type[Exception], match: str, dataset: Dataset, tmp_path: Path, energies, **changes) -> None:
    """The training is refused before anything starts: nothing is written."""
    arguments = {"foundation": SN2, "reference_energies": energies, **changes}
    with pytest.raises(error, match=match):
        QUICK.train(dataset, out=tmp_path / "x.model", seed=1, workdir=tmp_path / "work", **arguments)
    assert not (tmp_path / "x.model").exists()


def test_too_few_structures(molecules, energies, tmp_path) -> None:
    few = molecules[:8]  # five isolated atoms, which do not count
    refuse(InsufficientDataError, r"3 labelled structures .* at least 4", few, tmp_path, energies)
    refuse(InsufficientDataError, "0 labelled", Dataset(), tmp_path, energies)
    assert not list(tmp_path.iterdir())


def test_unusable_labels(molecules, energies, tmp_path) -> None:
    bare = molecules[:10] + Dataset([molecules[11].replace(labels=None)])
    refuse(DataError, "1 of 11 training structures have no labels", bare, tmp_path, energies)
    spoiled = molecules[11].replace(labels=Labels(np.nan, molecules[11].labels.forces))
    refuse(DataError, f"{spoiled.id} holds NaN", molecules[:10] + Dataset([spoiled]), tmp_path, energies)
    refuse(
        DataError,
        "no reference energy was given for Br",
        molecules,
        tmp_path,
        {"C": 1, "H": 1, "F": 1, "Cl": 1},
    )
    assert not list(tmp_path.iterdir())


def test_a_foundation_that_does_not_fit(molecules, energies, tmp_path) -> None:
    refuse(UnsupportedElementError, "covers only", molecules, tmp_path, energies, foundation=CUAL)
    with pytest.raises(ConfigError, match="the device 'abacus' cannot be used here"):
        MacePotential(CUAL, device="abacus")
    refuse(FoundationModelError, "does not exist", molecules, tmp_path, energies, foundation=tmp_path / "no")


@given(structures=st.integers(1, 300), limit=st.integers(1, 64))
def test_batches_leave_few_structures_over(structures: int, limit: int) -> None:
    size = even_batch_size(structures, limit)
    largest = min(structures, limit)
    assert largest / 2 <= size <= largest
    assert structures % size <= structures % largest


def test_batch_sizes_by_hand() -> None:
    assert [even_batch_size(n, 5) for n in (48, 50, 47, 4, 1)] == [4, 5, 5, 4, 1]


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"lr": -1}, {"validation_fraction": 1}, {"epoch": 5}])
def test_settings_are_checked(wrong) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MaceTrainer.model_validate(wrong)


def test_held_out_structures_are_not_trained_on(molecules) -> None:
    trainer = MaceTrainer(validation_fraction=0.2)
    training, held_out = trainer._split(molecules[5:], None, 1)
    assert (len(training), len(held_out)) == (32, 8)
    assert not set(training.ids) & set(held_out.ids)
    assert set(training.ids) | set(held_out.ids) == set(molecules[5:].ids)
    assert trainer._split(molecules[5:], None, 1)[1].ids == held_out.ids
    assert trainer._split(molecules[5:], molecules, 1)[1].ids == molecules[5:].ids
    assert len(MaceTrainer()._split(molecules[5:], None, 1)[1]) == 0


@pytest.mark.slow
def test_one_head_of_several_is_tuned(crystals, tmp_path) -> None:
    """The trainer itself checks that MACE starts from the errors of the head that was asked for."""
    path = tmp_path / "two_heads.model"
    save_model(two_headed_model(CUAL), path)
    potential = MacePotential(path, head="pt_head")
    errors = []
    for seed, head in enumerate(("pt_head", "Default")):
        result = MaceTrainer(epochs=1, lr=1e-6).train(
            potential.label(crystals),
            foundation=path,
            head=head,
            reference_energies=potential.reference_energies,
            out=tmp_path / f"{head}.model",
            seed=seed,
            workdir=tmp_path / head,
        )
        errors.append(result.facts["errors_before"]["energy_rmse_mev_per_atom"])
        assert MacePotential(result.path).head == "Default"
    assert errors[0] < 1e-6 < 1 < errors[1]


def two_headed_model(like: Path) -> torch.nn.Module:
    """A model of random weights with the shape of `like` and the heads pt_head and Default."""
    with quiet_mace():
        from mace import modules  # before e3nn
        from e3nn import o3  # isort: skip
        from mace.tools.scripts_utils import extract_config_mace_model

        config = extract_config_mace_model(load_model(like))
        config |= {
            "atomic_energies": np.array([[1.0, 2.0], [3.0, 4.0]]),
            "atomic_inter_scale": [1.0, 1.0],
            "atomic_inter_shift": [0.0, 0.5],
            "heads": ["pt_head", "Default"],
            "MLP_irreps": o3.Irreps("4x0e"),
        }
        config.pop("readout_cls", None)
        torch.manual_seed(0)
        return modules.ScaleShiftMACE(**config)


@pytest.mark.slow
def test_fifty_labels_of_another_theory_are_learned(tmp_path) -> None:
    """GFN1-xTB in DFT's place: aligned, then tuned; held-out errors fall several times."""
    labelled, oracle = Dataset(), TbliteOracle(method="GFN1-xTB")
    for structure in read_structures(DATA / "sn2_small.xyz")[5:]:
        with contextlib.suppress(OracleError):  # stretched molecules do not always converge
            labelled += Dataset([structure.replace(labels=oracle.label(structure))])
    isolated = {symbol: oracle.compute(oracle.isolated_atom(symbol)).energy for symbol in labelled.elements}
    training, test = labelled[::2] + labelled[1::4], labelled[3::4]
    foundation = MacePotential(SN2)
    aligned = align_reference_energies(
        training, foundation.evaluate(training), foundation.reference_energies, isolated
    )
    start = foundation.with_reference_energies(tmp_path / "start.model", aligned.energies)
    result = MaceTrainer().train(
        training,
        foundation=SN2,
        reference_energies=aligned.energies,
        out=tmp_path / "tuned.model",
        seed=1,
        workdir=tmp_path,
    )
    before = Accuracy.between(start.evaluate(test), test.labels)
    after = Accuracy.between(MacePotential(result.path).evaluate(test), test.labels)
    assert after.forces_rmse_mev_per_angstrom < 0.7 * before.forces_rmse_mev_per_angstrom
    assert after.energy_rmse_mev_per_atom < 0.7 * before.energy_rmse_mev_per_atom
