import re
from pathlib import Path

import pytest
import yaml
from execution_tasks import square
from pydantic import TypeAdapter, ValidationError

from pyacemaker.errors import ConfigError, EngineMissingError, ExecutionError
from pyacemaker.execution import AnyExecution, Execution, Executor, InlineExecutor, LocalExecutor, Outcome
from pyacemaker.execution.pools import DFT_TIMEOUT_S, SlurmSettings
from pyacemaker.execution.slurm import directives, try_submission
from pyacemaker.processes import available_cores

DOCS = Path(__file__).parents[2] / "docs" / "execution.md"
ADAPTER = TypeAdapter(AnyExecution)


class DoublingExecutor(Executor):
    """A plug-in: every item twice as large."""

    factor: int = 2

    def map_unordered(self, function, items):
        for key, item in items:
            yield Outcome(key, function(self.factor * item))


def slurm(**pools):
    return Execution.model_validate({"backend": "slurm", "pools": pools})


class TestForPool:
    def test_default_is_one_worker_per_core_and_four_hours_for_a_label(self, tmp_path):
        dft = Execution().for_pool("dft", tmp_path)
        assert dft == LocalExecutor(timeout_s=DFT_TIMEOUT_S, retries=2)
        assert Execution().for_pool("cpu", tmp_path) == LocalExecutor(retries=2)
        assert Execution().worker_count() == available_cores()

    def test_settings_of_a_pool_reach_its_workers_only(self, tmp_path):
        pool = {"workers_per_node": 3, "timeout_s": 60, "retries": 0, "isolate": True}
        execution = Execution.model_validate({"pools": {"dft": pool}})
        expected = LocalExecutor(workers=3, timeout_s=60, retries=0, isolate=True)
        assert execution.for_pool("dft", tmp_path) == expected
        assert execution.for_pool("gpu", tmp_path) == LocalExecutor(workers=1, retries=2)

    def test_inline(self, tmp_path):
        execution = Execution(backend="inline")
        assert execution.for_pool("dft", tmp_path) == InlineExecutor()
        assert execution.worker_count() == 1

    def test_on_slurm_a_pool_without_jobs_stays_on_this_machine(self, tmp_path):
        execution = slurm(cpu={"workers_per_node": 5})
        assert execution.for_pool("dft", tmp_path).kind == "slurm"
        assert execution.for_pool("cpu", tmp_path).kind == "local"
        assert execution.worker_count() == 5
        assert slurm(dft={"slurm": None}).for_pool("dft", tmp_path).kind == "local"

    def test_short_forms(self, tmp_path):
        short = ADAPTER.validate_python({"kind": "local", "workers": 2})
        assert short == LocalExecutor(workers=2)
        assert short.for_pool("dft", tmp_path) == short.for_pool("cpu", tmp_path) == short
        assert ADAPTER.validate_python({"kind": "inline"}) == InlineExecutor()

    def test_a_plug_in_serves_every_pool_and_is_written_out(self, tmp_path):
        settings = {"kind": "test_execution_settings:DoublingExecutor", "factor": 3}
        found = ADAPTER.validate_python(settings).for_pool("dft", tmp_path)
        assert [o.value for o in found.map_unordered(square, [("a", 2)])] == [36]
        assert ADAPTER.dump_python(found, serialize_as_any=True) == settings


class TestTimeInJobs:
    def test_a_job_stops_taking_work_in_time(self, tmp_path):
        settings = {"timeout_s": 3600, "slurm": {"walltime_minutes": 120}}
        executor = slurm(dft=settings).for_pool("dft", tmp_path)
        assert executor.time_limit_s == 3600
        assert executor.drain_s == 7200 - 3600 - 60

    @pytest.mark.parametrize(("minutes", "expected"), [(60, 1800.0), (1440, DFT_TIMEOUT_S)])
    def test_without_a_limit_it_is_four_hours_or_half_the_walltime(self, tmp_path, minutes, expected):
        executor = slurm(dft={"slurm": {"walltime_minutes": minutes}}).for_pool("dft", tmp_path)
        assert executor.time_limit_s == expected
        assert 0 < executor.drain_s < 60 * minutes - expected

    def test_a_limit_longer_than_a_job_is_refused_on_slurm_only(self):
        pools = {"dft": {"timeout_s": 7200, "slurm": {"walltime_minutes": 120}}}
        assert Execution.model_validate({"pools": pools}).backend == "local"
        with pytest.raises(ValidationError, match=r"pools\.dft\.timeout_s = 7200 s does not fit into a job"):
            slurm(**pools)


class TestDirectives:
    def test_variables_are_expanded_and_the_users_options_come_last(self, monkeypatch):
        monkeypatch.setenv("PA_ACCOUNT", "chem42")
        settings = SlurmSettings(
            account="${PA_ACCOUNT}", sbatch_options=("--cpus-per-task=8", "#SBATCH --mem=4G")
        )
        assert directives(settings, workers=2, gpus=1, comment="pyacemaker:x") == [
            "--comment=pyacemaker:x",
            "--account=chem42",
            "--cpus-per-task=2",
            "--gpus-per-node=1",
            "--cpus-per-task=8",
            "--mem=4G",
        ]

    def test_check_names_what_is_missing(self, monkeypatch, tmp_path):
        monkeypatch.delenv("PA_MISSING", raising=False)
        for program in ("sbatch", "squeue", "scancel"):
            (tmp_path / program).write_text("#!/bin/sh\n")
            (tmp_path / program).chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        execution = slurm(dft={"slurm": {"account": "${PA_MISSING}"}})
        with pytest.raises(ConfigError, match="PA_MISSING"):
            execution.check()
        (tmp_path / "squeue").unlink()
        with pytest.raises(EngineMissingError, match="the program squeue is not there"):
            execution.check()
        slurm(dft={"slurm": None}).check()

    def test_a_controller_that_does_not_answer_is_no_mistake_of_the_settings(self, monkeypatch, tmp_path):
        words = "sbatch: error: Unable to contact slurm controller (connect failure)"
        for said, kind, cure in (
            (words, ExecutionError, "wait until"),
            ("no", ConfigError, "partition"),
        ):
            (tmp_path / "sbatch").write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 1\n")
            (tmp_path / "sbatch").chmod(0o755)
            monkeypatch.setenv("PATH", str(tmp_path))
            with pytest.raises(kind, match=cure):
                try_submission([], 10, 1)

    def test_a_blank_in_the_run_directory_is_refused(self, monkeypatch, tmp_path):
        monkeypatch.setattr("shutil.which", lambda name: name)
        with pytest.raises(ConfigError, match="has a blank in its name"):
            slurm().for_pool("dft", tmp_path / "my run").check()


def test_the_examples_of_the_documentation_are_valid():
    blocks = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.S)
    assert len(blocks) == 3
    for block in blocks:
        assert isinstance(ADAPTER.validate_python(yaml.safe_load(block)["execution"]), Execution)
