"""Child processes that use one thread and die with their parent."""

import ctypes
import os
import signal
import sys

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")
_PR_SET_PDEATHSIG = 1


def single_thread_environment() -> dict[str, str]:
    """The current environment, with every thread count that is not set by the user set to 1."""
    environment = dict(os.environ)
    for name in THREAD_VARIABLES:
        environment.setdefault(name, "1")
    return environment


def use_single_threads() -> None:
    """Set the thread counts of this process's environment to 1 where the user has not set them.

    Works only before numpy and torch are imported: they read the variables once.
    """
    os.environ.update(single_thread_environment())


def die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent ends (Linux; elsewhere nothing happens).

    Call it first thing in a child (`preexec_fn`, a pool's initializer): a `kill -9` of the run then leaves no
    calculation behind that would compute a label a second time.
    """
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent died in between
        os._exit(1)
