"""Rounds of labelling with a real fine-tuning between them, and a kill in the middle."""

from pathlib import Path

import numpy as np
import pytest

from pyacemaker.config import LabelSettings, PyAceConfig
from pyacemaker.errors import LevelOfTheoryError
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.selection import ActiveSetSelector, LlprUncertainty
from pyacemaker.structures import AtomStructure, Dataset
from pyacemaker.structures.formats import read_structures
from pyacemaker.trainers.mace import MaceTrainer
from pyacemaker.workflow.acquisition import Acquisition
from pyacemaker.workflow.step import StepContext

DATA = Path(__file__).parents[1] / "data"
ANY_GENERATOR = {"kind": "dimers", "elements": ["H"]}
MODEL = DATA / "sn2_foundation.model"


@pytest.fixture(scope="module")
def truth() -> Dataset:
    """Fluoromethyl chloride geometries with their labels, and the isolated atoms."""
    return read_structures(DATA / "sn2_small.xyz").unique()


def config(**label) -> PyAceConfig:
    return PyAceConfig(
        foundation={"model": str(MODEL)},
        dft={"kind": "tblite"},
        sample={"generators": [ANY_GENERATOR]},
        finetune=MaceTrainer(epochs=2, lr=1e-4),
        label=LabelSettings(
            n_train=12,
            rounds=2,
            min_train=4,
            active_set=ActiveSetSelector(drop_certain_fraction=0.2),
            **label,
        ),
    )


class Labelling:
    """Labels from a file; counts what is asked, and dies in a round if told to."""

    def __init__(self, truth: Dataset, dies_in: int = 0, scale: float = 1.0) -> None:
        self.by_id = {structure.id: structure for structure in truth}
        self.asked: list[tuple[int, list[str]]] = []
        self.dies_in, self.scale = dies_in, scale

    def __call__(self, structures: Dataset, number: int) -> Dataset:
        if number == self.dies_in:
            raise KeyboardInterrupt
        self.asked.append((number, structures.ids))
        return Dataset(self._labelled(self.by_id[structure_id]) for structure_id in structures.ids)

    def _labelled(self, structure: AtomStructure) -> AtomStructure:
        labels = structure.labels
        assert labels is not None
        scaled = labels if self.scale == 1.0 else type(labels)(self.scale * labels.energy, labels.forces)
        return structure.replace(labels=scaled)


def acquisition(directory: Path, truth: Dataset, label: Labelling, settings: PyAceConfig) -> Acquisition:
    directory.mkdir(exist_ok=True)
    molecules = truth.filter(lambda s: len(s) > 1)
    atoms = {s.symbols[0]: s.labels.energy for s in truth if len(s) == 1 and s.labels is not None}
    foundation = MacePotential(MODEL)
    test = np.arange(20, 26)
    return Acquisition(
        context=StepContext(settings, directory, {}, 11, None, None),  # type: ignore[arg-type]
        pool=molecules,
        features=foundation.structure_features(molecules),
        anchors=np.array([0]),
        test=test,
        labelled_test=molecules[test],
        reference=lambda: molecules[:15],
        atoms=atoms,
        foundation=foundation,
        label=label,
    )


@pytest.fixture(scope="module")
def finished(truth, tmp_path_factory):
    """Rounds that were killed when the second batch was to be labelled, and then resumed."""
    directory = tmp_path_factory.mktemp("rounds")
    with pytest.raises(KeyboardInterrupt):
        acquisition(directory, truth, Labelling(truth, dies_in=2), config()).run()
    teacher = directory / "rounds" / "01" / "teacher.model"
    before = teacher.stat().st_mtime_ns
    label = Labelling(truth)
    acquired = acquisition(directory, truth, label, config()).run()
    return acquired, label, teacher.stat().st_mtime_ns == before


def test_every_round_labels_its_share_and_nothing_twice(finished) -> None:
    acquired, label, _ = finished
    assert [(number, len(ids)) for number, ids in label.asked] == [(1, 6), (2, 6)]
    assert len(set(acquired.train.ids)) == len(acquired.train) == 12
    assert [fact["round"] for fact in acquired.rounds] == [1, 2]
    assert acquired.rounds[-1]["stopped_because"] == "the labels are spent"
    assert acquired.chosen[0] == ("anchor", 1)
    assert not set(acquired.chosen) & set(range(20, 26))


def test_a_killed_run_keeps_its_teacher_and_its_choices(finished) -> None:
    acquired, label, kept = finished
    assert kept
    assert acquired.rounds[1]["teacher"] == "round 1"
    assert set(label.asked[0][1]) | set(label.asked[1][1]) == set(acquired.train.ids)


def test_a_batch_is_scored_by_a_teacher_that_has_not_seen_it(finished, truth) -> None:
    """The first score is the foundation's own error, references aligned on the batch."""
    acquired, label, _ = finished
    batch = Dataset(s for s in truth if s.id in set(label.asked[0][1]))
    predicted = MacePotential(MODEL).evaluate(batch)
    pairs = zip(predicted, batch.labels, strict=True)
    squares = np.concatenate([(ours.forces - theirs.forces).ravel() ** 2 for ours, theirs in pairs])
    found = acquired.rounds[0]["rmse_before_training"]["forces_mev_per_angstrom"]
    assert found == pytest.approx(1000 * np.sqrt(np.mean(squares)), rel=1e-6)
    assert len(acquired.held_out) == 6


def test_easy_targets_end_the_rounds_early(truth, tmp_path) -> None:
    """All of 20 labels within huge targets: the pool is bounded after the first round."""
    settings = config(
        stop={"energy_mev_per_atom": 1e6, "forces_mev_per_angstrom": 1e6},
        uncertainty=LlprUncertainty(samples=2, probes=0),
    )
    label = settings.label.model_copy(update={"n_train": 42})
    settings = settings.model_copy(update={"label": label})
    acquired = acquisition(tmp_path, truth, Labelling(truth), settings).run()
    assert len(acquired.rounds) == 1
    assert "conformal" in acquired.rounds[0]["stopped_because"]
    assert len(acquired.train) == 21


def test_labels_of_another_level_end_the_run_before_more_is_paid(truth, tmp_path) -> None:
    label = Labelling(truth, scale=1.5)
    with pytest.raises(LevelOfTheoryError, match="meV/atom remain"):
        acquisition(tmp_path, truth, label, config(max_reference_residual_mev_per_atom=100.0)).run()
    assert [number for number, _ in label.asked] == [1]
