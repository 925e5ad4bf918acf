import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from ace_models import CORES, cluster, make_model

from pyacemaker.ace.evaluator import evaluate
from pyacemaker.ace.yace import read_yace, write_yace, yace_text
from pyacemaker.errors import PotentialFormatError

GOLDEN = sorted((Path(__file__).parent.parent / "data" / "ace").glob("*.yace"))
SMALL = next(path for path in GOLDEN if path.stem == "cu-zbl-core")


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_what_is_written_reads_back_the_same(path, tmp_path):
    model = read_yace(path)
    write_yace(model, tmp_path / "copy.yace")
    copy = read_yace(tmp_path / "copy.yace")
    assert yace_text(copy) == yace_text(model)
    for key, bond in model.bonds.items():
        assert np.array_equal(copy.bonds[key].coefficients, bond.coefficients)
        assert copy.bonds[key].inner_cutoff == bond.inner_cutoff
    for ours, theirs in zip(copy.all_functions(), model.all_functions(), strict=True):
        assert np.array_equal(ours.ctildes, theirs.ctildes)
        assert np.array_equal(ours.ms_combs, theirs.ms_combs)
        assert (ours.mus, ours.ns, ours.ls) == (theirs.mus, theirs.ns, theirs.ls)


@pytest.mark.parametrize("core", CORES)
def test_evaluation_survives_the_file_bit_by_bit(core, tmp_path):
    model = make_model("SBessel", core=core)
    write_yace(model, tmp_path / "copy.yace")
    numbers, positions = cluster(model)
    before = evaluate(model, numbers, positions, np.zeros((3, 3)), False)
    after = evaluate(read_yace(tmp_path / "copy.yace"), numbers, positions, np.zeros((3, 3)), False)
    assert before.energies.tobytes() == after.energies.tobytes()
    assert before.forces.tobytes() == after.forces.tobytes()


