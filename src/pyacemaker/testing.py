"""Contracts that every oracle, selector, generator and trainer keeps, for plug-ins too (needs pytest).

Subclass a contract in a test file and give it its fixtures; pytest runs the rest::

    class TestLabOracle(OracleContract):
        @pytest.fixture
        def oracle(self): return LabOracle()
        @pytest.fixture
        def changed_oracle(self): return LabOracle(cutoff=7.0)
        @pytest.fixture
        def structure(self): return AtomStructure.from_atoms(molecule("H2O"))
"""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pyacemaker.errors import InsufficientDataError, UnphysicalLabelError
from pyacemaker.generators.base import Generator
from pyacemaker.oracles.base import LabelLimits, Oracle
from pyacemaker.potentials.base import Potential
from pyacemaker.selection.base import Selector
from pyacemaker.selection.filters import closest_fraction
from pyacemaker.structures import Accuracy, AtomStructure, Dataset, FloatArray, Labels
from pyacemaker.trainers.base import Trainer


class OracleContract:
    """What every oracle promises.

    Fixtures: `oracle`; `changed_oracle`, the same class with another setting that changes answers;
    `structure`, of at least two atoms, away from symmetric positions, cheap to compute.
    Attributes to override where an engine is coarser: `step` (Å) of the finite differences,
    `gradient_tolerance` (eV/Å, and eV per unit strain and atom), `invariance_tolerance` (eV and eV/Å).
    """

    step = 1e-3
    gradient_tolerance = 1e-4
    invariance_tolerance = 1e-6

    def test_label_is_complete(self, oracle: Oracle, structure: AtomStructure) -> None:
        """Finite numbers in the promised shapes; a stress for crystals, none for molecules."""
        labels = oracle.label(structure)
        assert labels.is_finite()
        assert isinstance(labels.energy, float)
        assert labels.forces.shape == (len(structure), 3)
        assert labels.forces.dtype == np.float64
        if structure.is_periodic:
            assert labels.stress is None or labels.stress.shape == (6,)
        else:
            assert labels.stress is None

    def test_answer_does_not_depend_on_earlier_calls(self, oracle: Oracle, structure: AtomStructure) -> None:
        """The same bits before and after another structure was computed."""
        first = oracle.label(structure)
        oracle.label(_moved(structure, 0.05 * _direction(structure, 1)))
        _assert_same_bits(first, oracle.label(structure))

    def test_travels_to_a_worker(self, oracle: Oracle, structure: AtomStructure) -> None:
        """Pickling and a round trip through its settings keep the oracle and its keys."""
        copy = pickle.loads(pickle.dumps(oracle))
        again = type(oracle).model_validate(oracle.model_dump())
        assert copy == oracle == again
        assert copy.key(structure) == oracle.key(structure) == again.key(structure)

    def test_forces_are_minus_the_gradient(self, oracle: Oracle, structure: AtomStructure) -> None:
        """Central differences of the energy along two random directions agree with the forces."""
        forces = oracle.label(structure).forces
        for seed in (2, 3):
            direction = _direction(structure, seed)
            plus = oracle.label(_moved(structure, self.step * direction)).energy
            minus = oracle.label(_moved(structure, -self.step * direction)).energy
            expected = -(plus - minus) / (2 * self.step)
            assert abs(float(np.sum(forces * direction)) - expected) < self.gradient_tolerance

    def test_stress_is_the_strain_derivative(self, oracle: Oracle, structure: AtomStructure) -> None:
        """σ = (1/V) dE/dε, positive = tensile, for a random strain; only where the oracle gives a stress."""
        stress = oracle.label(structure).stress
        if stress is None:
            return
        strain = np.random.default_rng(4).normal(size=(3, 3))
        strain = (strain + strain.T) / np.linalg.norm(strain + strain.T)
        plus = oracle.label(_strained(structure, self.step * strain)).energy
        minus = oracle.label(_strained(structure, -self.step * strain)).energy
        expected = (plus - minus) / (2 * self.step)
        xx, yy, zz, yz, xz, xy = stress
        tensor = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        volume = abs(np.linalg.det(structure.cell))
        assert abs(volume * np.sum(tensor * strain) - expected) < self.gradient_tolerance * len(structure)

    def test_rotation(self, oracle: Oracle, structure: AtomStructure) -> None:
        """Turning the structure keeps the energy and turns the forces."""
        turn = Rotation.from_euler("zyx", [0.3, 1.1, -0.7]).as_matrix()
        turned = structure.replace(positions=structure.positions @ turn.T, cell=structure.cell @ turn.T)
        before, after = oracle.label(structure), oracle.label(turned)
        self._assert_close(after, before.energy, before.forces @ turn.T)

    def test_translation(self, oracle: Oracle, structure: AtomStructure) -> None:
        """Shifting the structure changes nothing, and a molecule's forces sum to zero."""
        before = oracle.label(structure)
        after = oracle.label(_moved(structure, np.array([1.3, -0.4, 2.1])))
        self._assert_close(after, before.energy, before.forces)
        if not structure.is_periodic:
            assert np.abs(before.forces.sum(axis=0)).max() < self.invariance_tolerance

    def test_permutation(self, oracle: Oracle, structure: AtomStructure) -> None:
        """Renumbering the atoms keeps the energy and renumbers the forces."""
        order = np.arange(len(structure))[::-1]
        renumbered = structure.replace(numbers=structure.numbers[order], positions=structure.positions[order])
        before, after = oracle.label(structure), oracle.label(renumbered)
        self._assert_close(after, before.energy, before.forces[order])

    def test_atoms_on_top_of_each_other_are_refused(self, oracle: Oracle, structure: AtomStructure) -> None:
        """Before anything is computed, and with a typed error."""
        positions = np.array(structure.positions)
        positions[1] = positions[0] + [0.05, 0.0, 0.0]
        squeezed = structure.replace(positions=positions)
        with pytest.raises(UnphysicalLabelError, match=squeezed.id):
            oracle.label(squeezed)

    def test_key_names_what_is_computed(
        self, oracle: Oracle, changed_oracle: Oracle, structure: AtomStructure
    ) -> None:
        """The key changes with the structure and the settings, not with the limits."""
        key = oracle.key(structure)
        limits = LabelLimits(max_force=oracle.limits.max_force + 1)
        assert len(key) == 64
        assert oracle.model_copy(update={"limits": limits}).key(structure) == key
        assert changed_oracle.key(structure) != key
        assert oracle.key(_moved(structure, _direction(structure, 5))) != key
        assert oracle.key(structure.replace(tag="another")) == key

    def _assert_close(self, labels: Labels, energy: float, forces: FloatArray) -> None:
        assert abs(labels.energy - energy) < self.invariance_tolerance
        assert np.abs(labels.forces - forces).max() < self.invariance_tolerance


