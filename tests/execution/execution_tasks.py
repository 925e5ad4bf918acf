"""Functions that worker processes import."""

import os
import signal
import subprocess
import time

from pyacemaker.errors import ConvergenceError


class UnpicklableError(Exception):
    def __init__(self, first, second):
        super().__init__(f"{first} {second}")


def square(number):
    return number * number


def misbehave(what):
    """`what` is a number to square, or a way to go wrong."""
    if what == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    if what == "exit":
        os._exit(3)
    if what == "hang":
        time.sleep(60)
    if what == "converge":
        raise ConvergenceError("60 cycles were not enough")
    if what == "unpicklable":
        raise UnpicklableError("two", "arguments")
    if what == "timeout":
        raise TimeoutError("the function's own")
    return square(what)


def die_first_time(path):
    """Die when `path` is not there yet; the second try finds it."""
    try:
        open(path, "x").close()
    except FileExistsError:
        return "second try"
    os._exit(1)


def process_facts(_):
    return os.getpid(), os.environ["OMP_NUM_THREADS"]


def node_facts(seconds):
    time.sleep(seconds)
    return dict(os.environ)


def start_program(what):
    """Start a program that never ends, note its id, and end as told."""
    note, end = what
    program = subprocess.Popen(["sleep", "3600"])
    with open(note, "w") as handle:
        handle.write(str(program.pid))
    misbehave(1 if end == "return" else end)
