import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from execution_tasks import start_program

from pyacemaker.execution import LocalExecutor, guard

pytestmark = pytest.mark.skipif("sys.platform != 'linux'", reason="looks for processes in /proc")


STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("on", flush=True)
time.sleep(60)
"""


def is_alive(pid):
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def wait_until_gone(pid, patience=10.0):
    deadline = time.monotonic() + patience
    while is_alive(pid):
        assert time.monotonic() < deadline, f"process {pid} lives on"
        time.sleep(0.02)


@pytest.mark.parametrize("end", ["hang", "segfault", "return"])
def test_programs_of_a_worker_end_with_it(tmp_path, end):
    note = tmp_path / "pid"
    executor = LocalExecutor(workers=1, timeout_s=3, retries=0)
    (outcome,) = executor.map_unordered(start_program, [("a", (str(note), end))])
    assert (outcome.error is None) == (end == "return")
    wait_until_gone(int(note.read_text()))


def test_a_program_that_does_not_listen_is_killed():
    leader = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", STUBBORN], stdout=subprocess.PIPE, start_new_session=True
    )
    assert leader.stdout.readline() == b"on\n"
    assert guard.session_members(leader.pid) == {leader.pid}
    started = time.monotonic()
    guard.end_session(leader.pid, grace=0.3)
    assert 0.3 <= time.monotonic() - started < 5
    assert leader.wait(5) == -signal.SIGKILL
    leader.stdout.close()


def test_an_empty_session_takes_no_time():
    assert guard.session_members(os.getpid() + 10**7) == set()
    guard.end_session(os.getpid() + 10**7)
