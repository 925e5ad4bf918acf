"""A potential from a file: by its suffix, with a complaint that names the file."""

import shutil

import numpy as np
import pytest

from conftest import FOUNDATION, ROOT
from pyacemaker.errors import FoundationModelError, PotentialFormatError
from pyacemaker.potentials.ace import ACEPotential
from pyacemaker.potentials.loading import MACE_SUFFIXES, load_potential
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.structures.formats import read_structures

YACE = sorted((ROOT / "tests" / "data" / "ace").rglob("*.yace"))


@pytest.mark.parametrize("path", YACE, ids=lambda path: path.name)
def test_yace_files_are_ace_potentials(path):
    potential = load_potential(path)
    assert isinstance(potential, ACEPotential)
    assert potential.elements == ACEPotential.from_yace(path).elements


@pytest.mark.parametrize("suffix", MACE_SUFFIXES)
def test_model_files_are_mace_potentials(tmp_path, suffix):
    path = tmp_path / f"model{suffix}"
    shutil.copyfile(FOUNDATION, path)
    potential = load_potential(path)
    assert isinstance(potential, MacePotential)
    structures = read_structures(ROOT / "tests" / "data" / "sn2_small.xyz")[-2:]
    for found, expected in zip(
        potential.evaluate(structures), MacePotential(FOUNDATION).evaluate(structures), strict=True
    ):
        assert found.energy == expected.energy
        assert np.array_equal(found.forces, expected.forces)


@pytest.mark.parametrize("suffix", [".yace", ".model", ".txt", ""])
def test_a_missing_file(tmp_path, suffix):
    path = tmp_path / f"nowhere{suffix}"
    with pytest.raises(
        PotentialFormatError, match=r"nowhere.* does not exist; expected a \.yace or \.model file"
    ):
        load_potential(path)


def test_a_directory(tmp_path):
    with pytest.raises(PotentialFormatError, match="is a directory; expected a potential file"):
        load_potential(tmp_path)


@pytest.mark.parametrize("name", ["potential.json", "potential", "potential.yace.bak", "potential.YACE"])
def test_another_suffix(tmp_path, name):
    (tmp_path / name).write_bytes(YACE[0].read_bytes())
    with pytest.raises(PotentialFormatError, match=r"has the suffix .*; expected \.yace \(ACE\) or \.model"):
        load_potential(tmp_path / name)


def test_contents_that_do_not_fit_the_suffix(tmp_path):
    (tmp_path / "mace.yace").write_bytes(FOUNDATION.read_bytes())
    with pytest.raises(PotentialFormatError, match=r"mace\.yace"):
        load_potential(tmp_path / "mace.yace")
    (tmp_path / "ace.model").write_bytes(YACE[0].read_bytes())
    with pytest.raises(FoundationModelError, match=r"ace\.model is not a MACE model"):
        load_potential(tmp_path / "ace.model")
