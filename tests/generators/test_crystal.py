import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell, molecule
from ase.calculators.emt import EMT
from ase.io import write
from ase_potential import AsePotential
from pydantic import TypeAdapter, ValidationError

from pyacemaker.errors import ConfigError, DataError
from pyacemaker.generators import AnyGenerator, CrystalGenerator
from pyacemaker.generators.anchors import ANCHOR_TAGS
from pyacemaker.generators.periodic import ThermalMotion, melting_temperatures, suitable_dynamics
from pyacemaker.selection.filters import HardFilters
from pyacemaker.structures import AtomStructure

EMT_METALS = AsePotential(EMT, ["Al", "Cu", "Au"])
STILL = ThermalMotion(n_frames=0)
SMALL = {"max_atoms": 8, "max_defect_atoms": 16, "relaxation_steps": 3, "motion": STILL}


def generate(seed=1, **settings):
    return CrystalGenerator(**{**SMALL, **settings}).generate(EMT_METALS, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def aluminium():
    return generate(formula="Al", motion=ThermalMotion(n_frames=2, interval=2))


def tagged(structures, tag):
    return [structure for structure in structures if structure.tag == tag]


def test_only_a_formula_is_needed(aluminium):
    counts = aluminium.tag_counts()
    assert {tag.removeprefix("crystal/") for tag in counts} == {
        *("minimum", "ev", "strain", "rattle", "prototype_minimum", "prototype", "vacancy", "divacancy"),
        *("interstitial", "slab", "md0.5Tm", "md1Tm", "md1.5Tm", "md2.5Tm"),
    }
    assert aluminium[0].tag == "crystal/minimum"
    assert counts["crystal/prototype_minimum"] == 4  # bcc, hcp, sc, diamond
    assert {"crystal/minimum", "crystal/prototype_minimum"} <= set(ANCHOR_TAGS)
    assert all(len(structure) <= 17 for structure in aluminium)
    kept, rejected = HardFilters().apply(aluminium, EMT_METALS.evaluate(aluminium))
    assert len(kept) == len(aluminium), rejected


def test_the_cell_is_the_teachers_minimum(aluminium):
    curve = [*tagged(aluminium, "crystal/minimum"), *tagged(aluminium, "crystal/ev")]
    ratios = np.array([cell.volume / curve[0].volume for cell in curve])
    energies = [labels.energy for labels in EMT_METALS.evaluate(curve)]
    assert np.argmin(energies) == 0
    assert ratios.min() == pytest.approx(0.88)
    assert ratios.max() == pytest.approx(1.12)
    others = tagged(aluminium, "crystal/prototype_minimum")
    for cell, label in zip(others, EMT_METALS.evaluate(others), strict=True):
        assert np.abs(label.forces).max() < 0.02
        assert label.energy / len(cell) > energies[0] - 0.01  # hcp lies 4 meV lower in EMT


def test_families_do_not_depend_on_each_other(aluminium):
    fewer = generate(formula="Al", n_strains=0, n_slabs=0, competing=(), vacancies=False)
    for tag in ("crystal/rattle", "crystal/interstitial", "crystal/ev"):
        assert [s.id for s in tagged(fewer, tag)] == [s.id for s in tagged(aluminium, tag)]
    assert not {"crystal/strain", "crystal/slab", "crystal/vacancy"} & set(fewer.tag_counts())


def test_another_seed_rattles_otherwise_and_keeps_the_minima(aluminium):
    other = generate(seed=2, formula="Al", competing=())
    assert other[0].id == aluminium[0].id
    assert not {s.id for s in tagged(other, "crystal/rattle")} & set(aluminium.ids)


def test_a_compound_takes_the_type_that_the_teacher_likes_best():
    found = generate(formula="Cu3Au", n_strains=0, n_rattles=0, n_slabs=0, interstitials=False)
    minima = [s for s in found if s.tag.endswith("minimum")]
    energies = [label.energy / len(s) for s, label in zip(minima, EMT_METALS.evaluate(minima), strict=True)]
    assert np.argmin(energies) == 0
    assert found.tag_counts()["crystal/antisite"] > 3
    named = generate(formula="Cu3Au", prototype="Cu3Au", competing=(), n_strains=0, n_rattles=0, n_slabs=0)
    assert len(named[0]) == 4
    assert named[0].volume == pytest.approx(52.0, rel=0.06)


@pytest.mark.parametrize("name", ["cell.extxyz", "POSCAR", "cell.cif"])
def test_a_structure_file_of_any_format_is_taken_as_it_is(tmp_path, name):
    path = tmp_path / name
    write(path, bulk("Cu", "fcc", a=3.7, cubic=True))
    generator = CrystalGenerator(
        **SMALL, structure=path, n_slabs=1, n_strains=2, n_rattles=1, interstitials=False, vacancies=False
    )
    assert generator.inputs().elements == ("Cu",)
    found = generator.generate(EMT_METALS, np.random.default_rng(0))
    assert found[0].volume == pytest.approx(3.7**3, rel=1e-4)
    assert found.tag_counts()["crystal/prototype_minimum"] == 4  # fcc is what the file holds
    generator = generator.model_copy(update={"competing": ()})
    relaxed = generator.model_copy(update={"relax": True}).generate(EMT_METALS, np.random.default_rng(0))
    assert relaxed[0].volume == pytest.approx(4 * 11.57, rel=0.02)


def test_lattice_constants_that_are_given_stay():
    found = generate(formula="Cu", a=3.7, competing=("bcc",), n_slabs=0, n_strains=0, vacancies=False)
    assert found[0].volume == pytest.approx(3.7**3 / 4)
    bcc = tagged(found, "crystal/prototype_minimum")
    assert bcc[0].volume < 3.65**3 / 4 * 1.05  # the others are relaxed


def test_the_settings_are_a_crystals(tmp_path):
    given = {"kind": "crystal", "formula": "MgO", "prototype": "NaCl"}
    crystal = TypeAdapter(AnyGenerator).validate_python(given)
    assert crystal.prototype == "rocksalt"
    assert crystal.inputs().elements == ("Mg", "O")
    path = tmp_path / "POSCAR"
    write(path, bulk("Cu"))
    for settings, message in [
        ({}, "give one of them"),
        ({"formula": "Al", "structure": path}, "give one of them"),
        ({"structure": path, "a": 3.6}, "leave out a"),
        ({"formula": "Alu"}, "no formula of a compound"),
        ({"formula": "Al", "prototype": "fcp"}, "did you mean"),
        ({"formula": "Al", "competing": ["bccc"]}, "did you mean bcc"),
        ({"structure": tmp_path / "nothing.cif"}, "does not exist"),
    ]:
        with pytest.raises(ValidationError, match=message):
            CrystalGenerator(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"formula": "N2"}, "N2 is a molecule"),
        ({"formula": "CO2"}, "CO2 is a molecule"),
        ({"formula": "LiCoO2"}, "no prototype is known for LiCoO2"),
        ({"formula": "Al5Cu7"}, "no prototype is known for Al5Cu7.*5:7.*`structure` file"),
        ({"formula": "Al", "competing": ("rocksalt",)}, "Al does not fit the prototype rocksalt"),
        ({"formula": "Cu3Au", "prototype": "rocksalt"}, "does not fit the prototype rocksalt"),
    ],
)
def test_compositions_without_a_cell(settings, message):
    with pytest.raises(ConfigError, match=message):
        CrystalGenerator(**settings).inputs()


