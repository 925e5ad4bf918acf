import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import slow_oracle
from pydantic import TypeAdapter
from slow_oracle import SlowOracle, clusters

from pyacemaker.errors import (
    DataError,
    EngineMissingError,
    TooManyFailuresError,
    UnsupportedElementError,
    UserError,
)
from pyacemaker.execution import Executor, InlineExecutor, LocalExecutor, Outcome
from pyacemaker.oracles import (
    AnyCalculatorOracle,
    AnyOracle,
    EmtOracle,
    LabelLimits,
    LennardJonesOracle,
    TbliteOracle,
)
from pyacemaker.structures import AtomStructure, Dataset
from pyacemaker.structures.formats import read_structures, write_structures
from pyacemaker.structures.store import LabelStore, Ledger
from pyacemaker.workflow.labelling import isolated_atom_energies, label_file, label_structures
from pyacemaker.workflow.state import locked

INLINE = InlineExecutor()
LENIENT = LabelLimits(max_failed_fraction=0.5)


class BackwardsExecutor(Executor):
    """Everything in this process, last item first."""

    def map_unordered(self, function, items):
        for key, item in reversed(list(items)):
            yield Outcome(key, function(item))


@pytest.fixture
def slow(tmp_path):
    def make(**settings):
        return SlowOracle(diary=str(tmp_path / "diary"), **{"limits": LENIENT, **settings})

    return make


@pytest.fixture
def label(tmp_path):
    """Label with the store and the ledger of `tmp_path`."""

    def run(structures, oracle, executor=INLINE, reason="test", **options):
        ledger = Ledger(tmp_path / "ledger.csv")
        return label_structures(
            structures, oracle, executor, LabelStore(tmp_path), ledger, reason=reason, **options
        )

    return run


def diary(directory: Path) -> list[tuple[int, str]]:
    lines = (directory / "diary").read_text().splitlines()
    return [(int(pid), identifier) for pid, identifier in map(str.split, lines)]


def rows(directory: Path):
    return Ledger(directory / "ledger.csv").rows


