"""Ends what a worker leaves behind: run as a script, `python -I -S guard.py WORKER`, by the worker itself.

A calculation may start programs (mpirun, a DFT code). They live in the worker's session; when the worker is
gone, however it went, this process ends them and then itself. It needs nothing but the standard library.
"""

import contextlib
import os
import select
import signal
import sys
import time
from pathlib import Path

GRACE = 2.0
"""Seconds between asking programs to end and ending them."""


def session_members(session: int) -> set[int]:
    """Ids of the other processes of a session (Linux), zombies not counted."""
    found = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # pid (name) state ppid pgrp session …; the name may hold blanks and parentheses
            state, _, _, sid = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if int(sid) == session and state != "Z":
            found.add(int(entry.name))
    return found - {os.getpid()}


def end_session(session: int, grace: float = GRACE) -> None:
    """Ask the other processes of a session to end, and end those that still run after `grace` seconds."""
    deadline = time.monotonic() + grace
    asked: set[int] = set()
    while members := session_members(session):
        late = time.monotonic() > deadline
        for pid in members if late else members - asked:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
        asked |= members
        time.sleep(0.05)


def main() -> None:
    """Wait until the worker is gone, soon after its end of standard input closed, then end its session."""
    worker = int(sys.argv[1])
    while os.getppid() == worker:
        if select.select([sys.stdin], [], [], 1.0)[0]:
            time.sleep(0.01)
    if Path("/proc/self/stat").exists():
        end_session(os.getsid(0))
    else:
        os.killpg(worker, signal.SIGKILL)


if __name__ == "__main__":
    main()
