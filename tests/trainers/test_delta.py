"""Delta strategies on a teacher whose error is known by construction."""

import json

import numpy as np
import pytest
from ase.build import bulk

from pyacemaker.errors import PyacemakerError
from pyacemaker.oracles import EmtOracle
from pyacemaker.potentials.ace import ACEPotential
from pyacemaker.structures import Accuracy, AtomStructure, Dataset, Labels
from pyacemaker.trainers import AceTrainer, PacemakerTrainer
from pyacemaker.trainers.delta import STRATEGIES, DeltaProblem, DeltaSettings, bounded

SETTINGS = AceTrainer(
    functions=40, max_rank=2, nradbase=8, cutoff=5.0, underdetermined=True, refinement="none", ridge=1e-6
)
REFERENCE = {"Cu": 3.51}


def crystals(count, seed):
    """Strained and rattled copper with labels by effective medium theory: what plays DFT."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(atoms.cell * rng.uniform(0.94, 1.06), scale_atoms=True)
        atoms.positions += rng.normal(scale=0.12, size=atoms.positions.shape)
        made.append(AtomStructure.from_atoms(atoms, tag="crystal"))
    oracle = EmtOracle()
    return Dataset(made).with_labels([oracle.label(s) for s in made], "emt")


def as_teacher(dataset):
    """Labels of a teacher that is 6 % too stiff: a smooth, systematic error."""
    atoms = dataset.reference_energies(REFERENCE)
    pairs = zip(dataset.labels, atoms, strict=True)
    return [
        Labels(e + 1.06 * (label.energy - e), 1.06 * label.forces, 1.06 * label.stress) for label, e in pairs
    ]


@pytest.fixture(scope="module")
def problem(tmp_path_factory):
    folder = tmp_path_factory.mktemp("delta")
    train, pool = crystals(14, 1), crystals(60, 2)
    pool = pool.with_labels(as_teacher(pool), "teacher")
    trained = SETTINGS.train(pool, out=folder / "base.yace", reference_energies=REFERENCE)
    return DeltaProblem(
        train=train,
        teacher=as_teacher(train),
        pool=pool,
        base=folder / "base.yace",
        trainer=SETTINGS.again(trained.facts),
        reference_energies=REFERENCE,
        settings=DeltaSettings(trial_pool=50),
    )


def errors(path, test):
    return Accuracy.on(test, ACEPotential.from_yace(path).evaluate(test))


def with_settings(problem, **settings):
    return DeltaProblem(**{**vars(problem), "settings": DeltaSettings(trial_pool=50, **settings)})


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_removes_a_systematic_error(problem, tmp_path, strategy):
    test = crystals(12, 3)
    before = errors(problem.base, test)
    result = with_settings(problem, strategy=strategy).solve(tmp_path)
    after = errors(tmp_path / "final.yace", test)
    assert result.strategy == strategy
    if strategy != "joint":  # where pool and labels contradict each other, forces are a poor compromise
        assert after.forces_rmse_mev_per_angstrom < 0.8 * before.forces_rmse_mev_per_angstrom
    assert after.energy_rmse_mev_per_atom < 0.8 * before.energy_rmse_mev_per_atom
    assert (tmp_path / "delta.yace").exists() == (strategy in ("relabel", "residual"))
    json.dumps(result.report(), allow_nan=False)


def test_corrections_beyond_what_they_were_fitted_to_are_scaled_down():
    def label(energy, force):
        return Labels(energy, np.array([[force, 0.0, 0.0], [-force, 0.0, 0.0]]), np.full(6, force))

    # of two atoms: -0.1 ± 0.1 eV/atom, 0.05 eV/Å; twice that is let through
    residuals = [label(0.0, 0.05), label(-0.4, 0.025)]
    found = bounded([label(0.2, 0.1), label(3.8, 0.1), label(-0.2, 0.4)], residuals)
    assert [one.energy for one in found] == pytest.approx([0.2, 0.2, -0.2])
    assert [one.forces[0, 0] for one in found] == pytest.approx([0.1, 0.01, 0.1])
    assert [one.stress[0] for one in found] == pytest.approx([0.1, 0.01, 0.1])


def test_what_is_fitted_to_is_returned_for_the_active_set(problem, tmp_path):
    data = with_settings(problem, strategy="joint", dft_emphasis=0.5).solve(tmp_path).data
    assert len(data) == len(problem.pool) + len(problem.train)
    weights = np.array([structure.weight for structure in data])
    assert weights[len(problem.pool) :].sum() == pytest.approx(0.5 * weights[: len(problem.pool)].sum())
    assert len(with_settings(problem, strategy="ridge").solve(tmp_path).data) == len(problem.train)


def test_auto_takes_the_strategy_of_the_smallest_cross_validated_error(problem, tmp_path):
    seen = []
    chosen = with_settings(problem, strategy="auto", folds=2)
    result = chosen.solve(tmp_path, lambda done, total: seen.append((done, total)))
    assert set(result.scores) == set(STRATEGIES)
    assert result.strategy == min(result.scores, key=lambda name: result.scores[name]["score"])
    for score in result.scores.values():
        assert score["score"] == pytest.approx(np.sqrt(score["energy"] * score["forces"]))
    assert seen == [(k, 8) for k in range(8)]
    alone = with_settings(problem, strategy=result.strategy).solve(tmp_path / "alone")
    assert alone.trained.path.read_bytes() == (tmp_path / "final.yace").read_bytes()
    assert result.report()["cross_validation"].keys() == result.scores.keys()


def test_held_out_labels_are_not_learned_from(problem, tmp_path, monkeypatch):
    """In the cross-validation every fit sees only the labels outside of its fold."""
    seen = []
    original = AceTrainer.train

    def spying(self, dataset, initial_potential=None, **others):
        seen.append(set(dataset.ids))
        return original(self, dataset, initial_potential, **others)

    monkeypatch.setattr(AceTrainer, "train", spying)
    scores = with_settings(problem, folds=2).cross_validate(tmp_path, lambda done, total: None)
    assert len(scores) == 4
    train = set(problem.train.ids)
    assert all(len(ids & train) == 7 for ids in seen)


def test_the_ridge_towards_the_base_keeps_its_basis(problem, tmp_path):
    with_settings(problem, strategy="ridge").solve(tmp_path)
    base, final = (ACEPotential.from_yace(p).model for p in (problem.base, tmp_path / "final.yace"))
    assert [len(f) for f in base.functions.values()] == [len(f) for f in final.functions.values()]
    assert base.cutoff == final.cutoff


def test_pacemaker_stays_near_by_few_iterations():
    trainer = PacemakerTrainer(maxiter=300)
    assert trainer.near().maxiter == 30
    assert trainer.again({"anything": 1}) == trainer


def test_errors_of_a_strategy_reach_the_caller(problem, tmp_path):
    broken = DeltaProblem(**{**vars(problem), "reference_energies": {"Al": 0.0}})
    with pytest.raises(PyacemakerError, match="Cu"):
        broken.solve(tmp_path)
