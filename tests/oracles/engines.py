"""What every plane-wave engine has to get right, on systems of one to four atoms."""

import numpy as np
import pytest

from pyacemaker.errors import ConvergenceError
from pyacemaker.structures import AtomStructure

BOND = AtomStructure(
    np.array([1, 1]),
    np.array([[0.3, 1.6, 1.7], [1.1, 1.75, 1.6]]),
    cell=np.array([[2.5, 0.1, 0.0], [0.0, 3.3, 0.2], [0.0, 0.0, 3.4]]),
    pbc=np.ones(3, dtype=bool),
)
"""A stretched hydrogen molecule in a crooked cell so short that one k-point along x is not enough."""


class PlaneWaveEngine:
    """Fixtures: `oracle`, cheap, with kspacing = 1.3 and a tight SCF; `hasty`, the same with too few cycles.

    `gradient_tolerance` in eV/Å, `supercell_tolerance` in eV.
    """

    gradient_tolerance = 2e-3
    supercell_tolerance = 2e-3

    def test_forces_and_stress_belong_to_the_energy(self, oracle):
        labels = oracle.label(BOND)
        assert labels.stress.shape == (6,)
        assert np.abs(labels.forces).max() > 1.0
        assert np.abs(labels.forces.sum(axis=0)).max() < 0.02
        direction = np.array([[0.5, -0.3, 0.2], [-0.6, 0.4, 0.1]])
        plus, minus = (
            oracle.label(BOND.replace(positions=BOND.positions + step * direction)).energy
            for step in (0.005, -0.005)
        )
        assert np.sum(labels.forces * direction) == pytest.approx(
            -(plus - minus) / 0.01, abs=self.gradient_tolerance
        )

    def test_the_grid_is_centred_on_gamma(self, oracle):
        """Two k-points along x are one k-point of the cell that is twice as long, if both hold Γ."""
        from pyacemaker.structures.boxes import kpoint_grid

        cell = np.array(BOND.cell)
        shifted = BOND.positions + cell[0]
        cell[0] *= 2
        double = AtomStructure(
            np.tile(BOND.numbers, 2), np.vstack([BOND.positions, shifted]), cell=cell, pbc=BOND.pbc
        )
        assert kpoint_grid(BOND, oracle.kspacing)[0] == 2
        assert kpoint_grid(double, oracle.kspacing)[0] == 1
        fewer = oracle.model_copy(update={"kspacing": 10.0})
        one, two = oracle.label(BOND).energy, oracle.label(double).energy / 2
        assert one == pytest.approx(two, abs=self.supercell_tolerance)
        assert abs(fewer.label(BOND).energy - one) > 20 * self.supercell_tolerance

    def test_isolated_atoms_are_polarised(self, oracle):
        """Polarisation lowers the energy of the hydrogen atom by 0.9 to 1.2 eV (LDA, PBE)."""
        atom = oracle.isolated_atom("H")
        labels = oracle.label(atom)
        assert labels.stress is None
        assert np.abs(labels.forces).max() < 0.02
        molecule = BOND.replace(pbc=np.zeros(3, dtype=bool))
        assert oracle.label(molecule).energy < 2 * labels.energy - 1.0

    def test_not_converged_is_said(self, hasty):
        with pytest.raises(ConvergenceError, match=r"converge|ran out"):
            hasty.label(BOND)

    def test_nothing_stays_behind(self, oracle, tmp_path, monkeypatch, capfd):
        monkeypatch.chdir(tmp_path)
        scratch = tmp_path / "scratch"
        oracle.model_copy(update={"scratch": str(scratch)}).label(BOND)
        assert list(tmp_path.iterdir()) == [scratch]
        assert list(scratch.iterdir()) == []
        assert capfd.readouterr().out == ""

    def test_keys_and_settings(self, oracle):
        oracle.check_settings()
        oracle.check_structure(BOND)
        key = oracle.key(BOND)
        assert oracle.model_copy(update={"kspacing": 0.9}).key(BOND) != key
        assert oracle.model_copy(update={"retries": ()}).key(BOND) == key
        assert oracle.version().split()[1][0].isdigit()
