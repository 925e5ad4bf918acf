"""Damaged, foreign and unusual `.yace` files: a clear error, or the potential that was meant."""

import copy
import math
import re

import numpy as np
import pytest
import yaml
from ace_models import make_model
from hypothesis import given, settings
from hypothesis import strategies as st

from pyacemaker.ace.plain_yaml import parse
from pyacemaker.ace.yace import read_yace, write_yace, yace_text
from pyacemaker.errors import PotentialFormatError

TEXT = yace_text(make_model("ChebPow", core="distance", max_rank=2, seed=5))
CONTENT = parse(TEXT)


def written(content, path, flow=None):
    """A file with this content. flow: None for YAML's own choice, False for block style throughout."""
    path.write_text(yaml.dump(content, Dumper=_Dumper, sort_keys=False, default_flow_style=flow, width=10000))
    return path


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):
    """Writes tuples as lists, keys included, and texts without quotes: they stand for numbers here."""


_Dumper.add_representer(
    tuple, lambda dumper, key: dumper.represent_sequence("tag:yaml.org,2002:seq", key, True)
)
_Dumper.add_representer(str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text))
_Dumper.ignore_aliases = lambda *_: True


def places(content, path=()):
    """(path of keys, value) of everything in nested mappings and lists, number lists as wholes."""
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items:
        yield (*path, key), value
        if isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict)):
            yield from places(value, (*path, key))


def at(content, path):
    for key in path:
        content = content[key]
    return content


def changed(path, value):
    content = copy.deepcopy(CONTENT)
    at(content, path[:-1])[path[-1]] = value
    return content


KEYS = [path for path, _ in places(CONTENT) if isinstance(path[-1], str | tuple)]
# one function and one bond stand for all
KEYS = [path for path in KEYS if path[0] != "functions" or len(path) < 3 or path[2] == 9]
KEYS = [path for path in KEYS if path[0] != "bonds" or len(path) < 3 or path[1] == ("0", "1")]


def shown(path):
    return re.escape(f"[{', '.join(path[-1])}]" if isinstance(path[-1], tuple) else path[-1])


@pytest.mark.parametrize("path", KEYS, ids=str)
def test_every_key_is_needed_or_has_a_default(path, tmp_path):
    content = copy.deepcopy(CONTENT)
    del at(content, path[:-1])[path[-1]]
    file = written(content, tmp_path / "x.yace")
    if path[-1] in ("inner_cutoff_type", "deltaSplineBins"):
        read_yace(file)
        return
    # without rcut_in or dcut_in a bond differs from its mirror image
    with pytest.raises(PotentialFormatError, match=rf"x\.yace.*{shown(path)}"):
        read_yace(file)


@pytest.mark.parametrize(
    "junk", ["words", "", [], {}, ["a", "b"], {"a": "1"}, [["1"], ["1", "2"]], "nan", "-3"]
)
def test_values_of_another_kind_are_named(junk, tmp_path):
    for path in KEYS:
        value = at(CONTENT, path)
        if type(value) is type(junk) and value == junk:
            continue
        file = written(changed(path, junk), tmp_path / "x.yace")
        _, complaint = attempt(file)
        if complaint:
            assert "x.yace" in complaint
            assert path[0] in complaint or path[0] in ("elements", "E0")
        else:
            assert may_be_anything(path, junk), (path, junk)


def attempt(file):
    """(model, "") or (None, what the reader complained of)."""
    try:
        return read_yace(file), ""
    except PotentialFormatError as error:
        return None, str(error)


def may_be_anything(path, junk):
    """Where a value counts, however odd: amplitudes may be negative, a species may lack functions."""
    negative = {"prehc", "lambdahc", "rcut_in", "rho_core_cutoff", "drho_core_cutoff"}
    return (junk == "-3" and path[-1] in negative) or (path[0] == "functions" and not junk)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("elements",), ["Al", "Al"], "repeat"),
        (("elements",), ["Al", "Xx"], "'Xx'; expected chemical symbols"),
        (("E0",), ["1.0"], "E0 has shape"),
        (("E0",), ["1.0", ".inf"], "'E0'.*finite"),
        (("deltaSplineBins",), "-0.001", "deltaSplineBins"),
        (("embeddings", "0", "ndensity"), "3", "embeddings 0: 4 embedding parameters for 3"),
        (("embeddings", "0", "FS_parameters"), ["1", "1", "1"], "3 embedding parameters"),
        (("embeddings", "1", "drho_core_cutoff"), "-1", "embeddings 1.*negative"),
        (("embeddings", "2"), {}, "key 2 at embeddings, which is no species"),
        (("bonds", ("0", "2")), {}, r"key \[0, 2\] at bonds"),
        (("bonds", ("0", "1"), "rcut"), "3.5", r"bonds \[0, 1\] and \[1, 0\] differ in rcut"),
        (("bonds", ("1", "1"), "rcut"), "-3", r"bonds \[1, 1\]: rcut -3"),
        (("bonds", ("1", "1"), "rcut"), "1e9", r"bonds \[1, 1\]: rcut 1000000000"),
        (("bonds", ("1", "1"), "lmax"), "1000000", r"bonds \[1, 1\]: radcoefficients"),
        (("bonds", ("1", "1"), "radparameters"), ["-1"], "λ = -1.0 makes no ChebPow"),
        (("bonds", ("1", "1"), "radbasename"), "ACE.jl.base", "'ACE.jl.base' is unknown"),
        (("functions", "1", 0, "mu0"), "0", "functions 1, number 0: mu0 is 0 under species 1"),
        (("functions", "1", 0, "mus"), ["7"], "species outside"),
        (("functions", "1", 9, "ns"), ["1", "99"], "exceeds n = 2"),
        (("functions", "1", 9, "ls"), ["9", "9"], "exceeds n = 2 or l = 2"),
        (("functions", "1", 9, "ndensity"), "1", "functions 1, number 9.*ctildes"),
        (("functions", "1", 9, "num_ms_combs"), "99", "functions 1, number 9.*ms_combs"),
        (
            ("functions", "1", 0, "num_ms_combs"),
            "99999999999999999999",
            "'num_ms_combs' at functions 1, number 0",
        ),
        (
            ("functions", "1", 9, "rank"),
            "2.5",
            "'rank' at functions 1, number 9 is 2.5; expected an integer that is not negative",
        ),
    ],
)
def test_contradictions_are_named(path, value, message, tmp_path):
    file = written(changed(path, value), tmp_path / "x.yace")
    with pytest.raises(PotentialFormatError, match=rf"x\.yace.*{message}"):
        read_yace(file)


