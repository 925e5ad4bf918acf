import numpy as np
import pytest
from ase.build import molecule
from ase_potential import AsePotential
from pydantic import TypeAdapter, ValidationError
from scipy.spatial.distance import cdist

from pyacemaker.errors import ConfigError, DataError
from pyacemaker.generators import AnyGenerator, ReactionGenerator
from pyacemaker.generators.anchors import REACTION_ANCHORS
from pyacemaker.generators.bonds import bond_length, bonds_of
from pyacemaker.generators.poses import posed
from pyacemaker.generators.reaction_path import (
    Reaction,
    reaction_path,
    resampled,
    transition_state,
)
from pyacemaker.selection.filters import closest_fraction
from pyacemaker.structures import AtomStructure, Dataset
from pyacemaker.structures.formats import write_structures

X, C, Y = 0, 1, 5  # nucleophile, carbon, leaving group


def complex_of(nucleophile, leaving, x_c, c_y, tag):
    """X⁻···CH3Y on the z axis; the hydrogens lean away from the nearer of X and Y."""
    lean = -0.33 if c_y < x_c else 0.35
    angle = np.arange(3) * 2 * np.pi / 3
    hydrogens = np.stack([1.03 * np.cos(angle), 1.03 * np.sin(angle), np.full(3, lean)], axis=1)
    positions = np.array([[0, 0, -x_c], [0, 0, 0], *hydrogens, [0, 0, c_y]])
    numbers = [nucleophile, 6, 1, 1, 1, leaving]
    return AtomStructure(np.array(numbers), positions, charge=-1, tag=tag)


REACTANT = complex_of(9, 17, 2.46, 1.85, "reactant")
PRODUCT = complex_of(9, 17, 1.384, 3.06, "product")


def xtb():
    from tblite.ase import TBLite

    # warm electrons, or fragments far apart do not converge
    return TBLite(method="GFN2-xTB", charge=-1, multiplicity=1, electronic_temperature=3000.0, verbosity=0)


@pytest.fixture(scope="module")
def teacher():
    return AsePotential(xtb, ["C", "Cl", "F", "H"])


