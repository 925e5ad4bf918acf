"""What leaves in the formats of other programs, and comes back."""

import gzip
import pickletools
import sqlite3
from contextlib import closing

import ase.db
import ase.io
import numpy as np
import pandas
import pytest

from pyacemaker.errors import DataError
from pyacemaker.structures import AtomStructure, Dataset, Labels, LabelWeights
from pyacemaker.structures.exports import export_labels, export_structures
from pyacemaker.structures.formats import read_structures
from pyacemaker.structures.store import LabelRecord, LabelStore

COMPLETE = ("all.extxyz", "all.db", "all.pckl.gzip", "all.pkl.gz", "all.cfg")


@pytest.fixture
def structures():
    """An alloy with every kind of label and weight, a molecule, a bare atom, a slab."""
    rng = np.random.default_rng(5)
    alloy = AtomStructure(
        np.array([29, 13, 8]),
        rng.normal(scale=2.0, size=(3, 3)),
        np.diag([4.0, 5.0, 6.0]) + rng.normal(scale=0.1, size=(3, 3)),
        np.ones(3, dtype=bool),
        charge=-1,
        multiplicity=2,
        tag="007",
        source="engine 1.0",
        weight=2.5,
        labels=Labels(-1.2345678901234567, *(rng.normal(size=shape) for shape in ((3, 3), 6, 3))),
        label_weights=LabelWeights(0.5, rng.random((3, 3)), np.arange(1.0, 7.0)),
        info={"round": 3, "reason": "active set", "share": 1 / 3},
    )
    molecule = AtomStructure(
        np.array([1, 9]), rng.normal(size=(2, 3)), tag="bonds", labels=Labels(-0.0, rng.normal(size=(2, 3)))
    )
    atom = AtomStructure(np.array([6]), np.zeros((1, 3)), tag="isolated_atom", multiplicity=3)
    slab = AtomStructure(
        np.array([13]),
        np.array([[0.0, 0.0, 5.0]]),
        np.diag([2.9, 2.9, 20.0]),
        np.array([True, True, False]),
        labels=Labels(-3.0, np.zeros((1, 3)), np.arange(6) / 7),
    )
    return Dataset([alloy, molecule, atom, slab])


def same(one: AtomStructure, other: AtomStructure) -> None:
    for name in ("id", "tag", "source", "weight", "charge", "multiplicity"):
        assert getattr(one, name) == getattr(other, name), name
    assert dict(one.info) == dict(other.info)
    assert one.positions.tobytes() == other.positions.tobytes()
    assert one.cell.tobytes() == other.cell.tobytes()
    assert (one.labels is None) == (other.labels is None)
    assert (one.label_weights is None) == (other.label_weights is None)
    for part, names in (("labels", ("energy", "forces", "stress", "energies")), ("label_weights", ())):
        for name in names or ("energy", "forces", "stress"):
            if getattr(one, part) is not None:
                values = [getattr(getattr(s, part), name) for s in (one, other)]
                assert (values[0] is None) == (values[1] is None), name
                assert values[0] is None or np.array_equal(*values), name


@pytest.mark.parametrize("name", COMPLETE)
def test_a_round_trip_changes_nothing(tmp_path, structures, name):
    assert export_structures(tmp_path / name, iter(structures)) == [tmp_path / name]
    read = read_structures(tmp_path / name)
    assert len(read) == len(structures)
    for one, other in zip(structures, read, strict=True):
        same(one, other)
    before = (tmp_path / name).read_bytes()
    export_structures(tmp_path / name, read)
    if not name.endswith(".db"):  # which notes the time
        assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize("name", COMPLETE)
def test_a_write_that_fails_leaves_the_old_file(tmp_path, structures, name):
    (tmp_path / name).write_text("old")

    def failing():
        yield structures[0]
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError):
        export_structures(tmp_path / name, failing())
    assert (tmp_path / name).read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_ase_finds_labels_and_tags_in_its_database(tmp_path, structures):
    export_structures(tmp_path / "a.db", structures)
    atoms = ase.io.read(tmp_path / "a.db", index=0)
    assert atoms.get_potential_energy() == structures[0].labels.energy
    assert np.array_equal(atoms.get_forces(), structures[0].labels.forces)
    assert np.array_equal(atoms.get_stress(), structures[0].labels.stress)
    (row,) = ase.db.connect(tmp_path / "a.db").select(tag="bonds")
    assert row.formula == "FH"


