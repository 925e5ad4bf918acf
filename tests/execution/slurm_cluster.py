"""A real Slurm of one or two small nodes on this machine: no root, no munge, no cgroups."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

CONFIG = """\
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool-%n
SlurmctldPidFile={directory}/run/slurmctld.pid
SlurmdPidFile={directory}/run/slurmd-%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0,batch_sched_delay=0
ReturnToService=2
KillWait=2
MinJobAge=300
MailProg=/bin/true
SlurmdParameters=config_overrides
GresTypes=gpu
{nodes}
PartitionName=cpu Nodes=ALL Default=YES State=UP
PartitionName=gpu Nodes=ALL State=UP
"""
NODE = (
    "NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs=4 RealMemory=16000 Gres=gpu:1"
)
START_S = 30.0


def missing_program():
    """The first of Slurm's programs that is not installed, None when all are there."""
    wanted = ("slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
    return next((name for name in wanted if _program(name) is None), None)


@contextmanager
def running_slurm(directory: Path, nodes=("n1", "n2")):
    """Start the daemons; yields the value of SLURM_CONF. Everything is gone on leaving."""
    config = _write_config(directory, nodes)
    environment = {**os.environ, "SLURM_CONF": str(config)}
    commands = [["slurmctld", "-D", "-c"], *(["slurmd", "-D", "-N", node] for node in nodes)]
    daemons = []
    try:
        for index, (name, *options) in enumerate(commands):
            with open(directory / f"{name}{index}.log", "w") as log:
                command = [_program(name), *options, "-f", str(config)]
                daemons.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        _wait_until_idle(directory, environment, len(nodes))
        yield str(config)
    finally:
        _cancel_all(str(config), environment)
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            try:
                daemon.wait(5)
            except subprocess.TimeoutExpired:  # slurmd waits for what it believes to run
                daemon.kill()
                daemon.wait()


def jobs(config):
    """(id, state, comment) of the jobs that wait or run."""
    environment = {**os.environ, "SLURM_CONF": config}
    command = ["squeue", "--noheader", "--format", "%i %t %k"]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return [tuple(line.split(maxsplit=2)) for line in answer.stdout.splitlines()]


def _cancel_all(config, environment):
    subprocess.run(["scancel", "-u", getpass.getuser()], env=environment, capture_output=True, timeout=30)
    deadline = time.monotonic() + 10.0
    while jobs(config) and time.monotonic() < deadline:
        time.sleep(0.2)


def _program(name):
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def _write_config(directory, nodes):
    for name in ("state", "run", *(f"spool-{node}" for node in nodes)):
        (directory / name).mkdir(parents=True)
    ports = _free_ports(len(nodes) + 1)
    lines = [NODE.format(name=node, port=port) for node, port in zip(nodes, ports[1:], strict=True)]
    text = CONFIG.format(
        controller_port=ports[0], user=getpass.getuser(), directory=directory, nodes="\n".join(lines)
    )
    (directory / "slurm.conf").write_text(text)
    (directory / "gres.conf").write_text(f"NodeName={','.join(nodes)} Name=gpu File=/dev/null\n")
    return directory / "slurm.conf"


def _free_ports(n):
    sockets = [socket.socket() for _ in range(n)]
    for listener in sockets:
        listener.bind(("127.0.0.1", 0))
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


def _wait_until_idle(directory, environment, n):
    deadline = time.monotonic() + START_S
    command = ["sinfo", "--noheader", "-N", "-p", "cpu", "--format", "%T"]
    while True:
        answer = subprocess.run(command, env=environment, capture_output=True, text=True)
        if answer.stdout.split() == ["idle"] * n:
            return
        if time.monotonic() > deadline:
            logs = "\n".join(path.read_text()[-1000:] for path in sorted(directory.glob("*.log")))
            raise RuntimeError(f"Slurm did not start: {answer.stdout} {answer.stderr}\n{logs}")
        time.sleep(0.2)
