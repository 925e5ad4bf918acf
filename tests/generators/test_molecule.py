import numpy as np
import pytest
from ase.build import bulk, molecule
from ase_potential import AsePotential
from pydantic import TypeAdapter, ValidationError

from pyacemaker.errors import DataError
from pyacemaker.generators import AnyGenerator, MoleculeGenerator
from pyacemaker.generators.bonds import bonds_of, fragments
from pyacemaker.generators.molecule import known_molecules, ways_apart
from pyacemaker.selection.filters import closest_fraction
from pyacemaker.structures import AtomStructure, Dataset
from pyacemaker.structures.formats import write_structures


def xtb():
    from tblite.ase import TBLite

    return TBLite(method="GFN2-xTB", electronic_temperature=3000.0, verbosity=0)


XTB = AsePotential(xtb, ["C", "H", "O"])
SMALL = {"md_frames": 2, "md_interval": 3, "md_temperatures": (300.0,), "n_rattles": 3, "n_thermal": 4,
         "stretch_points": 4, "n_orientations": 1, "torsion_angles": 4, "n_conformers": 5,
         "mode_energies": (0.1,)}  # fmt: skip


def made(seed=1, **settings):
    return MoleculeGenerator(**{**SMALL, **settings}).generate(XTB, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def methanol():
    return made(molecule="CH3OH")


def test_every_kind_of_candidate_is_made(methanol):
    counts = methanol.tag_counts()
    tags = ("minimum", "mode", "thermal", "rattle", "torsion", "stretch", "fragments", "md300")
    assert set(counts) == {f"molecule/{tag}" for tag in tags}
    assert counts["molecule/minimum"] == 1
    assert counts["molecule/mode"] == 24
    assert counts["molecule/thermal"] == 8
    assert counts["molecule/rattle"] >= 6
    assert counts["molecule/torsion"] == 3
    assert counts["molecule/md300"] == 2
    assert len(set(methanol.ids)) == len(methanol)
    for structure in methanol:
        assert closest_fraction(structure) >= 0.6
        assert structure.labels is None
        assert structure.formula == "CH4O"


def test_the_minimum_is_one(methanol):
    forces = XTB.evaluate([methanol[0]])[0].forces
    assert np.abs(forces).max() < 0.05
    energies = [labels.energy for labels in XTB.evaluate(methanol)]
    assert np.argmin(energies) == 0


def test_fragments_are_apart_and_whole(methanol):
    apart = methanol.filter(lambda structure: structure.tag == "molecule/fragments")
    assert len(apart) >= 6
    for structure in apart:
        assert len(fragments(6, bonds_of(structure))) == 2


def test_same_seed_same_candidates_and_another_seed_others(methanol):
    assert made(molecule="CH3OH").ids == methanol.ids
    other = made(molecule="CH3OH", seed=2)
    assert other.ids != methanol.ids
    assert other.tag_counts().keys() == methanol.tag_counts().keys()


@pytest.mark.parametrize(
    ("name", "multiplicity"), [("O2", 3), ("CH2_s3B1d", 3), ("CH2_s1A1d", None), ("NO", 2)]
)
def test_named_molecules_have_the_spin_of_their_ground_state(name, multiplicity):
    assert [s.multiplicity for s in MoleculeGenerator(molecule=name).inputs()] == [multiplicity]


@pytest.mark.parametrize("name", ["H", "H2", "CO2"])
def test_atoms_and_linear_molecules(name):
    found = made(molecule=name)
    assert found[0].tag == "molecule/minimum"
    assert (len(found) == 1) == (name == "H")


def test_a_formula_stands_for_all_its_isomers():
    assert sorted(len(bonds_of(s)) for s in known_molecules("C2H6O")) == [8, 8]
    assert len(known_molecules("CH3CH2OH")) == 1
    assert len(known_molecules("OH2")) == 1
    minima = made(molecule="C2H6O", md_frames=0).filter(lambda s: s.tag == "molecule/minimum")
    assert len(minima) == 2


def test_neither_name_nor_formula_nor_both_sources(tmp_path):
    for settings in ({"molecule": "unobtainium"}, {"molecule": "C31H64"}, {}, {"molecule": "!"}):
        with pytest.raises(ValidationError, match="give"):
            TypeAdapter(AnyGenerator).validate_python({"kind": "molecule", **settings})


def test_a_file_with_charge_and_spin(tmp_path):
    path = tmp_path / "oh.xyz"
    write_structures(path, Dataset([AtomStructure.from_atoms(molecule("OH"), charge=1, multiplicity=3)]))
    assert {(s.charge, s.multiplicity) for s in MoleculeGenerator(structure=path).inputs()} == {(1, 3)}
    changed = MoleculeGenerator(structure=path, charge=-1, multiplicity=1).inputs()[0]
    assert (changed.charge, changed.multiplicity, changed.labels) == (-1, 1, None)


def test_a_crystal_is_refused(tmp_path):
    write_structures(tmp_path / "cu.xyz", Dataset([AtomStructure.from_atoms(bulk("Cu"))]))
    with pytest.raises(DataError, match=r"not periodic.*crystal generator"):
        MoleculeGenerator(structure=tmp_path / "cu.xyz").inputs()


def test_a_complex_comes_apart_into_its_molecules_and_a_ring_stays():
    water = molecule("H2O")
    two = water.copy()
    two.extend(water)
    two.positions[3:] += np.array([3.0, 0.0, 0.0])
    assert [[list(p) for p in parts] for parts in ways_apart(AtomStructure.from_atoms(two))] == [
        [[0, 1, 2], [3, 4, 5]]
    ]
    ring = AtomStructure.from_atoms(molecule("C3H6_D3h"))
    assert len(ways_apart(ring)) == 6  # a hydrogen each
