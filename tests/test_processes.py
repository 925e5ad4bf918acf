import logging
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pyacemaker.errors import PyacemakerError
from pyacemaker.processes import (
    THREAD_VARIABLES,
    die_with_parent,
    map_ordered,
    release_memory,
    single_thread_environment,
)

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


_prepared: list[int] = []


def remember(offset: int) -> None:
    _prepared.append(offset)


def shifted_square(number: int) -> tuple[int, int, str | None]:
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number**2 + _prepared[-1], os.getpid(), os.environ.get("OMP_NUM_THREADS")


@pytest.mark.parametrize("processes", [1, 2])
def test_ordered_map_keeps_the_order_and_prepares_every_worker(processes):
    found = list(map_ordered(shifted_square, iter(range(9)), processes, prepare=remember, prepare_args=(5,)))
    assert [value for value, _, _ in found] == [number**2 + 5 for number in range(9)]
    elsewhere = [threads for _, pid, threads in found if pid != os.getpid()]
    assert (len(elsewhere) > 0) == (processes == 2)
    assert all(threads == "1" for threads in elsewhere)


@pytest.mark.parametrize("processes", [1, 2])
def test_ordered_map_raises_what_the_function_raises(processes):
    with pytest.raises(ValueError, match="-1 is negative"):
        list(map_ordered(shifted_square, [1, -1, 2], processes, prepare=remember, prepare_args=(0,)))


def test_ordered_map_takes_few_items_ahead():
    taken: list[int] = []

    def items():
        for number in range(20):
            taken.append(number)
            yield number

    results = map_ordered(abs, items(), 2)
    assert next(results) == 0
    assert len(taken) <= 5
    results.close()


def exit_elsewhere(parent: int) -> None:
    if os.getpid() != parent:
        os._exit(1)


def test_a_worker_that_dies_is_an_error():
    with pytest.raises(PyacemakerError, match="worker process died"):
        list(map_ordered(exit_elsewhere, [os.getpid()] * 3, 2))


def complain(number: int) -> int:
    sys.stdout.write("a worker prints\n")
    logging.getLogger("pyacemaker").error("a worker logs")
    return number


def test_workers_neither_print_nor_log(capfd):
    assert list(map_ordered(complain, range(6), 2)) == list(range(6))
    assert capfd.readouterr().out.count("a worker prints") == 1  # the first item, computed here


def test_workers_start_where_copies_of_the_process_cannot_be_made(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert list(map_ordered(abs, [-1, 2, -3, 4], 2)) == [1, 2, 3, 4]


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="memory is given back by a function of glibc")
def test_free_memory_below_a_block_in_use_is_given_back():
    blocks = [b"x" * 100_000 for _ in range(500)]
    kept = blocks[9::10]
    before = resident_mb()
    del blocks
    release_memory()
    assert before - resident_mb() > 30.0
    assert len(kept) == 50
