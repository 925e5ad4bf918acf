"""The configuration of a run: one YAML file, checked as a whole before anything starts."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from pyacemaker.base import Spec
from pyacemaker.errors import InsufficientDataError, UserError
from pyacemaker.execution import AnyExecution, Execution
from pyacemaker.generators import AnyGenerator
from pyacemaker.generators.base import Generator
from pyacemaker.generators.direct import DirectGenerator
from pyacemaker.generators.md import MdGenerator
from pyacemaker.generators.reaction import ReactionGenerator
from pyacemaker.generators.reaction_path import Reaction
from pyacemaker.located_yaml import load_settings
from pyacemaker.oracles import AnyOracle, rehearsal_oracle
from pyacemaker.potentials.foundation import FoundationSettings
from pyacemaker.selection import AnySelector, AnyUncertainty, DirectSelector, MahalanobisUncertainty
from pyacemaker.selection.active_set import ActiveSetSelector
from pyacemaker.selection.filters import HardFilters
from pyacemaker.structures import Dataset
from pyacemaker.trainers import AceTrainer, AnyTrainer, Trainer
from pyacemaker.trainers.delta import DeltaSettings
from pyacemaker.trainers.mace import MaceTrainer
from pyacemaker.trainers.preparation import Preparation
from pyacemaker.validation.gates import Gates

REHEARSAL_EPOCHS = 60
"""A rehearsal fine-tunes for at most so many epochs."""


LEAST_BATCH = 4
"""Labels of a round, the least that a fine-tuning works with."""


PositiveCount = Annotated[int, Field(ge=1)]
PositiveNumber = Annotated[float, Field(gt=0)]


def _beside_config(path: Path, info: ValidationInfo) -> Path:
    found = Path((info.context or {}).get("base_dir") or "", path)
    if found.exists() and not found.is_dir():
        raise ValueError(f"{found} is a file; expected a directory, which is made where there is none")
    return found


StoreDirectory = Annotated[Path, AfterValidator(_beside_config)]
"""A directory that may not exist yet, relative to the config file."""


class SampleSettings(Spec):
    """Step 1: candidates, and the diverse pool that is picked from them."""

    generators: Annotated[tuple[AnyGenerator, ...], Field(min_length=1)]
    """What makes the candidates."""
    selector: AnySelector = DirectSelector()
    """How the pool is picked from the candidates."""
    n_pool: PositiveCount = 400
    """Structures in the pool; fewer candidates than this are all kept."""


class StopTargets(Spec):
    """Errors that are good enough; a target that is not given is not asked for.

    Rounds end early when the last two batches met the targets before training and improved by less than 10 %
    each, or when the conformal bounds meet them for 95 % of the unlabelled pool.
    """

    energy_mev_per_atom: Annotated[float, Field(gt=0)] | None = None
    """RMSE of the energies of a batch, and the bound on each structure's."""
    forces_mev_per_angstrom: Annotated[float, Field(gt=0)] | None = None
    """RMSE of the force components of a batch, and the bound on each structure's."""