def test_same_model_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_yace(make_model(seed=3), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_the_file_has_exactly_the_keys_of_the_format(tmp_path):
    text = yace_text(make_model(core="none"))
    quoted = re.sub(r"^  (\[\d+, \d+\]):", r'  "\1":', text, flags=re.MULTILINE)
    content = yaml.safe_load(quoted)
    assert list(content) == ["elements", "E0", "deltaSplineBins", "embeddings", "bonds", "functions"]
    assert list(content["bonds"]) == ["[0, 0]", "[0, 1]", "[1, 0]", "[1, 1]"]
    bond = content["bonds"]["[0, 1]"]
    expected = "nradmax lmax nradbasemax radbasename radparameters radcoefficients prehc lambdahc rcut dcut"
    assert list(bond) == [*expected.split(), "rcut_in", "dcut_in", "inner_cutoff_type"]
    assert bond["inner_cutoff_type"] == "distance"
    expected = "ndensity FS_parameters npoti rho_core_cutoff drho_core_cutoff"
    assert list(content["embeddings"][0]) == expected.split()
    function = content["functions"][1][-1]
    expected = "mu0 rank ndensity num_ms_combs mus ns ls ms_combs ctildes"
    assert list(function) == expected.split()
    assert len(function["ms_combs"]) == function["rank"] * function["num_ms_combs"]
    assert all(isinstance(value, float) for value in function["ctildes"])


def test_a_species_without_functions_is_listed(tmp_path):
    model = make_model()
    write_yace(replace(model, functions={0: model.functions[0], 1: ()}), tmp_path / "x.yace")
    assert "  1: []" in (tmp_path / "x.yace").read_text()
    assert read_yace(tmp_path / "x.yace").functions[1] == ()


def test_symbols_that_yaml_takes_for_booleans(tmp_path):
    write_yace(make_model(elements=("N", "Y")), tmp_path / "x.yace")
    assert read_yace(tmp_path / "x.yace").elements == ("N", "Y")
    assert yaml.safe_load((tmp_path / "x.yace").read_text().splitlines()[0])["elements"] == ["N", "Y"]
    bare = (tmp_path / "x.yace").read_text().replace('"N"', "N").replace('"Y"', "Y")
    (tmp_path / "y.yace").write_text(bare)
    assert read_yace(tmp_path / "y.yace").elements == ("N", "Y")


def test_tiny_and_huge_numbers_keep_every_bit(tmp_path):
    model = make_model()
    values = np.array([1e-17, -123456789012345680.0])
    write_yace(replace(model, e0=values), tmp_path / "x.yace")
    assert read_yace(tmp_path / "x.yace").e0.tolist() == values.tolist()


def test_a_missing_core_type_means_density(tmp_path):
    text = SMALL.read_text()
    (tmp_path / "x.yace").write_text(re.sub(r", inner_cutoff_type: \w+", "", text))
    assert read_yace(tmp_path / "x.yace").bonds[0, 0].inner_cutoff == "density"


def test_numbers_that_are_not_finite_are_not_written(tmp_path):
    path = tmp_path / "x.yace"
    path.write_text("the old file")
    with pytest.raises(ValueError, match="nan"):
        write_yace(replace(make_model(), e0=np.array([0.0, np.nan])), path)
    assert path.read_text() == "the old file"


@pytest.mark.parametrize(
    ("pattern", "replacement", "message"),
    [
        (r"rcut: 7", "rcat: 7", r"'rcut' at bonds \[0, 0\]"),
        (r"radbasename: \w+", "radbasename: Splines", "bonds.*'Splines' is unknown; expected one of ChebExp"),
        (r"inner_cutoff_type: \w+", "inner_cutoff_type: hard", "'hard' is unknown"),
        (r"npoti: \w+", "npoti: Tanh", "embeddings 0: embedding 'Tanh' is unknown"),
        (r"E0: \[0\]", "E0: [0, 1]", "E0 has shape"),
        (r"E0: \[0\]", "E0: [.nan]", "finite numbers"),
        (r"elements: \[Cu\]", "elements: Cu", "list of chemical symbols"),
        (r"elements: \[Cu\]", "elements: [Cu, Ni]", "lacks the key 1 at embeddings"),
        (r"elements: \[Cu\]\n", "", "lacks the key 'elements'"),
        (r"radcoefficients: \[\[\[", "radcoefficients: [[[1.0, ", "radcoefficients|inhomogeneous"),
        (r"lmax: 2", "lmax: 3", r"radcoefficients have shape \(3, 3, 15\)"),
        (r"rank: 2", "rank: 3", "functions 0, number 15: rank is 3"),
        (r"ms_combs: \[0\]", "ms_combs: [0, 0]", "functions 0, number 0"),
        (r"ns: \[1\]", "ns: [99]", "exceeds n = 15"),
        (r"ls: \[0\]", "ls: [-1]", "functions 0, number 0|exceeds"),
        (r"dcut: 0.01", "dcut: 9", "0 <= dcut <= rcut"),
        (r"bonds:", "bonds: [1]\nother:", "expected a mapping by species"),
        (r"FS_parameters: \[1, ", "FS_parameters: [", "3 embedding parameters"),
    ],
)
def test_damage_is_named_with_the_file_and_the_key(pattern, replacement, message, tmp_path):
    text, count = re.subn(pattern, replacement, SMALL.read_text(), count=1)
    assert count == 1
    path = tmp_path / "damaged.yace"
    path.write_text(text)
    with pytest.raises(PotentialFormatError, match=rf"(?s)damaged\.yace.*({message})"):
        read_yace(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"elements: [",
        b"\x80\x04\x95pickle\x00",
        b"just words",
        b"3\nlattice\nH 0 0 0\n",
        b"{a: b}: 1",
        b"- 1",
    ],
)
def test_foreign_files_are_refused(content, tmp_path):
    path = tmp_path / "foreign.yace"
    path.write_bytes(content)
    with pytest.raises(PotentialFormatError, match=r"foreign\.yace"):
        read_yace(path)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_cut_off_files_are_refused(part, tmp_path):
    text = SMALL.read_text()
    path = tmp_path / "short.yace"
    path.write_text(text[: int(part * len(text))])
    with pytest.raises(PotentialFormatError, match=r"short\.yace"):
        read_yace(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    for path in (tmp_path / "nowhere.yace", tmp_path):
        with pytest.raises(PotentialFormatError, match=re.escape(str(path))):
            read_yace(path)
