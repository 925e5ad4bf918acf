"""The wrapper of the `pacemaker` program, on what the real program wrote, and on the program where it is."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import replay_pacemaker
import yaml
from pydantic import ValidationError

from pyacemaker.errors import (
    ConfigError,
    DataError,
    EngineMissingError,
    PotentialFormatError,
    TrainingDivergenceError,
    TrainingError,
    UnsupportedElementError,
)
from pyacemaker.potentials.ace import ACEPotential
from pyacemaker.structures import Accuracy, Dataset, LabelWeights
from pyacemaker.structures.formats import read_structures
from pyacemaker.trainers import PacemakerTrainer
from pyacemaker.trainers.pacemaker import with_reference
from pyacemaker.trainers.pacemaker_data import WeightedData
from pyacemaker.trainers.pacemaker_input import Products
from pyacemaker.trainers.pacemaker_programs import PacemakerPrograms
from pyacemaker.trainers.pacemaker_run import SAFE, PacemakerRun, count_functions, new_rows, read_metrics

DATA = Path(__file__).parents[1] / "data"
RECORDED = DATA / "pacemaker"
RECORDING = {"cutoff": 4.5, "functions": 12, "order": 2, "maxiter": 12, "repulsion": "pacemaker"}
"""The settings of the recorded run."""


@pytest.fixture(scope="module")
def cual():
    return read_structures(DATA / "cual_small.xyz").filter(lambda structure: len(structure) > 1)


@pytest.fixture
def replayed(tmp_path):
    """A trainer that meets the recorded run; its programs are outside of where tests look for leftovers."""
    return PacemakerTrainer(command=replay_pacemaker.install(tmp_path / "bin"), **RECORDING)


def calls(workdir):
    return json.loads((workdir / "pacemaker" / "calls.json").read_text())


def is_running(pid):
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
    return "State:\tZ" not in status


# what is written


def test_the_input_says_what_the_settings_say():
    trainer = PacemakerTrainer(
        cutoff=5.5,
        order=3,
        functions=77,
        products={"ALL": Products(nradmax=(8, 4, 3, 2), lmax=(0, 3, 2, 1))},
        radial_basis="ChebExpCos",
        radial_parameters=(3.0,),
        densities=1,
        kappa=0.6,
        l1=1e-6,
        l2=1e-7,
        smoothness=(1e-5, 0.0, 1e-4),
        optimizer="L-BFGS-B",
        maxiter=33,
        ladder_step=20,
        ladder_type="power_order",
        fit_cycles=2,
        batch_size=7,
        seed=5,
        repulsion="none",
    )
    found = trainer.content(("Al", "Cu"), {"Cu": 3.5, "Al": 3.25}, test=True)
    assert found == yaml.safe_load(
        """
        cutoff: 5.5
        seed: 5
        potential:
          deltaSplineBins: 0.001
          elements: [Al, Cu]
          embeddings: {ALL: {npot: FinnisSinclairShiftedScaled, fs_parameters: [1.0, 1.0], ndensity: 1}}
          bonds:
            ALL: {radbase: ChebExpCos, radparameters: [3.0], rcut: 5.5, dcut: 0.01, NameOfCutoffFunction: cos}
          functions:
            number_of_functions_per_element: 77
            ALL: {nradmax_by_orders: [8, 4, 3], lmax_by_orders: [0, 3, 2]}
        data:
          filename: train.pckl.gzip
          test_filename: test.pckl.gzip
          reference_energy: {Al: 3.25, Cu: 3.5}
        fit:
          loss: {kappa: 0.6, L1_coeffs: 1.0e-6, L2_coeffs: 1.0e-7, w0_rad: 1.0e-5, w2_rad: 1.0e-4}
          optimizer: L-BFGS-B
          maxiter: 33
          fit_cycles: 2
          ladder_step: 20
          ladder_type: power_order
        backend: {evaluator: tensorpot, batch_size: 7, display_step: 50}
        """
    )


def test_a_core_acts_below_the_data_and_pacemakers_own_at_its_edge():
    """pacemaker's `auto` lets nuclear repulsion begin at the closest distance: a trap for molecules."""
    windows = {("C", "C"): (0.8, 0.2), ("C", "Cl"): (1.3, 0.2)}
    found = PacemakerTrainer().content(("C", "Cl"), {"C": 0.0, "Cl": 0.0}, windows, test=False)
    core = {"core-repulsion": [1, 1], "delta_in": 0.2, "inner_cutoff_type": "zbl"}
    assert found["potential"]["bonds"]["C"] == {**core, "r_in": 0.8}
    assert found["potential"]["bonds"]["CCl"] == {**core, "r_in": 1.3}
    assert "repulsion" not in found["fit"]
    theirs = PacemakerTrainer(repulsion="pacemaker").content(("C",), {"C": 0.0}, test=False)
    assert theirs["fit"]["repulsion"] == "auto"
    assert list(theirs["potential"]["bonds"]) == ["ALL"]


