import gzip
import logging
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pyacemaker.errors import DataError
from pyacemaker.structures import AtomStructure, Dataset, Labels
from pyacemaker.structures.formats import (
    read_labelled,
    read_structures,
    write_predictions,
    write_structures,
)

DATA = Path(__file__).parents[1] / "data"
HEAD = "2\nProperties=species:S:1:pos:R:3:forces:R:3 "
BODY = "\nH 0.0 0.0 0.0 0.1 0.0 0.0\nH 0.0 0.0 0.74 -0.1 0.0 0.0\n"
BARE = "\nH 0 0 0\nH 0 0 0.74\n"

coordinates = st.floats(-30.0, 30.0, allow_nan=False, width=64)
energies = st.floats(-1e6, 1e6, allow_nan=False)
words = st.text(max_size=12) | st.sampled_from(
    [
        'a "b" c',
        "it's",
        "x=1",
        "tag=",
        "007",
        "1 2",
        "T",
        "True F",
        "_JSON 1",
        "[1, 2]",
        "é σ",
        "a\nb",
        "\\",
        "{",
        "nan",
        " ",
    ]
)


@st.composite
def structures(draw) -> AtomStructure:
    n = draw(st.integers(1, 4))
    cell = np.diag(draw(arrays(np.float64, 3, elements=st.floats(2.0, 40.0))))
    cell += draw(arrays(np.float64, (3, 3), elements=st.floats(-0.5, 0.5)))
    pbc = draw(arrays(np.bool_, 3))
    if not pbc.any() and draw(st.booleans()):
        cell = np.zeros((3, 3))
    labels = None
    if draw(st.booleans()):
        stress = draw(st.none() | arrays(np.float64, 6, elements=coordinates)) if pbc.any() else None
        forces = draw(arrays(np.float64, (n, 3), elements=coordinates))
        shares = draw(st.none() | arrays(np.float64, n, elements=energies))
        labels = Labels(draw(energies), forces, stress, shares)
    return AtomStructure(
        draw(arrays(np.int64, n, elements=st.integers(1, 94))),
        draw(arrays(np.float64, (n, 3), elements=coordinates)),
        cell,
        pbc,
        charge=draw(st.integers(-3, 3)),
        multiplicity=draw(st.none() | st.integers(1, 7)),
        tag=draw(words.filter(bool)),
        source=draw(words),
        weight=draw(st.just(1.0) | st.floats(1e-3, 1e3)),
        labels=labels,
        info=draw(
            st.dictionaries(
                st.from_regex(r"[a-z]{1,4}[0-9]", fullmatch=True)
                | st.sampled_from(["a b", 'q"', "energy_x"]),
                words | st.booleans() | st.integers(-5, 5) | st.floats(-1e3, 1e3),
                max_size=3,
            )
        ),
    )


@pytest.fixture(scope="module")
def scratch(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("formats")


def write(folder: Path, text: str) -> Path:
    path = folder / "data.xyz"
    path.write_text(text, encoding="utf-8")
    return path


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(structures(), min_size=1, max_size=3))
def test_a_round_trip_changes_nothing(scratch, before):
    path = scratch / "round.xyz"
    write_structures(path, Dataset(before))
    after = read_structures(path)
    assert after.ids == [structure.id for structure in before]
    for old, new in zip(before, after, strict=True):
        for name in ("charge", "multiplicity", "tag", "source", "weight", "info"):
            assert getattr(new, name) == getattr(old, name)
        for name in ("numbers", "positions", "cell", "pbc"):
            assert np.array_equal(getattr(new, name), getattr(old, name))
        assert (new.labels is None) == (old.labels is None)
        if old.labels is not None:
            assert new.labels.energy == old.labels.energy
            for name in ("forces", "stress", "energies"):
                assert np.array_equal(getattr(new.labels, name), getattr(old.labels, name))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(structures())