class SelectorContract:
    """What every selector promises.

    Fixture: `selector`. Attribute: `order_independent`, whether the chosen rows do not depend on the order in
    which the rows are given.
    """

    order_independent = False

    def test_exactly_n_distinct_in_order(self, selector: Selector) -> None:
        """n distinct row indices, increasing, for n from one to all."""
        features = _clusters(60)
        for n in (1, 2, 17, 59, 60):
            chosen = selector.select(features, n, np.random.default_rng(1))
            assert chosen.shape == (n,)
            assert np.array_equal(np.unique(chosen), chosen)
            assert chosen.min() >= 0
            assert chosen.max() < len(features)

    def test_same_seed_same_choice(self, selector: Selector) -> None:
        """The generator is the only source of chance, and the features are left as they were."""
        features = _clusters(60)
        before = features.copy()
        first = selector.select(features, 12, np.random.default_rng(7))
        second = selector.select(features, 12, np.random.default_rng(7))
        assert np.array_equal(first, second)
        assert np.array_equal(features, before)

    def test_order_of_the_rows(self, selector: Selector) -> None:
        """Where promised: shuffled rows give the same choice of rows."""
        if not self.order_independent:
            return
        features = _clusters(60)
        order = np.random.default_rng(3).permutation(len(features))
        plain = selector.select(features, 12, np.random.default_rng(7))
        shuffled = selector.select(features[order], 12, np.random.default_rng(7))
        assert np.array_equal(np.sort(order[shuffled]), plain)

    def test_repeated_rows(self, selector: Selector) -> None:
        """Exactly n, or `InsufficientDataError`, where fewer rows than n differ; never fewer."""
        features = np.repeat(_clusters(5), 6, axis=0)
        assert len(selector.select(features, 5, np.random.default_rng(1))) == 5
        try:
            chosen = selector.select(features, 20, np.random.default_rng(1))
        except InsufficientDataError:
            return
        assert len(np.unique(chosen)) == 20

    def test_degenerate_columns(self, selector: Selector) -> None:
        """One column, or columns that are constant, are no reason to fail."""
        for features in (_clusters(20)[:, :1], np.hstack([_clusters(20), np.ones((20, 2))])):
            assert len(selector.select(features, 5, np.random.default_rng(1))) == 5

    def test_more_than_there_are(self, selector: Selector) -> None:
        """`InsufficientDataError` says how many there are."""
        with pytest.raises(InsufficientDataError, match="10"):
            selector.select(_clusters(10), 11, np.random.default_rng(1))


