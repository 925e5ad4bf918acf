"""Jobs of a real Slurm that the test starts: labels survive crashes, hangs, lost jobs and a killed driver."""

import os
import subprocess
import time

import pytest
import slurm_cluster
from execution_tasks import misbehave, node_facts, square
from labelling_driver import Driver, assert_fifty_labels_and_three_errors, computed

from pyacemaker.errors import ConfigError, ConvergenceError, ExecutionError
from pyacemaker.execution import Execution
from pyacemaker.execution.cluster import close_clusters, run_id
from pyacemaker.execution.slurm import cancel_leftovers

MISSING = slurm_cluster.missing_program()
pytestmark = [
    pytest.mark.slurm,
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),  # Parsl's
    pytest.mark.skipif(MISSING is not None, reason=f"Slurm is not installed ({MISSING} is not there)"),
]
POOL = {"workers_per_node": 2, "timeout_s": 5, "retries": 1}
JOBS = {"walltime_minutes": 5, "max_jobs": 1}


def slurm(jobs=(), **pool):
    return {"backend": "slurm", "pools": {"dft": {**POOL, **pool, "slurm": {**JOBS, **dict(jobs)}}}}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with slurm_cluster.running_slurm(tmp_path_factory.mktemp("slurm")) as config:
        yield config


@pytest.fixture(autouse=True)
def configured(cluster, monkeypatch):
    monkeypatch.setenv("SLURM_CONF", cluster)
    yield
    close_clusters()


def executor(directory, jobs=(), **pool):
    return Execution.model_validate(slurm(jobs, **pool)).for_pool("dft", directory)


def wait_until_no_job_is_left(config, patience=40.0):
    deadline = time.monotonic() + patience
    while left := [job for job in slurm_cluster.jobs(config) if job[1] != "CG"]:
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


def test_fifty_labels_three_errors_and_no_orphan(cluster, tmp_path):
    driver = Driver(tmp_path, slurm())
    answer = driver.finish()
    assert_fifty_labels_and_three_errors(answer)
    assert set(computed(driver).values()) == {1}
    wait_until_no_job_is_left(cluster, 10.0)


def test_a_cancelled_job_is_recovered_and_a_killed_driver_recomputes_nothing(cluster, tmp_path):
    first = Driver(tmp_path, slurm(), seconds=0.3)
    first.wait_for(12)
    subprocess.run(["scancel", *(job for job, _, _ in slurm_cluster.jobs(cluster))], check=True)
    first.wait_for(30)
    first.kill(patience=40.0)
    wait_until_no_job_is_left(cluster)
    second = Driver(tmp_path, slurm(), seconds=0.3)
    answer = second.finish()
    assert_fifty_labels_and_three_errors(answer)
    times = computed(second)
    assert len(times) == 50
    assert sum(times.values()) - 50 <= 2 * POOL["workers_per_node"]  # in flight at the two accidents
    assert answer["reused"] >= 30 - 4 - 3


def test_errors_keep_their_type_and_jobs_serve_several_calls(cluster, tmp_path):
    jobs = executor(tmp_path)
    items = [("good", 3), ("bad", "converge"), ("fine", 4)]
    found = {outcome.key: outcome for outcome in jobs.map_unordered(misbehave, items)}
    assert isinstance(found["bad"].error, ConvergenceError)
    assert (found["good"].value, found["fine"].value) == (9, 16)
    (job,) = slurm_cluster.jobs(cluster)
    assert job[2] == f"pyacemaker:{run_id(tmp_path)}"
    assert [outcome.value for outcome in jobs.map_unordered(square, [("a", 5)])] == [25]
    assert [again[0] for again in slurm_cluster.jobs(cluster)] == [job[0]]
    close_clusters()
    wait_until_no_job_is_left(cluster, 10.0)


def test_closing_the_answers_early_cancels_the_jobs(cluster, tmp_path):
    outcomes = executor(tmp_path, timeout_s=120).map_unordered(misbehave, [("a", 2), ("b", "hang")])
    assert next(outcomes).value == 4
    outcomes.close()
    wait_until_no_job_is_left(cluster, 10.0)


def test_every_node_of_a_job_works_with_the_memory_and_gpus_asked_for(tmp_path):
    wide = executor(
        tmp_path,
        {
            "nodes_per_job": 2,
            "partition": "gpu",
            "sbatch_options": ["--mem=${PA_MEMORY}"],
            "worker_init": "export PA_INIT=$((6*7))",
        },
        workers_per_node=1,
        gpus_per_node=1,
    )
    os.environ["PA_MEMORY"] = "100M"
    try:
        found = [o.value for o in wide.map_unordered(node_facts, [(str(i), 0.3) for i in range(8)])]
    finally:
        del os.environ["PA_MEMORY"]
    assert {facts["SLURMD_NODENAME"] for facts in found} == {"n1", "n2"}
    assert {facts["SLURM_MEM_PER_NODE"] for facts in found} == {"100"}
    assert {facts["SLURM_GPUS_PER_NODE"] for facts in found} == {"1"}
    assert {facts["PA_INIT"] for facts in found} == {"42"}


def test_leftovers_of_a_dead_run_are_cancelled_and_other_jobs_are_not(cluster, tmp_path):
    comment = f"pyacemaker:{run_id(tmp_path)}"
    for text in (comment, "pyacemaker:another"):
        command = ["sbatch", "--parsable", f"--comment={text}", "--output=/dev/null", "--wrap", "sleep 300"]
        subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    assert [outcome.value for outcome in executor(tmp_path).map_unordered(square, [("a", 5)])] == [25]
    close_clusters()
    wait_until = time.monotonic() + 10.0
    while (left := [job[2] for job in slurm_cluster.jobs(cluster) if job[1] != "CG"]) != [
        "pyacemaker:another"
    ]:
        assert time.monotonic() < wait_until, left
        time.sleep(0.2)
    assert len(cancel_leftovers("pyacemaker:another")) == 1


def test_a_partition_that_is_not_there_is_told_in_slurms_words(tmp_path):
    with pytest.raises(ConfigError, match=r"Slurm refuses .*invalid partition specified: nowhere"):
        list(executor(tmp_path, {"partition": "nowhere"}).map_unordered(square, [("a", 1)]))


def test_jobs_that_end_at_once_are_told_with_their_output(tmp_path):
    broken = executor(tmp_path, {"worker_init": "echo no such module >&2; exit 1"})
    with pytest.raises(
        ExecutionError, match=r"dft pool do not work \(they end at once, saying: no such module\)"
    ):
        list(broken.map_unordered(square, [("a", 1)]))