def test_ase_reads_what_is_written(scratch, structure):
    path = scratch / "ase.xyz"
    write_structures(path, [structure])
    atoms = ase.io.read(path)
    assert np.array_equal(atoms.positions, structure.positions)
    assert np.array_equal(np.array(atoms.cell), structure.cell)
    assert np.array_equal(atoms.pbc, structure.pbc)
    assert str(atoms.info["tag"]) == structure.tag
    assert atoms.info["charge"] == structure.charge
    assert ("REF_energy" in atoms.info) == (structure.labels is not None)
    if structure.labels is not None:
        assert atoms.info["REF_energy"] == structure.labels.energy
        assert np.array_equal(atoms.arrays["REF_forces"], structure.labels.forces)
    if structure.labels is not None and structure.labels.stress is not None:
        assert np.array_equal(atoms.info["REF_stress"], structure.labels.stress)


@settings(max_examples=100, deadline=None)
@given(
    st.dictionaries(st.from_regex(r"[a-z]{1,6}[0-9]", fullmatch=True), words.filter(str.strip), max_size=3)
)
def test_what_ase_writes_and_reads_back_is_read_like_that(scratch, info):
    path = scratch / "from_ase.xyz"
    info = {key: value for key, value in info.items() if value.isprintable()}
    ase.io.write(path, Atoms("H", info=info), format="extxyz")
    back = ase.io.read(path).info
    kept = {key: value for key, value in back.items() if isinstance(value, str) and value == info.get(key)}
    found = read_structures(path)[0].info
    assert {key: found.get(key) for key in kept} == kept


def test_an_empty_dataset_gives_an_empty_file_that_is_read_when_allowed(tmp_path):
    path = tmp_path / "empty.xyz"
    write_structures(path, Dataset())
    assert path.read_bytes() == b""
    assert len(read_structures(path, allow_empty=True)) == 0
    with pytest.raises(DataError, match="holds no structures"):
        read_structures(path)
    with pytest.raises(DataError, match="holds no structures"):
        read_labelled(path)


def test_both_families_of_keys_are_understood():
    sn2, alloy = read_labelled(DATA / "sn2_small.xyz"), read_labelled(DATA / "cual_small.xyz")
    assert (sn2.n_labels, sn2.n_skipped, sn2.n_unlabelled) == (45, 0, 0)
    assert sn2.structures[-1].charge == -1
    assert "IsolatedAtom" in sn2.structures.tag_counts()
    assert alloy.n_labels == 14
    assert alloy.structures[-1].labels.stress is not None


def test_ase_s_calculator_results_are_labels_whatever_the_format(tmp_path):
    atoms = bulk("Cu", "fcc", a=3.5) * (1, 1, 2)
    atoms.rattle(0.05, seed=1)
    atoms.calc = EMT()
    energy, forces, stress = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    for name in ("emt.xyz", "emt.traj", "emt.json", "emt@night.traj"):
        ase.io.write(tmp_path / name, atoms)
        labels = read_labelled(tmp_path / name).structures[0].labels
        assert labels.energy == pytest.approx(energy, rel=1e-15)
        assert labels.forces == pytest.approx(forces, abs=1e-8)
        assert labels.stress == pytest.approx(stress, rel=1e-12)


def test_a_name_that_ends_in_gz_gets_a_compressed_file_with_the_same_bytes_every_time(tmp_path):
    structures = read_structures(DATA / "sn2_small.xyz")
    for name in ("a.xyz.gz", "b.xyz.gz"):
        write_structures(tmp_path / name, structures)
    packed = (tmp_path / "a.xyz.gz").read_bytes()
    assert packed == (tmp_path / "b.xyz.gz").read_bytes()
    write_structures(tmp_path / "plain.xyz", structures)
    assert gzip.decompress(packed) == (tmp_path / "plain.xyz").read_bytes()
    assert read_structures(tmp_path / "a.xyz.gz").ids == structures.ids


def test_a_gzipped_file_and_one_with_an_unknown_suffix_are_read(tmp_path):
    text = (DATA / "sn2_small.xyz").read_bytes()
    (tmp_path / "a.xyz.gz").write_bytes(gzip.compress(text))
    (tmp_path / "pool.frames").write_bytes(text)
    expected = read_structures(DATA / "sn2_small.xyz").ids
    assert read_structures(tmp_path / "a.xyz.gz").ids == expected
    assert read_structures(tmp_path / "pool.frames").ids == expected


