from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule

from pyacemaker.errors import ConvergenceError, OracleError, UnsupportedElementError
from pyacemaker.oracles import TbliteOracle
from pyacemaker.structures import AtomStructure

SN2 = Path(__file__).parents[1] / "data" / "sn2_small.xyz"


def oxygen(multiplicity):
    return AtomStructure.from_atoms(molecule("O2"), multiplicity=multiplicity)


def test_labels_made_elsewhere():
    """GFN2-xTB labels of X⁻ + CH₃Y that another program wrote."""
    molecules = [atoms for atoms in ase.io.read(SN2, ":") if len(atoms) > 1]
    for atoms in molecules[::8]:
        labels = TbliteOracle().label(AtomStructure.from_atoms(atoms))
        assert labels.energy == pytest.approx(atoms.info["REF_energy"], abs=1e-4)
        assert np.abs(labels.forces - atoms.arrays["REF_forces"]).max() < 1e-3


def test_methods_differ():
    water = AtomStructure.from_atoms(molecule("H2O"))
    first, second = (TbliteOracle(method=f"GFN{n}-xTB").label(water).energy for n in (1, 2))
    assert second / 27.211386 == pytest.approx(-5.07, abs=0.01)
    assert abs(first - second) > 1.0


def test_multiplicity_counts_and_defaults_to_the_lowest():
    singlet, triplet, default = (TbliteOracle().label(oxygen(m)).energy for m in (1, 3, None))
    assert default == singlet
    assert abs(triplet - singlet) > 0.01
    radical = AtomStructure.from_atoms(molecule("OH"))
    doublet = radical.replace(multiplicity=2)
    assert TbliteOracle().label(radical).energy == TbliteOracle().label(doublet).energy


@pytest.mark.parametrize(
    ("symbols", "charge", "multiplicity"),
    [("OH", -6, None), ("H", -3, None), ("Na", 5, None), ("Na", 0, 4), ("O", 0, 9)],
)
def test_what_the_valence_orbitals_cannot_hold_is_refused(symbols, charge, multiplicity):
    """All electrons would fit; tblite has the valence ones only, and clips charge and spin without a word."""
    atoms = molecule(symbols) if symbols == "OH" else Atoms(symbols)
    structure = AtomStructure.from_atoms(atoms, charge=charge, multiplicity=multiplicity)
    with pytest.raises(OracleError, match=r"does not fit|failed"):
        TbliteOracle().label(structure)


@pytest.mark.parametrize(
    ("symbols", "charge", "multiplicity"),
    [("O", 0, 3), ("Na", 1, 1), ("H", -1, 1), ("Fe", 0, 5), ("N", 0, 4), ("Cl", -1, 1)],
)
def test_atoms_and_ions_in_their_ground_states_are_not(symbols, charge, multiplicity):
    structure = AtomStructure.from_atoms(Atoms(symbols), charge=charge, multiplicity=multiplicity)
    assert np.isfinite(TbliteOracle().label(structure).energy)


def test_periodic_is_refused():
    with pytest.raises(OracleError, match="molecules only"):
        TbliteOracle().label(AtomStructure.from_atoms(bulk("Cu")))


def test_not_converged_is_typed():
    with pytest.raises(ConvergenceError, match="GFN2-xTB failed"):
        TbliteOracle(max_iterations=1).label(oxygen(3))


def test_unknown_element_is_typed():
    with pytest.raises(OracleError, match="refuses it"):
        TbliteOracle().label(AtomStructure(np.array([118]), np.zeros((1, 3))))


def test_quiet(capfd):
    TbliteOracle().label(oxygen(3))
    with pytest.raises(ConvergenceError):
        TbliteOracle(max_iterations=1).label(oxygen(3))
    assert capfd.readouterr() == ("", "")


def test_what_is_sure_to_fail_is_known_beforehand():
    oracle = TbliteOracle()
    oracle.check_settings()
    oracle.check_structure(AtomStructure(np.array([86]), np.zeros((1, 3))))
    with pytest.raises(UnsupportedElementError, match="beyond Rn"):
        oracle.check_structure(AtomStructure(np.array([92]), np.zeros((1, 3))))
    with pytest.raises(OracleError, match="does not fit"):
        oracle.check_structure(AtomStructure(np.array([1]), np.zeros((1, 3)), multiplicity=1))
    with pytest.raises(OracleError, match="molecules only"):
        oracle.check_structure(AtomStructure.from_atoms(bulk("Cu")))
