from typing import Literal

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase_potential import AsePotential
from pydantic import TypeAdapter

from pyacemaker.errors import InsufficientDataError
from pyacemaker.generators import AnyGenerator, DimerGenerator, DirectGenerator, Generator
from pyacemaker.selection import FarthestPointSelector, RandomSelector
from pyacemaker.structures import AtomStructure, Dataset

EMT_METALS = AsePotential(EMT, ["Al", "Cu"])


class Triangles(Generator):
    """`count` copper triangles of different size, the first an anchor."""

    kind: Literal["triangles"] = "triangles"
    count: int = 60
    smallest: float = 2.2

    def generate(self, teacher, rng):
        corner = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.5, 0.866, 0.0]])
        shapes = (
            corner * size + 0.1 * rng.random((3, 3)) for size in np.linspace(self.smallest, 4.0, self.count)
        )
        return Dataset(
            AtomStructure(np.full(3, 29), shape, tag="triangle" if number else "crystal/minimum")
            for number, shape in enumerate(shapes)
        )


def pool(generator, seed=1):
    return generator.generate(EMT_METALS, np.random.default_rng(seed))


@pytest.mark.parametrize(
    "selector", [{}, {"selector": RandomSelector()}, {"selector": FarthestPointSelector()}]
)
def test_exactly_n_with_the_anchors_from_all_tags(selector):
    found = pool(DirectGenerator(generators=(Triangles(),), n=25, **selector))
    assert len(found) == len(set(found.ids)) == 25
    counts = found.tag_counts()
    assert counts["crystal/minimum"] == 1
    assert counts["dimer"] >= 1
    assert "isolated_atom" not in counts


def test_same_settings_and_seed_give_the_same_pool_and_another_seed_another():
    generator = DirectGenerator(generators=(Triangles(),), n=12)
    assert pool(generator).ids == pool(generator).ids
    assert pool(generator).ids != pool(generator, seed=2).ids


def test_a_diverse_pool_spans_the_sizes():
    generator = DirectGenerator(generators=(Triangles(),), n=8, atoms_and_dimers=False)
    sizes = [np.linalg.norm(s.positions[1] - s.positions[0]) for s in pool(generator)]
    assert max(np.diff(sorted(sizes))) < 0.7


def test_fewer_candidates_than_wanted_are_all_kept():
    found = pool(DirectGenerator(generators=(Triangles(count=7),), n=500))
    assert found.tag_counts() == {"crystal/minimum": 1, "triangle": 6, "dimer": 11}  # one too steep


def test_copies_are_counted_out_and_that_is_said(caplog):
    class Turned(Triangles):
        def generate(self, teacher, rng):
            made = super().generate(teacher, rng)
            return made + Dataset(s.replace(positions=s.positions[:, [1, 2, 0]]) for s in made)

    generator = DirectGenerator(generators=(Turned(count=5),), n=9, atoms_and_dimers=False)
    assert len(pool(generator)) == 2 + 4
    assert "differ in their features" in caplog.text


def test_the_bottom_of_a_dimer_curve_is_no_unreasonable_energy():
    generator = DirectGenerator(generators=(DimerGenerator(elements=("Cu",)),), n=50)
    strict = generator.model_copy(
        update={"filters": generator.filters.model_copy(update={"max_energy": 0.01, "max_force": 1e3})}
    )
    assert pool(strict).tag_counts() == {"dimer": 12}


def test_nothing_left():
    generator = DirectGenerator(generators=(Triangles(smallest=0.3, count=1),), atoms_and_dimers=False)
    with pytest.raises(InsufficientDataError, match=r"no candidate is left of the 1 .*1 too close"):
        pool(generator)


def test_nested_in_a_config():
    raw = {
        "kind": "direct",
        "generators": [{"kind": "direct", "n": 3, "generators": [{"kind": "dimers", "elements": ["Al"]}]}],
    }
    found = TypeAdapter(AnyGenerator).validate_python(raw)
    assert found.generators[0].n == 3
    assert found.inputs().elements == ("Al",)
    assert len(found.fingerprint()) == 64


def test_a_charged_system_gets_no_neutral_dimers():
    class Ions(Triangles):
        def generate(self, teacher, rng):
            return Dataset(s.replace(charge=1) for s in super().generate(teacher, rng))

    counts = DirectGenerator(generators=(Ions(count=4),)).candidates(EMT_METALS, 1).tag_counts()
    assert counts == {"crystal/minimum": 1, "triangle": 3, "isolated_atom": 1}