class TestLabelStructures:
    def test_labels_are_the_oracles_own_in_the_order_of_the_request(self, label, tmp_path):
        structures, oracle = clusters(5), LennardJonesOracle(epsilon=1.0)
        found = label(structures, oracle, LocalExecutor(workers=2))
        assert found.dataset.ids == structures.ids
        assert (found.failures, found.reused) == ([], 0)
        for structure in found.dataset:
            expected = oracle.label(structure)
            assert structure.source == oracle.version()
            assert structure.labels.energy == expected.energy
            assert np.array_equal(structure.labels.forces, expected.forces)
        assert [row.reason for row in rows(tmp_path)] == ["test"] * 5
        assert {row.tag for row in rows(tmp_path)} == set(structures.tag_counts())

    def test_the_answer_does_not_depend_on_who_finishes_first(self, tmp_path, slow):
        answers = []
        for name, executor in (("a", InlineExecutor()), ("b", BackwardsExecutor())):
            store, ledger = LabelStore(tmp_path / name), Ledger(tmp_path / f"{name}.csv")
            oracle = slow(unconverged=("c1", "c3"))
            answers.append(label_structures(clusters(6), oracle, executor, store, ledger, reason="test"))
        first, second = answers
        assert first.dataset.ids == second.dataset.ids
        assert [f.structure.id for f in first.failures] == [f.structure.id for f in second.failures]
        assert [s.labels.energy for s in first.dataset] == [s.labels.energy for s in second.dataset]

    def test_nothing_is_computed_twice(self, label, slow, tmp_path):
        oracle = slow(unconverged=("c2",))
        first = label(clusters(4), oracle)
        second = label(clusters(6), oracle)
        assert (first.reused, second.reused) == (0, 4)
        assert len(diary(tmp_path)) == 6
        assert len(rows(tmp_path)) == 6
        assert [f.outcome for f in second.failures] == ["ConvergenceError"]
        assert first.dataset.labels[0].energy == second.dataset.labels[0].energy

    def test_the_same_structure_twice_is_computed_once(self, label, slow, tmp_path):
        structures = clusters(2) + clusters(2)
        found = label(structures, slow())
        assert found.dataset.ids == structures.ids
        assert len(diary(tmp_path)) == 2

    def test_other_settings_other_labels(self, label):
        label(clusters(2), LennardJonesOracle())
        again = label(clusters(2), LennardJonesOracle(epsilon=1.0))
        assert again.reused == 0

    def test_a_stored_label_missing_in_the_ledger_is_entered(self, label, slow, tmp_path):
        label(clusters(3), slow())
        lines = (tmp_path / "ledger.csv").read_text().splitlines(keepends=True)
        (tmp_path / "ledger.csv").write_text("".join(lines[:2]))
        label(clusters(3), slow())
        assert len(diary(tmp_path)) == 3
        assert [row.reused for row in rows(tmp_path)] == [False] * 3

    def test_a_damaged_record_is_computed_again(self, label, slow, tmp_path):
        oracle = slow()
        label(clusters(2), oracle)
        (tmp_path / "labels.sqlite").unlink()
        LabelStore(tmp_path).path(oracle.key(clusters(1)[0])).write_text('{"key"')
        found = label(clusters(2), oracle)
        assert found.reused == 1
        assert len(found.dataset) == 2
        assert len(rows(tmp_path)) == 2

    def test_runs_that_share_a_store_compute_once(self, slow, tmp_path):
        answers, accounts = [], []
        for name in ("a", "b"):
            store = LabelStore(tmp_path / name, tmp_path / "pool")
            ledger = Ledger(tmp_path / f"{name}.csv", store)
            oracle = slow(unconverged=("c1",))
            answers.append(label_structures(clusters(4), oracle, INLINE, store, ledger, reason=name))
            accounts.append(ledger)
        first, second = answers
        assert len(diary(tmp_path)) == 4
        assert (first.reused, second.reused) == (0, 4)
        assert [f.outcome for f in second.failures] == ["ConvergenceError"]
        for ours, theirs in zip(second.dataset, first.dataset, strict=True):
            assert ours.labels.energy == theirs.labels.energy
            assert ours.labels.forces.tobytes() == theirs.labels.forces.tobytes()
        assert [(row.reused, row.reason) for row in accounts[1].rows] == [(True, "b")] * 4
        totals = accounts[1].totals()
        assert (totals.calls, totals.failed, totals.reused, totals.core_seconds) == (0, 0, 4, 0.0)

    def test_what_another_run_finishes_meanwhile_is_not_computed(self, slow, tmp_path):
        oracle = slow()
        other = LabelStore(tmp_path / "a", tmp_path / "pool")

        class Meanwhile(Executor):
            """Another run labels everything before this one takes its first item."""

            def map_unordered(self, function, items):
                ledger = Ledger(tmp_path / "a.csv")
                label_structures(clusters(4), oracle, INLINE, other, ledger, reason="other")
                yield from INLINE.map_unordered(function, items)

        store = LabelStore(tmp_path / "b", tmp_path / "pool")
        ledger = Ledger(tmp_path / "b.csv", store)
        found = label_structures(clusters(4), oracle, Meanwhile(), store, ledger, reason="test")
        assert (len(found.dataset), found.reused, len(diary(tmp_path))) == (4, 4, 4)

    def test_runs_that_share_a_store_start_at_different_ends(self, slow, tmp_path):
        orders = {}
        for name, pool in (("a", tmp_path / "pool"), ("b", tmp_path / "pool"), ("c", None)):

            class Looking(Executor):
                def map_unordered(self, function, items, name=name):
                    orders[name] = [key for key, _ in items]
                    yield from ()

            ledger = Ledger(tmp_path / f"{name}.csv")
            label_structures(
                clusters(20), slow(), Looking(), LabelStore(tmp_path / name, pool), ledger, reason="test"
            )
        assert orders["c"] == slow().keys(clusters(20))
        assert sorted(orders["a"]) == sorted(orders["b"]) == sorted(orders["c"])
        both = set(orders["a"][:10]) & set(orders["b"][:10])
        assert orders["a"] != orders["b"]
        assert len(both) < 10

    @pytest.mark.parametrize("kept", ["database", "files"])
    def test_ledger_and_labels_outlive_each_other(self, slow, tmp_path, kept):
        def label():
            store = LabelStore(tmp_path)
            ledger = Ledger(tmp_path / "ledger.csv", store)
            oracle = slow(unconverged=("c1",))
            found = label_structures(
                clusters(4), oracle, INLINE, store, ledger, reason="active set", round_number=3
            )
            return found, ledger.rows

        first, before = label()
        (tmp_path / "ledger.csv").unlink()
        shutil.rmtree(tmp_path / "results") if kept == "database" else (tmp_path / "labels.sqlite").unlink()
        again, after = label()
        assert len(diary(tmp_path)) == 4
        assert (again.reused, after) == (4, before)
        assert {(row.reason, row.round) for row in after} == {("active set", 3)}
        assert [s.labels.energy for s in again.dataset] == [s.labels.energy for s in first.dataset]

    def test_progress_counts_to_the_end(self, label, slow):
        seen = []
        oracle = slow(unconverged=("c1",))
        label(clusters(2), oracle)
        label(clusters(4), oracle, progress=lambda done, total, text: seen.append((done, total)))
        assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]

    def test_an_empty_request(self, label):
        found = label(Dataset(), LennardJonesOracle())
        assert (len(found.dataset), found.failures, found.reused) == (0, [], 0)

    def test_core_seconds_are_cpu_time_or_the_time_that_a_core_was_held(self, label, slow, tmp_path):
        label(clusters(1), slow(busy=0.3, seconds=0.2))
        label(clusters(1), slow(seconds=1.0))  # as where srun computes elsewhere
        busy, idle = rows(tmp_path)
        assert 0.3 <= busy.core_seconds < 0.5
        assert idle.core_seconds >= 1.0