def test_ref_keys_win_as_a_set(tmp_path):
    row = "\nH 0 0 0 {0} {1}\nH 0 0 1 {0} {1}\n"
    head = "2\nProperties=species:S:1:pos:R:3:forces:R:3:REF_forces:R:3 energy=-1 {}"
    both = write(tmp_path, head.format("REF_energy=-2") + row.format("1 0 0", "2 0 0"))
    labels = read_labelled(both).structures[0].labels
    assert (labels.energy, labels.forces[0, 0]) == (-2.0, 2.0)
    half = write(tmp_path, head.format("") + row.format("1 0 0", "2 0 0"))
    labels = read_labelled(half).structures[0].labels
    assert (labels.energy, labels.forces[0, 0]) == (-1.0, 1.0)
    mixed = write(tmp_path, HEAD + "REF_energy=-2" + BODY)
    labels = read_labelled(mixed).structures[0].labels
    assert (labels.energy, labels.forces[0, 0]) == (-2.0, 0.1)


def test_free_energy_stands_in_for_a_missing_energy(tmp_path):
    assert read_labelled(write(tmp_path, HEAD + "free_energy=-3" + BODY)).structures[0].labels.energy == -3.0
    both = write(tmp_path, HEAD + "free_energy=-3 energy=-2.9" + BODY)
    assert read_labelled(both).structures[0].labels.energy == -2.9


def test_keys_that_are_given_replace_the_usual_ones(tmp_path):
    text = HEAD.replace("forces", "dft_f").replace("2\n", '2\nLattice="9 0 0 0 9 0 0 0 9" ')
    path = write(
        tmp_path, text + 'energy=1 dft_energy=-7 stress="9 9 9 0 0 0" dft_stress="1 2 3 4 5 6"' + BODY
    )
    found = read_labelled(path, energy_key="dft_energy", forces_key="dft_f").structures[0]
    assert found.labels.energy == -7.0
    assert found.labels.stress.tolist() == [1, 2, 3, 4, 5, 6]
    assert found.info == {}
    other = read_labelled(path, energy_key="dft_energy", forces_key="dft_f", stress_key="stress")
    assert other.structures[0].labels.stress.tolist() == [9, 9, 9, 0, 0, 0]
    for reader in (read_labelled, read_structures):
        with pytest.raises(DataError, match="energies under vasp_energy"):
            reader(path, energy_key="vasp_energy")


@pytest.mark.parametrize(
    "text",
    [
        'stress="1 2 3 4 5 6"',
        'stress="1 6 5 6 2 4 5 4 3"',
        'stress="_JSON [[1, 6, 5], [6, 2, 4], [5, 4, 3]]"',
        "stress=[[1,6,5],[6,2,4],[5,4,3]]",
        "stress={1 6 5 6 2 4 5 4 3}",
    ],
)
def test_stress_may_have_six_or_nine_numbers(tmp_path, text):
    lattice = 'Lattice="9 0 0 0 9 0 0 0 9" '
    path = write(tmp_path, HEAD + lattice + "energy=1 " + text + BODY)
    assert read_labelled(path).structures[0].labels.stress.tolist() == [1, 2, 3, 4, 5, 6]


def test_a_molecule_has_no_stress(tmp_path):
    path = write(tmp_path, HEAD + 'energy=1 stress="1 2 3 4 5 6"' + BODY)
    assert read_labelled(path).structures[0].labels.stress is None


@pytest.mark.parametrize(
    "entry", ["tag= energy=-1.5", 'tag="" energy=-1.5', "energy=-1.5 tag=", "flag energy = -1.5"]
)
def test_an_empty_value_does_not_swallow_the_energy(tmp_path, entry):
    found = read_labelled(write(tmp_path, HEAD + entry + BODY)).structures[0]
    assert (found.labels.energy, found.tag) == (-1.5, "untagged")


def test_blank_lines_and_windows_line_ends_do_no_harm(tmp_path):
    frame = HEAD + "energy=-1 tag=300" + BODY
    path = tmp_path / "dos.xyz"
    path.write_bytes((frame + "\n\n" + frame + "\n").replace("\n", "\r\n").encode())
    assert [structure.tag for structure in read_labelled(path).structures] == ["300", "300"]


def test_a_lone_atom_needs_no_forces(tmp_path):
    labels = read_labelled(write(tmp_path, "1\nenergy=-13.6\nH 0 0 0\n")).structures[0].labels
    assert (labels.energy, labels.forces.tolist()) == (-13.6, [[0.0, 0.0, 0.0]])


