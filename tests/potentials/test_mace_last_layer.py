"""The last layer's features are exact: they give the model's own energies, forces and stresses."""

from pathlib import Path

import numpy as np
import pytest

from pyacemaker.errors import FoundationModelError
from pyacemaker.potentials.mace import MacePotential
from pyacemaker.potentials.mace_last_layer import LastLayer
from pyacemaker.structures.formats import read_structures

DATA = Path(__file__).parents[1] / "data"


@pytest.fixture(scope="module", params=["sn2", "cual"])
def case(request):
    potential = MacePotential(DATA / f"{request.param}_foundation.model", max_atoms_per_batch=40)
    structures = read_structures(DATA / f"{request.param}_small.xyz")
    small = structures.filter(lambda s: 1 < len(s) <= 10 and bool(s.pbc.all()) is (request.param == "cual"))
    return LastLayer(potential), small[:5]


def test_features_times_weights_are_the_interaction_energy(case) -> None:
    layer, structures = case
    _, out = layer.potential.forward(list(structures), compute_force=False)
    block = layer.potential.model.scale_shift
    found = [features @ layer.weights for features in layer.features(structures)]
    expected = out["interaction_energy"].detach().numpy() - float(block.shift) * np.array(
        [len(s) for s in structures]
    )
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_the_models_own_weights_give_its_forces_and_stresses(case) -> None:
    layer, structures = case
    sampled = list(layer.force_samples(structures, np.stack([layer.weights, -2.0 * layer.weights])))
    for found, labels in zip(sampled, layer.potential.evaluate(structures), strict=True):
        np.testing.assert_allclose(found.forces[0], labels.forces, atol=1e-9)
        np.testing.assert_allclose(found.forces[1], -2.0 * labels.forces, atol=1e-9)
        assert (found.stress is None) is (labels.stress is None)
        if found.stress is not None:
            np.testing.assert_allclose(found.stress[0], labels.stress, atol=1e-10)


def test_no_hook_stays_behind(case) -> None:
    layer, structures = case
    list(layer.features(structures[:1]))
    assert not any(module._forward_hooks for module in layer.potential.model.modules())


def test_a_readout_that_is_not_linear_is_refused() -> None:
    layer = LastLayer(MacePotential(DATA / "sn2_foundation.model"))
    last = layer.potential.model.readouts[-1].linear_2
    last.register_forward_hook(lambda module, inputs, output: output + 0.1 * output**2)
    structures = read_structures(DATA / "sn2_small.xyz")[:2]
    with pytest.raises(FoundationModelError, match="not linear"):
        list(layer.features(structures))