def test_two_densities_are_the_default():
    found = PacemakerTrainer().content(("Si",), {"Si": 0.0}, test=False)
    assert found["potential"]["embeddings"]["ALL"]["fs_parameters"] == [1.0, 1.0, 1.0, 0.5]
    assert "test_filename" not in found["data"]
    assert "ladder_step" not in found["fit"]


def test_products_that_pacemaker_has_no_tables_for_are_refused():
    with pytest.raises(ValidationError, match="lmax of rank 3 is 7; pacemaker goes up to 6"):
        Products(nradmax=(5, 4, 3), lmax=(0, 3, 7))
    with pytest.raises(ValidationError, match="nradmax has 2 ranks and lmax 1"):
        Products(nradmax=(5, 4), lmax=(0,))


def test_weights_have_the_scale_of_pacemakers_uniform_ones(cual):
    found = WeightedData.of(cual, None)
    atoms = sum(map(len, cual))
    np.testing.assert_allclose(found.energy, 1.0 / len(cual))
    np.testing.assert_allclose(np.concatenate(found.forces), 1.0 / atoms)


def test_a_mask_is_a_zero_and_weights_are_kept_in_proportion(cual):
    mask = np.ones((len(cual[0]), 3))
    mask[1] = 0.0
    changed = [
        cual[0].replace(label_weights=LabelWeights(2.0, mask, np.ones(6))),
        cual[1].replace(weight=5.0),
        *cual[2:],
    ]
    found = WeightedData.of(Dataset(changed), None)
    np.testing.assert_allclose(found.energy[:3] / found.energy[2], [2.0, 5.0, 1.0])
    assert found.forces[0][1] == 0.0
    assert found.forces[0][0] == pytest.approx(found.forces[2][0])
    assert found.forces[1][0] == pytest.approx(5.0 * found.forces[2][0])
    assert found.energy.sum() == pytest.approx(1.0)
    assert sum(part.sum() for part in found.forces) == pytest.approx(1.0)


def test_large_forces_count_less(cual):
    largest = [np.linalg.norm(s.labels.forces, axis=1).max() for s in cual]
    found = WeightedData.of(cual, 0.5)
    expected = 1.0 / (1.0 + (np.array(largest) / 0.5) ** 2)
    np.testing.assert_allclose(found.energy, expected / expected.sum())


def test_lone_atoms_are_left_out_and_slabs_are_refused(cual):
    with_atoms = read_structures(DATA / "cual_small.xyz")
    assert len(WeightedData.of(with_atoms, None).structures) == len(cual) < len(with_atoms)
    slab = cual[0].replace(pbc=np.array([True, True, False]))
    with pytest.raises(DataError, match=r"1 structures, such as .* periodic in one or two directions only"):
        WeightedData.of(Dataset([slab, *cual[1:]]), None)
    nothing = LabelWeights(0.0, np.ones((len(cual[0]), 3)), np.ones(6))
    with pytest.raises(DataError, match="all energies or of all forces are zero"):
        WeightedData.of(Dataset([cual[0].replace(label_weights=nothing)]), None)


def test_the_table_holds_every_digit_and_the_weights(cual, tmp_path):
    """Written by the script that runs in pacemaker's Python; here by this one, whose pandas is another."""
    import pandas

    data = WeightedData.of(cual, 10.0)
    data.write(tmp_path / "train.extxyz")
    PacemakerPrograms(("pacemaker",), (sys.executable,)).write_table(
        tmp_path / "train.extxyz", tmp_path / "train.pckl.gzip"
    )
    table = pandas.read_pickle(tmp_path / "train.pckl.gzip", compression="gzip")
    assert list(table["row"]) == list(range(len(cual)))
    for row, structure, energy, forces in zip(
        table.to_dict("records"), data.structures, data.energy, data.forces, strict=True
    ):
        atoms = row["ase_atoms"]
        np.testing.assert_array_equal(atoms.positions, structure.positions)
        np.testing.assert_array_equal(atoms.numbers, structure.numbers)
        np.testing.assert_array_equal(atoms.pbc, structure.pbc)
        np.testing.assert_allclose(np.array(atoms.cell), structure.cell, atol=1e-12)
        assert row["energy"] == structure.labels.energy
        np.testing.assert_array_equal(row["forces"], structure.labels.forces)
        assert row["w_energy"] == energy
        np.testing.assert_array_equal(row["w_forces"], forces)


