import os
import time

import pytest
from execution_tasks import die_first_time, misbehave, process_facts, square
from pydantic import TypeAdapter, ValidationError

from pyacemaker.errors import ConvergenceError, OracleCrashError, OracleError, OracleTimeoutError
from pyacemaker.execution import AnyExecution, InlineExecutor, LocalExecutor
from pyacemaker.execution.base import ITEMS_PER_WORKER

EXECUTORS = [InlineExecutor(), LocalExecutor(workers=2), LocalExecutor(workers=2, isolate=True)]


def numbered(items):
    return [(f"key{i}", item) for i, item in enumerate(items)]


@pytest.mark.parametrize("executor", EXECUTORS, ids=["inline", "local", "isolated"])
class TestEveryExecutor:
    def test_one_outcome_per_item(self, executor):
        outcomes = list(executor.map_unordered(square, numbered(range(4))))
        assert {o.key: o.value for o in outcomes} == {f"key{i}": i * i for i in range(4)}
        assert all(o.error is None for o in outcomes)

    def test_no_items(self, executor):
        assert list(executor.map_unordered(square, [])) == []

    def test_errors_stay_with_their_item_and_keep_their_type(self, executor):
        items = [("good", 3), ("bad", "converge"), ("own", "timeout"), ("fine", 4)]
        outcomes = {o.key: o for o in executor.map_unordered(misbehave, items)}
        assert isinstance(outcomes["bad"].error, ConvergenceError)
        assert "60 cycles" in str(outcomes["bad"].error)
        assert str(outcomes["own"].error) == "the function's own"
        assert (outcomes["good"].value, outcomes["fine"].value) == (9, 16)


class TestLocalExecutor:
    def test_crash_and_hang_fail_alone(self):
        executor = LocalExecutor(workers=2, timeout_s=1.0, retries=1)
        items = [("a", 2), ("crash", "segfault"), ("hang", "hang"), ("exit", "exit"), ("b", 3), ("c", 4)]
        outcomes = {o.key: o for o in executor.map_unordered(misbehave, items)}
        assert isinstance(outcomes["crash"].error, OracleCrashError)
        assert "died 2 times (signal 11)" in str(outcomes["crash"].error)
        assert "exit code 3" in str(outcomes["exit"].error)
        assert isinstance(outcomes["hang"].error, OracleTimeoutError)
        assert outcomes["hang"].lost_seconds == 1.0
        assert [outcomes[key].value for key in "abc"] == [4, 9, 16]

    def test_a_lost_worker_is_retried(self, tmp_path):
        executor = LocalExecutor(workers=1, retries=1)
        (outcome,) = executor.map_unordered(die_first_time, [("k", str(tmp_path / "seen"))])
        assert outcome.value == "second try"

    def test_an_error_that_cannot_travel_is_replaced(self):
        (outcome,) = LocalExecutor(workers=1).map_unordered(misbehave, [("k", "unpicklable")])
        assert type(outcome.error) is OracleError
        assert str(outcome.error) == "UnpicklableError: two arguments"

    def test_items_are_taken_a_bounded_number_ahead(self):
        taken = []

        def items():
            for i in range(100):
                taken.append(i)
                yield f"key{i}", i

        outcomes = LocalExecutor(workers=1).map_unordered(square, items())
        next(outcomes)
        assert len(taken) <= ITEMS_PER_WORKER + 1
        outcomes.close()

    def test_closing_stops_what_runs(self):
        started = time.monotonic()
        outcomes = LocalExecutor(workers=2).map_unordered(misbehave, [("a", 1), ("b", "hang"), ("c", "hang")])
        assert next(outcomes).value == 1
        outcomes.close()
        assert time.monotonic() - started < 20

    def test_workers_live_on_unless_isolated_and_use_one_thread(self, monkeypatch):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        one = [o.value for o in LocalExecutor(workers=1).map_unordered(process_facts, numbered(range(3)))]
        many = [
            o.value
            for o in LocalExecutor(workers=1, isolate=True).map_unordered(process_facts, numbered(range(3)))
        ]
        assert len({pid for pid, _ in one}) == 1
        assert len({pid for pid, _ in many}) == 3
        assert {threads for _, threads in one + many} == {"1"}
        assert "OMP_NUM_THREADS" not in os.environ

    def test_default_is_one_worker_per_available_core(self):
        assert LocalExecutor().worker_count() == len(os.sched_getaffinity(0))


class TestAnyExecution:
    def test_kinds(self):
        adapter = TypeAdapter(AnyExecution)
        assert adapter.validate_python({"kind": "inline"}) == InlineExecutor()
        assert adapter.validate_python({"kind": "local", "workers": 3}) == LocalExecutor(workers=3)

    @pytest.mark.parametrize("settings", [{"workers": 0}, {"timeout_s": 0}, {"retries": -1}, {"pool": 1}])
    def test_bad_settings(self, settings):
        with pytest.raises(ValidationError):
            LocalExecutor(**settings)