class GeneratorContract:
    """What every generator promises.

    Fixtures: `generator`, with settings that make it quick; `teacher`, a potential that covers its elements.
    Attribute: `closest`, the smallest distance of two atoms that it makes, as a fraction of the sum of their
    covalent radii.
    """

    closest = 0.55

    def test_same_random_numbers_same_structures(self, generator: Generator, teacher: Potential) -> None:
        """The random generator is the only source of chance: the same structures in the same order."""
        first = generator.generate(teacher, np.random.default_rng(3))
        second = generator.generate(teacher, np.random.default_rng(3))
        assert first.ids == second.ids
        assert [s.tag for s in first] == [s.tag for s in second]

    def test_structures_are_candidates(self, generator: Generator, teacher: Potential) -> None:
        """Unlabelled, each once and with a tag, finite, no two atoms on top of each other.

        Where the settings name inputs: of their elements, and nothing else.
        """
        found = generator.generate(teacher, np.random.default_rng(3))
        assert len(found) > 0
        assert len(set(found.ids)) == len(found)
        assert generator.inputs().elements in ((), found.elements)
        for structure in found:
            assert structure.labels is None
            assert structure.tag not in ("", "untagged")
            assert np.isfinite(structure.positions).all()
            assert np.isfinite(structure.cell).all()
            assert closest_fraction(structure) >= self.closest

    def test_travels_to_a_worker(self, generator: Generator) -> None:
        """Pickling and a round trip through its settings keep the generator and its fingerprint."""
        copy = pickle.loads(pickle.dumps(generator))
        again = type(generator).model_validate(generator.model_dump())
        assert copy == generator == again
        assert copy.fingerprint() == generator.fingerprint() == again.fingerprint()