# what is called


def test_companions_are_found_where_the_program_is():
    wrapped = PacemakerPrograms(("conda", "run", "-n", "ace", "pacemaker"), ("python",))
    assert wrapped.companion("pace_select") == ("conda", "run", "-n", "ace", "pace_select")
    placed = PacemakerPrograms(("nice", "/opt/ace/bin/pacemaker"), ("python",))
    assert placed.companion("pace_yaml2yace") == ("nice", "/opt/ace/bin/pace_yaml2yace")


def test_the_python_is_that_of_the_program(tmp_path, monkeypatch):
    command = replay_pacemaker.install(tmp_path)
    assert PacemakerPrograms.find(command).python == (sys.executable,)
    (tmp_path / "python").symlink_to(sys.executable)
    (tmp_path / "pacemaker").write_text("#!/bin/sh\n")
    assert PacemakerPrograms.find(command).python == (str(tmp_path / "python"),)
    assert PacemakerPrograms.find(f"env {command}").python == ("env", str(tmp_path / "python"))
    assert PacemakerPrograms.find(command, "env python3").python == ("env", "python3")
    monkeypatch.setenv("ACE_HOME", str(tmp_path))
    assert PacemakerPrograms.find("${ACE_HOME}/pacemaker").command == (command,)


def test_a_program_that_is_not_there_is_said_by_its_setting(monkeypatch):
    with pytest.raises(EngineMissingError, match=r"trainer.command 'no-such-pacemaker' is not installed"):
        PacemakerTrainer(command="no-such-pacemaker").check()
    with pytest.raises(ConfigError, match=r"trainer.command is empty"):
        PacemakerTrainer(command=" ").check()
    with pytest.raises(EngineMissingError, match="is no working pacemaker"):
        PacemakerTrainer(command="false").check()
    monkeypatch.delenv("NO_SUCH_VARIABLE", raising=False)
    with pytest.raises(ConfigError, match="NO_SUCH_VARIABLE"):
        PacemakerTrainer(command="${NO_SUCH_VARIABLE}").check()


def test_a_program_that_answers_is_accepted(replayed):
    replayed.check()


def test_threads_are_set_and_data_paths_are_not_redirected(monkeypatch):
    monkeypatch.setenv("PACEMAKERDATAPATH", "/elsewhere")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    found = PacemakerPrograms(("pacemaker",), ("python",), threads=3).environment()
    assert found["OMP_NUM_THREADS"] == found["TF_NUM_INTRAOP_THREADS"] == "3"
    assert "PACEMAKERDATAPATH" not in found
    assert "PYTHONPATH" not in found


# what is read


def test_lines_of_the_metrics_are_read_as_they_are_completed(tmp_path):
    text = (RECORDED / "metrics.txt").read_text()
    file = tmp_path / "metrics.txt"
    rows = new_rows(file)
    assert next(rows) == []
    lines = text.splitlines(keepends=True)
    file.write_text("".join(lines[:3]) + lines[3][:30])
    assert [row["iter_num"] for row in next(rows)] == [0, 1]
    file.write_text(text)
    later = next(rows)
    assert [row["iter_num"] for row in later] == list(range(2, 13))
    assert later[-1]["loss"] < 0.1 * read_metrics(file)[0]["loss"]
    assert next(rows) == []


