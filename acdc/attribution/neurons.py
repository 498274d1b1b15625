"""The hidden units of the MLPs themselves: no dictionary is needed, and all of them together leave nothing over.

A unit's activation is taken for proportional to what it reads: act(z) = z * (act(z) / z) with the ratio held; of a
gated product each factor counts for half, with the other held (Achtibat et al. 2024, arXiv 2402.05602; Rezaei Jafari et
al. 2025, "RelP"; circuits of neurons as sparse as those of features: arXiv 2601.22594).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from acdc.artefacts.attribution.nodes import NodeKind
from acdc.attribution.dictionary import UnitLayer
from acdc.errors import InputError
from acdc.model.feed_forward import FeedForward
from acdc.model.layers import Weights


@dataclass(frozen=True)
class NeuronLayer:
    """See `acdc.attribution.dictionary.UnitLayer`."""

    mlp: FeedForward
    layer: int
    skip: None = None

    @property
    def size(self) -> int:
        return self.mlp.width

    @property
    def constant(self) -> Tensor | None:
        return self.mlp.out.bias

    @property
    def targets(self) -> range:
        return range(self.layer, self.layer + 1)

    def activations(self, x: Tensor) -> Tensor:
        return self.mlp.hidden(x)

    def reads(self, x: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
        into, bias = _columns(self.mlp.into.weight, self.mlp.into.bias, units)
        if self.mlp.gate is None:
            ratio = self._ratio(torch.linalg.vecdot(into, x) + bias)
            return into * ratio[:, None], bias * ratio
        gate, gate_bias = _columns(self.mlp.gate.weight, self.mlp.gate.bias, units)
        pre = torch.linalg.vecdot(gate, x) + gate_bias
        ratio, multiplied = self._ratio(pre), torch.linalg.vecdot(into, x) + bias
        on_gate, on_into = 0.5 * ratio * multiplied, 0.5 * ratio * pre
        return gate * on_gate[:, None] + into * on_into[:, None], gate_bias * on_gate + bias * on_into

    def writes(self, units: Tensor | slice, to: int) -> Tensor:
        return self.mlp.out.weight[units]

    def _ratio(self, z: Tensor) -> Tensor:
        return torch.where(z == 0, 0.0, self.mlp.activation(z) / z)


def _columns(weight: Tensor, bias: Tensor | None, units: Tensor) -> tuple[Tensor, Tensor]:
    """(columns [k, d] of a weight [d, F], biases [k]) of some units."""
    return weight[:, units].T, weight.new_zeros(len(units)) if bias is None else bias[units]


def _is_elementwise(mlp: FeedForward) -> bool:
    probe = torch.tensor([0.5, -1.0, 2.0], dtype=mlp.out.weight.dtype, device=mlp.out.weight.device)
    return torch.allclose(mlp.activation(probe)[:1], mlp.activation(probe[:1]))


class Neurons:
    """See `acdc.attribution.dictionary.Dictionary`."""

    kind = NodeKind.NEURON
    normed, inside, complete = True, True, True

    def __init__(self, weights: Weights):
        """Raises InputError where a unit's activation depends on other units (SoLU), so that none has a ratio."""
        for layer in weights.layers:
            if isinstance(layer.mlp, FeedForward) and not _is_elementwise(layer.mlp):
                raise InputError(
                    "this model's activation mixes the units of an MLP: its neurons cannot be traced one by one"
                )
        self.layers: Sequence[UnitLayer | None] = [
            NeuronLayer(layer.mlp, number) if isinstance(layer.mlp, FeedForward) else None
            for number, layer in enumerate(weights.layers)
        ]

    def describe(self) -> dict[str, str]:
        return {"units": "hidden neurons"}
