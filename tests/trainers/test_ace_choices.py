"""Settings of the ACE fit: the basis, label weights, reference energies, baselines, priors, the wall."""

import logging
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from pydantic import ValidationError

from pyacemaker.ace.design import Design
from pyacemaker.ace.pairs import pair_statistics
from pyacemaker.baselines import Zbl
from pyacemaker.errors import (
    ConfigError,
    DataError,
    InsufficientDataError,
    PotentialFormatError,
    UnsupportedElementError,
)
from pyacemaker.potentials.ace import ACEPotential
from pyacemaker.structures import Accuracy, AtomStructure, Dataset, Labels, LabelWeights
from pyacemaker.structures.formats import read_structures
from pyacemaker.trainers.ace import AceTrainer, fit_ace
from pyacemaker.trainers.ace_basis import BasisSettings

DATA = Path(__file__).parents[1] / "data"
QUICK = {"functions": 30, "max_rank": 3, "nradbase": 6, "cutoff": 4.5, "ridge": 1e-8, "refinement": "none"}


@pytest.fixture(scope="module")
def cual():
    return read_structures(DATA / "cual_small.xyz").labelled()


@pytest.fixture(scope="module")
def sn2():
    return read_structures(DATA / "sn2_small.xyz").labelled()


@pytest.fixture(scope="module")
def fitted(cual):
    return fit_ace(cual, AceTrainer(**QUICK))


def blocks_of(settings, dataset):
    statistics = pair_statistics(dataset, dataset.elements, settings.cutoff_for(dataset))
    return settings.product_blocks(dataset.elements, statistics, dataset)


def species(block):
    return frozenset((block.mu0, *(mu for mu, _, _ in block.columns)))


# the basis


def test_functions_of_single_elements(cual):
    settings = BasisSettings(functions=40, functions_of={"Cu": 150}, nradbase=6)
    counts = [sum(map(len, blocks)) for blocks in blocks_of(settings, cual)]
    assert counts[0] < 60 < 100 < counts[1]
    with pytest.raises(ConfigError, match="functions_of names Cu, but the data also holds Al"):
        blocks_of(BasisSettings(functions_of={"Cu": 150}), cual)


def test_rules_by_the_number_and_the_set_of_elements(cual):
    rules = {
        "ALL": {"nradmax": [4, 3, 2], "lmax": [0, 2, 2]},
        "BINARY": {"nradmax": [4, 2], "lmax": [0, 1]},
        "Cu": {"nradmax": [6], "lmax": [0]},
    }
    blocks = blocks_of(BasisSettings(functions=300, nradbase=6, blocks=rules), cual)
    found = [block for of_element in blocks for block in of_element]
    pure_al = [b for b in found if species(b) == {0}]
    mixed = [b for b in found if species(b) == {0, 1}]
    pure_cu = [b for b in found if species(b) == {1}]
    assert max(b.rank for b in pure_al) == 3
    assert max(b.rank for b in mixed) == 2
    assert max(ell for b in mixed for _, _, ell in b.columns) == 1
    assert {b.rank for b in pure_cu} == {1}
    assert len(pure_cu) == 6


def test_rules_replace_nradmax_and_lmax(cual):
    settings = BasisSettings(
        nradmax=(3, 2), lmax=(0, 1), blocks={"Al-Cu": {"nradmax": [5, 3], "lmax": [0, 3]}}
    )
    found = [block for of_element in blocks_of(settings, cual) for block in of_element]
    for block in found:
        limits = (5, 3, 3) if len(species(block)) == 2 else (3, 2, 1)
        n, ell = (max(values) for values in list(zip(*block.columns, strict=True))[1:])
        assert n <= limits[block.rank - 1]
        assert ell <= (0 if block.rank == 1 else limits[2])
    assert any(ell == 3 for block in found for _, _, ell in block.columns)


def test_a_rule_may_cap_the_number_of_functions(cual):
    free = BasisSettings(functions=200, nradbase=6)
    capped = BasisSettings(functions=200, nradbase=6, blocks={"BINARY": {"functions": 20}})
    before, after = blocks_of(free, cual)[0], blocks_of(capped, cual)[0]
    assert sum(len(b) for b in before if len(species(b)) == 2) > 40
    kept = [b for b in after if len(species(b)) == 2]
    assert 10 < sum(map(len, kept)) <= 20
    lost = max(b.degree for b in before if len(species(b)) == 2)
    assert max(b.degree for b in kept) < lost


def test_ranks_up_to_six_and_few_species(cual):
    settings = BasisSettings(nradmax=(4, 1, 1, 1, 1, 1), lmax=(0, 1, 1, 1, 0, 0))
    assert max(b.rank for b in blocks_of(settings, cual)[0]) == 6
    lean = BasisSettings(functions=100, nradbase=6, max_species=1)
    assert {len(species(b)) for blocks in blocks_of(lean, cual) for b in blocks} == {1}


