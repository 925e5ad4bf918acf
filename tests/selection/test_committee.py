"""A committee whose members differ by a known amount."""

from pathlib import Path

import numpy as np
import pytest

from pyacemaker.errors import InsufficientDataError
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.selection import CommitteeUncertainty
from pyacemaker.selection.committee import member_file
from pyacemaker.structures.formats import read_structures

DATA = Path(__file__).parents[1] / "data"


def test_members_that_differ_by_a_shift_disagree_in_energies_only(tmp_path) -> None:
    """E0 of every element higher by 0.1 and 0.2 eV: σ per atom is 0.1 eV, forces are the same."""
    original = MacePotential(DATA / "sn2_foundation.model")
    own = original.reference_energies
    teacher = original.with_reference_energies(tmp_path / "teacher.model", own)
    for number in (1, 2):
        moved = {symbol: energy + 0.1 * number for symbol, energy in own.items()}
        original.with_reference_energies(member_file(teacher.path, number), moved)
    pool = read_structures(DATA / "sn2_small.xyz")[5:9]
    found = CommitteeUncertainty(members=3).rate(teacher, (), pool)
    assert found.energies == pytest.approx(np.full(4, 0.1), abs=1e-9)
    assert found.structures == pytest.approx(np.zeros(4), abs=1e-9)
    assert found.forces is not None
    assert [array.shape for array in found.forces] == [(len(structure), 3) for structure in pool]


def test_a_model_without_a_committee_is_told_so(tmp_path) -> None:
    alone = MacePotential(DATA / "sn2_foundation.model")
    with pytest.raises(InsufficientDataError, match=r"sn2_foundation\.model has no committee: .*member-1"):
        CommitteeUncertainty().rate(alone, (), ())
