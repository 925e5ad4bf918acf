"""A plug-in oracle that takes its time and keeps a diary, and a driver that labels with it."""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from pyacemaker.errors import ConvergenceError, EngineError
from pyacemaker.execution import LocalExecutor
from pyacemaker.oracles import LennardJonesOracle
from pyacemaker.oracles.base import Oracle
from pyacemaker.structures import AtomStructure, Dataset
from pyacemaker.structures.store import LabelStore, Ledger
from pyacemaker.workflow.labelling import label_structures


class SlowOracle(Oracle):
    """Lennard-Jones after a sleep; writes `<pid> <structure id>` to the diary before it starts."""

    diary: str
    seconds: float = 0.0
    unconverged: tuple[str, ...] = ()
    """Tags of structures that do not converge."""
    deadly: tuple[str, ...] = ()
    """Tags of structures that kill the process."""
    buggy: tuple[str, ...] = ()
    """Tags of structures that raise an error of no kind of ours."""
    broken: tuple[str, ...] = ()
    """Tags of structures for which the engine lacks a library."""
    leaving: tuple[str, ...] = ()
    """Tags of structures at which the engine calls sys.exit."""
    short: tuple[str, ...] = ()
    """Tags of structures that get one force too few."""
    busy: float = 0.0
    """CPU seconds that a calculation burns first."""
    attempts: int = 1
    """How often it is tried; two are enough for what does not converge."""

    not_in_key = Oracle.not_in_key | {"attempts", "leaving", "short"}
    tries = frozenset({"attempts"})

    def version(self):
        return "slow 1"

    def compute(self, structure):
        with open(self.diary, "a") as diary:
            diary.write(f"{os.getpid()} {structure.id}\n")
        time.sleep(self.seconds)
        begun = time.process_time()
        while time.process_time() - begun < self.busy:
            pass
        if structure.tag in self.leaving:
            sys.exit(3)
        if structure.tag in self.unconverged and self.attempts < 2:
            raise ConvergenceError(f"structure {structure.id}: 60 cycles were not enough")
        if structure.tag in self.deadly:
            os._exit(1)
        if structure.tag in self.broken:
            raise EngineError("exit code 127: error while loading shared libraries")
        if structure.tag in self.buggy:
            raise ZeroDivisionError("a bug in the laboratory's code")
        labels = LennardJonesOracle(epsilon=1.0).compute(structure)
        return replace(labels, forces=labels.forces[1:]) if structure.tag in self.short else labels


def clusters(n):
    """`n` argon triangles of different sizes, tagged c0, c1, …"""
    triangle = np.array([[0.0, 0.0, 0.0], [1.0, 0.1, 0.0], [0.4, 0.9, 0.0]])
    return Dataset(AtomStructure(np.full(3, 18), (3.4 + 0.1 * i) * triangle, tag=f"c{i}") for i in range(n))


def main(directory, n, seconds):
    """Label `n` clusters with two workers."""
    folder = Path(directory)
    oracle = SlowOracle(diary=str(folder / "diary"), seconds=float(seconds))
    ledger = Ledger(folder / "ledger.csv")
    executor = LocalExecutor(workers=2)
    label_structures(clusters(int(n)), oracle, executor, LabelStore(folder), ledger, reason="test")