class LabelSettings(Spec):
    """Step 2: which structures get a DFT label."""

    n_train: PositiveCount = 48
    """DFT labels to learn from. The isolated atoms come on top, one per element."""
    n_test: Annotated[int, Field(ge=20)] = 24
    """DFT labels of the frozen test set, drawn before any training and never trained on."""
    min_train: Annotated[int, Field(ge=4)] = 8
    """Fewer labels than this, planned or left after failures, end the run before any training."""
    filters: HardFilters = HardFilters()
    """What no candidate may violate."""
    uncertainty: AnyUncertainty = MahalanobisUncertainty()
    """How unsure the teacher is of a structure: `mahalanobis` ranks, `llpr` has standard deviations."""
    active_set: ActiveSetSelector = ActiveSetSelector()
    """How the training structures are picked."""
    dimer_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Largest share of the n_train labels that dimers may take, which selectors find the most unlike of all.

    None by default: four among forty labels of aluminium raised the force error of the ACE potential from 18
    to 120 meV/Å, because what binds two atoms says little about a crystal or a molecule. The potential's core
    keeps atoms apart without them."""
    rounds: PositiveCount = 1
    """Batches in which the n_train labels are bought; between them the teacher is fine-tuned on those so far,
    and each batch is scored before anything is trained on it."""
    round_epochs: PositiveCount = 30
    """Epochs of the fine-tuning between rounds, otherwise as `finetune` says."""
    stop: StopTargets = StopTargets()
    """When to stop before the labels are spent."""
    max_reference_residual_mev_per_atom: Annotated[float, Field(gt=0)] | None = 500.0
    """meV/atom that may remain between teacher and DFT after their energy references are aligned, element by
    element; more is refused: wrong units, charge or functional. None = no limit."""

    def max_dimers(self) -> int:
        """How many of the n_train labels may be spent on dimers."""
        return int(self.dimer_share * self.n_train + 1e-9)

    def batch_sizes(self) -> list[int]:
        """How many structures each round labels: as even as possible, the larger ones first."""
        return [self.n_train // self.rounds + (k < self.n_train % self.rounds) for k in range(self.rounds)]


class PseudoLabelSettings(Spec):
    """Step 5: labelling the surrogate pool with the fine-tuned teacher."""

    max_force: Annotated[float, Field(gt=0)] = 30.0
    """eV/Å: structures on which the teacher predicts a larger force component are left out, and counted."""


class StudentSettings(Spec):
    """Step 6: rounds in which the ACE potential itself runs molecular dynamics and its teacher corrects it.

    Temperatures, pressures and guards are those of `explore`. Off by default: in a rehearsal of the S_N2
    example three rounds changed the final errors by less than 2 % (51.2 to 52.0 meV/Å on the test set).
    """

    rounds: Annotated[int, Field(ge=0)] = 0
    """Rounds at most; they end earlier when the student's error no longer falls. 0 = none."""
    n_structures: PositiveCount = 400
    """Frames of a round."""
    n_trajectories: PositiveCount = 24
    """Trajectories that share them."""
    force_error: tuple[PositiveNumber, PositiveNumber] = (0.2, 5.0)
    """eV/Å: frames on which the largest error of a force, against the teacher, lies in this window join the
    pool; those above it never do."""
    grade: tuple[PositiveNumber, PositiveNumber] = (1.5, 25.0)
    """The same window for the extrapolation grade γ; above it a trajectory ends."""
    max_derailed: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of a round's trajectories ended by guards above which the teacher drives on from their last safe
    frames."""
    improvement: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Rounds end when the force error fell by less than this share."""


class LabellingConfig(Spec):
    """What `pyacemaker label` needs of a config file."""

    dft: AnyOracle
    """What makes the labels."""
    execution: AnyExecution = Execution()
    """Where the calculations run."""
    label_store: StoreDirectory | None = None
    """Directory of labels that runs share: what is in it is not computed again. None = the run's own only."""


