"""Where work runs: in this process, in worker processes on this machine, or in Slurm jobs."""

from pyacemaker.execution.base import Executor, Outcome, PoolName
from pyacemaker.execution.inline import InlineExecutor
from pyacemaker.execution.local import LocalExecutor
from pyacemaker.execution.settings import AnyExecution, Execution
from pyacemaker.execution.slurm import SlurmExecutor

__all__ = [
    "AnyExecution",
    "Execution",
    "Executor",
    "InlineExecutor",
    "LocalExecutor",
    "Outcome",
    "PoolName",
    "SlurmExecutor",
]
