import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.io import write
from ase_potential import AsePotential
from pydantic import ValidationError

from pyacemaker.errors import DataError
from pyacemaker.generators.melt import MeltGenerator
from pyacemaker.generators.packing import volume_at_density
from pyacemaker.generators.periodic import ThermalMotion

EMT_METALS = AsePotential(EMT, ["Al", "Cu", "H", "O", "C", "N"])
BRIEF = ThermalMotion(temperatures=(1.5,), n_frames=2, interval=3, expansion=0.0)


def generate(**settings):
    given = {"n_atoms": 12, "n_packings": 2, "motion": BRIEF, "quench_steps": 6, "n_quenches": 2, **settings}
    return MeltGenerator(**given).generate(EMT_METALS, np.random.default_rng(1))


@pytest.fixture(scope="module")
def copper():
    return generate(formula="Cu")


def test_only_a_formula_is_needed(copper):
    assert copper.tag_counts() == {"melt/packing": 10, "melt/md1.5Tm": 10, "melt/quench": 4}
    assert {len(structure) for structure in copper} == {12}


def test_several_densities_about_that_of_the_liquid(copper):
    liquid = 3.61**3 / 4 / 0.9
    found = sorted({round(structure.volume / 12 / liquid, 6) for structure in copper})
    assert np.allclose(found, [1 / 1.2, 1 / 1.1, 1.0, 1 / 0.9, 1 / 0.75])


def test_a_quench_goes_downhill(copper):
    quenched = copper.filter(lambda s: s.tag == "melt/quench")
    energies = [labels.energy for labels in EMT_METALS.evaluate(quenched)]
    early, late = energies[:2], energies[2:]
    assert all(b < a for a, b in zip(early, late, strict=True))


def test_a_density_and_a_composition():
    found = generate(formula="CuAl2", density=4.0, densities=(1.0,), quench_steps=0)
    assert {s.symbols.count("Al") for s in found} == {8}
    assert found[0].volume == pytest.approx(volume_at_density(found[0].numbers, 4.0))
    assert "melt/quench" not in found.tag_counts()


def test_a_crystal_gives_its_composition_and_volume(tmp_path):
    path = tmp_path / "POSCAR"
    write(path, bulk("CuAl", "cesiumchloride", 3.0))
    generator = MeltGenerator(structure=path, n_atoms=12, densities=(1.0,))
    assert generator.inputs().elements == ("Al", "Cu")
    assert generator.inputs()[0].volume == pytest.approx(6 * 27.0 / 0.9)


def test_molecules_stay_whole(tmp_path):
    path = tmp_path / "water.xyz"
    write(path, molecule("H2O"))
    still = ThermalMotion(n_frames=0)
    found = generate(structure=path, densities=(1.0,), motion=still, quench_steps=0, density=1.0)
    assert {structure.formula for structure in found} == {"H8O4"}
    bond = molecule("H2O").get_distance(0, 1)
    for structure in found:
        assert np.linalg.norm(structure.positions[0] - structure.positions[1]) == pytest.approx(
            bond, abs=1e-6
        )
    estimated = MeltGenerator(structure=path, n_atoms=12, densities=(1.0,)).inputs()[0].volume
    assert estimated == pytest.approx(4 * 29.9, rel=0.15)


def test_settings_that_cannot_be(tmp_path):
    with pytest.raises(ValidationError, match="give one of them"):
        MeltGenerator()
    write(tmp_path / "benzene.xyz", molecule("C6H6"))
    with pytest.raises(DataError, match="holds 12 atoms, more than the n_atoms = 8"):
        MeltGenerator(structure=tmp_path / "benzene.xyz", n_atoms=8).inputs()
