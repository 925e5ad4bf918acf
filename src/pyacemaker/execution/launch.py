"""Starts a program that ends with its parent: run as a script, `python -I -S launch.py PROGRAM ARGUMENTS`.

The program gets SIGTERM when the thread that started it ends (Linux), however that went, and a session of its
own, so that Ctrl-C does not reach it. It needs nothing but the standard library.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Become the program."""
    parent = os.getppid()
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        sys.exit(1)
    os.setsid()
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
