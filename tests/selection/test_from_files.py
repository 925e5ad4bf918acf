"""Selection from a file: indices into the file, features that know no orientation."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from conftest import FOUNDATION, ROOT
from pyacemaker.errors import DataError, InsufficientDataError, UserError
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.selection import DirectSelector
from pyacemaker.selection.from_files import SELECTORS, select_from_file, structure_features
from pyacemaker.structures import AtomStructure, Dataset
from pyacemaker.structures.formats import read_structures, write_structures

SMALL = ROOT / "tests" / "data" / "sn2_small.xyz"


@pytest.fixture(scope="module")
def pool():
    return read_structures(SMALL)


@pytest.mark.parametrize("method", SELECTORS)
def test_indices_are_distinct_sorted_and_point_into_the_file(method, pool, tmp_path):
    chosen = select_from_file(SMALL, 7, method, output=tmp_path / "chosen.extxyz")
    assert len(set(chosen.tolist())) == 7
    assert (np.diff(chosen) > 0).all()
    written = read_structures(tmp_path / "chosen.extxyz")
    assert written.ids == pool[chosen].ids
    assert [s.labels.energy for s in written] == [s.labels.energy for s in pool[chosen]]


@pytest.mark.parametrize("method", SELECTORS)
def test_the_same_seed_gives_the_same_choice(method):
    assert np.array_equal(
        select_from_file(SMALL, 5, method, seed=3), select_from_file(SMALL, 5, method, seed=3)
    )


@pytest.mark.parametrize("method", SELECTORS)
def test_repeated_structures_are_picked_once(method, pool, tmp_path, caplog):
    path = tmp_path / "pool.extxyz"
    write_structures(path, [*pool[10:16], *pool[10:16], *pool[16:19]])
    chosen = select_from_file(path, 9, method)
    assert chosen.tolist() == [0, 1, 2, 3, 4, 5, 12, 13, 14]
    assert f"{path}: 6 of 15 structures repeat an earlier one and are left out" in caplog.text
    with pytest.raises(InsufficientDataError, match="only 9 differ"):
        select_from_file(path, 10, method)


@pytest.mark.parametrize("model", [None, FOUNDATION], ids=["ace", "mace"])
def test_features_are_invariant(pool, model):
    turn = Rotation.random(random_state=4).as_matrix()
    structures = pool[10:14]
    moved = Dataset(
        structure.replace(positions=structure.positions[::-1] @ turn.T + 3.0, numbers=structure.numbers[::-1])
        for structure in (s.replace(labels=None) for s in structures)
    )
    features, again = structure_features(structures, model), structure_features(moved, model)
    assert features.shape[0] == 4
    np.testing.assert_allclose(again, features, atol=2e-5 * np.abs(features).max())


@pytest.mark.parametrize("model", [None, FOUNDATION], ids=["ace", "mace"])
def test_features_tell_structures_apart(pool, model):
    features = structure_features(pool[5:], model)
    assert np.isfinite(features).all()
    distances = np.linalg.norm(features[:, None] - features[None], axis=2) + np.eye(len(features))
    assert distances.min() > 1e-6


def test_a_model_decides_the_features(pool):
    expected = MacePotential(FOUNDATION).structure_features(pool)
    chosen = DirectSelector().select(expected, 6, np.random.default_rng(1))
    assert np.array_equal(select_from_file(SMALL, 6, "direct", model=FOUNDATION), chosen)


def test_direct_covers_more_than_one_corner(tmp_path):
    """Fifty copies of one molecule and two others, a little rattled: all three are chosen."""
    rng = np.random.default_rng(1)
    bases = [(1.1, 50), (1.6, 3), (2.4, 3)]
    structures = [
        AtomStructure(
            np.array([6, 8]), np.array([[0, 0, 0], [0, 0, d]]) + rng.normal(scale=1e-3, size=(2, 3))
        )
        for d, count in bases
        for _ in range(count)
    ]
    write_structures(tmp_path / "pool.xyz", structures)
    chosen = select_from_file(tmp_path / "pool.xyz", 3, "direct")
    assert sorted(np.searchsorted([50, 53], chosen, side="right").tolist()) == [0, 1, 2]


@pytest.mark.parametrize("n", [0, -1])
def test_less_than_one(n):
    with pytest.raises(UserError, match=f"-n {n}: expected at least 1"):
        select_from_file(SMALL, n, "random")


def test_more_than_there_are(pool):
    with pytest.raises(InsufficientDataError, match="larger pool"):
        select_from_file(SMALL, len(pool) + 1, "direct")


def test_an_empty_pool(tmp_path):
    (tmp_path / "empty.xyz").touch()
    with pytest.raises(DataError, match=r"empty\.xyz holds no structures"):
        select_from_file(tmp_path / "empty.xyz", 1, "direct")


@pytest.mark.parametrize("method", SELECTORS)
def test_one_structure(tmp_path, method):
    (tmp_path / "one.xyz").write_text("1\n\nC 0 0 0\n")
    assert select_from_file(tmp_path / "one.xyz", 1, method).tolist() == [0]


@pytest.mark.parametrize("method", SELECTORS)
def test_crystals(method):
    chosen = select_from_file(ROOT / "tests" / "data" / "cual_small.xyz", 3, method)
    assert len(chosen) == 3