def test_labels_that_are_not_finite_are_skipped_with_one_warning_that_counts_them(tmp_path, caplog):
    frames = [HEAD + f"energy={energy}" + BODY for energy in ("-1", "nan", "-2", "inf")]
    frames.append(HEAD + "energy=-3" + BODY.replace("-0.1", "NaN"))
    path = write(tmp_path, "".join(frames))
    with caplog.at_level(logging.WARNING):
        found = read_labelled(path)
    assert [label.energy for label in found.structures.labels] == [-1.0, -2.0]
    assert (found.n_labels, found.n_skipped) == (2, 3)
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: 3 of 5 labels hold NaN, Inf or numbers beyond 1e6 eV per atom or eV/Å and are skipped"
    ]
    assert len(read_structures(path)) == 5
    assert len(read_structures(path).labelled()) == 2


@pytest.mark.parametrize(("energy", "force"), [("1e300", "0.1"), ("-2.1e6", "0.1"), ("-1", "1e300")])
def test_absurdly_large_labels_are_skipped_like_those_that_are_not_finite(tmp_path, caplog, energy, force):
    good = HEAD + "energy=-1.9e6" + BODY  # two atoms of some heavy element
    path = write(
        tmp_path, good + HEAD + f"energy={energy}" + BODY.replace("0.1 0.0 0.0\nH", f"{force} 0.0 0.0\nH")
    )
    found = read_labelled(path)
    assert [label.energy for label in found.structures.labels] == [-1.9e6]
    assert "1 of 2 labels hold NaN, Inf or numbers beyond 1e6 eV per atom or eV/Å" in caplog.text


def test_other_names_are_pointed_out_only_when_asked_for(tmp_path, caplog):
    path = write(tmp_path, HEAD.replace("forces", "dft_forces") + "E=-1 pred_energy=2 system=methane" + BODY)
    read_structures(path)
    assert caplog.text == ""
    read_structures(path, warn_without_labels=True)
    assert "the keys E, dft_forces look like some" in caplog.text


def test_only_labels_that_are_not_finite_are_an_error(tmp_path):
    with pytest.raises(DataError, match="all 1 labels hold NaN, Inf or"):
        read_labelled(write(tmp_path, HEAD + "energy=nan" + BODY))


def test_half_labels_are_counted_and_left_out(tmp_path, caplog):
    only_energy, only_forces = "2\nenergy=-1" + BARE, HEAD + BODY
    path = write(tmp_path, HEAD + "energy=-1" + BODY + only_energy + only_forces + "2\n" + BARE)
    with caplog.at_level(logging.WARNING):
        found = read_labelled(path)
    assert (found.n_labels, found.n_unlabelled) == (1, 3)
    assert "2 of 4 structures have an energy without forces or forces without an energy" in caplog.text


def test_no_labels_is_an_error_that_names_the_keys_and_the_cure(tmp_path):
    path = write(tmp_path, "2\nProperties=species:S:1:pos:R:3:F:R:3 E_dft=-1" + BODY)
    assert len(read_structures(path)) == 1
    with pytest.raises(DataError) as caught:
        read_labelled(path)
    message = str(caught.value)
    for part in (str(path), "REF_energy", "found the keys E_dft, F", "--energy-key", "--forces-key"):
        assert part in message


