"""Runs the steps in order, skips what is done, and resumes what was cut short."""

import importlib.metadata
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pyacemaker.config import PyAceConfig, load_config
from pyacemaker.errors import ConfigError, PyacemakerError, UserError, VerdictError, described
from pyacemaker.files import remove_unfinished, write_atomic
from pyacemaker.processes import release_memory
from pyacemaker.structures.store import LabelStore, Ledger
from pyacemaker.workflow.output import publish
from pyacemaker.workflow.preflight import check_run
from pyacemaker.workflow.progress import Progress, RecordedProgress, silent
from pyacemaker.workflow.state import StepState, WorkflowState, locked
from pyacemaker.workflow.step import (
    MANIFEST,
    Manifest,
    Step,
    StepContext,
    hash_outputs,
    step_key,
    step_seed,
)
from pyacemaker.workflow.steps import STEPS

log = logging.getLogger(__name__)

Action = Literal["done", "run", "later"]


@dataclass(frozen=True)
class PlannedStep:
    """What a run would do with one step: `done` (skip), `run`, or `later` (beyond `--until`), and why."""

    name: str
    title: str
    action: Action
    reason: str


class Orchestrator:
    """Runs one configuration in one directory.

    A step is done if its manifest carries the key of the present settings, inputs and versions, and its
    output files still have the recorded content. Everything else runs again; expensive items inside a step
    are taken from the label store and the trajectory files.
    """

    def __init__(
        self,
        config: PyAceConfig,
        run_dir: Path,
        progress: Progress = silent,
        steps: Sequence[Step] = STEPS,
    ) -> None:
        self.config = config
        self.run_dir = run_dir
        self.progress = self._recorded = progress
        self.steps = tuple(steps)

    def plan(self, from_step: str | None = None, until: str | None = None) -> list[PlannedStep]:
        """What `run` would do, step by step, without doing it.

        Raises `ConfigError` for an unknown step, `UserError` for a step that cannot start yet.
        """
        first, last = self.bounds(from_step, until)
        planned: list[PlannedStep] = []
        for position, step in enumerate(self.steps):
            action, reason = self._decide(
                step, forced=first is not None and position >= first, planned=planned
            )
            if first is not None and position < first and action == "run":
                raise UserError(self._not_ready(first, step, reason))
            if position > last:
                action, reason = "later", f"beyond --until {self.steps[last].name}"
            planned.append(PlannedStep(step.name, step.title, action, reason))
        return planned

    def run(self, from_step: str | None = None, until: str | None = None) -> dict[str, Any] | None:
        """Run or resume; returns the metrics of the finished run, None when `until` ended it earlier.

        Raises `UserError` for a step that cannot start yet, and `VerdictError` at the end of a run whose
        final potential does not beat the base on the held-out DFT test set or is held back by a gate;
        `output/metrics.json` says why.
        """
        self.config.check_budget()
        first, last = self.bounds(from_step, until)
        self.run_dir.mkdir(parents=True, exist_ok=True)
        with locked(self.run_dir):
            remove_unfinished(self.run_dir)
            write_atomic(self.run_dir / "config.yaml", self.config.to_yaml())
            state = self._fresh_state()
            recorded = self._recorded = RecordedProgress(self.run_dir, self.progress)
            try:
                for position, step in enumerate(self.steps[: last + 1]):
                    self._advance(step, state, forced=first is not None and position >= first, first=first)
            finally:
                recorded.close()
            if last < len(self.steps) - 1:
                log.info("stopped after %s as asked; run again to go on", self.steps[last].name)
                return None
            metrics = publish(self.config, self.run_dir)
        return _judged(metrics)

    def known_labels(self) -> int:
        """How many labels by the present `dft` settings the run's store and the shared one hold already."""
        method = self.config.dft.method_key()
        known = LabelStore(self.run_dir / "labels", look_only=True).labelled(method)
        if self.config.label_store is not None:
            known |= LabelStore(self.config.label_store, look_only=True).labelled(method)
        return len(known)

    def bounds(self, from_step: str | None, until: str | None) -> tuple[int | None, int]:
        """Positions of the step to start anew from (None: resume) and of the last step.

        Raises `ConfigError` for an unknown step, or a last step that comes first.
        """
        first = None if from_step is None else self._position(from_step, "--from")
        last = len(self.steps) - 1 if until is None else self._position(until, "--until")
        if first is not None and first > last:
            raise ConfigError(f"--from {from_step} comes after --until {until}: swap them or leave one out")
        return first, last

    def _position(self, name: str, option: str) -> int:
        for position, step in enumerate(self.steps):
            number, _, verb = step.name.partition("_")
            if name in {step.name, verb, number, str(int(number))}:
                return position
        names = ", ".join(step.name for step in self.steps)
        raise ConfigError(f"{option} {name}: no such step; expected one of {names}")

    def _decide(self, step: Step, *, forced: bool, planned: list[PlannedStep]) -> tuple[Action, str]:
        actions = {item.name: item.action for item in planned}
        if forced:
            return "run", "asked for by --from"
        waiting = [name for name in step.needs if actions[name] != "done"]
        if waiting:
            return "run", f"its input {waiting[0]} will be made anew"
        done = self._finished(step)
        return done if isinstance(done, tuple) else ("done", "up to date")

    def _finished(self, step: Step) -> Manifest | tuple[Action, str]:
        directory = self.run_dir / step.name
        manifest = Manifest.read(directory)
        if manifest is None:
            return "run", "not finished yet"
        if manifest.key != self._key(step):
            return "run", "its settings, inputs or package versions have changed"
        if not manifest.matches(directory):
            return "run", "an output file is missing or was changed"
        return manifest

    def _key(self, step: Step) -> str:
        inputs = {name: Manifest.read(self.run_dir / name) or Manifest("") for name in step.needs}
        return step_key(step, self.config, inputs, [f"{name} {_version(name)}" for name in step.versions])

    def _advance(self, step: Step, state: WorkflowState, *, forced: bool, first: int | None) -> None:
        found = self._finished(step)
        if isinstance(found, Manifest) and not forced:
            log.info("%s: up to date", step.name)
            state.steps[step.name].status = "done"
            state.write(self.run_dir)
            return
        if first is not None and not forced:
            reason = found[1] if isinstance(found, tuple) else ""
            raise UserError(self._not_ready(first, step, reason))
        self._execute(step, state)

    def _not_ready(self, first: int, step: Step, reason: str) -> str:
        return (
            f"--from {self.steps[first].name} needs {step.name}, which has to run first ({reason}): "
            "leave --from out, or name that step"
        )

    def _execute(self, step: Step, state: WorkflowState) -> None:
        directory = self.run_dir / step.name
        directory.mkdir(exist_ok=True)
        (directory / MANIFEST).unlink(missing_ok=True)
        key = self._key(step)
        state.begin(step.name, key)
        state.write(self.run_dir)
        log.info("%s: %s", step.name, step.title)
        ledger: Ledger | None = None
        try:
            store = LabelStore(self.run_dir / "labels", self.config.label_store)
            ledger = Ledger(self.run_dir / "ledger.csv", store)
            step.run(self._context(step, store, ledger))
            Manifest(key, hash_outputs(step, directory)).write(directory)
        except BaseException as error:
            state.end(step.name, "failed", _describe(error))
            raise
        else:
            state.end(step.name, "done")
            log.info("%s: done in %.1f s", step.name, state.steps[step.name].seconds)
        finally:
            if ledger is not None:
                state.dft = asdict(ledger.totals())
            state.write(self.run_dir)
            release_memory()

    def _context(self, step: Step, store: LabelStore, ledger: Ledger) -> StepContext:
        return StepContext(
            config=self.config,
            directory=self.run_dir / step.name,
            inputs={name: self.run_dir / name for name in step.needs},
            seed=step_seed(self.config.seed, step.name),
            store=store,
            ledger=ledger,
            progress=self._recorded,
        )

    def _fresh_state(self) -> WorkflowState:
        packages = sorted({name for step in self.steps for name in step.versions} | {"pyacemaker"})
        state = WorkflowState(
            self.config.name,
            self.config.seed,
            self.config.rehearsal,
            versions={name: _version(name) for name in packages},
        )
        try:
            state.steps = WorkflowState.read(self.run_dir).steps
        except UserError:
            state.steps = {}
        state.steps = {step.name: state.steps.get(step.name, StepState()) for step in self.steps}
        return state


