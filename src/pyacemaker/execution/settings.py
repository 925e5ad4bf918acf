"""The `execution` section: a backend, and pools of workers for the kinds of work."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Tag, model_validator

from pyacemaker.base import Spec, plugin
from pyacemaker.execution.base import Executor, PoolName
from pyacemaker.execution.inline import InlineExecutor
from pyacemaker.execution.local import LocalExecutor
from pyacemaker.execution.pools import Pool, Pools
from pyacemaker.execution.slurm import SlurmExecutor, check_slurm
from pyacemaker.processes import available_cores


class Execution(Spec):
    """Where the work of a run is done.

    backend: `inline` in the driver itself, `local` in worker processes beside it, `slurm` in jobs for the
    pools that have a `slurm` section and in worker processes for the others.
    """

    backend: Literal["inline", "local", "slurm"] = "local"
    """Where the work is done."""
    pools: Pools = Pools()
    """Workers, time limits and jobs by kind of work."""

    @model_validator(mode="after")
    def _fits_the_walltime(self) -> "Execution":
        for name in Pools.model_fields:
            if self.backend == "slurm":
                getattr(self.pools, name).check_walltime(name)
        return self

    def for_pool(self, pool: PoolName, directory: Path) -> Executor:
        """The executor for one kind of work of the run in `directory`."""
        settings: Pool = getattr(self.pools, pool)
        if self.backend == "inline":
            return InlineExecutor()
        if self._in_jobs(settings):
            return SlurmExecutor(name=pool, pool=settings, directory=directory.resolve())
        return LocalExecutor(
            workers=settings.workers_per_node,
            timeout_s=settings.time_limit_s(),
            retries=settings.retries,
            isolate=settings.isolate,
        )

    def worker_count(self) -> int:
        """How many processes of this machine may be kept busy: the workers of the `cpu` pool."""
        if self.backend == "inline":
            return 1
        cpu = self.pools.cpu
        return (None if self._in_jobs(cpu) else cpu.workers_per_node) or available_cores()

    def check(self) -> None:
        """Raise a `UserError` when the batch system, or a variable that its settings name, is not there."""
        for pool in (self.pools.cpu, self.pools.dft, self.pools.gpu):
            if self._in_jobs(pool) and pool.slurm is not None:
                check_slurm(pool.slurm)

    def _in_jobs(self, pool: Pool) -> bool:
        return self.backend == "slurm" and pool.slurm is not None


def _form(value: Any) -> str:
    """Which alternative of `AnyExecution` a value is: the short form has a kind."""
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return kind if kind in ("inline", "local") else Execution.__name__


BuiltinExecution = Annotated[
    Annotated[Execution, Tag("Execution")]
    | Annotated[InlineExecutor, Tag("inline")]
    | Annotated[LocalExecutor, Tag("local")],
    Discriminator(_form),
]
AnyExecution = Annotated[BuiltinExecution, plugin(Executor)]
"""`backend` and `pools`, or in short one executor for every kind of work: `kind: inline`, `kind: local` with
its settings, or `kind: module:Class`."""
