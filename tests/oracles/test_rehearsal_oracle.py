import pytest

from pyacemaker.errors import ConfigError
from pyacemaker.oracles import EmtOracle, LabelLimits, TbliteOracle, rehearsal_oracle


def test_molecules_get_tight_binding():
    found = rehearsal_oracle(["H", "C", "Cl"], periodic=False, limits=LabelLimits(max_force=7.0))
    assert found == TbliteOracle(method="GFN1-xTB", limits=LabelLimits(max_force=7.0))


@pytest.mark.parametrize("elements", [["Al"], ["Cu", "Au"]])
def test_metals_get_effective_medium_theory(elements):
    assert isinstance(rehearsal_oracle(elements, periodic=True), EmtOracle)


@pytest.mark.parametrize(("elements", "periodic"), [(["Mg", "O"], True), (["U"], False), (["Al", "O"], True)])
def test_the_rest_is_told_what_to_do(elements, periodic):
    with pytest.raises(ConfigError, match=r"no built-in oracle can stand in .* `kind: mace`"):
        rehearsal_oracle(elements, periodic=periodic)
