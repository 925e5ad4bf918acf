"""MACE as an oracle: its labels, its keys."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from pyacemaker.errors import FoundationModelError, UnphysicalLabelError
from pyacemaker.oracles import AnyOracle
from pyacemaker.oracles.mace import MaceOracle
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.structures.formats import read_structures

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module")
def oracle() -> MaceOracle:
    return MaceOracle(model=str(DATA / "sn2_foundation.model"))


def test_labels_are_the_models(oracle: MaceOracle) -> None:
    structures = read_structures(DATA / "sn2_small.xyz")[5:15]
    expected = MacePotential(DATA / "sn2_foundation.model").evaluate(structures)
    for structure, label, alone in zip(
        structures, oracle.compute_batch(structures), map(oracle.compute, structures), strict=True
    ):
        reference = expected.pop(0)
        assert label.energy == pytest.approx(reference.energy, rel=1e-13)
        assert alone.energy == pytest.approx(reference.energy, rel=1e-13)
        np.testing.assert_allclose(alone.forces, reference.forces, atol=1e-11)
        assert len(label.forces) == len(structure)


def test_an_answer_does_not_depend_on_earlier_calls(oracle: MaceOracle) -> None:
    structures = read_structures(DATA / "sn2_small.xyz")[5:10]
    first = oracle.label(structures[0])
    for structure in structures:
        oracle.label(structure)
    again = oracle.label(structures[0])
    assert first.energy == again.energy
    np.testing.assert_array_equal(first.forces, again.forces)


def test_the_model_counts_by_its_content(oracle: MaceOracle, tmp_path: Path) -> None:
    atom = oracle.isolated_atom("C")
    copy = tmp_path / "elsewhere.model"
    shutil.copyfile(oracle.model, copy)
    assert MaceOracle(model=str(copy), max_atoms_per_batch=5).key(atom) == oracle.key(atom)
    assert MaceOracle(model=str(copy), dtype="float32").key(atom) != oracle.key(atom)
    shutil.copyfile(DATA / "cual_foundation.model", copy)
    assert MaceOracle(model=str(copy)).key(atom) != oracle.key(atom)


def test_squashed_structures_are_refused_before_the_model_sees_them(oracle: MaceOracle) -> None:
    structure = read_structures(DATA / "sn2_small.xyz")[6]
    with pytest.raises(UnphysicalLabelError, match="min_distance"):
        oracle.label(structure.replace(positions=structure.positions * 0.3))


def test_a_config_can_name_it() -> None:
    settings = {"kind": "mace", "model": "cual_foundation.model"}
    found = TypeAdapter(AnyOracle).validate_python(settings, context={"base_dir": DATA})
    assert isinstance(found, MaceOracle)
    assert Path(found.model).samefile(DATA / "cual_foundation.model")


def test_a_missing_model_is_the_users_mistake() -> None:
    missing = MaceOracle(model="nowhere/x.model")
    with pytest.raises(FoundationModelError, match="does not exist"):
        missing.label(missing.isolated_atom("C"))