def test_facts_of_a_file_stay_in_the_file(tmp_path):
    atoms = bulk("Cu", cubic=True)
    atoms.info |= {"energy": -1.0, "weight": 5.0, "source": "vasp", "comment": "of a file"}
    write(tmp_path / "cell.extxyz", atoms)
    generator = CrystalGenerator(structure=tmp_path / "cell.extxyz", **{**SMALL, "n_slabs": 1})
    for structure in generator.generate(EMT_METALS, np.random.default_rng(0)):
        assert (structure.labels, structure.weight, structure.source, structure.info) == (None, 1.0, "", {})


def test_files_that_hold_no_crystal(tmp_path):
    write(tmp_path / "water.xyz", molecule("H2O"))
    write(tmp_path / "slab.extxyz", Atoms("Cu", cell=[3, 3, 9], pbc=[True, True, False]))
    write(tmp_path / "large.extxyz", make_supercell(bulk("Cu"), 4 * np.eye(3)))
    (tmp_path / "notes.txt").write_text("no structure\n")
    for name, message in [
        ("water.xyz", r"water.xyz holds H2O with no periodic direction.*molecule generator"),
        ("slab.extxyz", r"pbc = \[True, True, False\]"),
        ("large.extxyz", r"a cell of 64 atoms, more than max_defect_atoms = 32"),
        ("notes.txt", "cannot be read as a structure file"),
    ]:
        with pytest.raises(DataError, match=message):
            CrystalGenerator(structure=tmp_path / name).inputs()


def test_melting_temperatures_follow_the_cohesive_energy():
    solids = [AtomStructure.from_atoms(bulk("Al", a=3.99)), AtomStructure.from_atoms(bulk("Cu", a=3.59))]
    aluminium, copper = melting_temperatures(solids, EMT_METALS)
    assert 600 < aluminium < 1400  # measured: 933 K
    assert 900 < copper < 1800  # measured: 1358 K
    apart = AtomStructure.from_atoms(bulk("Al", a=12.0))
    assert melting_temperatures([apart], EMT_METALS) == [200.0]


def test_the_time_step_follows_the_lightest_atom():
    hydride = AtomStructure.from_atoms(bulk("LiH", "rocksalt", 4.08))
    gold = AtomStructure.from_atoms(bulk("Au"))
    assert suitable_dynamics([hydride, gold]).timestep == pytest.approx(0.5, abs=0.01)
    assert suitable_dynamics([gold]).timestep == 3.0


def test_heated_cells_have_the_temperature_and_the_volume(aluminium):
    for relative in (0.5, 2.5):
        frames = tagged(aluminium, f"crystal/md{relative:g}Tm")
        assert len(frames) == 2
        ratio = frames[0].volume / len(frames[0]) / aluminium[0].volume
        assert ratio == pytest.approx(1 + 0.05 * relative)
