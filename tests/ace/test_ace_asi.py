"""`.asi` files."""

import numpy as np
import pytest

from conftest import ROOT
from pyacemaker.ace.asi import read_asi, write_asi
from pyacemaker.errors import PotentialFormatError

EXAMPLE = ROOT / "tests" / "data" / "active_set" / "cho-order.asi"


def test_arrays_come_back_to_the_bit_and_in_c_order(tmp_path):
    rng = np.random.default_rng(1)
    arrays = {"N": rng.normal(size=(4, 4)), "C": rng.normal(size=(3, 3)).T, "Al": np.zeros((0, 0))}
    write_asi(tmp_path / "p.asi", arrays)
    found = read_asi(tmp_path / "p.asi")
    assert list(found) == ["Al", "C", "N"]
    assert all(np.array_equal(found[symbol], arrays[symbol]) for symbol in arrays)
    with np.load(tmp_path / "p.asi") as archive:
        assert not archive["C"].flags.fnc
    assert [path.name for path in tmp_path.iterdir()] == ["p.asi"]


def test_the_same_arrays_give_the_same_bytes(tmp_path):
    write_asi(tmp_path / "a.asi", read_asi(EXAMPLE))
    assert (tmp_path / "a.asi").read_bytes() == EXAMPLE.read_bytes()


@pytest.mark.parametrize("content", [b"", b"no archive", EXAMPLE.read_bytes()[:2000]])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "p.asi").write_bytes(content)
    with pytest.raises(PotentialFormatError, match=r"p\.asi cannot be read as an active set"):
        read_asi(tmp_path / "p.asi")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(PotentialFormatError, match=r"p\.asi cannot be read"):
        read_asi(tmp_path / "p.asi")


@pytest.mark.parametrize(
    "array", [np.ones((2, 3)), np.ones(4), np.full((2, 2), np.nan), np.eye(2, dtype=int)]
)
def test_arrays_of_another_kind_are_refused(tmp_path, array):
    with (tmp_path / "p.asi").open("wb") as handle:
        np.savez(handle, Cu=array)
    with pytest.raises(PotentialFormatError, match="the array 'Cu' is"):
        read_asi(tmp_path / "p.asi")


def test_a_single_array_is_refused(tmp_path):
    with (tmp_path / "p.asi").open("wb") as handle:
        np.save(handle, np.eye(2))
    with pytest.raises(PotentialFormatError, match=r"p\.asi"):
        read_asi(tmp_path / "p.asi")
