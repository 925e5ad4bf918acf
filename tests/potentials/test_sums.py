from collections.abc import Sequence

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes

from pyacemaker.baselines import Baseline, LennardJones, LennardJonesAtom, Zbl
from pyacemaker.potentials.base import Potential
from pyacemaker.potentials.sums import SumPotential
from pyacemaker.structures import AtomStructure, Labels

ARGON = LennardJones(atoms={"Ar": LennardJonesAtom(epsilon=0.0104, sigma=3.4)}, cutoff=8.0)
WALL = Zbl(window=(2.0, 4.5), unit="angstrom")


class BaselinePotential(Potential):
    """A baseline as a potential: two real physical terms to add."""

    def __init__(self, baseline: Baseline, elements: tuple[str, ...], name: str) -> None:
        self.baseline, self.elements, self.name = baseline, elements, name

    def evaluate(self, structures: Sequence[AtomStructure]) -> list[Labels]:
        return self.baseline.evaluate(structures)

    def calculator(self) -> Calculator:
        return BaselineCalculator(self.baseline)


class BaselineCalculator(Calculator):
    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, baseline: Baseline) -> None:
        super().__init__()
        self.baseline = baseline

    def calculate(self, atoms=None, properties=None, system_changes=all_changes) -> None:
        super().calculate(atoms, properties, system_changes)
        labels = self.baseline.evaluate([AtomStructure.from_atoms(self.atoms)])[0]
        self.results = {"energy": labels.energy, "forces": labels.forces, "stress": labels.stress}


LJ = BaselinePotential(ARGON, ("Ar",), "lj")
ZBL = BaselinePotential(WALL, ("Ar", "Cu", "Ne"), "zbl")


@pytest.fixture
def crystal() -> AtomStructure:
    atoms = bulk("Ar", "fcc", a=5.0, cubic=True)
    atoms.rattle(0.1, seed=2)
    return AtomStructure.from_atoms(atoms)


def test_a_sum_is_the_sum_of_its_terms(crystal):
    total, lj, zbl = (potential.evaluate([crystal])[0] for potential in (SumPotential([LJ, ZBL]), LJ, ZBL))
    assert abs(zbl.energy) > 0.1
    assert total.energy == pytest.approx(lj.energy + zbl.energy, rel=1e-15)
    assert total.forces == pytest.approx(lj.forces + zbl.forces)
    assert total.stress == pytest.approx(lj.stress + zbl.stress)
    assert total.energies == pytest.approx(lj.energies + zbl.energies)


def test_the_calculator_gives_the_same_answers(crystal):
    potential = SumPotential([LJ, ZBL])
    atoms = crystal.to_atoms()
    atoms.calc = potential.calculator()
    labels = potential.evaluate([crystal])[0]
    assert atoms.get_potential_energy() == pytest.approx(labels.energy, rel=1e-14)
    assert atoms.get_forces() == pytest.approx(labels.forces)
    assert atoms.get_stress() == pytest.approx(labels.stress)


def test_a_sum_covers_what_all_terms_cover_and_is_named_after_them():
    assert SumPotential([LJ, ZBL]).elements == ("Ar",)
    assert SumPotential([ZBL]).elements == ("Ar", "Cu", "Ne")
    assert SumPotential([LJ, ZBL]).name == "lj+zbl"
    assert SumPotential([LJ, ZBL], name="both").name == "both"


def test_labels_made_by_a_potential_carry_its_name(crystal):
    data = SumPotential([LJ, ZBL]).label([crystal, crystal])
    assert [structure.source for structure in data] == ["lj+zbl", "lj+zbl"]
    assert data.ids == [crystal.id, crystal.id]


def test_an_empty_sum_is_an_error_and_no_structures_give_no_labels():
    with pytest.raises(ValueError, match="at least one"):
        SumPotential([])
    assert SumPotential([LJ, ZBL]).evaluate([]) == []


def test_a_structure_s_answer_does_not_depend_on_its_neighbours_in_the_list(crystal):
    other = crystal.replace(positions=np.array(crystal.positions) * 1.01)
    potential = SumPotential([LJ, ZBL])
    together = potential.evaluate([crystal, other])
    alone = [potential.evaluate([structure])[0] for structure in (crystal, other)]
    assert [labels.energy for labels in together] == [labels.energy for labels in alone]
