from collections import Counter

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import write
from ase_potential import AsePotential
from pydantic import ValidationError

from pyacemaker.errors import ConfigError, DataError
from pyacemaker.generators.alloy import AlloyGenerator
from pyacemaker.generators.periodic import ThermalMotion
from pyacemaker.selection.filters import HardFilters

EMT_METALS = AsePotential(EMT, ["Al", "Cu", "Au", "Ni"])
STILL = ThermalMotion(n_frames=0)


def generate(seed=1, **settings):
    generator = AlloyGenerator(**{"elements": ("Cu", "Au"), "max_atoms": 8, "motion": STILL, **settings})
    return generator.generate(EMT_METALS, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def copper_gold():
    return generate(n_compositions=3, n_ordered=2, n_motion=1, motion=ThermalMotion(n_frames=2, interval=2))


def shares(structures, symbol):
    return [structure.symbols.count(symbol) / len(structure) for structure in structures]


def tagged(structures, *tags):
    return [s for s in structures if s.tag.removeprefix("alloy/") in tags]


def test_only_the_elements_are_needed(copper_gold):
    counts = Counter(structure.tag.removeprefix("alloy/") for structure in copper_gold)
    assert set(counts) == {
        *("minimum", "ev", "random", "quasi_random", "strain", "rattle", "swap", "dilute", "vacancy"),
        *("ordered", "antisite", "md0.5Tm", "md1Tm", "md1.5Tm", "md2.5Tm"),
    }
    assert counts["minimum"] == 2
    kept, rejected = HardFilters().apply(copper_gold, EMT_METALS.evaluate(copper_gold))
    assert len(kept) >= 0.97 * len(copper_gold), rejected


def test_compositions_span_the_range(copper_gold):
    found = sorted(set(shares(tagged(copper_gold, "random"), "Au")))
    assert found == [1 / 8, 1 / 2, 7 / 8]
    assert sorted(set(shares(tagged(copper_gold, "minimum"), "Au"))) == [0.0, 1.0]
    assert set(shares(tagged(copper_gold, "dilute"), "Au")) == {1 / 8, 1 / 4, 3 / 4, 7 / 8}


def test_volumes_lie_between_those_of_the_elements(copper_gold):
    copper, gold = (s.volume / len(s) for s in tagged(copper_gold, "minimum"))
    for structure in tagged(copper_gold, "quasi_random", "dilute"):
        share = shares([structure], "Au")[0]
        assert structure.volume / len(structure) == pytest.approx(copper + share * (gold - copper))


def test_a_vacancy_leaves_one_atom_out_and_a_swap_none(copper_gold):
    assert {len(structure) for structure in tagged(copper_gold, "vacancy")} == {7}
    assert {len(structure) for structure in tagged(copper_gold, "swap", "strain", "rattle")} == {8}


def test_families_do_not_depend_on_each_other(copper_gold):
    fewer = generate(n_compositions=3, n_random=1, ordered=(), n_swaps=0, dilute=False, vacancies=False)
    assert [s.id for s in tagged(fewer, "rattle")] == [s.id for s in tagged(copper_gold, "rattle")]
    assert not tagged(fewer, "ordered", "swap", "dilute", "vacancy")


def test_several_elements_and_lattices():
    found = generate(
        elements=("Cu", "Au", "Ni"),
        lattices=("fcc", "bcc"),
        n_compositions=4,
        n_random=1,
        n_ordered=0,
        n_rattles=0,
        n_strains=0,
    )
    assert len(tagged(found, "minimum")) == 6
    first = tagged(found, "random")[0]
    assert sorted(Counter(first.symbols).values()) == [2, 3, 3]
    assert found.elements == ("Au", "Cu", "Ni")


def test_shares_may_be_limited():
    found = generate(composition={"Au": (0.2, 0.4)}, n_compositions=9, n_random=1, ordered=(), dilute=False)
    assert set(shares(tagged(found, "random"), "Au")) == {2 / 8, 3 / 8}


def test_one_sublattice_of_a_compound_is_shared(tmp_path):
    path = tmp_path / "ordered.cif"
    write(path, bulk("NiAl", "cesiumchloride", 2.9))
    generator = AlloyGenerator(
        elements=("Ni", "Cu"), structure=path, max_atoms=8, n_compositions=3, motion=STILL
    )
    assert generator.inputs().elements == ("Al", "Cu", "Ni")
    found = generator.generate(EMT_METALS, np.random.default_rng(0))
    assert not tagged(found, "ordered")
    for structure in tagged(found, "random", "quasi_random", "swap", "dilute"):
        assert structure.symbols.count("Al") == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"elements": ("Cu",)}, "at least 2"),
        ({"elements": ("Cu", "Cu")}, "names an element twice"),
        ({"elements": ("Cu", "Gold")}, "no element is called Gold"),
        ({"composition": {"Al": (0, 1)}}, "composition names Al"),
        ({"composition": {"Au": (0.6, 0.4)}}, "above the largest"),
        ({"composition": {"Au": (0, 0.2), "Cu": (0, 0.3)}}, "at most; they must"),
        ({"lattices": ("fccc",)}, "did you mean fcc"),
        ({"ordered": ("perovskite",)}, "perovskite is no structure type of two elements"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(ValidationError, match=message):
        AlloyGenerator(**{"elements": ("Cu", "Au"), **settings})


def test_sites_and_shares_that_do_not_fit(tmp_path):
    write(tmp_path / "POSCAR", bulk("NaCl", "rocksalt", 5.6))
    with pytest.raises(DataError, match="none of the elements Cu Au"):
        AlloyGenerator(elements=("Cu", "Au"), structure=tmp_path / "POSCAR").inputs()
    with pytest.raises(ConfigError, match="no composition of 8 sites"):
        generate(composition={"Au": (0.51, 0.6)}, ordered=())
    with pytest.raises(ConfigError, match="raise max_atoms"):
        AlloyGenerator(elements=("Cu", "Au", "Ni", "Al", "Ag"), lattices=("hcp",), max_atoms=4).inputs()
