"""The ACE trainer on real labels: what it writes, measures and refuses."""

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from pyacemaker.errors import (
    ConfigError,
    InsufficientDataError,
    TrainingDivergenceError,
    UnsupportedElementError,
)
from pyacemaker.potentials.ace import ACEPotential
from pyacemaker.structures import Accuracy, AtomStructure, Dataset, Labels
from pyacemaker.structures.formats import read_structures
from pyacemaker.trainers.ace import AceTrainer, fit_ace

DATA = Path(__file__).parents[1] / "data"
QUICK = AceTrainer(functions=40, max_rank=3, nradbase=6, cutoff=4.5, refinement="none")


@pytest.fixture(scope="module")
def sn2():
    return read_structures(DATA / "sn2_small.xyz").labelled()


@pytest.fixture(scope="module")
def cual():
    return read_structures(DATA / "cual_small.xyz").labelled()


@pytest.fixture(scope="module")
def trained(sn2, tmp_path_factory):
    out = tmp_path_factory.mktemp("fit") / "sn2.yace"
    return QUICK.train(sn2, out=out, test=sn2[:10])


def molecules(dataset):
    return dataset.filter(lambda structure: len(structure) > 1)


def test_metrics_are_those_of_the_written_file(trained, sn2):
    potential = ACEPotential.from_yace(trained.path)
    assert trained.metrics.train == Accuracy.between(potential.evaluate(sn2), sn2.labels)
    assert trained.metrics.validation == Accuracy.between(potential.evaluate(sn2[:10]), sn2[:10].labels)
    assert trained.metrics.seconds > 0.0


def test_the_fit_explains_most_of_the_forces(trained, sn2):
    rms = 1000.0 * np.sqrt(np.mean(np.concatenate([labels.forces.ravel() for labels in sn2.labels]) ** 2))
    assert trained.metrics.train.forces_rmse_mev_per_angstrom < 0.25 * rms


def test_facts_are_json_and_complete(trained, sn2):
    facts = json.loads(json.dumps(trained.facts))
    assert set(facts["functions"]) == set(sn2.elements)
    assert sum(facts["functions"].values()) == facts["total_functions"]
    assert facts["ridge_method"] == "cross-validation"
    assert facts["structures"] == len(sn2)
    assert facts["condition"] >= 1.0
    for pair, (end, width) in facts["windows"].items():
        if pair in facts["closest"]:
            assert end < facts["closest"][pair]
        assert 0.0 < width < end


def test_isolated_atoms_have_the_reference_energy(trained, sn2):
    atoms = sn2.filter(lambda structure: len(structure) == 1)
    assert len(atoms) > 0
    for structure, labels in zip(atoms, ACEPotential.from_yace(trained.path).evaluate(atoms), strict=True):
        assert labels.energy == pytest.approx(structure.labels.energy, abs=1e-9)


def test_same_input_same_bytes(trained, sn2, tmp_path):
    again = QUICK.train(sn2, out=tmp_path / "again.yace")
    assert again.path.read_bytes() == trained.path.read_bytes()


def test_below_the_window_the_wall_is_repulsive(trained):
    potential, facts = ACEPotential.from_yace(trained.path), trained.facts
    for pair, (end, width) in facts["windows"].items():
        symbols = pair.split("-")
        r = np.linspace(0.3, end - width, 20)
        dimers = [AtomStructure.from_atoms(_dimer(symbols, distance)) for distance in r]
        energies = np.array([labels.energy for labels in potential.evaluate(dimers)])
        assert np.all(np.diff(energies) < 0.0), pair
        # and ends above the isolated atoms
        assert energies[-1] > sum(facts["reference_energies"][symbol] for symbol in symbols), pair


def _dimer(symbols, distance):
    from ase import Atoms

    return Atoms(symbols, [[0, 0, 0], [0, 0, distance]])


def test_given_reference_energies_are_kept(sn2, tmp_path):
    energies = {"C": -40.0, "Cl": -120.0, "F": -125.0, "H": -10.0}
    few = molecules(sn2)
    found = QUICK.train(few, reference_energies=energies, out=tmp_path / "p.yace")
    assert found.facts["reference_energies"] == energies
    np.testing.assert_array_equal(ACEPotential.from_yace(found.path).model.e0, [-40.0, -120.0, -125.0, -10.0])


