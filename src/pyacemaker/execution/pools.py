"""What a kind of work gets: how many workers, how long, and which jobs of the batch system."""

from typing import Annotated

from pydantic import Field

from pyacemaker.base import Spec

Count = Annotated[int, Field(ge=1, le=1024)]
Seconds = Annotated[float, Field(gt=0)]

DFT_TIMEOUT_S = 14400.0
"""A reference calculation is stopped after four hours where the settings do not say."""


class SlurmSettings(Spec):
    """The jobs of a pool on Slurm.

    `${VAR}` in `partition`, `account` and `sbatch_options` is replaced by the environment variable when a job
    is submitted; `worker_init` is a script, whose variables are the shell's.
    """

    partition: str | None = None
    """None = the cluster's default."""
    account: str | None = None
    """None = the user's default."""
    nodes_per_job: Count = 1
    """Nodes of a job; each runs `workers_per_node` workers."""
    walltime_minutes: Annotated[int, Field(ge=1, le=525600)] = 1440
    """Longest life of a job. Work that remains goes to a new one."""
    max_jobs: Count = 1
    """How many jobs may wait or run at a time. They are submitted when there is work, and end without it."""
    worker_init: str = ""
    """Shell commands at the start of a job, such as `module load vasp`."""
    sbatch_options: tuple[str, ...] = ()
    """More options of sbatch, such as `--mem=32G`; they win over those that the other settings give."""


class Pool(Spec):
    """Workers for one kind of work."""

    workers_per_node: Count | None = None
    """Worker processes; None = the cores that this process may use, or one per node on Slurm."""
    timeout_s: Seconds | None = None
    """Seconds after which an item is stopped; None = never, or half the walltime on Slurm."""
    retries: Annotated[int, Field(ge=0, le=100)] = 2
    """How often an item is tried again after its worker died or its job was lost. Errors are final."""
    isolate: bool = False
    """Whether every item gets a fresh process, which costs the imports every time. A crash or a hang takes
    only its own item with it in any case."""
    gpus_per_node: Annotated[int, Field(ge=0, le=64)] = 0
    """GPUs that a job asks for."""
    slurm: SlurmSettings | None = None
    """The jobs of this pool with `backend: slurm`; None = its work stays on the driver's machine."""

    def check_walltime(self, name: str) -> None:
        """Raise `ValueError` when a calculation may take longer than a job lives."""
        if self.slurm is None or self.timeout_s is None:
            return
        walltime = 60.0 * self.slurm.walltime_minutes
        if self.timeout_s > walltime - margin_s(walltime):
            raise ValueError(
                f"a calculation of pools.{name}.timeout_s = {self.timeout_s:g} s does not fit into a job of "
                f"slurm.walltime_minutes = {self.slurm.walltime_minutes}: raise it, or lower timeout_s"
            )

    def time_limit_s(self) -> float | None:
        """Seconds that an item may take on this machine; None = any."""
        return self.timeout_s

    def time_limit_in_job_s(self, walltime_s: float) -> float:
        """Seconds that an item may take in a job of `walltime_s` seconds."""
        limit, half = self.time_limit_s(), walltime_s / 2
        return half if limit is None else min(limit, half if self.timeout_s is None else limit)


class DftPool(Pool):
    """Workers for reference labels; with `backend: slurm` they run in jobs unless `slurm` is null.

    timeout_s: None = four hours, and at most half the walltime on Slurm.
    """

    slurm: SlurmSettings | None = SlurmSettings()
    """The jobs of this pool with `backend: slurm`; None = its work stays on the driver's machine."""

    def time_limit_s(self) -> float | None:
        """Seconds that a calculation may take on this machine."""
        return self.timeout_s or DFT_TIMEOUT_S


class GpuPool(Pool):
    """Workers for models on a GPU."""

    workers_per_node: Count | None = 1
    """Worker processes; None = the cores that this process may use, or one per node on Slurm."""
    gpus_per_node: Annotated[int, Field(ge=0, le=64)] = 1
    """GPUs that a job asks for. With more than one, each worker sees one of them."""


class Pools(Spec):
    """The pools by kind of work."""

    cpu: Pool = Pool()
    """Exploration with a model on the CPU; its workers also serve the parallel fits of steps 6 and 7."""
    dft: DftPool = DftPool()
    """Reference labels."""
    gpu: GpuPool = GpuPool()
    """Exploration with a model on a GPU (`foundation.device: cuda`)."""


def margin_s(walltime_s: float) -> float:
    """Seconds at the end of a job in which nothing should run any more."""
    return min(60.0, 0.1 * walltime_s)
