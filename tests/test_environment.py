import pytest

from pyacemaker.environment import expand, hide
from pyacemaker.errors import ConfigError


def test_variables_are_replaced_wherever_they_stand(monkeypatch):
    monkeypatch.setenv("PA_BIN", "/opt/code/bin")
    monkeypatch.setenv("PA_N", "8")
    assert expand("mpirun -n ${PA_N} ${PA_BIN}/pw.x") == "mpirun -n 8 /opt/code/bin/pw.x"


@pytest.mark.parametrize("text", ["", "plain", "$HOME/$(nproc)", "a $ b", "${}", "${1}"])
def test_the_rest_is_left_to_the_shell(text):
    assert expand(text) == text


def test_a_value_is_not_expanded_again(monkeypatch):
    monkeypatch.setenv("PA_A", "${PA_B}")
    assert expand("${PA_A}") == "${PA_B}"


def test_an_empty_value_is_a_value(monkeypatch):
    monkeypatch.setenv("PA_A", "")
    assert expand("[${PA_A}]") == "[]"


def test_a_missing_variable_is_named(monkeypatch):
    monkeypatch.delenv("PA_MISSING", raising=False)
    with pytest.raises(ConfigError, match="environment variable PA_MISSING, which the setting"):
        expand("run --account ${PA_MISSING}")


def test_values_that_were_put_in_can_be_hidden_again(monkeypatch):
    monkeypatch.setenv("PA_TOKEN", "hunter2-hunter")
    monkeypatch.setenv("PA_PART", "hunter2")
    expand("${PA_TOKEN} ${PA_PART}")
    assert hide("hunter2-hunter is refused, hunter2 too") == "${PA_TOKEN} is refused, ${PA_PART} too"
    monkeypatch.setenv("PA_N", "8")
    assert hide(expand("${PA_N} cores")) == "8 cores"