@pytest.fixture(scope="module")
def ends(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ends")
    for structure in (REACTANT, PRODUCT):
        write_structures(folder / f"{structure.tag}.xyz", Dataset([structure]))
    return folder


def generator(ends, **settings):
    small = {
        "n_path": 7, "neb_steps": 2, "n_path_rattles": 8, "grid_points": 4, "n_rattles": 2,
        "separations": (2.5, 6.0), "n_orientations": 2, "md_temperatures": (300.0, 600.0), "md_frames": 3,
        "md_interval": 3,
    }  # fmt: skip
    return ReactionGenerator(
        reactant=ends / "reactant.xyz", product=ends / "product.xyz", **{**small, **settings}
    )


@pytest.fixture(scope="module")
def candidates(ends, teacher):
    return generator(ends).generate(teacher, np.random.default_rng(0))


def test_every_kind_of_candidate_is_made(candidates):
    counts = candidates.tag_counts()
    assert list(counts)[:3] == list(REACTION_ANCHORS)
    assert [counts[tag] for tag in REACTION_ANCHORS] == [1, 1, 1]
    assert set(counts) == {
        *REACTION_ANCHORS,
        "path",
        "path_rattle",
        "grid",
        "rattle",
        "fragments",
        "md300",
        "md600",
        "mode",
    }
    assert counts["fragments"] == 8
    assert counts["mode"] > 40  # of 72: twelve vibrations, both ways, of three anchors
    assert counts["md300"] == 9
    assert len(set(candidates.ids)) == len(candidates)


def test_every_candidate_is_sane_and_carries_the_charge(candidates):
    for structure in candidates:
        assert np.isfinite(structure.positions).all()
        assert closest_fraction(structure) >= 0.6
        assert structure.charge == -1
        assert structure.labels is None
        assert structure.symbols == ["F", "C", "H", "H", "H", "Cl"]


def test_same_seed_same_candidates(ends, teacher, candidates):
    assert generator(ends).generate(teacher, np.random.default_rng(0)).ids == candidates.ids


def test_the_product_is_relaxed_and_the_reactant_keeps_its_bonds(candidates, teacher):
    reactant, product, ts = candidates[:3]
    # this teacher has no minimum for F⁻···CH3Cl, so the forming bond is held at the length of the file
    assert bond_length(reactant.positions, (X, C)) == pytest.approx(2.46)
    assert bonds_of(reactant) == bonds_of(REACTANT)
    assert np.abs(teacher.evaluate([product])[0].forces).max() < 0.05
    assert bond_length(reactant.positions, (C, Y)) < bond_length(ts.positions, (C, Y))
    assert bond_length(ts.positions, (C, Y)) < bond_length(product.positions, (C, Y))


def test_the_grid_spans_both_bonds_and_keeps_the_methyl_group(ends, teacher):
    settings = generator(ends, grid_points=5, grid_range=(0.9, 2.0))
    reaction = settings.reaction()
    path = reaction_path(reaction, teacher, 7, neb_steps=0)
    grid = settings._grid(reaction, path)
    lengths = [(bond_length(s.positions, (C, Y)), bond_length(s.positions, (C, X))) for s in grid]
    stretches = np.linspace(0.9, 2.0, 5)
    expected = [(b * 1.85, f * 1.384) for b in stretches for f in stretches]
    assert np.allclose(lengths, expected, atol=1e-4)
    for structure in grid:
        hydrogens = np.linalg.norm(structure.positions[2:5] - structure.positions[C], axis=1)
        assert np.all((hydrogens > 0.95) & (hydrogens < 1.2))


def test_the_path_inverts_the_umbrella_without_collisions(ends, teacher):
    reaction = generator(ends).reaction().relaxed(teacher)
    path = reaction_path(reaction, teacher, 15, neb_steps=0)
    heights = []
    for image in path:
        assert closest_fraction(image) > 0.9
        axis = image.positions[Y] - image.positions[X]
        hydrogens = image.positions[2:5].mean(axis=0) - image.positions[C]
        heights.append(hydrogens @ axis / np.linalg.norm(axis))
    assert heights[0] < -0.25 < 0.25 < heights[-1]
    assert np.all(np.diff(heights) > -0.02)


def test_an_identity_reaction_has_its_transition_state_in_the_middle(teacher):
    reactant = complex_of(17, 17, 3.0, 1.83, "reactant")
    mirrored = np.array([[0, 0, -1.83], [0, 0, 0], *(reactant.positions[2:5] * [1, 1, -1]), [0, 0, 3.0]])
    reaction = Reaction.between(reactant, reactant.replace(positions=mirrored, tag="product"))
    reaction = reaction.relaxed(teacher)
    path = reaction_path(reaction, teacher, 11, neb_steps=20)
    energies = np.array([labels.energy for labels in teacher.evaluate(path)])
    ts = transition_state(reaction, path, energies)
    assert ts.tag == "ts"
    first, second = (bond_length(ts.positions, (C, atom)) for atom in (X, Y))
    assert first == pytest.approx(second, abs=0.05)
    assert 2.1 < first < 2.5  # 2.3 Å in the literature
    assert 0.2 < energies.max() - energies[0] < 1.0  # eV above the ion-dipole complex
    assert energies[0] == pytest.approx(energies[-1], abs=0.02)


def test_the_transition_state_is_the_highest_interior_maximum():
    reaction = Reaction.between(REACTANT, PRODUCT)
    images = resampled(np.array([REACTANT.positions, PRODUCT.positions]), 9)
    path = Dataset(REACTANT.replace(positions=image) for image in images)
    assert transition_state(reaction, path, np.array([9.0, 1, 2, 3, 2, 5, 1, 0, 0])).id == path[5].id
    downhill = transition_state(reaction, path, np.arange(9.0, 0.0, -1.0))
    stretch = [
        abs(bond_length(s.positions, (C, Y)) / 1.85 - bond_length(s.positions, (C, X)) / 1.384) for s in path
    ]
    assert downhill.id == path[int(np.argmin(stretch))].id


def test_resampling_spaces_images_equally_along_the_chain():
    corner = np.array([[[0.0, 0, 0]], [[1.0, 0, 0]], [[1.0, 5.0, 0]]])
    found = resampled(corner, 7)[:, 0]
    assert np.allclose(found[:, 0], [0, 1, 1, 1, 1, 1, 1])
    assert np.allclose(found[:, 1], [0, 0, 1, 2, 3, 4, 5])


def test_fragments_come_to_the_separation_asked_for_and_stay_rigid():
    rng = np.random.default_rng(0)
    parts = [np.array([0]), np.array([1, 2, 3, 4, 5])]
    directions = []
    for separation in (2.2, 4.0, 8.0):
        positions = posed(REACTANT.positions, parts, separation, rng)
        distance = cdist(positions, positions)
        assert distance[0, 1:].min() == pytest.approx(separation)
        before = cdist(REACTANT.positions[1:], REACTANT.positions[1:])
        assert np.allclose(distance[1:, 1:], before)
        directions.append(positions[1] - positions[Y])
    assert abs(np.dot(directions[0], directions[1])) < 0.99 * 1.85**2


def test_bonds_follow_from_the_ends_and_point_outwards():
    reaction = Reaction.between(REACTANT, PRODUCT)
    assert reaction.breaking == ((C, Y),)
    assert reaction.forming == ((C, X),)
    assert reaction.kept_bonds == {(C, 2), (C, 3), (C, 4)}


def test_ends_that_do_not_fit_together():
    with pytest.raises(DataError, match="same atoms in the same order"):
        Reaction.between(REACTANT, complex_of(17, 9, 1.38, 3.06, "product"))
    with pytest.raises(DataError, match="charge -1 and multiplicity None, the product 0"):
        Reaction.between(REACTANT, PRODUCT.replace(charge=0))
    with pytest.raises(DataError, match="periodic"):
        Reaction.between(REACTANT, PRODUCT.replace(pbc=np.ones(3, dtype=bool), cell=9 * np.eye(3)))
    with pytest.raises(ConfigError, match="same bonds"):
        Reaction.between(REACTANT, REACTANT)
    with pytest.raises(ConfigError, match=r"\[1, 6\] names no pair"):
        Reaction.between(REACTANT, PRODUCT, breaking=[(1, 6)])
    with pytest.raises(ConfigError, match=r"\[2, 2\] names no pair"):
        Reaction.between(REACTANT, PRODUCT, forming=[(2, 2)])


def test_settings_override_the_files(ends):
    reaction = generator(ends, charge=1, multiplicity=3, breaking=((1, 2),)).reaction()
    assert (reaction.reactant.charge, reaction.product.multiplicity) == (1, 3)
    assert reaction.breaking == ((1, 2),)


def test_the_config_finds_its_files_and_counts_them_by_content(ends, tmp_path):
    settings = {"kind": "reaction", "reactant": "reactant.xyz", "product": "product.xyz"}
    union = TypeAdapter(AnyGenerator)
    loaded = union.validate_python(settings, context={"base_dir": ends})
    assert isinstance(loaded, ReactionGenerator)
    assert loaded.reaction().reactant.id == REACTANT.id
    with pytest.raises(ValidationError, match=r"reactant\.xyz does not exist"):
        union.validate_python(settings, context={"base_dir": tmp_path})
    for structure in (REACTANT, PRODUCT):
        write_structures(tmp_path / f"{structure.tag}.xyz", Dataset([structure]))
    copied = union.validate_python(settings, context={"base_dir": tmp_path})
    assert copied.fingerprint() == loaded.fingerprint()
    write_structures(tmp_path / "product.xyz", Dataset([PRODUCT.replace(charge=0)]))
    assert copied.fingerprint() != loaded.fingerprint()


def test_a_geodesic_comes_nearer_to_the_band_than_it_started(ends, teacher):
    reaction = generator(ends).reaction()

    def barrier(interpolation):
        path = reaction_path(reaction, teacher, 13, 0, interpolation)
        assert bonds_of(path[0]) == bonds_of(REACTANT)
        assert bonds_of(path[-1]) == bonds_of(PRODUCT)
        return max(labels.energy for labels in teacher.evaluate(path))

    assert barrier("geodesic") < barrier("idpp") + 0.05


def test_bonds_that_turn_are_scanned(teacher, tmp_path):
    peroxide = molecule("H2O2")
    reactant, product = peroxide.copy(), peroxide.copy()
    hydrogen = peroxide.symbols.indices()["H"][0]
    product.positions[hydrogen] += 1.5 * (product.positions[hydrogen] - product.positions.mean(axis=0))
    for name, atoms in (("reactant", reactant), ("product", product)):
        write_structures(tmp_path / f"{name}.xyz", Dataset([AtomStructure.from_atoms(atoms)]))
    made = generator(tmp_path)._torsions(Dataset([AtomStructure.from_atoms(reactant)]))
    assert [structure.tag for structure in made] == ["torsion"] * 5
