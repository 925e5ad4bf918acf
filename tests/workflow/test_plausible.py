"""Numbers in other units are told, with what was probably meant; everything sensible passes."""

import pytest
import yaml

from conftest import ROOT
from pyacemaker.workflow.plausible import RANGES, implausible


def told(text: str) -> list[tuple[str, str]]:
    return [(".".join(map(str, location)), words) for location, words in implausible(yaml.safe_load(text))]


@pytest.mark.parametrize(
    ("text", "key", "cure"),
    [
        ("dynamics: {timestep: 1.0e-15}", "dynamics.timestep", "if 1e-15 s is meant, write 1"),
        ("dynamics: {timestep: 1000}", "dynamics.timestep", "expected 0.02 to 20 fs"),
        ("explore: {pressures: [1.0e5]}", "explore.pressures.0", "if 100000 Pa is meant, write 0.0001"),
        ("explore: {pressures: [[0, 1013]]}", "explore.pressures.0.1", "if 1013 Pa is meant"),
        ("base: {cutoff: 0.5}", "base.cutoff", "if 0.5 nm is meant, write 5"),
        ("a: 0.405", "a", "if 0.405 nm is meant, write 4.05"),
        ("density: 2700", "density", "if 2700 kg/m³ is meant, write 2.7"),
        ("limits: {max_stress: 200}", "limits.max_stress", "if 200 GPa is meant, write 1.2483"),
        (
            "stop: {energy_mev_per_atom: 0.002}",
            "stop.energy_mev_per_atom",
            "if 0.002 eV/atom is meant, write 2",
        ),
    ],
)
def test_other_units(text, key, cure):
    ((place, words),) = told(text)
    assert place == key
    assert cure in words


@pytest.mark.parametrize(
    "text",
    [
        "motion: {temperatures: [0.5, 1.2]}",
        "filters: {max_stress: 200}",
        "dft: {kind: lennard_jones, cutoff: 30}",
        "dft: {kind: cp2k, parameters: {cutoff: 13600}}",
        "temperatures: [warm, [300, 600], true]",
        "limits: {max_force: 0.01}",
    ],
)
def test_what_is_meant_passes(text):
    assert told(text) == []


@pytest.mark.parametrize(
    "path", sorted(ROOT.glob("examples/*/config.yaml")), ids=lambda path: path.parent.name
)
def test_the_examples_are_plausible(path):
    assert told(path.read_text()) == []


def test_every_range_has_room_and_other_units():
    for name, plausible in RANGES.items():
        assert plausible.least < plausible.most, name
        assert plausible.others, name
