import numpy as np
import pytest
from ase.build import bulk

from pyacemaker.errors import DataError, UnsupportedElementError
from pyacemaker.oracles import EmtOracle, LennardJonesOracle
from pyacemaker.structures import AtomStructure
from pyacemaker.units import GPA_PER_EV_PER_CUBIC_ANGSTROM


def pair(distance):
    return AtomStructure(np.array([18, 18]), np.array([[0.0, 0, 0], [distance, 0, 0]]))


class TestLennardJones:
    def test_minimum(self):
        """Depth ε at 2^(1/6) σ, and zero energy at σ."""
        oracle = LennardJonesOracle(epsilon=0.3, sigma=3.0)
        bottom = oracle.label(pair(2 ** (1 / 6) * 3.0))
        assert bottom.energy == pytest.approx(-0.3, abs=1e-9)
        assert np.abs(bottom.forces).max() < 1e-7
        assert oracle.label(pair(3.0)).energy == pytest.approx(0.0, abs=1e-9)

    def test_nothing_beyond_the_cutoff(self):
        labels = LennardJonesOracle(rc=5.0).label(pair(5.01))
        assert labels.energy == 0.0
        assert not labels.forces.any()

    def test_sign_of_the_stress(self):
        """A stretched crystal pulls (positive), a compressed one pushes."""
        stretched, compressed = (
            LennardJonesOracle().label(AtomStructure.from_atoms(bulk("Ar", "fcc", a=a))).stress
            for a in (5.8, 4.9)
        )
        assert stretched[:3].min() > 0 > compressed[:3].max()

    def test_no_stress_without_three_periods(self):
        chain = pair(3.8).replace(cell=np.diag([8.0, 0.0, 0.0]), pbc=np.array([True, False, False]))
        assert LennardJonesOracle().label(chain).stress is None


@pytest.mark.parametrize("oracle", [EmtOracle(), LennardJonesOracle()])
@pytest.mark.parametrize("charge", [-1, 2])
def test_charges_that_the_formula_does_not_know(oracle, charge):
    copper = AtomStructure.from_atoms(bulk("Cu", a=3.6)).replace(charge=charge)
    for refuse in (oracle.check_structure, oracle.label):
        with pytest.raises(DataError, match=rf"has the charge \{charge:+d}, but .* knows no charges"):
            refuse(copper)
    assert oracle.compute(copper.replace(charge=0)).is_finite()


class TestEmt:
    def test_copper(self):
        """ASE's parametrisation: a0 = 3.585 to 3.6 Å, where stress and energy vanish."""
        labels = EmtOracle().label(AtomStructure.from_atoms(bulk("Cu", a=3.589)))
        assert abs(labels.energy) < 0.02
        assert np.abs(labels.stress).max() * GPA_PER_EV_PER_CUBIC_ANGSTROM < 1.0

    def test_unknown_element(self):
        with pytest.raises(UnsupportedElementError, match=r"holds Si, but EMT covers only Al, Ni, Cu"):
            EmtOracle().label(AtomStructure.from_atoms(bulk("Si")))
