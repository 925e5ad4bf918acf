"""Fitting ACE potentials with the `pacemaker` program, which is installed apart and called as a command."""

import logging
import re
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import yaml
from pydantic import Field

from pyacemaker.base import fingerprint
from pyacemaker.errors import PotentialFormatError, TrainingError, UnsupportedElementError
from pyacemaker.files import replacing, sha256_file, write_atomic
from pyacemaker.structures import Dataset, FloatArray
from pyacemaker.structures.accuracy import LabelCounts
from pyacemaker.trainers.ace_labels import (
    NamedReference,
    ReferenceEnergies,
    accuracy,
    check_accuracy,
    choose_reference,
    usable,
)
from pyacemaker.trainers.base import Progress, TrainedPotential, Trainer, TrainingMetrics
from pyacemaker.trainers.pacemaker_data import WeightedData
from pyacemaker.trainers.pacemaker_input import PacemakerInput, Positive
from pyacemaker.trainers.pacemaker_programs import PacemakerPrograms
from pyacemaker.trainers.pacemaker_run import (
    OUTPUT,
    PacemakerHistory,
    PacemakerRun,
    begin,
    read_metrics,
)

if TYPE_CHECKING:
    from pyacemaker.potentials.ace import ACEPotential

logger = logging.getLogger(__name__)

Window = tuple[float, float]

_E0_LINE = re.compile(r"^E0: *\[[^\]]*\]", re.MULTILINE)