def test_periodic_data_with_stress(cual, tmp_path):
    found = AceTrainer(functions=30, nradbase=6, cutoff=5.0, refinement="none").train(
        cual, out=tmp_path / "cual.yace"
    )
    assert found.metrics.train.stress_rmse_gpa is not None
    stress = np.concatenate([labels.stress for labels in cual.labels if labels.stress is not None])
    assert found.metrics.train.stress_rmse_gpa < 0.5 * 160.2 * np.sqrt(np.mean(stress**2))


@pytest.mark.parametrize(
    "settings",
    [
        {"baseline": "none"},
        {"radial_basis": "SBessel", "ridge": 1e-6},
        {"ridge": "evidence", "soft_force": None},
        {"functions": None, "nradmax": (5, 2), "lmax": (0, 2)},
        {"windows": {"C-H": 0.6, "Si-O": 1.0}, "window_width": 0.1},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_settings_lead_to_working_potentials(settings, sn2, tmp_path):
    trainer = AceTrainer(**{**QUICK.model_dump(), **settings})
    found = trainer.train(sn2, out=tmp_path / "p.yace")
    assert found.metrics.train.energy_rmse_mev_per_atom < 150.0
    assert (found.facts["windows"] == {}) == (trainer.baseline == "none")
    if trainer.windows:
        assert found.facts["windows"]["C-H"] == [0.6, 0.1]


def test_weights_of_structures_count(sn2, tmp_path):
    few = molecules(sn2)
    heavy = Dataset(s.replace(weight=100.0 if k < 5 else 0.01) for k, s in enumerate(few))
    errors = []
    for data in (few, heavy):
        path = QUICK.train(data, out=tmp_path / "p.yace").path
        found = ACEPotential.from_yace(path).evaluate(few[:5])
        errors.append(Accuracy.between(found, few.labels[:5]).forces_rmse_mev_per_angstrom)
    assert errors[1] < 0.7 * errors[0]


def test_small_correction_of_few_residuals_helps_and_stays_small(sn2, tmp_path):
    """Residual labels that a smooth pair term explains, with noise: the rest is not made worse."""
    few = molecules(sn2)
    rng = np.random.default_rng(0)
    zero = dict.fromkeys(few.elements, 0.0)
    pairs = AceTrainer(functions=1, max_rank=1, nradbase=4, baseline="none", refinement="none")
    smooth = pairs.train(few, out=tmp_path / "smooth.yace")
    model = ACEPotential.from_yace(smooth.path)
    base = model.evaluate(few)
    e0 = few.reference_energies(smooth.facts["reference_energies"])
    residual = [
        Labels(
            0.02 * (labels.energy - shift) + 0.005 * rng.normal(),
            0.02 * labels.forces + 0.02 * rng.normal(size=labels.forces.shape),
        )
        for labels, shift in zip(base, e0, strict=True)
    ]
    data = few.with_labels(residual, "residual")
    train, test = data[::2], data[1::2]
    found = AceTrainer.small_correction().train(
        train, reference_energies=zero, out=tmp_path / "delta.yace", test=test
    )
    before = Accuracy.between([Labels(0.0, 0.0 * labels.forces) for labels in test.labels], test.labels)
    after = found.metrics.validation
    assert after.forces_rmse_mev_per_angstrom < 0.8 * before.forces_rmse_mev_per_angstrom
    assert after.energy_rmse_mev_per_atom < before.energy_rmse_mev_per_atom
    assert found.facts["windows"] == {}


def test_pure_noise_is_not_learnt(sn2, tmp_path):
    rng = np.random.default_rng(1)
    few = molecules(sn2)
    noise = [Labels(0.1 * rng.normal(), 0.1 * rng.normal(size=(len(s), 3))) for s in few]
    data = few.with_labels(noise, "noise")
    found = AceTrainer.small_correction().train(
        data[::2],
        out=tmp_path / "delta.yace",
        reference_energies=dict.fromkeys(few.elements, 0.0),
        test=data[1::2],
    )
    rms = 1000.0 * np.sqrt(np.mean(np.concatenate([labels.forces.ravel() for labels in noise]) ** 2))
    assert found.metrics.validation.forces_rmse_mev_per_angstrom < 1.2 * rms


def test_fit_in_memory(sn2):
    result = fit_ace(sn2[:20], QUICK)
    assert Accuracy.between(result.potential.evaluate(sn2[:20]), sn2[:20].labels) == result.metrics.train


def test_progress_ends_at_the_total(sn2, tmp_path):
    seen = []
    QUICK.train(sn2[:20], out=tmp_path / "p.yace", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (20, 20)
    assert seen == sorted(seen)


def test_too_few_structures_are_refused(sn2, tmp_path):
    with pytest.raises(InsufficientDataError, match="needs at least 2"):
        QUICK.train(sn2[:1], out=tmp_path / "p.yace")
    unlabelled = Dataset(structure.replace(labels=None) for structure in sn2)
    with pytest.raises(InsufficientDataError, match=f"0 of {len(sn2)} structures"):
        QUICK.train(unlabelled, out=tmp_path / "p.yace")


def test_a_missing_reference_energy_is_named(sn2, tmp_path):
    with pytest.raises(
        UnsupportedElementError, match="holds Br, F, H, but reference energies are given for C, Cl"
    ):
        QUICK.train(sn2, reference_energies={"C": 0.0, "Cl": 0.0}, out=tmp_path / "p.yace")


def test_a_basis_above_the_cap_is_refused(sn2, tmp_path):
    trainer = AceTrainer(functions=400, max_total_functions=300)
    with pytest.raises(ConfigError, match="above max_total_functions = 300"):
        trainer.train(sn2, out=tmp_path / "p.yace")


def test_a_runaway_fit_leaves_nothing_behind(sn2, tmp_path):
    """A structure whose energy says 10⁶ eV with a huge weight drags the forces of all others away."""
    few = molecules(sn2)
    wrong = few[0].replace(labels=Labels(1e6, few[0].labels.forces), weight=1e8)
    out = tmp_path / "p.yace"
    with pytest.raises(TrainingDivergenceError, match="force error on its own training data"):
        QUICK.train(Dataset([wrong, *few[1:]]), out=out)
    assert list(tmp_path.iterdir()) == []


def test_settings_that_contradict_each_other():
    with pytest.raises(ValidationError, match="belong together"):
        AceTrainer(nradmax=(3, 2))
    with pytest.raises(ValidationError, match="nradmax has 2 ranks, lmax 1"):
        AceTrainer(nradmax=(3, 2), lmax=(0,))
    with pytest.raises(ValidationError, match="set one"):
        AceTrainer(nradmax=(3, 2), lmax=(0, 1), functions=100)


def test_a_window_needs_a_pair(sn2, tmp_path):
    trainer = AceTrainer(**{**QUICK.model_dump(), "windows": {"CH": 0.6}})
    with pytest.raises(ConfigError, match="'CH' is not a pair"):
        trainer.train(sn2, out=tmp_path / "p.yace")


def test_balanced_weights_follow_the_errors_of_the_linear_fit(cual):
    """w_E/w_F = force error over error of the energy per atom, between 1 and that of the settings."""
    settings = AceTrainer(functions=12, cutoff=5.0, baseline="none", soft_force=None, refinement="none")
    fitted = settings.solve(cual)
    potential = ACEPotential(fitted.model())
    found = Accuracy.between(potential.evaluate(cual), cual.labels)
    ratio = found.forces_rmse_mev_per_angstrom / found.energy_rmse_mev_per_atom
    assert 1.0 < ratio < settings.energy_weight
    weights, noise = fitted.balanced()
    assert weights.energy / weights.forces == pytest.approx(ratio, rel=0.1)  # zero forces do not count
    assert noise > 0.0
    low, high = (
        AceTrainer(**{**settings.model_dump(), **more})
        for more in ({"energy_weight": 2.0}, {"functions": 40})
    )
    assert low.solve(cual).balanced()[0].energy == 1.0
    assert high.solve(cual).balanced()[0].energy == high.energy_weight
