import numpy as np
import pytest

from pyacemaker.structures import Accuracy, Labels

ZERO = Labels(0.0, np.zeros((2, 3)), np.zeros(6))


def test_errors_come_in_the_units_of_the_field():
    forces = np.zeros((2, 3))
    forces[0, 0] = 0.6
    off = Labels(0.5, forces, np.full(6, 0.01))
    errors = Accuracy.between([off], [ZERO])
    assert errors.energy_rmse_mev_per_atom == pytest.approx(250.0)
    assert errors.energy_mae_mev_per_atom == pytest.approx(250.0)
    assert errors.forces_rmse_mev_per_angstrom == pytest.approx(600.0 / np.sqrt(6))
    assert errors.forces_mae_mev_per_angstrom == pytest.approx(100.0)
    assert errors.stress_rmse_gpa == pytest.approx(1.6021766)
    assert errors.stress_mae_gpa == pytest.approx(1.6021766)


def test_energies_count_per_atom_and_structure_and_forces_per_component():
    large = Labels(4.0, np.full((4, 3), 0.1))
    small = Labels(3.0, np.zeros((1, 3)))
    zeros = [Labels(0.0, np.zeros((4, 3))), Labels(0.0, np.zeros((1, 3)))]
    errors = Accuracy.between([large, small], zeros)
    assert errors.energy_rmse_mev_per_atom == pytest.approx(1000.0 * np.sqrt((1 + 9) / 2))
    assert errors.energy_mae_mev_per_atom == pytest.approx(2000.0)
    assert errors.forces_mae_mev_per_angstrom == pytest.approx(80.0)


def test_the_order_of_the_arguments_and_the_sign_do_not_matter():
    rng = np.random.default_rng(0)
    first, second = (Labels(rng.normal(), rng.normal(size=(2, 3))) for _ in range(2))
    assert Accuracy.between([first], [second]) == Accuracy.between([second], [first])


def test_stress_is_left_out_where_one_side_has_none():
    bare = Labels(0.0, np.zeros((2, 3)))
    assert "stress_rmse_gpa" not in Accuracy.between([bare], [ZERO]).as_dict()
    mixed = Accuracy.between([bare, ZERO], [ZERO, ZERO])
    assert mixed.as_dict()["stress_rmse_gpa"] == 0.0
    assert len(mixed.as_dict()) == 6


def test_nothing_to_compare_and_unequal_numbers_are_errors():
    with pytest.raises(ValueError, match="at least one"):
        Accuracy.between([], [])
    with pytest.raises(ValueError):
        Accuracy.between([ZERO], [ZERO, ZERO])


def test_in_words() -> None:
    assert str(Accuracy(1.234, 1.0, 20.55, 15.0)) == "energy RMSE 1.23 meV/atom, force RMSE 20.6 meV/Å"
    assert str(Accuracy(1.0, 1.0, 2.0, 2.0, 0.1234, 0.1)).endswith(", stress RMSE 0.123 GPa")