def test_what_travels_with_a_structure(tmp_path):
    text = (
        'charge=-1 spin=2 config_type=md config_weight=0.5 round=3 note="two words" energy=-1 virial="1 2 3"'
    )
    found = read_structures(write(tmp_path, HEAD + text + BODY))[0]
    assert (found.charge, found.multiplicity, found.tag, found.weight) == (-1, 2, "md", 0.5)
    assert found.info == {"round": 3, "note": "two words"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2\n\nX 0 0 0\nH 0 0 1\n", "'X' is not an element"),
        ("2\n\nQq 0 0 0\nH 0 0 1\n", "'Qq' is not an element"),
        ("1\nProperties=Z:I:1:pos:R:3\n0 0 0 0\n", "not an element"),
        ("1\n\nH 0 0 nan\n", "NaN or Inf"),
        ("1\n\nH 0 0\n", "3 columns where .* needs 4"),
        ("1\n\nH 0 0 zero\n", "could not convert"),
        ("2\n\nH 0 0 0\n", "frame of 2 atoms has 1 atom lines"),
        ("0\n\n", "frame of 0 atoms"),
        ("1\n\nH 0 0 0\nH 0 0 1\n", "line 4: expected a number of atoms but found 'H 0 0 1'"),
        ('1\nLattice="1 2 3"\nH 0 0 0\n', "correct that frame"),
        ('1\npbc="T F F"\nH 0 0 0\n', "periodic along lattice vector 0, which is zero"),
        ("1\nenergy=minus\nH 0 0 0\n", "energy is 'minus' instead of a number"),
        ("1\ncharge=0.5\nH 0 0 0\n", "charge is 0.5 instead of a whole number"),
        ('1\nLattice="9 0 0 0 9 0 0 0 9" energy=1 stress="1 2"\nH 0 0 0\n', "stress has 2 numbers"),
        ("1\nProperties=species:S:1:forces:R:3\nH 0 0 0\n", "does not name pos"),
        ("1\nProperties=species:S:1:pos:Q:3\nH 0 0 0\n", "'Q' is not understood"),
        ("not a structure\n", "expected a number of atoms"),
        ("", "holds no structures"),
        ("\n\n", "holds no structures"),
    ],
)
def test_a_damaged_file_is_refused_by_name_and_reason(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(DataError, match=message) as caught:
        read_structures(path)
    assert str(path) in str(caught.value)


def test_what_is_no_structure_file_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("hello\n")
    (tmp_path / "model.bin").write_bytes(bytes(range(256)))
    (tmp_path / "bytes.xyz").write_bytes(b"1\n\xff\xfe\nH 0 0 0\n")
    (tmp_path / "broken.cif").write_text("data_\nloop_\n_cell")
    (tmp_path / "broken.xyz.gz").write_bytes(b"1\n\nH 0 0 0\n")
    for name in ("notes.txt", "model.bin", "bytes.xyz", "broken.cif", "broken.xyz.gz"):
        with pytest.raises(DataError, match=name):
            read_structures(tmp_path / name)
    with pytest.raises(DataError, match="does not exist"):
        read_structures(tmp_path / "absent.xyz")
    with pytest.raises(DataError, match="is a directory"):
        read_structures(tmp_path)


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "pool.xyz"
    write_structures(path, Dataset([AtomStructure.from_atoms(molecule("H2"))]))
    before = path.read_bytes()

    def failing():
        yield AtomStructure.from_atoms(molecule("H2O"))
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_structures(path, failing())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def predictions(n: int) -> Labels:
    return Labels(-0.1 - n, np.full((n, 3), 0.3), np.arange(6.0))


def test_predictions_stand_beside_everything_the_file_had(tmp_path):
    path = write(
        tmp_path,
        HEAD.replace("forces:R:3", "forces:R:3:mag:R:1")
        + 'energy=-1 my_key="a b"'
        + "\nH 0 0 0 .1 0 0 5\nH 0 0 1 -.1 0 0 6\n",
    )
    out = tmp_path / "out.xyz"
    write_predictions(out, path, [predictions(2)])
    atoms = ase.io.read(out)
    assert atoms.info["pred_energy"] == -2.1
    assert atoms.info["pred_stress"].tolist() == [0, 1, 2, 3, 4, 5]
    assert np.array_equal(atoms.arrays["pred_forces"], np.full((2, 3), 0.3))
    assert atoms.info["my_key"] == "a b"
    assert atoms.arrays["mag"].tolist() == [5, 6]
    assert atoms.get_potential_energy() == -1
    assert atoms.get_forces()[0, 0] == 0.1


def test_predictions_of_structures_and_of_atoms(tmp_path):
    atoms = molecule("H2O")
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.ones((3, 3)), dipole=np.zeros(3))
    labels = Labels(-1.0, np.ones((3, 3)))
    for given_one in (atoms, AtomStructure.from_atoms(atoms, labels=labels)):
        write_predictions(tmp_path / "out.xyz", [given_one], [predictions(3)])
        found = read_labelled(tmp_path / "out.xyz").structures[0]
        assert found.labels.energy == -1.0
        assert found.info["pred_energy"] == -3.1
    with pytest.raises(ValueError):
        write_predictions(tmp_path / "other.xyz", [atoms], [])
    assert not (tmp_path / "other.xyz").exists()
