"""Labels on this machine: crashes, hangs and a killed driver cost what was being computed, nothing else."""

import pytest
from labelling_driver import Driver, assert_fifty_labels_and_three_errors, computed

pytestmark = pytest.mark.skipif("sys.platform != 'linux'", reason="looks for orphans in /proc")
POOL = {"workers_per_node": 2, "timeout_s": 5, "retries": 1}
LOCAL = {"backend": "local", "pools": {"dft": POOL}}


def test_fifty_labels_three_errors_and_a_killed_driver_in_between(tmp_path):
    first = Driver(tmp_path, LOCAL)
    first.wait_for(30)
    first.kill(patience=10.0)  # also the program that the hanging calculation started
    done = len(set(first.started())) - POOL["workers_per_node"]
    second = Driver(tmp_path, LOCAL)
    answer = second.finish()
    assert_fifty_labels_and_three_errors(answer)
    times = computed(second)
    assert len(times) == 50
    assert sum(times.values()) - 50 <= POOL["workers_per_node"]  # what was being computed
    assert answer["reused"] >= done - 3  # the crash and the hang are tried again