def test_rules_that_mean_nothing_are_refused():
    with pytest.raises(ValidationError, match="neither elements like Al or Al-Cu nor ALL"):
        BasisSettings(blocks={"Foo": {}})
    with pytest.raises(ValidationError, match="twice"):
        BasisSettings(blocks={"Al-Cu": {}, "Cu-Al": {}})
    with pytest.raises(ValidationError, match="belong together"):
        BasisSettings(blocks={"ALL": {"nradmax": [3]}})


def crowd(symbols, copies=400):
    """Many structures in which every element meets every other."""
    rng = np.random.default_rng(0)
    grid = np.array([[i, j, k] for i in range(3) for j in range(3) for k in range(3)]) * 2.5
    made = []
    for _ in range(copies):
        chosen = rng.choice(symbols, size=27)
        positions = grid + rng.normal(scale=0.1, size=grid.shape)
        structure = AtomStructure.from_atoms(Atoms(chosen, positions))
        made.append(structure.replace(labels=Labels(0.0, np.zeros((27, 3)))))
    return Dataset(made)


def test_many_elements_get_a_lean_basis_and_a_clear_message(caplog):
    data = crowd(["Al", "Cu", "Ni", "Pd", "Ag", "Au"], 100)
    settings = BasisSettings(cutoff=4.0, max_total_functions=1500)
    with caplog.at_level(logging.WARNING):
        blocks = blocks_of(settings, data)
    assert sum(len(b) for of_element in blocks for b in of_element) <= 1500
    assert max(len(species(b)) for of_element in blocks for b in of_element) <= 3
    assert (
        "6 elements: the 455 functions per element that the data could carry would make 2730" in caplog.text
    )
    assert "at most 3 different elements in a term" in caplog.text


def test_an_impossible_cap_is_said():
    data = crowd(["Al", "Cu", "Ni"], 3)
    with pytest.raises(ConfigError, match="even the pair terms of 3 elements"):
        blocks_of(BasisSettings(cutoff=4.0, max_total_functions=50), data)


def test_a_basis_that_the_data_cannot_carry_is_refused_unless_asked_for(cual, tmp_path):
    few = cual.filter(lambda s: len(s) > 1)[:3]
    with pytest.raises(
        InsufficientDataError, match=r"basis has \d+ functions, but the data has only \d+ labels"
    ):
        AceTrainer(functions=600).train(few, out=tmp_path / "p.yace")
    fit_ace(few, AceTrainer(functions=150, cutoff=4.0, underdetermined=True, ridge=1e-6))
    fit_ace(few[:2], AceTrainer(cutoff=4.0, ridge=1e-6))  # the automatic choice never trips


# labels


def test_a_masked_nan_is_fitted_as_if_it_were_not_there(cual, fitted):
    few = cual.filter(lambda s: len(s) > 1)[:8]
    forces = few[0].labels.forces.copy()
    forces[0] = np.nan
    weights = np.ones((len(few[0]), 3))
    weights[0] = 0.0
    labels = Labels(few[0].labels.energy, forces, few[0].labels.stress)
    bad = few[0].replace(labels=labels, label_weights=LabelWeights(1.0, weights, np.ones(6)))
    settings = AceTrainer(**{**QUICK, "functions": 15})
    found = fit_ace(Dataset([bad, *few[1:]]), settings)
    assert np.isfinite(found.metrics.train.forces_rmse_mev_per_angstrom)
    whole = fit_ace(few, settings)
    assert found.facts["counts"]["train"]["forces"] == whole.facts["counts"]["train"]["forces"] - 3


def test_labels_that_are_all_nan_are_bad_input(cual, tmp_path):
    bad = Dataset(s.replace(labels=Labels(np.nan, s.labels.forces)) for s in cual[:5])
    with pytest.raises(DataError, match="labels of all 5 labelled structures hold NaN"):
        AceTrainer().train(bad, out=tmp_path / "p.yace")


def test_two_atoms_on_one_spot_are_bad_input(cual, tmp_path):
    twin = AtomStructure(
        np.array([13, 29]), np.zeros((2, 3)), labels=Labels(0.0, np.zeros((2, 3))), tag="twin"
    )
    with pytest.raises(DataError, match=r"structure 3 .* apart; move one"):
        AceTrainer(**QUICK).train(cual[:3] + Dataset([twin]), out=tmp_path / "p.yace")


# reference energies


