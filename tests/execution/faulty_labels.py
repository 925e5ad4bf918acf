"""A driver that labels fifty good structures and three that go wrong, each in its own way.

python faulty_labels.py DIRECTORY EXECUTION SECONDS: EXECUTION is the section of the config file as JSON,
SECONDS what each label takes at least. What became of them is the last line of its output, as JSON.
"""

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter

from pyacemaker.errors import ConvergenceError
from pyacemaker.execution import AnyExecution
from pyacemaker.oracles import EmtOracle, LabelLimits
from pyacemaker.structures import AtomStructure, Dataset

GOOD = 50
BAD = ("unconverged", "segfault", "hang")


class FaultyEmt(EmtOracle):
    """EMT that goes wrong where the tag says so, and notes `<structure id>` in the diary before it starts."""

    diary: Path
    seconds: float
    limits: LabelLimits = LabelLimits(max_failed_fraction=0.1)

    def compute(self, structure):
        with self.diary.open("a") as diary:
            diary.write(f"{structure.id}\n")
        time.sleep(self.seconds)
        if structure.tag == "unconverged":
            raise ConvergenceError(f"structure {structure.id}: 60 cycles were not enough")
        if structure.tag == "segfault":
            os.kill(os.getpid(), signal.SIGSEGV)
        if structure.tag == "hang":  # as a DFT code does: the worker waits for a program that never ends
            subprocess.run(["sleep", "3600"])
        return super().compute(structure)


def structures():
    """Copper triangles, the bad ones early."""
    triangle = np.array([[0.0, 0.0, 0.0], [2.4, 0.1, 0.0], [1.1, 2.2, 0.3]])
    tags = ["good"] * (GOOD + len(BAD))
    tags[3:16:6] = BAD
    return Dataset(
        AtomStructure(np.full(3, 29), (1.0 + 0.002 * i) * triangle, tag=tag) for i, tag in enumerate(tags)
    )


def main(directory, execution, seconds):
    from pyacemaker.execution.cluster import close_clusters
    from pyacemaker.structures.ledger import Ledger
    from pyacemaker.structures.store import LabelStore
    from pyacemaker.workflow.labelling import label_structures

    folder = Path(directory)
    oracle = FaultyEmt(diary=folder / "diary", seconds=float(seconds))
    executor = TypeAdapter(AnyExecution).validate_json(execution).for_pool("dft", folder)
    store, ledger = LabelStore(folder / "labels"), Ledger(folder / "ledger.csv")
    found = label_structures(structures(), oracle, executor, store, ledger, reason="test")
    close_clusters()
    failures = {failure.structure.tag: [failure.outcome, failure.message] for failure in found.failures}
    answer = {"labels": len(found.dataset), "failures": failures, "reused": found.reused}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    import faulty_labels  # so that workers find the oracle by this name

    logging.basicConfig(level=logging.WARNING)
    faulty_labels.main(*sys.argv[1:])