class PacemakerTrainer(PacemakerInput, Trainer):
    """An ACE potential by the `pacemaker` program (python-ace with TensorPotential; academic licence).

    Bochkarev et al., Phys. Rev. Mater. 6, 013804 (2022). The program is called as a command and runs in an
    environment of its own. It fits energies and forces; it has no stress term.
    """

    kind: Literal["pacemaker"] = "pacemaker"
    command: str = "pacemaker"
    """What starts it: `pacemaker`, a path, `conda run -n ace pacemaker`, or `${VAR}`. Its companions
    (`pace_yaml2yace`, `pace_activeset`, `pace_select`) are called in its place."""
    python: str | None = None
    """The Python of its environment, which writes its tables; None: found beside the program."""
    threads: Annotated[int, Field(ge=1)] = 1
    """OMP_NUM_THREADS, and TensorFlow's."""
    timeout_s: Positive | None = None
    """s of wall time after which the fit is killed; the next attempt goes on from where it was."""
    restarts: Annotated[int, Field(ge=0)] = 1
    """How often a fit that crashed is started again from its last interim potential."""
    soft_force: Positive | None = 10.0
    """eV/Å: a structure with a largest force F counts 1/(1 + (F/soft_force)²); None: all count alike."""
    reference_energies: dict[str, float] | NamedReference = "auto"
    """eV, energies of the isolated atoms; `auto` and `composition` as in the project's own trainer."""
    continue_from: bool = True
    """Whether a second fit in a run (the final potential) starts from the first one (the base)."""

    def check(self) -> None:
        """Raise `EngineMissingError` where the command starts no pacemaker."""
        self._programs().version()

    def near(self) -> "PacemakerTrainer":
        """A tenth of the iterations: the program knows no distance from where it started, only early ends."""
        return self.model_copy(update={"maxiter": max(1, self.maxiter // 10), "ladder_step": None})

    def continues(self) -> bool:
        """As `continue_from` says, unless a ladder builds the basis anew."""
        return self.continue_from and self.ladder_step is None

    def resumes(self) -> bool:
        """Always: fits take minutes to hours."""
        return True

    def train(
        self,
        dataset: Dataset,
        initial_potential: "ACEPotential | Path | None" = None,
        *,
        out: Path,
        reference_energies: ReferenceEnergies | None = None,
        test: Dataset | None = None,
        progress: Progress | None = None,
        processes: int = 1,
        workdir: Path | None = None,
    ) -> TrainedPotential:
        """Fit to the labels of `dataset` and write `out` (`.yace`) and, beside it, the B-basis `.yaml`.

        initial_potential: a B-basis `.yaml`, or a `.yace` with such a file beside it, to continue from: with
        its functions, or with a ladder from those on to the ones that are asked for. test: labelled
        structures for `metrics.validation`; pacemaker follows its loss on them. progress: called with
        iterations done and planned. processes: not used; `threads` says how many cores it takes. workdir:
        where the fit runs; a fit that was killed there goes on from its last interim potential.

        Errors as in `Trainer.train`, and `EngineMissingError` where the program is not there.
        """
        started = time.monotonic()
        programs = self._programs()
        training = usable(dataset)
        held_out = usable(test) if test is not None and len(test) else Dataset()
        elements = self._elements(training + held_out)
        e0 = self._reference(training, elements, reference_energies)
        with _directory(workdir) as directory:
            initial = None if initial_potential is None else _b_basis(initial_potential)
            self._prepare(directory, programs, training, held_out, elements, e0, initial)
            run = PacemakerRun(
                programs,
                directory,
                self.maxiter,
                initial,
                self.ladder_step is not None,
                self.timeout_s,
                self.restarts,
            )
            history = run.execute(progress)
            facts = self._facts(run, history, training, held_out, elements, e0)
            return self._deliver(directory, programs, out, e0, training, held_out, facts, started)

    def active_set(self, potential: Path, dataset: Dataset, out: Path) -> Path:
        """Let `pace_activeset` make the active set `out` (`.asi`) of a B-basis `.yaml`, from a dataset."""
        with tempfile.TemporaryDirectory() as name:
            directory, programs = Path(name), self._programs()
            copy = self._with_table(directory, programs, potential, dataset)
            found = programs.active_set(copy, directory / "data.pckl.gzip")
            with replacing(out) as aside:
                aside.write_bytes(found.read_bytes())
        return out

    def select(
        self, potential: Path, candidates: Dataset, n: int | None = None, active_set: Path | None = None
    ) -> Dataset:
        """Let `pace_select` pick the candidates that extend a potential's active set (MaxVol), at most n.

        potential: a B-basis `.yaml`. candidates need no labels. active_set: `.asi`; None: from scratch.
        """
        with tempfile.TemporaryDirectory() as name:
            directory, programs = Path(name), self._programs()
            copy = self._with_table(directory, programs, potential, candidates)
            if active_set is not None:
                copy.with_suffix(".asi").write_bytes(active_set.read_bytes())
            elements = tuple(candidates.elements)
            rows = programs.select(copy, directory / "data.pckl.gzip", elements, -1 if n is None else n)
        return candidates[rows]

    def _with_table(
        self, directory: Path, programs: PacemakerPrograms, potential: Path, dataset: Dataset
    ) -> Path:
        """A copy of the potential, and the table `data.pckl.gzip`; structures without labels get zeros."""
        from pyacemaker.structures import Labels

        copy = directory / "potential.yaml"
        copy.write_bytes(_b_basis(potential).read_bytes())
        filled = Dataset(
            s if s.labels is not None else s.replace(labels=Labels(0.0, np.zeros((len(s), 3))))
            for s in dataset
        )
        ones = tuple(np.ones(len(structure)) for structure in filled)
        WeightedData(filled, np.ones(len(filled)), ones).write(directory / "data.extxyz")
        programs.write_table(directory / "data.extxyz", directory / "data.pckl.gzip")
        return copy

    def _programs(self) -> PacemakerPrograms:
        return PacemakerPrograms.find(self.command, self.python, self.threads)

    def _elements(self, data: Dataset) -> tuple[str, ...]:
        elements = tuple(sorted(self.elements)) or data.elements
        missing = sorted(set(data.elements) - set(elements))
        if missing:
            raise UnsupportedElementError(
                f"the data holds {', '.join(missing)}, but trainer.elements are {', '.join(elements)} only; "
                "add the missing ones, or leave elements out"
            )
        return elements

    def _reference(
        self, training: Dataset, elements: tuple[str, ...], given: ReferenceEnergies | None
    ) -> dict[str, float]:
        wanted = self.reference_energies if given is None else given
        if wanted == "fitted":
            wanted = "auto"
        e0, _ = choose_reference(training, elements, wanted, None)
        return dict(zip(elements, map(float, e0), strict=True))

    def _prepare(
        self,
        directory: Path,
        programs: PacemakerPrograms,
        training: Dataset,
        held_out: Dataset,
        elements: tuple[str, ...],
        e0: Mapping[str, float],
        initial: Path | None,
    ) -> None:
        """The tables and `input.yaml`; nothing where the same fit has begun here before."""
        windows = self._windows(training, elements) if self.repulsion == "zbl" else None
        content = self.content(elements, e0, windows, test=len(held_out) > 0)
        data = {"train": training, "test": held_out}
        weighted = {name: WeightedData.of(part, self.soft_force) for name, part in data.items() if len(part)}
        start = None if initial is None else sha256_file(initial)
        key = [content, start, [_identity(part) for part in weighted.values()]]
        begin(directory, fingerprint(key))
        for name, part in weighted.items():
            table = directory / f"{name}.pckl.gzip"
            if not table.is_file():
                part.write(directory / f"{name}.extxyz")
                programs.write_table(directory / f"{name}.extxyz", directory / f"making_{name}.pckl.gzip")
                (directory / f"making_{name}.pckl.gzip").replace(table)
        write_atomic(directory / "input.yaml", yaml.safe_dump(content, sort_keys=False))

    def _windows(self, training: Dataset, elements: tuple[str, ...]) -> dict[tuple[str, str], Window]:
        """Where a ZBL core ends, by pair: below the data, as in the project's own engine."""
        from pyacemaker.ace.pairs import core_windows, pair_statistics

        found = core_windows(pair_statistics(training, elements, self.cutoff), elements, {})
        return {(elements[a], elements[b]): ends for (a, b), ends in found.items() if a <= b}

    def _deliver(
        self,
        directory: Path,
        programs: PacemakerPrograms,
        out: Path,
        e0: Mapping[str, float],
        training: Dataset,
        held_out: Dataset,
        facts: dict[str, Any],
        started: float,
    ) -> TrainedPotential:
        """Convert, measure the errors of the written file, and put both files in place."""
        from pyacemaker.potentials.ace import ACEPotential

        programs.to_yace(directory / OUTPUT, directory / "output_potential.yace")
        text = with_reference((directory / "output_potential.yace").read_text(encoding="utf-8"), e0)
        with replacing(out) as aside:
            aside.write_text(text, encoding="utf-8")
            potential = ACEPotential.from_yace(aside)
            train = accuracy(potential, training)
            check_accuracy(train, training)
            with replacing(out.with_suffix(".yaml")) as basis:
                basis.write_bytes((directory / OUTPUT).read_bytes())
        validation = accuracy(potential, held_out) if len(held_out) else None
        rows = read_metrics(directory / "test_metrics.txt")
        loss = float(rows[-1]["loss"]) if rows and validation is not None else None
        metrics = TrainingMetrics(train, validation, time.monotonic() - started, loss)
        logger.info("pacemaker: %s functions, %s", facts["total_functions"], train)
        return TrainedPotential(out, metrics, facts)

    def _facts(
        self,
        run: PacemakerRun,
        history: PacemakerHistory,
        training: Dataset,
        held_out: Dataset,
        elements: tuple[str, ...],
        e0: Mapping[str, float],
    ) -> dict[str, Any]:
        if not history.rows:
            raise TrainingError(f"pacemaker left no metrics in {run.directory}; look into its log.txt")
        last = history.rows[-1]
        counts = {"train": asdict(LabelCounts.of(training))}
        if len(held_out):
            counts["test"] = asdict(LabelCounts.of(held_out))
        return {
            "trainer": "pacemaker",
            "elements": list(elements),
            "total_functions": int(last["nfuncs"]),
            "parameters": int(last["ncoefs"]),
            "iterations": int(last["iter_num"]),
            "loss": {"first": history.rows[0]["loss"], "last": last["loss"]},
            "structures": len(training),
            "counts": counts,
            "reference_energies": dict(e0),
            "cutoff": self.cutoff,
            **run.facts(),
        }


def with_reference(text: str, e0: Mapping[str, float]) -> str:
    """The text of a `.yace` file with these reference energies (eV) in the place of pacemaker's zeros.

    pacemaker fits to energies without them and writes E0 = 0.
    """
    found = re.search(r"^elements: *\[([^\]]*)\]", text, re.MULTILINE)
    if found is None or len(_E0_LINE.findall(text)) != 1:
        raise PotentialFormatError(
            "the file that pace_yaml2yace wrote has no line `elements: […]` or not one `E0: […]`: it is of "
            "another version than is known here"
        )
    symbols = [symbol.strip().strip("'\"") for symbol in found.group(1).split(",")]
    values = ", ".join(repr(float(e0[symbol])) for symbol in symbols)
    return _E0_LINE.sub(f"E0: [{values}]", text)


def _b_basis(potential: "ACEPotential | Path") -> Path:
    """The B-basis file of a potential: itself, or the one beside a `.yace`."""
    if not isinstance(potential, Path):
        raise PotentialFormatError(
            "pacemaker continues from a file in its B basis (.yaml), which a potential in memory does not "
            "have; give the path of the file that it wrote"
        )
    found = potential if potential.suffix in {".yaml", ".yml"} else potential.with_suffix(".yaml")
    if not found.is_file():
        raise PotentialFormatError(
            f"{potential} has no B-basis file {found.name} beside it, from which pacemaker continues"
        )
    return found


def _identity(data: WeightedData) -> list[Any]:
    """What a fit depends on, as JSON values."""
    return [
        [structure.id, energy, digest(forces), labels.energy, digest(labels.forces)]
        for structure, labels, energy, forces in zip(
            data.structures, data.structures.labels, data.energy.tolist(), data.forces, strict=True
        )
    ]


def digest(array: FloatArray) -> str:
    """SHA-256 of an array's bytes."""
    import hashlib

    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


@contextmanager
def _directory(workdir: Path | None) -> Iterator[Path]:
    """The directory `pacemaker` in `workdir`, or a temporary one."""
    if workdir is not None:
        yield workdir / "pacemaker"
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name) / "pacemaker"
