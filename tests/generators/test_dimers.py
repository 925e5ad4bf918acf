import numpy as np
import pytest
from ase.data import covalent_radii

from pyacemaker.baselines.zbl import repulsion
from pyacemaker.errors import UnsupportedElementError
from pyacemaker.generators.anchors import always
from pyacemaker.generators.dimers import DimerCurve, dimer_curves, isolated_atoms
from pyacemaker.oracles.base import LabelLimits
from pyacemaker.oracles.tblite import TbliteOracle
from pyacemaker.selection.filters import HardFilters
from pyacemaker.structures import AtomStructure, Dataset


def distances(dimers):
    return np.array([np.linalg.norm(d.positions[1] - d.positions[0]) for d in dimers])


def test_every_pair_of_elements_from_the_wall_to_the_cutoff():
    curves = dimer_curves(["O", "H", "Cu"])
    pairs = [tuple(sorted(d.symbols)) for d in curves]
    assert sorted(set(pairs)) == [("Cu", "Cu"), ("Cu", "H"), ("Cu", "O"), ("H", "H"), ("H", "O"), ("O", "O")]
    assert set(curves.tag_counts().items()) == {("dimer", 6 * 12)}
    for pair in set(pairs):
        found = distances(d for d, of in zip(curves, pairs, strict=True) if of == pair)
        assert np.all(np.diff(found) > 0)
        assert np.allclose(np.diff(np.log(found), 2), 0.0)
        assert found[-1] == pytest.approx(6.0)
        radii = sum(covalent_radii[curves[pairs.index(pair)].numbers])
        assert 0.6 <= found[0] / radii < 0.85  # well inside the bond, whose length is about the sum


@pytest.mark.parametrize("pair", [(1, 1), (9, 17), (13, 13), (79, 79)])
def test_the_wall_is_as_steep_as_asked_or_the_atoms_as_close(pair):
    curve = DimerCurve(max_repulsion=20.0, shortest=0.5)
    begin = curve.distances(*pair)[0]
    slope = -float(repulsion(*pair, begin)[1])
    closest = begin / sum(covalent_radii[list(pair)])
    assert slope == pytest.approx(20.0, rel=1e-6) or (slope < 20.0 and closest == pytest.approx(0.5))


@pytest.mark.parametrize("symbol", ["H", "F", "Cl", "Cu"])
def test_the_limits_of_labels_and_filters_let_the_wall_pass(symbol):
    oracle = TbliteOracle(limits=LabelLimits(max_force=100.0))
    first, second = Dataset(dimer_curves([symbol])[:2])
    assert oracle.label(first).forces[1, 2] > 10.0  # eV/Å: pushed apart, hard
    assert len(HardFilters().check([second], [oracle.label(second)]).kept) == 1


def test_atoms_in_their_ground_states():
    spins = {atom.symbols[0]: atom.multiplicity for atom in isolated_atoms(["H", "C", "Ne", "N", "Fe"])}
    assert spins == {"H": 2, "C": 3, "Ne": 1, "N": 4, "Fe": 5}
    assert isolated_atoms(["H"])[0].id == TbliteOracle().isolated_atom("H").id  # computed once


def test_always_covers_the_users_structures():
    salt = AtomStructure(np.array([11, 17]), np.diag([0.0, 2.4])[:, :1] * np.ones(3))
    found = always(["Cl"], [salt])
    assert found.tag_counts() == {"isolated_atom": 2, "dimer": 3 * 12}
    assert found.elements == ("Cl", "Na")


def test_no_element():
    with pytest.raises(UnsupportedElementError, match="'Xx' is no chemical element"):
        dimer_curves(["Xx"])