def test_reference_energies_from_the_settings(cual):
    wanted = {"Al": 3.2, "Cu": 3.5}
    found = fit_ace(cual, AceTrainer(**QUICK, reference_energies=wanted))
    assert found.facts["reference_energies"] == wanted
    with pytest.raises(
        UnsupportedElementError, match="holds Cu, but reference energies are given for Al only"
    ):
        fit_ace(cual, AceTrainer(**QUICK, reference_energies={"Al": 0.0}))


def test_fitted_reference_energies_respect_isolated_atoms_and_help(cual):
    bulky = cual.filter(lambda s: len(s) > 1)
    settings = {**QUICK, "restraints": False, "soft_force": None}
    auto, free = (
        fit_ace(bulky, AceTrainer(**settings, reference_energies=mode)) for mode in ("auto", "fitted")
    )
    assert free.facts["reference_energies"] != auto.facts["reference_energies"]
    errors = [found.metrics.train.forces_rmse_mev_per_angstrom for found in (auto, free)]
    assert errors[1] < errors[0]
    atoms = cual.filter(lambda s: len(s) == 1)
    held = fit_ace(bulky + atoms[:1], AceTrainer(**settings, reference_energies="fitted"))
    symbol = atoms[0].symbols[0]
    assert held.facts["reference_energies"][symbol] == atoms[0].labels.energy


# baselines


def test_an_additive_baseline_is_subtracted_and_comes_along(cual, tmp_path):
    """In memory and in the file that the trainer writes: nobody has to add it."""
    trainer = AceTrainer(**QUICK, baseline=Zbl(window=(0.6, 1.1)))
    found = fit_ace(cual, trainer, test=cual[:10])
    assert "hybrid/overlay" in found.facts["use"]
    assert found.facts["baseline"]["kind"] == "zbl"
    assert found.facts["windows"] == {}
    assert found.potential.baseline == trainer.baseline
    together = Accuracy.on(cual, found.potential.evaluate(cual))
    assert together == found.metrics.train
    written = trainer.train(cual, out=tmp_path / "p.yace")
    assert ACEPotential.from_yace(written.path).baseline == trainer.baseline
    assert trainer.tested(written.path, cual, written.report())["test"] == together.as_dict()
    alone = Accuracy.on(cual, found.potential.with_baseline(None).evaluate(cual))
    assert alone.forces_rmse_mev_per_angstrom > 1.1 * together.forces_rmse_mev_per_angstrom


def test_windows_belong_to_the_core():
    with pytest.raises(ValidationError, match="windows belong to"):
        AceTrainer(baseline=Zbl(), windows={"Al-Al": 1.0})


# priors


def test_without_weight_the_prior_comes_back_and_few_data_stay_near(cual, fitted):
    prior = fitted.potential
    nothing = Dataset(s.replace(label_weights=LabelWeights.uniform(len(s), 0.0, 0.0, 0.0)) for s in cual[:6])
    same = fit_ace(nothing, AceTrainer(ridge=1e-6), prior=prior)
    for one, other in zip(prior.evaluate(cual), same.potential.evaluate(cual), strict=True):
        assert other.energy == pytest.approx(one.energy, abs=1e-7)
        np.testing.assert_allclose(other.forces, one.forces, atol=1e-7)
    few, rest = cual[::8], cual
    started = fit_ace(few, AceTrainer(ridge=1e-3), prior=prior)
    free = {"ridge": 1e-3, "underdetermined": True, "reference_energies": "composition"}
    fresh = fit_ace(few, AceTrainer(**{**QUICK, **free}))
    errors = [
        Accuracy.on(rest, result.potential.evaluate(rest)).forces_rmse_mev_per_angstrom
        for result in (started, fresh)
    ]
    assert errors[0] < 0.7 * errors[1]
    assert started.facts["restraints"]["invented_rows"] == 0


def test_a_prior_from_the_settings(cual, fitted, tmp_path):
    fitted.potential.to_yace(tmp_path / "prior.yace")
    settings = AceTrainer(prior=tmp_path / "prior.yace", ridge=1e-8, functions=60)
    found = fit_ace(cual, settings)
    assert found.facts["total_functions"] > fitted.facts["total_functions"]
    assert (
        found.metrics.train.forces_rmse_mev_per_angstrom < fitted.metrics.train.forces_rmse_mev_per_angstrom
    )
    assert ACEPotential(found.potential.model).model.cutoff == fitted.potential.model.cutoff


def test_priors_that_do_not_fit(cual, sn2, fitted):
    with pytest.raises(UnsupportedElementError, match="prior potential covers Al, Cu"):
        fit_ace(sn2, prior=fitted.potential)
    densities = ACEPotential.from_yace(DATA / "ace" / "cu-chebexpcos-82.yace")
    copper = cual.filter(lambda s: set(s.symbols) == {"Cu"})
    with pytest.raises(PotentialFormatError, match="a prior has to be linear"):
        fit_ace(copper, prior=densities)


