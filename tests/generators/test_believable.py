import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, graphene, molecule
from ase.io import write

from pyacemaker.errors import ConfigError, DataError
from pyacemaker.generators import AlloyGenerator, CrystalGenerator, MeltGenerator

TEACHER = None  # nothing is asked of it before the inputs are checked


def crystal_file(folder, atoms):
    write(folder / "cell.extxyz", atoms)
    return folder / "cell.extxyz"


def refused(generator, error, message):
    """Both before a run and in it."""
    with pytest.raises(error, match=message):
        generator.inputs()
    with pytest.raises(error, match=message):
        generator.generate(TEACHER, np.random.default_rng(0))


@pytest.mark.parametrize(
    "make",
    [
        lambda path: CrystalGenerator(structure=path),
        lambda path: AlloyGenerator(elements=("Cu", "Au"), structure=path),
    ],
)
def test_atoms_that_overlap_are_named(tmp_path, make):
    atoms = bulk("Cu", cubic=True)
    atoms.positions[2] = atoms.positions[1] + [0.3, 0, 0]
    path = crystal_file(tmp_path, atoms)
    refused(
        make(path), DataError, r"cell.extxyz: the atoms Cu 1 and Cu 2 .*are 0.30 Å apart, nearer than 1.58"
    )


def test_a_cell_smaller_than_an_atom(tmp_path):
    path = crystal_file(tmp_path, bulk("Cu", "fcc", a=1.0))
    refused(CrystalGenerator(structure=path), DataError, "Cu 0 and its own image .* are 0.71 Å apart")
    refused(CrystalGenerator(formula="Mg", c_over_a=0.1), DataError, "the a and c_over_a that are given")


def test_a_molecule_whose_atoms_overlap_makes_no_liquid(tmp_path):
    water = molecule("H2O")
    water.positions[1] = water.positions[0]
    write(tmp_path / "water.xyz", water)
    refused(MeltGenerator(structure=tmp_path / "water.xyz"), DataError, "O 0 and H 1 .*0.00 Å apart")


@pytest.mark.parametrize("a", [40.0, 0.5, 2.3, 6.8])
def test_lattice_constants_that_the_element_cannot_have(a):
    refused(CrystalGenerator(formula="Al", a=a), ConfigError, rf"a = {a:g} Å is far .* about 4.05 Å")


@pytest.mark.parametrize("a", [3.0, 3.5, 5.0, 6.0])
def test_compressed_and_stretched_cells_are_allowed(a):
    assert CrystalGenerator(formula="Al", a=a).inputs()[0].volume == pytest.approx(a**3 / 4)


def test_a_file_in_which_all_atoms_are_alone(tmp_path):
    path = crystal_file(tmp_path, bulk("Al", "fcc", a=40.0))
    refused(CrystalGenerator(structure=path), DataError, r"cell.extxyz: no two atoms .* about 17 Å³")


def test_empty_space_around_atoms_that_are_bound_is_no_mistake(tmp_path):
    layer = graphene(vacuum=12.0)
    layer.pbc = True
    argon = bulk("Ar", "fcc", a=5.26)
    boxed = Atoms("N2", [[0, 0, 0], [0, 0, 1.1]], cell=[9, 9, 9], pbc=True)
    for atoms in (layer, argon, boxed):
        found = CrystalGenerator(structure=crystal_file(tmp_path, atoms)).inputs()
        assert found[0].volume == pytest.approx(atoms.get_volume())


@pytest.mark.parametrize("density", [1e-4, 0.2, 15.0, 200.0])
def test_densities_that_a_melt_cannot_have(density):
    message = rf"density of .* × {density:.3g} g/cm³ is far .* of Al .* about 2.43 g/cm³"
    refused(MeltGenerator(formula="Al", density=density), ConfigError, message)


def test_densities_are_checked_with_their_factors_and_in_files(tmp_path):
    refused(MeltGenerator(formula="Al", densities=(1.0, 9.0)), ConfigError, "9 × 2.43")
    path = crystal_file(tmp_path, bulk("Al", "fcc", a=40.0))
    refused(MeltGenerator(structure=path), ConfigError, "about 2.43 g/cm³ .* the cell of the file")


@pytest.mark.parametrize(
    ("formula", "density"),
    [("H2O", 1.0), ("CO2", 1.1), ("NaCl", 1.5), ("SiO2", 2.2), ("Cs", 1.8), ("NH3", 0.7)],
)
def test_densities_of_real_liquids_are_allowed(formula, density):
    assert len(MeltGenerator(formula=formula, density=density).inputs()) == 1
