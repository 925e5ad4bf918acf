"""The last linear layers of a MACE model: their exact inputs, and forces for other weights in them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyacemaker.errors import FoundationModelError
from pyacemaker.potentials.mace import MacePotential, as_array, voigt
from pyacemaker.structures import AtomStructure, FloatArray

_EXACT = {"float64": 1e-9, "float32": 1e-3}
"""How well the features times the weights have to give what the layers give, relative to the largest."""


@dataclass(frozen=True, eq=False)
class SampledForces:
    """Forces and stresses of one structure for k directions in weight space.

    forces: (k, n, 3), eV/Å per unit of the direction. stress: (k, 6), eV/Å³, Voigt order, positive = tensile;
    None where the cell is not periodic in three directions.
    """

    forces: FloatArray
    stress: FloatArray | None


class LastLayer:
    """A MACE model as linear regression on the inputs of the last layer of each of its readouts.

    With the features g_i of atom i, of all readouts together and scaled like the energy, the energy is

        E = Σ_i g_i · w + (what does not depend on these weights),

    E0s, the shift and a pair repulsion being the latter. The readout of an early interaction is linear, so
    that its features are the scalar node features; the last readout has one hidden layer, so that its
    features are that layer's output. weights: (d,) w of the potential's head, eV per unit of each feature.

    Raises `FoundationModelError` for a model whose readouts do not end in a linear layer.
    """

    def __init__(self, potential: MacePotential) -> None:
        self.potential = potential
        self._layers = [_last_linear(readout) for readout in potential.model.readouts]
        found = [_weights(layer, potential.head_number) for layer in self._layers]
        self._columns = [np.flatnonzero(weights) for weights in found]
        self._scale = _scale(potential)
        self.weights = np.concatenate(
            [weights[columns] for weights, columns in zip(found, self._columns, strict=True)]
        )

    def features(self, structures: Sequence[AtomStructure]) -> Iterator[FloatArray]:
        """(d,) per structure, in order: Σ_i g_i, eV. No gradients: a fraction of the cost of forces."""
        import torch

        for part in self.potential.batches(structures):
            with torch.no_grad():
                _, _, features = self._run(part)
            starts = np.cumsum([0, *(len(structure) for structure in part)])[:-1]
            yield from np.add.reduceat(as_array(features), starts, axis=0)

    def force_samples(
        self, structures: Sequence[AtomStructure], directions: FloatArray
    ) -> Iterator[SampledForces]:
        """Per structure −∂(Σ_i g_i · δ)/∂r for every row δ of `directions` (k, d): the change of the forces
        when the weights change by δ. One forward pass per batch of structures and k backward passes."""
        for part in self.potential.batches(structures):
            yield from self._differentiated(part, directions)

    def _differentiated(
        self, part: Sequence[AtomStructure], directions: FloatArray
    ) -> Iterator[SampledForces]:
        import torch

        solid = [bool(structure.pbc.all()) for structure in part]
        with torch.enable_grad():
            graph, out, features = self._run(part, compute_displacement=any(solid))
            variables = [graph["positions"], *([out["displacement"]] if any(solid) else [])]
            weights = torch.as_tensor(directions, dtype=features.dtype, device=features.device)
            sums = (features @ weights.T).sum(dim=0)
            found = [torch.autograd.grad(total, variables, retain_graph=True) for total in sums]
        forces = -np.stack([as_array(gradients[0]) for gradients in found])
        ends = np.cumsum([len(structure) for structure in part])[:-1]
        for number, array in enumerate(np.split(forces, ends, axis=1)):
            stress = None
            if solid[number]:
                virials = [voigt(as_array(gradients[1][number])) for gradients in found]
                stress = np.array(virials) / (part[number].volume or np.inf)
            yield SampledForces(array, stress)

    def _run(self, part: Sequence[AtomStructure], **wanted: bool) -> tuple[Any, Any, Any]:
        """The graph, the model's output, and the features (atoms, d) of one batch."""
        import torch

        with _watching(self._layers) as seen:
            graph, out = self.potential.forward(part, compute_force=False, **wanted)
        parts = []
        for layer, columns in zip(self._layers, self._columns, strict=True):
            inputs, outputs = seen[layer]
            self._check(layer, inputs, outputs)
            parts.append(inputs[:, torch.as_tensor(columns, device=inputs.device)])
        return graph, out, self._scale * torch.cat(parts, dim=1)

    def _check(self, layer: Any, inputs: Any, outputs: Any) -> None:
        weights = _weights(layer, self.potential.head_number)
        constant = _constants(layer, self.potential.head_number)
        given = as_array(outputs)[:, min(self.potential.head_number, outputs.shape[1] - 1)]
        found = as_array(inputs) @ weights + constant
        tolerance = _EXACT[self.potential.dtype] * max(float(np.abs(given).max(initial=0.0)), 1.0)
        if not np.allclose(found, given, rtol=0.0, atol=tolerance):
            raise FoundationModelError(
                f"the last layer of a readout of {self.potential.path.name} is not linear in its inputs; use "
                "kind: mahalanobis for label.uncertainty with this model"
            )


@contextmanager
def _watching(layers: Sequence[Any]) -> Iterator[dict[Any, tuple[Any, Any]]]:
    """What goes in and comes out of each of `layers` while the block runs."""
    seen: dict[Any, tuple[Any, Any]] = {}

    def keep(layer: Any, inputs: Any, output: Any) -> None:
        seen[layer] = inputs[0], output

    hooks = [layer.register_forward_hook(keep) for layer in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _last_linear(readout: Any) -> Any:
    """The last equivariant linear layer of a readout."""
    found = [
        module
        for module in readout.modules()
        if module is not readout and hasattr(module, "weight") and hasattr(module, "irreps_in")
    ]
    if not found:
        raise FoundationModelError(
            f"a readout of the model ({type(readout).__name__}) has no linear layer at its end; use kind: "
            "mahalanobis for label.uncertainty with this model"
        )
    return found[-1]


def _answers(layer: Any, inputs: FloatArray, head: int) -> FloatArray:
    import torch

    like = next(iter(layer.parameters()))
    with torch.no_grad():
        out = as_array(layer(torch.as_tensor(inputs, dtype=like.dtype, device=like.device)))
    return out[:, min(head, out.shape[1] - 1)]


def _constants(layer: Any, head: int) -> float:
    """What the layer answers to zeros: its bias."""
    return float(_answers(layer, np.zeros((1, layer.irreps_in.dim)), head)[0])


def _weights(layer: Any, head: int) -> FloatArray:
    """(inputs,) the layer's effective weights, its path normalisation included; 0 for what is no scalar."""
    return _answers(layer, np.eye(layer.irreps_in.dim), head) - _constants(layer, head)


def _scale(potential: MacePotential) -> float:
    """The factor between the readouts' sum and the energy."""
    block = getattr(potential.model, "scale_shift", None)
    if block is None:
        return 1.0
    scale = as_array(block.scale).reshape(-1)
    return float(scale[min(potential.head_number, len(scale) - 1)])
