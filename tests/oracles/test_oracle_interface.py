import numpy as np
import pytest
from pydantic import ConfigDict, TypeAdapter, ValidationError

from pyacemaker.errors import EngineMissingError, UnphysicalLabelError
from pyacemaker.oracles import (
    AnyOracle,
    EmtOracle,
    LabelLimits,
    LennardJonesOracle,
    Oracle,
    PyscfOracle,
    TbliteOracle,
)
from pyacemaker.oracles.molecules import installed_version
from pyacemaker.structures import AtomStructure, Labels

PAIR = AtomStructure(np.array([18, 18]), np.array([[0.0, 0.0, 0.0], [3.5, 0.4, 0.1]]))


class BrokenOracle(Oracle):
    """Says what it is told to say."""

    forces: tuple[tuple[float, float, float], tuple[float, float, float]]
    energy: float = 0.0

    model_config = ConfigDict(allow_inf_nan=True)

    def version(self):
        return "broken 1"

    def compute(self, structure):
        return Labels(self.energy, np.array(self.forces))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"forces": ((60.0, 0, 0), (-60.0, 0, 0))}, "60.0 eV/Å exceeds limits.max_force = 50"),
        ({"forces": ((1.0, 0, 0), (-0.9, 0, 0))}, "sum to 0.100 eV/Å instead of zero"),
        ({"forces": ((float("nan"), 0, 0), (0, 0, 0))}, "NaN or Inf"),
        ({"forces": ((0, 0, 0), (0, 0, 0)), "energy": float("inf")}, "NaN or Inf"),
    ],
)
def test_labels_are_checked(labels, message):
    with pytest.raises(UnphysicalLabelError, match=message):
        BrokenOracle(**labels).label(PAIR)


def test_geometries_are_checked_across_periodic_images():
    thin = PAIR.replace(
        positions=np.array([[0.1, 0, 0], [9.8, 0, 0]]), cell=10 * np.eye(3), pbc=np.ones(3, dtype=bool)
    )
    with pytest.raises(UnphysicalLabelError, match=r"are 0\.300 Å apart, below limits\.min_distance = 0\.4"):
        LennardJonesOracle().label(thin)
    loose = LennardJonesOracle(
        limits=LabelLimits(min_distance=0.0, max_force=1e30, max_net_force=1e9, max_stress=1e30)
    )
    assert loose.label(thin).energy > 0


def test_structures_with_one_key_have_one_label_to_the_last_bit():
    oracle = LennardJonesOracle()
    nudged = PAIR.replace(positions=PAIR.positions + 1e-10)
    first, second = oracle.label(PAIR), oracle.label(nudged)
    assert oracle.key(PAIR) == oracle.key(nudged)
    assert first.energy == second.energy
    assert first.forces.tobytes() == second.forces.tobytes()


@pytest.mark.parametrize(("symbol", "multiplicity"), [("H", 2), ("C", 3), ("N", 4), ("O", 3), ("Ne", 1)])
def test_ground_state_multiplicities(symbol, multiplicity):
    atom = LennardJonesOracle().isolated_atom(symbol)
    assert atom.multiplicity == multiplicity
    assert (atom.symbols, atom.charge, atom.tag, atom.is_periodic) == ([symbol], 0, "isolated_atom", False)


@pytest.mark.parametrize("cls", [PyscfOracle, TbliteOracle, EmtOracle, LennardJonesOracle])
def test_kind_names_the_class(cls):
    kind = cls.model_fields["kind"].default
    assert type(TypeAdapter(AnyOracle).validate_python({"kind": kind})) is cls


@pytest.mark.parametrize(
    "settings", [{"kind": "dft"}, {"kind": "emt", "basis": "x"}, {}, {"kind": "no.such:Thing"}]
)
def test_what_is_no_oracle(settings):
    with pytest.raises(ValidationError):
        TypeAdapter(AnyOracle).validate_python(settings)


def test_a_missing_engine_says_how_to_get_it():
    with pytest.raises(EngineMissingError, match="pip install no-such-engine"):
        installed_version("no-such-engine", "the test")