def test_a_database_of_another_origin_is_read(tmp_path, structures):
    alloy = structures[0]
    with ase.db.connect(tmp_path / "b.db") as database:
        database.write(alloy.to_atoms(), key_value_pairs={"tag": "theirs", "spin": 4}, data={"x": [1]})
    (read,) = read_structures(tmp_path / "b.db")
    assert (read.tag, read.multiplicity, read.labels) == ("theirs", 4, None)


def test_pacemaker_s_columns_and_no_inner_parts_of_pandas_or_numpy(tmp_path, structures):
    labelled = Dataset([structures[0], structures[3]])
    export_structures(tmp_path / "a.pckl.gzip", labelled)
    table = pandas.read_pickle(tmp_path / "a.pckl.gzip", compression="gzip")
    assert table["energy"].tolist() == [s.labels.energy for s in labelled]
    assert np.array_equal(table["forces"][0], labelled[0].labels.forces)
    assert table["w_energy"].tolist() == [2.5 * 0.5, 1.0]
    assert [len(weights) for weights in table["w_forces"]] == [3, 1]
    assert table["ase_atoms"][0].get_chemical_symbols() == ["Cu", "Al", "O"]
    content = gzip.decompress((tmp_path / "a.pckl.gzip").read_bytes())
    strings = [arg for op, arg, _ in pickletools.genops(content) if "UNICODE" in op.name]
    modules = {text for text in strings if text.split(".")[0] in ("pandas", "numpy", "ase")}
    assert modules <= {"pandas", "pandas.core.frame", "numpy", "ase.atoms"}


def test_a_table_of_pacemaker_is_read(tmp_path, structures):
    alloy = structures[0]
    atoms = alloy.to_atoms()
    atoms.info.clear()
    columns = {"ase_atoms": [atoms], "energy_corrected": [-2.0], "forces": [alloy.labels.forces.tolist()]}
    weights = {"w_energy": [3.0], "w_forces": [[1.0, 0.0, 2.0]], "name": ["md"]}
    pandas.DataFrame({**columns, **weights}).to_pickle(
        tmp_path / "t.pckl.gzip", compression="gzip", protocol=4
    )
    (read,) = read_structures(tmp_path / "t.pckl.gzip")
    assert (read.labels.energy, read.label_weights.energy, read.tag) == (-2.0, 3.0, "md")
    assert read.label_weights.forces[:, 0].tolist() == [1.0, 0.0, 2.0]


MTP = """BEGIN_CFG
 Size
    2
 Supercell
    4.0 0.0 0.0
    0.0 4.0 0.0
    0.0 0.0 5.0
 AtomData:  id type       cartes_x      cartes_y      cartes_z           fx          fy          fz
             1    1       0.000000      0.000000      0.000000     0.100000    0.000000    0.000000
             2    0       2.000000      2.000000      2.500000    -0.100000    0.000000    0.000000
 Energy
        -7.25
 PlusStress:  xx          yy          zz          yz          xz          xy
          8.0 0.0 0.0 0.8 0.0 0.0
 Feature   elements Al Cu
 Feature   EFS_by VASP
END_CFG
"""