class TrainerContract:
    """What every trainer of ACE potentials promises.

    Fixtures: `trainer`, with settings that make it quick; `dataset`, of labelled structures of several atoms
    whose last third it may be tested on.
    """

    def test_metrics_are_the_errors_of_the_file(
        self, trainer: Trainer, dataset: Dataset, tmp_path: Path
    ) -> None:
        """`path` is the file that was asked for, and evaluating it gives the errors that are reported."""
        from pyacemaker.potentials.ace import ACEPotential

        split = 2 * len(dataset) // 3
        train, test = dataset[:split], dataset[split:]
        found = trainer.train(train, out=tmp_path / "p.yace", test=test)
        assert found.path == tmp_path / "p.yace"
        potential = ACEPotential.from_yace(found.path)
        for part, measured in ((train, found.metrics.train), (test, found.metrics.validation)):
            assert measured is not None
            again = Accuracy.on(part, potential.evaluate(part)).as_dict()
            assert measured.as_dict() == pytest.approx(again, rel=1e-6)
        assert found.metrics.validation_loss is not None
        assert 0.0 <= found.metrics.validation_loss < np.inf
        assert found.metrics.seconds > 0.0
        json.dumps(found.report(), allow_nan=False)

    def test_reference_energies_are_those_given(
        self, trainer: Trainer, dataset: Dataset, tmp_path: Path
    ) -> None:
        """A lone atom has the energy that was given for its element."""
        from pyacemaker.potentials.ace import ACEPotential

        elements = dataset.elements
        given = {symbol: -3.0 - number for number, symbol in enumerate(elements)}
        shifted = _with_references(dataset, given)
        found = trainer.train(shifted, out=tmp_path / "p.yace", reference_energies=given)
        atoms = [AtomStructure(s.numbers[:1], np.zeros((1, 3))) for s in _one_of_each(dataset)]
        energies = [labels.energy for labels in ACEPotential.from_yace(found.path).evaluate(atoms)]
        assert energies == pytest.approx([given[atom.symbols[0]] for atom in atoms], abs=1e-9)

    def test_nothing_to_learn_from(self, trainer: Trainer, dataset: Dataset, tmp_path: Path) -> None:
        """Without labels: `InsufficientDataError`, and nothing written."""
        unlabelled = Dataset(structure.replace(labels=None) for structure in dataset)
        with pytest.raises(InsufficientDataError):
            trainer.train(unlabelled, out=tmp_path / "p.yace")
        assert list(tmp_path.iterdir()) == []

    def test_travels_to_a_worker(self, trainer: Trainer) -> None:
        """Pickling and a round trip through its settings keep the trainer and its fingerprint."""
        copy = pickle.loads(pickle.dumps(trainer))
        again = type(trainer).model_validate(trainer.model_dump())
        assert copy == trainer == again
        assert copy.fingerprint() == trainer.fingerprint() == again.fingerprint()


def _one_of_each(dataset: Dataset) -> list[AtomStructure]:
    """For every element, a structure that begins with it."""
    found: dict[int, AtomStructure] = {}
    for structure in dataset:
        for index, number in enumerate(structure.numbers):
            rolled = structure.replace(numbers=np.roll(structure.numbers, -index))
            found.setdefault(int(number), rolled)
    return list(found.values())


def _with_references(dataset: Dataset, energies: dict[str, float]) -> Dataset:
    """The same structures, their energies shifted by the atoms' reference energies."""
    shifts = dataset.reference_energies(energies)
    labels = [
        Labels(label.energy + shift, label.forces, label.stress)
        for label, shift in zip(dataset.labels, shifts, strict=True)
    ]
    return dataset.with_labels(labels, "shifted")


def _direction(structure: AtomStructure, seed: int) -> FloatArray:
    """(n, 3) a random displacement of unit length."""
    direction = np.random.default_rng(seed).normal(size=(len(structure), 3))
    return np.asarray(direction / np.linalg.norm(direction))


def _moved(structure: AtomStructure, displacement: FloatArray) -> AtomStructure:
    return structure.replace(positions=structure.positions + displacement)


def _strained(structure: AtomStructure, strain: FloatArray) -> AtomStructure:
    deformation = np.eye(3) + strain
    return structure.replace(positions=structure.positions @ deformation, cell=structure.cell @ deformation)


def _assert_same_bits(first: Labels, second: Labels) -> None:
    assert first.energy == second.energy
    assert np.array_equal(first.forces, second.forces)
    if first.stress is None or second.stress is None:
        assert first.stress is second.stress
    else:
        assert np.array_equal(first.stress, second.stress)


def _clusters(n: int) -> FloatArray:
    """(n, 4) points in four clouds."""
    rng = np.random.default_rng(11)
    centres = rng.normal(scale=5.0, size=(4, 4))
    return np.asarray(centres[np.arange(n) % 4] + rng.normal(size=(n, 4)))
