import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pyacemaker.processes import THREAD_VARIABLES, die_with_parent, single_thread_environment

PARENT = """
import subprocess, sys, time
from pyacemaker.processes import die_with_parent
hook = die_with_parent if sys.argv[1] == "tied" else None
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], preexec_fn=hook)
print(child.pid, flush=True)
time.sleep(60)
"""


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def child_of_a_killed_parent(mode: str) -> int:
    with subprocess.Popen([sys.executable, "-c", PARENT, mode], stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        assert is_running(child)
        parent.kill()
    return child


def wait_until_gone(pid: int, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not is_running(pid):
            return True
        time.sleep(0.02)
    return False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel has to be asked; Linux only")
def test_a_child_dies_with_its_killed_parent():
    assert wait_until_gone(child_of_a_killed_parent("tied"), 10.0)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel has to be asked; Linux only")
def test_without_being_asked_the_kernel_lets_it_live():
    child = child_of_a_killed_parent("free")
    try:
        assert not wait_until_gone(child, 0.5)
    finally:
        os.kill(child, signal.SIGKILL)


def test_elsewhere_nothing_happens(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert die_with_parent() is None


def test_one_thread_unless_the_user_says_otherwise(monkeypatch):
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    monkeypatch.setenv("MY_OWN", "kept")
    environment = single_thread_environment()
    assert environment["OMP_NUM_THREADS"] == "4"
    assert {environment[name] for name in THREAD_VARIABLES[1:]} == {"1"}
    assert environment["MY_OWN"] == "kept"
    assert "MKL_NUM_THREADS" not in os.environ


def test_a_process_can_limit_itself():
    code = (
        "from pyacemaker.processes import use_single_threads, THREAD_VARIABLES; import os; "
        "use_single_threads(); print(*(os.environ[name] for name in THREAD_VARIABLES))"
    )
    environment = {name: value for name, value in os.environ.items() if name not in THREAD_VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    )
    assert done.stdout.split() == ["1"] * len(THREAD_VARIABLES)
