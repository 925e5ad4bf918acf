"""Step 3 in a finished run: what it leaves of the training and of the teacher's uncertainty."""

import json

import numpy as np
import pytest

from pyacemaker.potentials.mace import MacePotential
from pyacemaker.structures import AtomStructure, Dataset
from pyacemaker.structures.formats import read_structures
from pyacemaker.workflow.steps.finetune import share_of


def read(finished, name):
    return json.loads((finished.directory / name).read_text(encoding="utf-8"))


def test_the_learning_curve_has_every_epoch_and_ends_where_the_teacher_stands(finished):
    curve = read(finished, "03_finetune/learning_curve.json")["labels"]
    facts = read(finished, "03_finetune/training.json")
    assert [entry["epoch"] for entry in curve] == [-1, 0, 1, 2, 3]
    assert all(entry["training_loss"] > 0 for entry in curve[1:])
    best = curve[1 + facts["best_epoch"]]
    for name in ("energy_rmse_mev_per_atom", "forces_rmse_mev_per_angstrom"):
        assert best[name] == pytest.approx(facts["train"][name], rel=1e-3)
    assert facts["strategy"] == "naive"


def test_the_teacher_covers_all_elements_of_the_pool(finished):
    pool = read_structures(finished.directory / "01_sample" / "pool.extxyz")
    assert set(pool.elements) <= set(MacePotential(finished.directory / "03_finetune/teacher.model").elements)


def test_the_uncertainty_of_the_teacher_is_calibrated_on_the_test_set(finished):
    content = read(finished, "03_finetune/calibration.json")
    test = read_structures(finished.directory / "02_label" / "test.extxyz")
    assert (content["uncertainty"], content["labels"], content["calibrated"]) == ("llpr", len(test), True)
    found = content["errors"]["forces_mev_per_angstrom"]
    assert found["factor"] > 0
    assert set(found["coverage_by_tag"]) == set(test.tag_counts())
    assert 0.3 < content["force_components"]["coverage_of_one_sigma"] < 0.98
    assert read(finished, "output/metrics.json")["teacher_uncertainty"] == content["summary"]


def test_a_share_of_the_labels_keeps_every_element():
    atoms = [AtomStructure(np.array([1, 8]), np.eye(3)[:2] * k) for k in range(1, 20)]
    rare = AtomStructure(np.array([1, 17]), np.eye(3)[:2])
    train = Dataset([*atoms, rare])
    sets = [share_of(train, 0.5, np.random.default_rng(seed)) for seed in range(10)]
    assert all(rare.id in found.ids for found in sets)
    assert {len(found) for found in sets} <= {10, 11}
    assert len({tuple(found.ids) for found in sets}) == 10
    order = [train.ids.index(structure_id) for structure_id in sets[0].ids]
    assert order == sorted(order)