def test_configurations_of_mtp_codes_are_read(tmp_path):
    (tmp_path / "mtp.cfg").write_text(2 * MTP)
    read, again = read_structures(tmp_path / "mtp.cfg")
    assert read.id == again.id
    assert (read.symbols, read.labels.energy) == (["Cu", "Al"], -7.25)
    assert read.labels.stress == pytest.approx([-0.1, 0.0, 0.0, -0.01, 0.0, 0.0])  # plus = compressed there


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("END_CFG", "", "line 1: it has no END_CFG"),
        (" Feature   elements Al Cu\n", "", "no line 'Feature elements"),
        ("    2\n", "    3\n", "correct that configuration"),
        ("-7.25", "low", "could not convert"),
    ],
)
def test_a_damaged_configuration_is_named(tmp_path, old, new, message):
    (tmp_path / "mtp.cfg").write_text(MTP.replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        read_structures(tmp_path / "mtp.cfg")


@pytest.mark.parametrize("name", ["x.db", "x.pckl.gzip"])
def test_what_is_no_such_file_is_refused(tmp_path, name):
    (tmp_path / name).write_text("rubbish " * 100)
    with pytest.raises(DataError, match=f"{name} cannot be read as"):
        read_structures(tmp_path / name)


def test_lammps_data_hold_the_geometry_of_each_structure(tmp_path, structures):
    written = export_structures(tmp_path / "box.data", structures)
    assert [path.name for path in written] == [f"box-0000{k}.data" for k in range(4)]
    for path, structure in zip(written, structures, strict=True):
        assert f"id {structure.id}" in path.read_text().splitlines()[0]
        (read,) = read_structures(path)
        assert sorted(read.symbols) == sorted(structure.symbols)
        if structure.pbc.all():
            assert read.volume == pytest.approx(structure.volume)
            distances = [
                np.sort(s.to_atoms().get_all_distances(mic=True), axis=None) for s in (read, structure)
            ]
            assert np.allclose(*distances, atol=1e-9)
    assert export_structures(tmp_path / "one.lmp", structures[:1]) == [tmp_path / "one.lmp"]


def stored(directory, structures):
    store = LabelStore(directory)
    for k, structure in enumerate(structures):
        record = LabelRecord(
            key=f"{k:064x}",
            structure_id=structure.id,
            engine="engine 1.0",
            settings={},
            outcome="ok",
            started=f"2026-01-01T00:00:{k:02d}",
            reason="test set",
            geometry=LabelRecord.geometry_of(structure),
            **LabelRecord.label_fields(structure.labels),
        )
        store.put(record)
    store.flush()
    return store


def test_the_labels_of_a_run_are_exported(tmp_path, structures):
    labelled = structures.labelled()
    stored(tmp_path / "run" / "labels", labelled)
    for place in ("run", "run/labels"):
        assert export_labels(tmp_path / place, tmp_path / "a.db") == (3, [tmp_path / "a.db"])
        read = read_structures(tmp_path / "a.db")
        assert read.ids == labelled.ids
        assert {(s.source, s.info["reason"]) for s in read} == {("engine 1.0", "test set")}
        assert [s.labels.energy for s in read] == [s.labels.energy for s in labelled]


def test_labels_that_the_limits_refused_are_not_exported(tmp_path, structures):
    store = stored(tmp_path, structures.labelled())
    store.add_call(f"{0:064x}", "2026-01-01T00:00:00", "UnphysicalLabelError", "…")
    store.flush()
    with closing(sqlite3.connect(tmp_path / "labels.sqlite")) as connection:
        assert connection.execute("SELECT count(*) FROM labels").fetchone() == (3,)
    assert export_labels(tmp_path, tmp_path / "a.extxyz")[0] == 2


def test_where_there_are_no_labels(tmp_path):
    with pytest.raises(DataError, match="neither the directory of a run nor a label store"):
        export_labels(tmp_path, tmp_path / "a.db")
    LabelStore(tmp_path).get("")
    with pytest.raises(DataError, match="holds no labels yet"):
        export_labels(tmp_path, tmp_path / "a.db")


@pytest.mark.parametrize("periodic", [(True, True, False), (True, False, False), (False, False, True)])
def test_sheets_and_wires_without_all_vectors_keep_those_they_have(tmp_path, periodic):
    cell = np.array([[2.46, 0.0, 0.0], [-1.23, 2.13, 0.0], [0.0, 0.0, 2.5]]) * np.array(periodic)[:, None]
    sheet = AtomStructure(
        np.array([6, 6]), np.array([[0.0, 0.0, 0.0], [0.0, 1.42, 0.0]]), cell, np.array(periodic)
    )
    export_structures(tmp_path / "a.data", [sheet])
    found = ase.io.read(tmp_path / "a.data", format="lammps-data", atom_style="atomic")
    lengths = np.linalg.norm(found.cell, axis=1)
    for axis in np.flatnonzero(periodic):
        assert np.min(np.abs(lengths - np.linalg.norm(cell[axis]))) < 1e-6
    assert found.get_distance(0, 1, mic=False) == pytest.approx(1.42, abs=1e-6)