def run(
    config: str | Path | PyAceConfig,
    run_dir: str | Path | None = None,
    *,
    from_step: str | None = None,
    until: str | None = None,
    rehearse: bool = False,
    progress: Progress = silent,
) -> dict[str, Any] | None:
    """Run or resume the eight steps of `config` (a path or a `PyAceConfig`) in `run_dir`.

    run_dir: default `runs/NAME` below the current directory. rehearse: put a cheap physics oracle in DFT's
    place and shrink the work. Returns the content of `output/metrics.json`, None when `until` ended the run.
    Raises the errors of `pyacemaker.errors`.
    """
    settings = config if isinstance(config, PyAceConfig) else load_config(Path(config))
    if rehearse:
        settings = settings.rehearsed()
    check_run(settings)
    directory = Path(run_dir) if run_dir is not None else settings.default_run_dir()
    return Orchestrator(settings, directory, progress).run(from_step, until)


def _judged(metrics: dict[str, Any]) -> dict[str, Any]:
    verdict = metrics["verdict"]
    if not verdict["passed"]:
        raise VerdictError(verdict["reason"])
    return metrics


def _describe(error: BaseException) -> str:
    if isinstance(error, PyacemakerError):
        return str(error)
    return "interrupted" if isinstance(error, KeyboardInterrupt) else described(error)


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