class TestFailures:
    def test_each_is_warned_of_and_listed(self, label, slow, caplog):
        found = label(clusters(4), slow(unconverged=("c1", "c2")))
        assert [f.outcome for f in found.failures] == ["ConvergenceError"] * 2
        assert found.dataset.tag_counts().keys() == {"c0", "c3"}
        assert [r.levelname for r in caplog.records] == ["WARNING"] * 2
        assert found.failures[0].structure.id in caplog.text

    def test_too_many_stop_the_run(self, label, slow, tmp_path):
        oracle = slow(unconverged=("c0", "c1", "c2", "c3"), limits=LabelLimits(max_failed_fraction=0.25))
        assert len(label(clusters(6)[1:], oracle).failures) == 3
        with pytest.raises(TooManyFailuresError, match="3 of 3"):
            label(clusters(4)[1:], oracle)
        with pytest.raises(TooManyFailuresError) as caught:
            label(clusters(8), oracle)
        message = str(caught.value)
        assert "4 of 8 labels failed" in message
        assert "max_failed_fraction = 0.25" in message
        assert "(4) ConvergenceError, such as: filed earlier; structure" in message
        assert str(tmp_path) in message

    def test_a_crash_is_filed_and_tried_again(self, label, slow, tmp_path):
        found = label(clusters(3), slow(deadly=("c1",)), LocalExecutor(workers=1, retries=0))
        assert [f.outcome for f in found.failures] == ["OracleCrashError"]
        again = label(clusters(3), slow(deadly=("c1",)), LocalExecutor(workers=1, retries=0))
        assert again.reused == 2
        assert len(diary(tmp_path)) == 4
        assert [row.outcome for row in rows(tmp_path)].count("OracleCrashError") == 2

    def test_a_crash_costs_the_time_that_its_tries_held(self, label, slow, tmp_path):
        lenient = LabelLimits(max_failed_fraction=1.0)
        began = datetime.now(UTC)
        label(
            clusters(1),
            slow(deadly=("c0",), seconds=0.4, limits=lenient),
            LocalExecutor(workers=1, retries=1),
        )
        row = rows(tmp_path)[0]
        assert row.core_seconds >= 0.8
        assert began <= datetime.fromisoformat(row.started) < datetime.now(UTC) - timedelta(seconds=0.8)
        assert not list(tmp_path.rglob("*.begun"))

    def test_a_strangers_error_has_its_cost(self, label, slow, tmp_path):
        label(clusters(3), slow(buggy=("c0",), busy=0.2))
        assert all(row.core_seconds >= 0.2 for row in rows(tmp_path))

    @pytest.mark.parametrize("executor", [INLINE, LocalExecutor(workers=1)])
    def test_an_engine_that_ends_its_process_is_one_failure(self, label, slow, executor):
        found = label(clusters(4), slow(leaving=("c2",)), executor)
        assert [(f.structure.tag, f.outcome) for f in found.failures] == [("c2", "EngineError")]
        assert "exit code 3" in found.failures[0].message
        assert label(clusters(4), slow()).reused == 3

    def test_forces_of_too_few_atoms_are_a_failure_that_another_try_mends(self, label, slow):
        found = label(clusters(3), slow(short=("c1",)))
        assert "forces of shape (2, 3) for 3 atoms" in found.failures[0].message
        again = label(clusters(3), slow())
        assert (len(again.dataset), again.reused) == (3, 2)

    def test_more_tries_are_made_where_fewer_failed_and_nowhere_else(self, slow, tmp_path):
        def label(name, attempts):
            store = LabelStore(tmp_path / name, tmp_path / "pool")
            ledger = Ledger(tmp_path / f"{name}.csv", store)
            oracle = slow(unconverged=("c0", "c1"), attempts=attempts)
            return label_structures(clusters(4), oracle, INLINE, store, ledger, reason=name)

        assert len(label("a", 1).failures) == 2
        assert len(label("a", 1).failures) == 2  # the same effort, the same end
        assert len(diary(tmp_path)) == 4
        found = label("b", 2)  # shares the labels, not the failures
        assert (len(found.dataset), found.reused, len(diary(tmp_path))) == (4, 2, 6)
        found = label("a", 2)
        assert (len(found.dataset), found.reused, len(diary(tmp_path))) == (4, 4, 6)
        mended = [row.outcome for row in Ledger(tmp_path / "a.csv").rows]
        assert (mended.count("ConvergenceError"), mended.count("ok")) == (2, 4)
        assert len(list(LabelStore(tmp_path / "a").structures())) == 4

    def test_a_broken_engine_is_asked_again_and_only_physics_is_shared(self, slow, tmp_path):
        def label(name):
            store = LabelStore(tmp_path / name, tmp_path / "pool")
            ledger = Ledger(tmp_path / f"{name}.csv", store)
            oracle = slow(broken=("c0",), unconverged=("c1",))
            return label_structures(clusters(4), oracle, INLINE, store, ledger, reason=name)

        for name, calls in (("a", 4), ("a", 5), ("b", 6)):
            broken, unconverged = label(name).failures
            assert broken.message.startswith("exit code 127")
            assert unconverged.message.startswith("filed earlier; ") == (calls > 4)
            assert len(diary(tmp_path)) == calls

    def test_a_timeout_is_filed_with_what_it_cost(self, label, slow, tmp_path):
        executor = LocalExecutor(workers=1, timeout_s=0.4)
        limits = LabelLimits(max_failed_fraction=1.0)
        found = label(clusters(1), slow(seconds=30, limits=limits), executor)
        assert [f.outcome for f in found.failures] == ["OracleTimeoutError"]
        assert rows(tmp_path)[0].core_seconds == 0.4

    def test_a_strangers_error_is_filed_by_name(self, label, slow):
        found = label(clusters(3), slow(buggy=("c0",)))
        assert found.failures[0].outcome == "OracleError"
        assert found.failures[0].message == "ZeroDivisionError: a bug in the laboratory's code"

    def test_a_users_mistake_stops_at_once(self, label):
        with pytest.raises(UnsupportedElementError, match="EMT covers only"):
            label(clusters(3), EmtOracle())

    def test_bad_geometries_cost_nothing(self, label, slow, tmp_path):
        squeezed = AtomStructure(np.array([18, 18]), np.array([[0.0, 0, 0], [0.3, 0, 0]]), tag="squeezed")
        found = label(clusters(2) + Dataset([squeezed]), slow())
        assert [f.outcome for f in found.failures] == ["UnphysicalLabelError"]
        assert len(diary(tmp_path)) == 2
        assert len(rows(tmp_path)) == 2

    def test_new_limits_judge_stored_labels_without_computing(self, label, slow, tmp_path):
        largest = [np.abs(s.labels.forces).max() for s in label(clusters(2), slow()).dataset]
        strict = slow(limits=LabelLimits(max_failed_fraction=0.5, max_force=float(max(largest)) * 0.999))
        found = label(clusters(2), strict)
        assert [f.outcome for f in found.failures] == ["UnphysicalLabelError"]
        assert sorted(row.outcome for row in rows(tmp_path)) == ["UnphysicalLabelError", "ok"]
        assert len(label(clusters(2), slow()).dataset) == 2
        assert [row.outcome for row in rows(tmp_path)] == ["ok", "ok"]
        assert len(diary(tmp_path)) == 2

    def test_what_is_exported_follows_the_last_judgement(self, slow, tmp_path):
        def label(**limits):
            store = LabelStore(tmp_path / "labels")
            ledger = Ledger(tmp_path / "ledger.csv", store)
            oracle = slow(limits=LabelLimits(max_failed_fraction=1.0, **limits))
            label_structures(clusters(3), oracle, INLINE, store, ledger, reason="test")
            return len(list(LabelStore(tmp_path / "labels", look_only=True).structures()))

        assert label() == 3
        assert label(max_force=1e-9) == 0
        assert label() == 3
        (tmp_path / "ledger.csv").unlink()
        store = LabelStore(tmp_path / "labels")
        assert [row.outcome for row in Ledger(tmp_path / "ledger.csv", store).rows] == ["ok"] * 3


