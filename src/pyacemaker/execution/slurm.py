"""Jobs of the batch system Slurm."""

import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Literal

from pyacemaker.environment import expand, hide
from pyacemaker.errors import ConfigError, EngineMissingError, ExecutionError, OracleCrashError
from pyacemaker.execution.base import ITEMS_PER_WORKER, Executor, Outcome, PoolName, R, T, Task, fan_out
from pyacemaker.execution.pools import Pool, SlurmSettings, margin_s

PROGRAMS = ("sbatch", "squeue", "scancel")


class SlurmExecutor(Executor):
    """Runs items in Slurm jobs, through Parsl's HighThroughputExecutor.

    Jobs are submitted when there is work, serve many items, stay for the next call of the same run and end
    when they idle. In a job each item runs in a child process with a time limit (`WorkerPool`): a crash or a
    hang is an error of that item alone. Items of a job that was lost or cancelled are handed out again. The
    directory of the run has to be on a file system that the nodes share.
    """

    kind: Literal["slurm"] = "slurm"
    name: PoolName
    """The kind of work, part of the jobs' names."""
    pool: Pool
    """Workers, time limit and jobs."""
    directory: Path
    """The run's directory, absolute: the jobs' scripts and logs go to its folder `slurm`."""

    @property
    def settings(self) -> SlurmSettings:
        """The settings of the jobs."""
        return self.pool.slurm or SlurmSettings()

    @property
    def workers_per_node(self) -> int:
        """Worker processes of a node."""
        return self.pool.workers_per_node or 1

    @property
    def walltime_s(self) -> float:
        """The longest life of a job in seconds."""
        return 60.0 * self.settings.walltime_minutes

    @property
    def time_limit_s(self) -> float:
        """Seconds after which an item is stopped."""
        return self.pool.time_limit_in_job_s(self.walltime_s)

    @property
    def drain_s(self) -> int:
        """Seconds after which a job takes no more items, so that those it has can end."""
        return max(1, int(self.walltime_s - self.time_limit_s - margin_s(self.walltime_s)))

    def check(self) -> None:
        """Raise a `UserError` when Slurm, or a variable that the settings name, is not there."""
        check_slurm(self.settings)
        if any(character.isspace() for character in str(self.directory)):
            raise ConfigError(
                f"the directory {self.directory} has a blank in its name, which Slurm's job scripts cannot "
                "have: choose another (--run-dir of a run, --output of `pyacemaker label`)"
            )

    def map_unordered(
        self, function: Callable[[T], R], items: Iterable[tuple[str, T]]
    ) -> Iterator[Outcome[R]]:
        """One `Outcome` per item, as they finish; at most two items per worker are taken ahead.

        Call it from the main thread: the helper process that talks to the jobs dies with the thread that
        starts it, and so do the jobs.
        """
        from pyacemaker.execution.cluster import open_cluster

        cluster = open_cluster(self)
        ahead = ITEMS_PER_WORKER * self.workers_per_node * self.settings.nodes_per_job
        finished = False
        try:
            yield from fan_out(
                items,
                ahead * self.settings.max_jobs,
                lambda task: cluster.submit(_payload(function, task)),
                self._outcome,
            )
            finished = True
        finally:
            if not finished:
                cluster.close()

    def _outcome(self, future: "Future[Any]", task: Task[Any]) -> Outcome[Any] | None:
        """What became of a finished item; None when its job was lost and it should be submitted again."""
        from parsl.executors.high_throughput.errors import ManagerLost, WorkerLost

        task.attempts += 1
        error = future.exception()
        if error is None:
            outcome: Outcome[Any] = future.result()
            return outcome
        if not isinstance(error, ManagerLost | WorkerLost):
            raise ExecutionError(
                f"the Slurm jobs of the {self.name} pool do not work ({_complaint(error)}): see their "
                f"scripts and output in {self.directory / 'slurm'}, mend execution.pools.{self.name}, and "
                "start the run again, it goes on where it was"
            ) from error
        if task.attempts <= self.pool.retries:
            return None
        message = (
            f"the Slurm job of the calculation was lost {task.attempts} times (cancelled, out of memory, or "
            "past its walltime): see the cluster's accounting"
        )
        return Outcome(task.key, error=OracleCrashError(message))


def check_slurm(settings: SlurmSettings) -> None:
    """Raise `EngineMissingError` without Slurm's programs, `ConfigError` for a variable that is not set."""
    for program in PROGRAMS:
        if shutil.which(program) is None:
            raise EngineMissingError(
                f"execution.backend is slurm, but the program {program} is not there: run on a machine of "
                "the cluster that submits jobs, or set execution.backend to local"
            )
    directives(settings)


def directives(settings: SlurmSettings, workers: int = 1, gpus: int = 0, comment: str = "") -> list[str]:
    """The options of sbatch for a pool, `${VAR}` expanded; of two that clash sbatch takes the later one."""
    chosen = {
        "--comment": comment,
        "--partition": expand(settings.partition or ""),
        "--account": expand(settings.account or ""),
        "--cpus-per-task": str(workers),
        "--gpus-per-node": str(gpus) if gpus else "",
    }
    extra = [expand(option).removeprefix("#SBATCH").strip() for option in settings.sbatch_options]
    return [f"{name}={value}" for name, value in chosen.items() if value] + extra


def try_submission(options: list[str], walltime_minutes: int, nodes: int) -> None:
    """Ask Slurm whether it would take such a job; `ConfigError` with its words when not.

    `ExecutionError` where Slurm does not answer.
    """
    lines = [*options, f"--time={walltime_minutes}", f"--nodes={nodes}"]
    script = "\n".join(["#!/bin/sh", *(f"#SBATCH {line}" for line in lines), "true", ""])
    answer = subprocess.run(
        ["sbatch", "--test-only"], input=script, capture_output=True, text=True, check=False
    )
    if answer.returncode != 0:
        words = " ".join(hide(answer.stderr).split())
        if re.search(r"contact slurm|connection refused|timed out|socket|slurm_load|slurmctld", words, re.I):
            raise ExecutionError(
                f"Slurm's controller does not answer ({words}): wait until it is back (sinfo tells) and "
                "start the same command again, it goes on where it was; or set execution.backend to local"
            )
        raise ConfigError(
            f"Slurm refuses the jobs that execution.pools asks for ({words}): correct partition, account, "
            "walltime_minutes or sbatch_options"
        )


def cancel_leftovers(comment: str) -> list[str]:
    """Cancel the user's jobs that carry `comment`, left by a run that was killed; their ids."""
    found = subprocess.run(
        ["squeue", "--noheader", "--user", str(os.getuid()), "--format", "%i %k"],
        capture_output=True,
        text=True,
        check=False,
    )
    pairs = (line.split(maxsplit=1) for line in found.stdout.splitlines())
    jobs = [pair[0] for pair in pairs if len(pair) == 2 and pair[1].strip() == comment]
    if jobs:
        subprocess.run(["scancel", *jobs], capture_output=True, check=False)
    return jobs


def _payload(function: Callable[[T], R], task: Task[T]) -> tuple[bytes, list[str]]:
    """An item as a job receives it: it finds the modules that the driver finds."""
    return pickle.dumps((function, task.key, task.item)), [entry for entry in sys.path if entry]


def _complaint(error: BaseException) -> str:
    """What went wrong with the jobs, in one line: the last words of the last one where there are any."""
    text = str(error) or type(error).__name__
    _, spoke, words = text.rpartition("STDERR:")
    line = " ".join(words.split())
    line = line if len(line) <= 400 else "… " + line[-400:]
    return f"they end at once, saying: {line}" if spoke else line