def test_an_interim_potential_that_a_kill_has_cut_has_fewer_functions(tmp_path):
    file = RECORDED / "interim_potential_0.yaml"
    functions = read_metrics(RECORDED / "metrics.txt")[-1]["nfuncs"]
    assert count_functions(file) == functions
    lines = file.read_text().splitlines(keepends=True)
    cut = tmp_path / "cut.yaml"
    for end in range(0, len(lines), 3):
        for half in ("", lines[end][: len(lines[end]) // 2]):
            cut.write_text("".join(lines[:end]) + half)
            assert count_functions(cut) < functions, end
    assert count_functions(tmp_path / "missing.yaml") == 0


def test_the_reference_energies_follow_the_order_of_the_file():
    text = (RECORDED / "output_potential.yace").read_text()
    assert "E0: [0, 0]" in text
    changed = with_reference(text, {"Cu": -2.5, "Al": 1e-7})
    assert "E0: [1e-07, -2.5]" in changed
    assert changed.replace("E0: [1e-07, -2.5]", "E0: [0, 0]") == text
    with pytest.raises(PotentialFormatError, match="no line"):
        with_reference("something else", {"Cu": 0.0})


# training


def test_the_delivered_potential_has_the_errors_that_pacemaker_measured(replayed, cual, tmp_path):
    """Its own evaluator during the fit, ours on the file: units, reference energies and conversion agree."""
    seen = []
    found = replayed.train(
        cual[:9],
        out=tmp_path / "p.yace",
        test=cual[9:],
        workdir=tmp_path / "work",
        progress=lambda done, total: seen.append((done, total)),
    )
    last, tested = (read_metrics(RECORDED / name)[-1] for name in ("metrics.txt", "test_metrics.txt"))
    for measured, row in ((found.metrics.train, last), (found.metrics.validation, tested)):
        assert measured.energy_rmse_mev_per_atom == pytest.approx(1e3 * row["rmse_epa"], rel=5e-3)
        assert measured.forces_rmse_mev_per_angstrom == pytest.approx(1e3 * row["rmse_f_comp"], rel=5e-3)
    assert found.metrics.validation_loss == tested["loss"]
    assert seen[-1] == (12, 12)
    assert seen == sorted(seen)
    assert found.facts["iterations"] == 12
    assert found.facts["total_functions"] == last["nfuncs"]
    assert found.facts["pacemaker"].startswith("0.2.7")
    assert "status=1" in found.facts["optimisation"]  # the normal end: maxiter
    assert (tmp_path / "p.yaml").read_bytes() == (RECORDED / "output_potential.yaml").read_bytes()
    assert calls(tmp_path / "work") == [{"arguments": ["input.yaml", "--no-predict"], "threads": "1"}]
    written = yaml.safe_load((tmp_path / "work" / "pacemaker" / "input.yaml").read_text())
    assert written == yaml.safe_load((RECORDED / "input.yaml").read_text())


def test_a_crash_goes_on_from_the_last_interim_potential(replayed, cual, tmp_path, monkeypatch):
    monkeypatch.setenv("REPLAY", "crash")
    replayed.train(cual[:9], out=tmp_path / "p.yace", workdir=tmp_path)
    first, second = calls(tmp_path)
    assert first["arguments"] == ["input.yaml", "--no-predict"]
    assert second["arguments"][:3] == ["input.yaml", "--no-predict", "-p"]
    assert Path(second["arguments"][3]).read_bytes() == (RECORDED / "interim_potential_0.yaml").read_bytes()
    written = yaml.safe_load((tmp_path / "pacemaker" / "input.yaml").read_text())
    assert written["fit"]["maxiter"] == 12 - 3  # the crash came after iteration 3


def test_a_ladder_goes_on_by_extending_the_interim_potential(replayed, cual, tmp_path, monkeypatch):
    monkeypatch.setenv("REPLAY", "crash")
    ladder = replayed.model_copy(update={"ladder_step": 4})
    ladder.train(cual[:9], out=tmp_path / "p.yace", workdir=tmp_path)
    assert calls(tmp_path)[1]["arguments"][2] == "-ip"


def test_a_program_that_keeps_failing_ends_with_its_last_words(replayed, cual, tmp_path, monkeypatch):
    monkeypatch.setenv("REPLAY", "fail")
    with pytest.raises(TrainingError, match=r"exit code 1.*\n.*something that pacemaker did not like"):
        replayed.train(cual[:9], out=tmp_path / "p.yace", workdir=tmp_path)
    assert len(calls(tmp_path)) == 1  # nothing was reached: starting again would end the same way
    monkeypatch.setenv("REPLAY", "always-crash")
    with pytest.raises(TrainingError, match="killed"):
        replayed.train(cual[:9], out=tmp_path / "p.yace", workdir=tmp_path)
    assert len(calls(tmp_path)) == 3
    assert not (tmp_path / "p.yace").exists()


def test_the_limit_of_time_ends_the_whole_group_and_the_next_attempt_goes_on(
    replayed, cual, tmp_path, monkeypatch
):
    monkeypatch.setenv("REPLAY", "hang")
    impatient = replayed.model_copy(update={"timeout_s": 4.0})
    with pytest.raises(TrainingError, match="ran past its limit of 4 s"):
        impatient.train(cual[:9], out=tmp_path / "p.yace", workdir=tmp_path)
    child = int((tmp_path / "pacemaker" / "child.pid").read_text())
    deadline = time.monotonic() + 5
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(child)
    monkeypatch.setenv("REPLAY", "")
    found = impatient.train(cual[:9], out=tmp_path / "p.yace", workdir=tmp_path)
    assert calls(tmp_path)[-1]["arguments"][2:] == ["-p", str(tmp_path / "pacemaker" / SAFE)]
    assert found.path.is_file()


def test_what_is_finished_is_not_done_again_and_other_data_begin_anew(replayed, cual, tmp_path):
    first = replayed.train(cual[:9], out=tmp_path / "p.yace", workdir=tmp_path)
    again = replayed.train(cual[:9], out=tmp_path / "again.yace", workdir=tmp_path)
    assert len(calls(tmp_path)) == 1
    assert first.path.read_bytes() == again.path.read_bytes()
    replayed.train(cual[:8], out=tmp_path / "p.yace", workdir=tmp_path)
    assert [call["arguments"] for call in calls(tmp_path)] == [["input.yaml", "--no-predict"]]


def test_a_loss_that_is_no_number_is_a_divergence(replayed, cual, tmp_path, monkeypatch):
    monkeypatch.setenv("REPLAY", "nan")
    with pytest.raises(TrainingDivergenceError, match="loss is nan in iteration 2"):
        replayed.train(cual[:9], out=tmp_path / "p.yace")
    assert [path.name for path in tmp_path.iterdir()] == ["bin"]


def test_it_continues_from_the_b_basis_beside_a_potential(replayed, cual, tmp_path):
    start = tmp_path / "start.yace"
    start.touch()
    with pytest.raises(PotentialFormatError, match=r"start.yace has no B-basis file start.yaml beside it"):
        replayed.train(cual[:9], start, out=tmp_path / "p.yace")
    start.with_suffix(".yaml").write_bytes((RECORDED / "output_potential.yaml").read_bytes())
    replayed.train(cual[:9], start, out=tmp_path / "p.yace", workdir=tmp_path)
    assert calls(tmp_path)[0]["arguments"][2:] == ["-p", str(start.with_suffix(".yaml"))]
    potential = ACEPotential.from_yace(RECORDED / "output_potential.yace")
    with pytest.raises(PotentialFormatError, match="give the path of the file"):
        replayed.train(cual[:9], potential, out=tmp_path / "p.yace")


def test_elements_of_the_data_have_to_be_among_those_of_the_potential(replayed, cual, tmp_path):
    with pytest.raises(UnsupportedElementError, match=r"data holds Cu, but trainer.elements are Al only"):
        replayed.model_copy(update={"elements": ("Al",)}).train(cual[:9], out=tmp_path / "p.yace")


def test_a_few_labels_get_few_iterations():
    assert PacemakerTrainer(maxiter=500, ladder_step=50).near().maxiter == 50
    assert PacemakerTrainer().continues()
    assert not PacemakerTrainer(ladder_step=50).continues()


# the program itself


@pytest.fixture(scope="module")
def real():
    command = os.environ.get("PYACEMAKER_PACEMAKER")
    if not command:
        pytest.skip("needs the pacemaker program: set PYACEMAKER_PACEMAKER to its command")
    return PacemakerTrainer(command=command, **RECORDING)


@pytest.fixture(scope="module")
def fitted(real, cual, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    return real.train(cual[:9], out=folder / "p.yace", test=cual[9:], workdir=folder)


@pytest.mark.pacemaker
def test_the_real_program_fits_as_recorded(fitted):
    recorded = read_metrics(RECORDED / "metrics.txt")[-1]
    assert fitted.facts["total_functions"] == recorded["nfuncs"]
    assert fitted.facts["loss"]["last"] == pytest.approx(recorded["loss"], rel=0.2)
    row = read_metrics(fitted.path.parent / "pacemaker" / "test_metrics.txt")[-1]
    assert fitted.metrics.validation.energy_rmse_mev_per_atom == pytest.approx(
        1e3 * row["rmse_epa"], rel=5e-3
    )


@pytest.mark.pacemaker
def test_the_real_program_continues_and_extends(real, fitted, cual, tmp_path):
    more = real.model_copy(update={"maxiter": 4})
    continued = more.train(cual[:9], fitted.path, out=tmp_path / "p.yace")
    assert continued.facts["loss"]["first"] == pytest.approx(fitted.facts["loss"]["last"], rel=1e-3)
    assert continued.facts["loss"]["last"] < fitted.facts["loss"]["last"]
    ladder = more.model_copy(update={"functions": 20, "ladder_step": 8})
    extended = ladder.train(cual[:9], fitted.path, out=tmp_path / "q.yace")
    assert extended.facts["total_functions"] > fitted.facts["total_functions"]


class Interrupted(Exception):
    """What ends a fit from outside, as a signal would."""


def interrupted_after(iterations):
    def progress(done, total):
        if done >= iterations:
            raise Interrupted

    return progress


@pytest.mark.pacemaker
def test_the_real_program_goes_on_after_a_kill(real, cual, tmp_path):
    """Killed by SIGKILL at some iteration past the 30th, and started again for the last three."""
    killed = real.model_copy(update={"maxiter": 2000})
    with pytest.raises(Interrupted):
        killed.train(
            cual[:9], out=tmp_path / "p.yace", workdir=tmp_path, progress=interrupted_after(iterations=30)
        )
    reached = read_metrics(tmp_path / "pacemaker" / "metrics.txt")
    planned = int(reached[-1]["iter_num"]) + 3
    run = PacemakerRun(PacemakerPrograms.find(real.command), tmp_path / "pacemaker", planned)
    rows = run.execute().rows
    assert rows[0]["loss"] == pytest.approx(reached[-1]["loss"], rel=0.3)
    assert rows[0]["loss"] < 0.5 * reached[0]["loss"]
    assert 1 <= rows[-1]["iter_num"] <= 3
    assert run.is_finished()


@pytest.mark.pacemaker
def test_the_real_program_ends_at_the_limit_of_time(real, cual, tmp_path):
    """However far it has come, also before its first iteration; nothing of its group stays behind."""
    impatient = real.model_copy(update={"maxiter": 100000, "timeout_s": 15.0})
    with pytest.raises(TrainingError, match="ran past its limit of 15 s"):
        impatient.train(cual[:9], out=tmp_path / "p.yace", workdir=tmp_path)
    assert not (tmp_path / "p.yace").exists()
    here = str(tmp_path / "pacemaker")
    assert not [link for link in Path("/proc").glob("[0-9]*/cwd") if _points_to(link, here)]


def _points_to(link, directory):
    try:
        return os.readlink(link) == directory
    except OSError:
        return False


@pytest.mark.pacemaker
def test_the_real_programs_make_active_sets_and_select(real, fitted, cual, tmp_path):
    basis = fitted.path.with_suffix(".yaml")
    active = real.active_set(basis, cual[:9], tmp_path / "p.asi")
    with np.load(active) as inverses:
        assert set(inverses.files) == {"Al", "Cu"}
        for inverse in inverses.values():
            assert np.isfinite(inverse).all()
    unlabelled = Dataset(structure.replace(labels=None) for structure in cual)
    chosen = real.select(basis, unlabelled, 3)
    assert 0 < len(chosen) <= 3
    assert set(chosen.ids) <= set(cual.ids)


@pytest.mark.pacemaker
def test_the_real_python_reads_its_table(real, cual, tmp_path):
    data = WeightedData.of(cual, None)
    data.write(tmp_path / "a.extxyz")
    programs = PacemakerPrograms.find(real.command)
    programs.write_table(tmp_path / "a.extxyz", tmp_path / "a.pckl.gzip")
    code = "import pandas as p; t = p.read_pickle('a.pckl.gzip', compression='gzip'); print(len(t))"
    done = subprocess.run(
        [*programs.python, "-c", code],
        cwd=tmp_path,
        env=programs.environment(),
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == str(len(cual)), done.stderr


def test_errors_are_measured_with_masks(cual):
    """A masked label takes no part in the reported errors either."""
    potential = ACEPotential.from_yace(RECORDED / "output_potential.yace")
    wrong = cual[0].labels.forces.copy()
    wrong[0] += 1000.0
    mask = np.ones((len(cual[0]), 3))
    mask[0] = 0.0
    from pyacemaker.structures import Labels

    masked = cual[0].replace(
        labels=Labels(cual[0].labels.energy, wrong, cual[0].labels.stress),
        label_weights=LabelWeights(1.0, mask, np.ones(6)),
    )
    found = Accuracy.on(Dataset([masked]), potential.evaluate([masked]))
    assert found.forces_rmse_mev_per_angstrom < 1e5