class TestLabelFile:
    def test_one_call_at_a_time(self, slow, tmp_path):
        pool, output = tmp_path / "pool.extxyz", tmp_path / "out.extxyz"
        write_structures(pool, clusters(2))
        (tmp_path / "out.extxyz.labels").mkdir()
        with (
            locked(tmp_path / "out.extxyz.labels"),
            pytest.raises(UserError, match="choose another --output"),
        ):
            label_file(pool, output, slow(), INLINE)
        assert len(label_file(pool, output, slow(), INLINE).dataset) == 2

    def test_labels_are_written_though_too_many_failed(self, slow, tmp_path):
        pool, output = tmp_path / "pool.extxyz", tmp_path / "out.extxyz"
        write_structures(pool, clusters(8))
        limits = LabelLimits(max_failed_fraction=0.01)
        oracle = slow(unconverged=("c2", "c3", "c4", "c5"), limits=limits)
        with pytest.raises(TooManyFailuresError, match="pyacemaker export"):
            label_file(pool, output, oracle, INLINE)
        assert [s.tag for s in read_structures(output)] == ["c0", "c1"]
        assert all(s.labels is not None for s in read_structures(output))

    def test_what_the_oracle_does_not_cover_is_refused_before_any_work(self, tmp_path):
        pool, output = tmp_path / "pool.extxyz", tmp_path / "out.extxyz"
        cell = 9.0 * np.eye(3)
        write_structures(pool, Dataset([s.replace(cell=cell, pbc=[True] * 3) for s in clusters(2)]))
        with pytest.raises(DataError, match=r"pool.extxyz: .*molecules only"):
            label_file(pool, output, TbliteOracle(), INLINE)
        with pytest.raises(EngineMissingError, match="no_such_module"):
            label_file(pool, output, AnyCalculatorOracle(calculator="no_such_module:X"), INLINE)
        assert list(tmp_path.iterdir()) == [pool]