class PyAceConfig(Spec):
    """Everything a run depends on. Paths in the file are relative to the file."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "run"
    """Names the run directory; default: the name of the config file, or of its folder for `config.yaml`."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1
    """Every random number of the run follows from it."""
    rehearsal: bool = False
    """Set by `--rehearse`: a cheap physics oracle stands in for DFT."""
    foundation: FoundationSettings
    """The MACE foundation model to distil."""
    dft: AnyOracle
    """What makes the reference labels."""
    sample: SampleSettings
    label: LabelSettings = LabelSettings()
    finetune: MaceTrainer = MaceTrainer()
    explore: MdGenerator = MdGenerator()
    pseudo_label: PseudoLabelSettings = PseudoLabelSettings()
    preparation: Preparation = Preparation()
    """What of the labelled structures steps 6 and 7 learn from, and how much each counts."""
    base: AceTrainer = AceTrainer()
    """The project's own engine, which fits the base and the final potential."""
    trainer: AnyTrainer | None = None
    """Another trainer in its place, such as `{kind: pacemaker, command: conda run -n ace pacemaker}`; set
    either `base` or `trainer`."""
    student: StudentSettings = StudentSettings()
    delta: DeltaSettings = DeltaSettings()
    gates: Gates = Gates()
    """What is examined before the potential is delivered, and what holds it back."""
    execution: AnyExecution = Execution()
    label_store: StoreDirectory | None = None
    """Directory of labels that runs share: what is in it is not computed again. None = the run's own only."""

    @field_validator("name")
    @classmethod
    def _not_only_dots(cls, name: str) -> str:
        if name.endswith("-rehearsal"):
            raise ValueError("a name must not end with -rehearsal, which --rehearse adds")
        return name

    @model_validator(mode="after")
    def _one_trainer(self) -> Self:
        if self.trainer is not None and "base" in self.model_fields_set and self.base != AceTrainer():
            raise ValueError("base and trainer both say what fits the potential; keep one of them")
        return self

    def potential_trainer(self) -> Trainer:
        """What fits the base and the final potential, as the steps of a run use it."""
        return (self.base if self.trainer is None else self.trainer).in_a_run()

    def default_run_dir(self) -> Path:
        """`runs/NAME` below the current directory; rehearsals have a directory of their own."""
        return Path("runs") / (f"{self.name}-rehearsal" if self.rehearsal else self.name)

    def to_yaml(self) -> str:
        """The complete configuration, defaults included, as YAML."""
        content = self.model_dump(mode="json", serialize_as_any=True)
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)

    def planned_labels(self) -> int:
        """DFT labels the settings ask for, isolated atoms not counted."""
        return self.label.n_train + self.label.n_test

    def reactions(self) -> tuple[Reaction, ...]:
        """The reactions that the generators name; raises what they raise for files that they cannot use."""
        return tuple(generator.reaction() for generator in _reaction_generators(self.sample.generators))

    def gate_labels(self) -> int:
        """DFT labels that the gates ask for at most, beyond those to train and test on."""
        named = [structure for _, structures in self.inputs() for structure in structures]
        periodic = sum(structure.is_periodic for structure in named)
        ends = [generator.inputs()[0] for generator in _reaction_generators(self.sample.generators)]
        atoms = sum(len(structure) for structure in named if not structure.is_periodic)
        return self.gates.label_budget(periodic, len(ends), atoms + sum(len(end) for end in ends))

    def check_budget(self) -> None:
        """Raise `InsufficientDataError` when fewer labels are planned than the training needs."""
        if self.label.n_train < self.label.min_train:
            raise InsufficientDataError(
                f"label.n_train = {self.label.n_train} is fewer than min_train = {self.label.min_train} "
                "structures, the least that fine-tuning and delta learning can work with: raise n_train"
            )
        if min(self.label.batch_sizes()) < LEAST_BATCH:
            raise InsufficientDataError(
                f"label.rounds = {self.label.rounds} leaves fewer than {LEAST_BATCH} of the n_train = "
                f"{self.label.n_train} labels for a round: ask for fewer rounds, or raise n_train"
            )

    def inputs(self) -> Iterator[tuple[str, Dataset]]:
        """Each generator's place in the file and what its settings name; errors say the place."""
        for index, generator in enumerate(self.sample.generators):
            place = f"sample.generators.{index}"
            try:
                yield place, generator.inputs()
            except UserError as error:
                raise type(error)(f"{place}: {error}") from error

    def rehearsed(self) -> "PyAceConfig":
        """The same run with a cheap physics oracle in DFT's place and less exploration.

        The oracle follows from what the generators' settings name. Raises `ConfigError` where none can stand
        in, and what the generators raise for settings and files that they cannot use.
        """
        named = [structure for _, structures in self.inputs() for structure in structures]
        elements = {symbol for structure in named for symbol in structure.symbols}
        periodic = any(structure.is_periodic for structure in named)
        return self.model_copy(
            update={
                "rehearsal": True,
                "dft": rehearsal_oracle(elements, periodic, self.dft.limits),
                "finetune": self.finetune.model_copy(
                    update={"epochs": min(self.finetune.epochs, REHEARSAL_EPOCHS)}
                ),
                "explore": self.explore.rehearsed(),
            }
        )


def _reaction_generators(generators: Iterable[Generator]) -> Iterator[ReactionGenerator]:
    """Those for reactions, also inside others."""
    for generator in generators:
        if isinstance(generator, ReactionGenerator):
            yield generator
        elif isinstance(generator, DirectGenerator):
            yield from _reaction_generators(generator.generators)


def load_config(path: Path) -> PyAceConfig:
    """Read and check a config file.

    Raises `ConfigError` with one sentence per problem: the line, the key, what is wrong and the cure, and
    `InsufficientDataError` for a budget of labels that is too small.
    """
    config = load_settings(path, PyAceConfig, name=_default_name(path))
    config.check_budget()
    return config


def _default_name(path: Path) -> str:
    """The name of the config file, or of its folder for `config.yaml`, fit for a directory."""
    name = path.resolve().parent.name if path.stem == "config" else path.stem
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", name).removesuffix("-rehearsal").lstrip("._-")
    return name or "run"


def load_labelling(path: Path) -> LabellingConfig:
    """Read only what labelling needs of a config file; other keys are left alone."""
    return load_settings(path, LabellingConfig, keys=("dft", "execution", "label_store"))
