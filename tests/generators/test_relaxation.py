import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase_potential import AsePotential

from pyacemaker.generators.relaxation import downhill, relaxed_cell
from pyacemaker.generators.strains import at_volume, strained
from pyacemaker.structures import AtomStructure

EMT_METALS = AsePotential(EMT, ["Al", "Cu"])
COPPER = AtomStructure.from_atoms(bulk("Cu", cubic=True), tag="fcc")


def shaken(seed, amplitude=0.15):
    rng = np.random.default_rng(seed)
    return COPPER.replace(positions=COPPER.positions + amplitude * rng.standard_normal((4, 3)))


def energy(structure):
    return EMT_METALS.evaluate([structure])[0].energy


def test_a_cell_finds_the_lattice_constant_from_far_away():
    found = relaxed_cell(at_volume(COPPER, 0.85), EMT_METALS)
    best = min(np.linspace(3.5, 3.7, 201), key=lambda a: energy(at_volume(COPPER, (a / 3.61) ** 3)))
    assert found.volume ** (1 / 3) == pytest.approx(best, abs=2e-3)
    assert found.tag == "fcc"


@pytest.mark.parametrize("ratio", [0.45, 2.2])
def test_a_bad_guess_of_the_volume_is_repaired(ratio):
    near, far = (relaxed_cell(at_volume(COPPER, x), EMT_METALS) for x in (1.0, ratio))
    assert far.volume == pytest.approx(near.volume, rel=2e-3)


def test_a_cell_that_is_far_too_small_stays_as_given(caplog):
    squeezed = at_volume(COPPER, 0.2)
    found = relaxed_cell(squeezed, EMT_METALS)
    assert found.volume == squeezed.volume
    assert "stays as given" in caplog.text


def test_shear_relaxes_too():
    sheared = strained(COPPER, np.array([[0, 0.03, 0], [0.03, 0, 0], [0, 0, 0.0]]))
    found = relaxed_cell(sheared, EMT_METALS)
    lengths = np.linalg.norm(found.cell, axis=1)
    assert np.ptp(lengths) < 0.02
    assert abs(found.cell[0] @ found.cell[1]) < 0.1


def test_downhill_is_downhill_and_minds_its_own_business():
    starts = [shaken(1), shaken(2, 0.05)]
    together = downhill(starts, EMT_METALS, 15)
    for start, end in zip(starts, together, strict=True):
        assert energy(end) < energy(start) - 0.5 * (energy(start) - energy(COPPER))
        assert np.array_equal(end.cell, start.cell)
        assert np.array_equal(downhill([start], EMT_METALS, 15)[0].positions, end.positions)
    assert downhill([], EMT_METALS, 3) == []


def test_many_steps_reach_the_minimum():
    found = downhill([shaken(3)], EMT_METALS, 150)[0]
    assert np.abs(EMT_METALS.evaluate([found])[0].forces).max() < 0.02