class TestIsolatedAtoms:
    def test_energies_of_the_ground_states(self, tmp_path):
        store, ledger = LabelStore(tmp_path), Ledger(tmp_path / "ledger.csv")
        oracle = TbliteOracle()
        energies = isolated_atom_energies(["F", "C", "F"], oracle, InlineExecutor(), store, ledger)
        assert list(energies) == ["C", "F"]
        assert energies["C"] == oracle.label(oracle.isolated_atom("C")).energy
        assert [row.tag for row in ledger.rows] == ["isolated_atom"] * 2

    def test_one_missing_is_one_too_many(self, tmp_path, slow):
        store, ledger = LabelStore(tmp_path), Ledger(tmp_path / "ledger.csv")
        oracle = slow(unconverged=("isolated_atom",), limits=LabelLimits(max_failed_fraction=1.0))
        with pytest.raises(TooManyFailuresError, match="1 of 2 labels failed"):
            isolated_atom_energies(["F", "C"], oracle, InlineExecutor(), store, ledger)


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def wait_until(condition, seconds=90.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="uses /proc")
class TestKilledRuns:
    def start(self, directory: Path, n: int, seconds: float) -> subprocess.Popen:
        # a plug-in is imported by name, here and in the workers
        environment = {**os.environ, "PYTHONPATH": str(Path(slow_oracle.__file__).parent)}
        code = "import sys, slow_oracle; slow_oracle.main(*sys.argv[1:])"
        return subprocess.Popen(
            [sys.executable, "-c", code, str(directory), str(n), str(seconds)],
            env=environment,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def test_kill_9_computes_nothing_twice_and_leaves_no_orphan(self, tmp_path):
        n, store = 8, LabelStore(tmp_path)
        driver = self.start(tmp_path, n, 0.3)
        wait_until(lambda: len(store) >= 3)
        driver.kill()
        driver.communicate()
        workers = {pid for pid, _ in diary(tmp_path)}
        wait_until(lambda: not any(map(alive, workers)), 5.0)
        finished = {path.stem for path in tmp_path.glob("results/*/[0-9a-f]*.json")}
        started = len(diary(tmp_path))
        assert 3 <= len(finished) < n
        time.sleep(0.5)
        assert len(diary(tmp_path)) == started  # nobody went on

        again = self.start(tmp_path, n, 0.3)
        output, _ = again.communicate(timeout=60)
        assert again.returncode == 0, output
        assert len(diary(tmp_path)) == started + n - len(finished)
        assert len(store) == n
        keys = [row.key for row in rows(tmp_path)]
        assert len(keys) == len(set(keys)) == n
        assert finished <= set(keys)

    def test_ctrl_c_ends_everything(self, tmp_path):
        driver = self.start(tmp_path, 20, 0.5)
        wait_until(lambda: (tmp_path / "diary").exists() and len(diary(tmp_path)) >= 2)
        os.killpg(driver.pid, signal.SIGINT)
        output, _ = driver.communicate(timeout=20)
        assert driver.returncode != 0
        assert b"KeyboardInterrupt" in output
        assert not any(alive(pid) for pid, _ in diary(tmp_path))


def test_a_plug_in_is_named_in_the_config(tmp_path):
    settings = {"kind": "slow_oracle:SlowOracle", "diary": str(tmp_path / "d")}
    oracle = TypeAdapter(AnyOracle).validate_python(settings)
    assert isinstance(oracle, SlowOracle)
    assert oracle.diary == str(tmp_path / "d")
