"""Parsl's HighThroughputExecutor on Slurm, with the settings that leave no job and no process behind."""

import atexit
import hashlib
import logging
import shlex
import shutil
import sys
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyacemaker.errors import EngineMissingError
from pyacemaker.execution.job_worker import run_item
from pyacemaker.execution.slurm import SlurmExecutor, cancel_leftovers, directives, try_submission

if TYPE_CHECKING:
    from parsl import Config
    from parsl.providers import SlurmProvider

log = logging.getLogger(__name__)

HEARTBEAT_S = 2
"""Seconds between signs of life of jobs and driver."""
LOST_AFTER_S = 10
"""Seconds without a sign of life after which a job counts as lost, and a job without a driver ends."""
IDLE_S = 60.0
"""Seconds after which a job without work ends."""
STATUS_S = 5
"""Seconds between looks at Slurm's queue."""

_open: dict[SlurmExecutor, "Cluster"] = {}
_cleaned: set[str] = set()
"""Comments of jobs whose leftovers this process has cancelled: what it finds later is its own."""


class Cluster:
    """The jobs of one pool, and the helper process that hands them their items."""

    def __init__(self, executor: SlurmExecutor) -> None:
        from parsl import DataFlowKernel, python_app

        executor.check()
        self.executor = executor
        self.comment = f"pyacemaker:{run_id(executor.directory)}"
        options = directives(
            executor.settings, executor.workers_per_node, executor.pool.gpus_per_node, self.comment
        )
        if self.comment not in _cleaned:
            _cancel(self.comment)
            _cleaned.add(self.comment)
        try_submission(options, executor.settings.walltime_minutes, executor.settings.nodes_per_job)
        parsl_log = logging.getLogger("parsl")
        if parsl_log.level == logging.NOTSET:
            parsl_log.setLevel(logging.CRITICAL)  # what matters comes back with the items
        self._kernel = DataFlowKernel(_config(executor, options))
        self._app = python_app(run_item, data_flow_kernel=self._kernel, executors=[executor.name])

    def submit(self, item: tuple[bytes, list[str]]) -> "Future[Any]":
        """Hand an item to the jobs; the future has its `Outcome`."""
        pool = self.executor.pool
        future: Future[Any] = self._app(*item, self.executor.time_limit_s, pool.retries, pool.isolate)
        return future

    def close(self) -> None:
        """Cancel the jobs and end the helper process."""
        if _open.pop(self.executor, None) is None:
            return
        self._kernel.cleanup()
        if all(other.comment != self.comment for other in _open.values()):
            cancel_leftovers(self.comment)  # Parsl leaves jobs alone that it could not use


def open_cluster(executor: SlurmExecutor) -> Cluster:
    """The jobs of `executor`: those of an earlier call where they are still there.

    The first call of a process for a run cancels the jobs that an earlier, killed process left.
    """
    if executor not in _open:
        _open[executor] = Cluster(executor)
    return _open[executor]


def close_clusters() -> None:
    """Cancel all jobs of this process."""
    for cluster in list(_open.values()):
        cluster.close()


atexit.register(close_clusters)


def run_id(directory: Path) -> str:
    """What the jobs of the run in `directory` are recognised by, also by a later process."""
    return hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:16]


def _cancel(comment: str) -> None:
    jobs = cancel_leftovers(comment)
    if jobs:
        log.warning("cancelled %d Slurm jobs that an earlier run left: %s", len(jobs), ", ".join(jobs))


def _config(executor: SlurmExecutor, options: list[str]) -> "Config":
    from parsl import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.jobs.error_handlers import windowed_error_handler

    gpus = executor.pool.gpus_per_node
    launcher = [sys.executable, "-I", "-S", str(Path(__file__).with_name("launch.py"))]
    jobs = HighThroughputExecutor(
        label=executor.name,
        provider=_provider(executor, options),
        interchange_launch_cmd=[*launcher, _program("interchange.py")],
        address=None,  # every address of this machine is tried by the jobs
        cores_per_worker=1e-6,  # so that max_workers_per_node decides
        max_workers_per_node=executor.workers_per_node,
        # a number here overwrites CUDA_VISIBLE_DEVICES, which Slurm sets for a job with one GPU
        available_accelerators=gpus if gpus > 1 else [],
        heartbeat_period=HEARTBEAT_S,
        heartbeat_threshold=LOST_AFTER_S,
        drain_period=executor.drain_s,
        block_error_handler=windowed_error_handler,
        encrypted=True,
    )
    return Config(
        executors=[jobs],
        run_dir=str(executor.directory / "slurm" / executor.name),
        retries=0,
        strategy="simple",  # "htex_auto_scale" cancels jobs that wait when there are fewer items than workers
        strategy_period=1,
        max_idletime=IDLE_S,
        initialize_logging=False,
        usage_tracking=0,
    )


def _provider(executor: SlurmExecutor, options: list[str]) -> "SlurmProvider":
    from parsl.launchers import SingleNodeLauncher, SrunLauncher
    from parsl.providers import SlurmProvider

    class Provider(SlurmProvider):  # type: ignore[misc]
        """Slurm, looked at more often than once a minute."""

        @property
        def status_polling_interval(self) -> int:
            return STATUS_S

    settings = executor.settings
    several = settings.nodes_per_job > 1
    hours, minutes = divmod(settings.walltime_minutes, 60)
    return Provider(
        nodes_per_block=settings.nodes_per_job,
        init_blocks=0,
        min_blocks=0,
        max_blocks=settings.max_jobs,
        parallelism=1,
        walltime=f"{hours:02d}:{minutes:02d}:00",
        scheduler_options="\n".join(f"#SBATCH {option}" for option in options),
        worker_init=_job_start(settings.worker_init),
        cmd_timeout=30,
        exclusive=False,
        launcher=SrunLauncher() if several else SingleNodeLauncher(),
    )


def _job_start(worker_init: str) -> str:
    """The first lines of a job: the driver's Python unless the user's commands choose another."""
    binaries = shlex.quote(str(Path(sys.executable).parent))
    return "\n".join(
        [
            f"export PATH={binaries}:$PATH",
            'export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"',
            worker_init,
        ]
    )


def _program(name: str) -> str:
    """A program that Parsl brings, beside this Python or on the search path."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.is_file() else shutil.which(name)
    if found is None:
        raise EngineMissingError(f"Parsl's program {name} is not there: install parsl where pyacemaker is")
    return found