def test_products_that_are_no_invariants(tmp_path):
    ms = ["1", "0", *at(CONTENT, ("functions", "0", 9, "ms_combs"))[2:]]
    file = written(changed(("functions", "0", 9, "ms_combs"), ms), tmp_path / "x.yace")
    with pytest.raises(PotentialFormatError, match=r"functions 0, number 9.*(sum|angular)"):
        read_yace(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"global:\n  DeltaSplineBins: 0.001\nspecies:\n- {speciesblock: Al}\n", "B basis.*pace_yaml2yace"),
        (b"a: &a [1]\nelements: [*a, *a]\n", "alias"),
        (TEXT.encode() + TEXT.encode(), "twice"),
        (TEXT.encode("utf-16"), "text"),
        (b"PK\x03\x04archive/data.pkl", "elements|YAML|mapping|text"),
    ],
)
def test_foreign_files_say_what_they_are(content, message, tmp_path):
    file = tmp_path / "x.yace"
    file.write_bytes(content)
    with pytest.raises(PotentialFormatError, match=rf"x\.yace.*({message})"):
        read_yace(file)


# ---------------------------------------------------------------- unusual, but right


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: "# a comment\n" + text + "metadata: {origin: somewhere, number: 3}\n",
        lambda text: text.replace("rcut: 4.0", "rcut: 4").replace("Bins: 0.001", "Bins: 1e-3"),
        lambda text: text.replace("elements: [Al, Ni]", "elements: [\"Al\", 'Ni']"),
        lambda text: text.replace("radparameters: [3]", "radparameters: [3, 5, 7]"),
        lambda text: text.replace("lambdahc", "extra: 1, lambdahc"),
    ],
    ids=["crlf", "bom", "extra keys", "number formats", "quotes", "long lists", "extra bond keys"],
)
def test_the_same_potential_in_other_words(change, tmp_path):
    file = tmp_path / "x.yace"
    file.write_bytes(change(TEXT).encode())
    assert change(TEXT) != TEXT
    assert yace_text(read_yace(file)).replace("[3, 5, 7]", "[3]") == TEXT


@pytest.mark.parametrize("flow", [None, False, True])
def test_block_and_flow_style_and_any_order(flow, tmp_path):
    def reversed_keys(value):
        if isinstance(value, dict):
            return {key: reversed_keys(value[key]) for key in reversed(value)}
        return [reversed_keys(item) for item in value] if isinstance(value, list) else value

    file = written(reversed_keys(CONTENT), tmp_path / "x.yace", flow)
    assert yace_text(read_yace(file)) == TEXT


def test_more_embedding_parameters_than_densities(tmp_path):
    path = ("embeddings", "0", "FS_parameters")
    file = written(changed(path, [*at(CONTENT, path), "9", "9"]), tmp_path / "x.yace")
    assert yace_text(read_yace(file)) == TEXT


def test_the_last_bond_says_which_core_all_have(tmp_path, caplog):
    file = written(changed(("bonds", ("0", "0"), "inner_cutoff_type"), "zbl"), tmp_path / "x.yace")
    assert {bond.inner_cutoff for bond in read_yace(file).bonds.values()} == {"distance"}
    assert "x.yace names the inner cutoff types distance, zbl; the last bond's, distance" in caplog.text
    content = changed(("bonds", ("1", "1"), "inner_cutoff_type"), "zbl")
    assert {b.inner_cutoff for b in read_yace(written(content, file)).bonds.values()} == {"zbl"}


def test_asymmetric_bonds_are_not_written():
    model = make_model()
    model.bonds[0, 1] = model.bonds[0, 0]
    with pytest.raises(ValueError, match=r"bonds \[0, 1\] and \[1, 0\] differ in rcut"):
        yace_text(model)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 4),
    kind=st.sampled_from(["bytes", "cut", "swap", "digits"]),
)
def test_random_damage_is_refused_or_harmless(seed, count, kind, tmp_path_factory):
    rng = np.random.default_rng(seed)
    data = bytearray(TEXT.encode())
    for _ in range(count):
        a, b = sorted(int(i) for i in rng.integers(0, len(data), 2))
        if kind == "bytes":
            data[a] = int(rng.integers(0, 256))
        elif kind == "cut":
            del data[a : min(b, a + 200)]
        elif kind == "swap":
            data[a], data[b] = data[b], data[a]
        else:
            data[a : a + 1] = str(int(rng.integers(0, 10**6))).encode()
    file = tmp_path_factory.mktemp("fuzz") / "x.yace"
    file.write_bytes(data)
    model, complaint = attempt(file)
    if model is None:
        assert "x.yace" in complaint
    else:
        assert math.isfinite(model.cutoff)
        write_yace(model, file)
        assert yace_text(read_yace(file)) == yace_text(model)
