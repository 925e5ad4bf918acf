import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyacemaker.errors import ConfigError, InsufficientDataError
from pyacemaker.selection import ActiveSetSelector, RandomSelector, spread_over_tags
from pyacemaker.selection.active_set import quotas
from pyacemaker.structures import AtomStructure, Dataset

SIZES = {"reactant": 1, "ts": 1, "path": 20, "md300": 100, "grid": 60, "fragments": 8}


def pool_of(sizes, rng):
    tags = [tag for tag, size in sizes.items() for _ in range(size)]
    structures = Dataset(
        AtomStructure(np.array([1, 1]), rng.standard_normal((2, 3)), tag=tag) for tag in tags
    )
    return structures, rng.standard_normal((len(tags), 10)), rng.random(len(tags))


@pytest.fixture
def pool():
    return pool_of(SIZES, np.random.default_rng(0))


def select(pool, n, anchors=(0, 1), selector=None, **keywords):
    return (selector or ActiveSetSelector()).select(
        *pool, anchors=anchors, n=n, rng=np.random.default_rng(1), **keywords
    )


def test_anchors_come_first_and_every_tag_is_represented(pool):
    chosen = select(pool, 24)
    assert len(chosen) == len(set(chosen.indices)) == 24
    assert list(chosen.indices[:2]) == [0, 1]
    assert chosen.reasons[:2] == ("anchor", "anchor")
    assert set(pool[0][chosen.indices].tag_counts()) == set(SIZES)


def test_the_less_uncertain_half_of_each_tag_is_left_out(pool):
    structures, _, uncertainty = pool
    tags = np.array([structure.tag for structure in structures])
    for index in select(pool, 24).indices[2:]:
        assert uncertainty[index] >= np.median(uncertainty[tags == tags[index]])


def test_a_later_round_avoids_what_resembles_earlier_ones():
    """Four groups far apart, two of which earlier rounds have seen: both places go to the other two."""
    rng = np.random.default_rng(4)
    structures, _, uncertainty = pool_of({"md300": 40}, rng)
    group = np.arange(40) % 4
    features = 100.0 * np.eye(4)[group] + 0.01 * rng.standard_normal((40, 4))
    chosen = ActiveSetSelector(drop_certain_fraction=0.0).select(
        structures, features, uncertainty, anchors=(), n=2, rng=rng, labelled=[0, 1]
    )
    assert len(chosen) == 2
    assert {int(group[index]) for index in chosen.indices} == {2, 3}


def test_it_is_not_a_ranking_by_uncertainty():
    pool = pool_of({"md300": 400}, np.random.default_rng(2))
    chosen = select(pool, 20, anchors=())
    top = np.argsort(-pool[2])[:20]
    assert len(set(chosen.indices) & set(top)) < 10


def test_the_more_uncertain_structure_is_labelled_first(pool):
    chosen = select(pool, 24)
    assert np.all(np.diff(pool[2][chosen.indices[2:]]) <= 0)
    assert f"uncertainty {pool[2][chosen.indices[2]]:.4g}" in chosen.reasons[2]


def test_excluded_structures_are_never_taken(pool):
    excluded = np.arange(10, 150)
    assert not set(select(pool, 30, exclude=excluded).indices) & set(excluded)


def test_the_whole_pool_can_be_asked_for_but_not_more(pool):
    assert sorted(select(pool, 190).indices) == list(range(190))
    with pytest.raises(InsufficientDataError, match="189 structures were asked for but only 188"):
        select(pool, 191)
    with pytest.raises(ConfigError, match="1 places but 2 anchors"):
        select(pool, 1)


def test_a_tag_of_identical_structures_still_fills_its_places(pool, caplog):
    structures, features, uncertainty = pool
    same = features.copy()
    same[22:122] = 0.0
    chosen = select((structures, same, uncertainty), 40, selector=ActiveSetSelector(quota="share"))
    assert len(set(chosen.indices)) == 40
    assert structures[chosen.indices].tag_counts()["md300"] == pytest.approx(38 * 100 / 188, abs=1)
    assert "differ in their features" in caplog.text


def test_coverage_follows_the_features_and_still_leaves_no_tag_out():
    structures, features, uncertainty = pool_of(
        {"wide": 40, "narrow": 400, "tiny": 2}, np.random.default_rng(4)
    )
    features[40:] = 0.05 * features[40:]
    pool = structures, features, uncertainty
    covering = structures[select(pool, 30, anchors=()).indices].tag_counts()
    by_share = structures[select(pool, 30, (), ActiveSetSelector(quota="share")).indices].tag_counts()
    assert covering["wide"] > 2 * by_share["wide"]
    assert covering["tiny"] == by_share["tiny"] == 1


def test_any_selector_and_any_quota_fit_in(pool):
    equal = ActiveSetSelector(quota="equal", selector=RandomSelector(), drop_certain_fraction=0.0)
    counts = pool[0][select(pool, 26, selector=equal).indices].tag_counts()
    assert counts == {"reactant": 1, "ts": 1, "path": 6, "md300": 6, "grid": 6, "fragments": 6}
    assert ActiveSetSelector.model_validate({"selector": {"kind": "maxvol"}}).selector.kind == "maxvol"


@given(
    sizes=st.dictionaries(st.text(min_size=1, max_size=3), st.integers(0, 30), min_size=1),
    exponent=st.sampled_from([0.0, 0.5, 1.0]),
    data=st.data(),
)
def test_quotas_add_up_and_leave_no_group_out(sizes, exponent, data):
    n = data.draw(st.integers(0, sum(sizes.values())))
    places = quotas(sizes, n, exponent)
    assert sum(places.values()) == n
    assert all(places[group] <= size for group, size in sizes.items())
    occupied = [size for size in sizes.values() if size]
    if n >= len(occupied):
        assert all(places[group] > 0 for group, size in sizes.items() if size)


def test_quotas_are_proportional():
    assert quotas({"a": 10, "b": 40, "c": 50}, 20) == {"a": 2, "b": 8, "c": 10}
    assert quotas({"a": 100, "b": 400}, 30, exponent=0.5) == {"a": 10, "b": 20}
    with pytest.raises(ValueError, match="3 places"):
        quotas({"a": 2}, 3)


def test_a_test_set_mirrors_the_pool(pool):
    structures = pool[0]
    drawn = spread_over_tags(structures, 30, np.random.default_rng(3), exclude=[0, 1])
    assert len(set(drawn)) == 30
    assert not set(drawn) & {0, 1}
    counts = structures[drawn].tag_counts()
    assert counts["md300"] == pytest.approx(30 * 100 / 188, abs=1)
    assert counts["grid"] == pytest.approx(30 * 60 / 188, abs=1)
    assert set(counts) == {"path", "md300", "grid", "fragments"}
    again = spread_over_tags(structures, 30, np.random.default_rng(3), exclude=[0, 1])
    assert np.array_equal(drawn, again)
    with pytest.raises(InsufficientDataError):
        spread_over_tags(structures, 189, np.random.default_rng(3), exclude=[0, 1])