# the wall, the posterior, processes


def test_no_holes_below_the_data(fitted):
    """Dimers and compressed fcc crystals rise monotonically inwards from the closest distance in the data."""
    potential, facts = fitted.potential, fitted.facts
    assert facts["restraints"]["invented_rows"] > 20
    assert "not data" in facts["restraints"]["note"]
    for pair, closest in facts["closest"].items():
        end, width = facts["windows"][pair]
        a, b = pair.split("-")
        distances = np.linspace(closest, end - width - 0.1, 40)
        curves = [[Atoms([a, b], [[0, 0, 0], [r, 0, 0]]) for r in distances]]
        if a == b:
            curves.append([bulk(a, "fcc", a=np.sqrt(2.0) * r) for r in distances])
        for curve in curves:
            energies = [
                found.energy for found in potential.evaluate(list(map(AtomStructure.from_atoms, curve)))
            ]
            assert np.all(np.diff(energies) > 0.0), (pair, len(curve[0]), np.diff(energies).min())


def test_without_restraints_there_are_holes(cual):
    """What the wall is for: the same fit without it."""
    found = fit_ace(cual, AceTrainer(**QUICK, restraints=False))
    assert found.facts["restraints"]["invented_rows"] == 0
    drops = []
    for symbol in ("Al", "Cu"):
        closest = found.facts["closest"][f"{symbol}-{symbol}"]
        end, width = found.facts["windows"][f"{symbol}-{symbol}"]
        distances = np.linspace(closest, end - width, 40)
        cells = [AtomStructure.from_atoms(bulk(symbol, "fcc", a=np.sqrt(2.0) * r)) for r in distances]
        drops.append(np.diff([labels.energy for labels in found.potential.evaluate(cells)]).min())
    assert min(drops) < -1.0


def test_the_posterior_belongs_to_the_fit(cual, fitted):
    rows = Design(fitted.basis).rows(list(cual[:3]))
    variance = fitted.posterior.variance(rows.matrix)
    assert variance.shape == (rows.matrix.shape[1],)
    assert np.all(variance >= 0.0)
    e0 = sum(fitted.facts["reference_energies"][symbol] for symbol in cual[2].symbols)
    first = rows.starts[2]
    energy = fitted.posterior.mean @ rows.matrix[:, first] + rows.core[first] + e0
    assert energy == pytest.approx(fitted.potential.evaluate(cual[2:3])[0].energy, abs=1e-8)


def test_processes_and_shards_change_no_byte(cual, tmp_path, monkeypatch):
    from pyacemaker.ace import shards

    monkeypatch.setattr(shards, "PARALLEL_WORK", 0)
    trainer = AceTrainer(**QUICK)
    one = trainer.train(cual, out=tmp_path / "one.yace")
    two = trainer.train(cual, out=tmp_path / "two.yace", processes=2, workdir=tmp_path / "parts")
    again = trainer.train(cual, out=tmp_path / "again.yace", workdir=tmp_path / "parts")
    assert one.path.read_bytes() == two.path.read_bytes() == again.path.read_bytes()
    assert list((tmp_path / "parts").glob("*.npz"))


def test_what_symmetry_hides_stays_unknown():
    """One-atom cells have inversion symmetry: many functions are zero but for rounding."""
    from ase import Atoms
    from ase.build import bulk
    from ase.calculators.emt import EMT

    rng = np.random.default_rng(5)

    def strained(a):
        atoms = bulk("Cu", a=a)
        atoms.set_cell(atoms.cell @ (np.eye(3) + 0.03 * rng.normal(size=(3, 3))), scale_atoms=True)
        atoms.calc = EMT()
        labels = Labels(atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress())
        return AtomStructure.from_atoms(atoms, labels=labels)

    found = fit_ace(Dataset(strained(a) for a in np.linspace(3.3, 4.1, 40)), AceTrainer(refinement="none"))
    pairs = [AtomStructure.from_atoms(Atoms("Cu2", [[0, 0, 0], [0, 0, r]])) for r in (1.8, 2.2, 3.0, 4.0)]
    energies = [labels.energy for labels in found.potential.evaluate(pairs)]
    assert np.abs(energies).max() < 100.0


def test_atoms_that_never_meet_are_refused(cual):
    far = Dataset(
        AtomStructure(
            np.array([29, 29]),
            np.array([[0.0, 0.0, 0.0], [0.0, 0.0, r]]),
            labels=Labels(0.0, np.zeros((2, 3))),
        )
        for r in (8.0, 9.0, 10.0)
    )
    with pytest.raises(InsufficientDataError, match="no two atoms of the data are within the cutoff of 5 Å"):
        fit_ace(far)
