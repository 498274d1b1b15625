"""The hidden units of the MLPs themselves: no dictionary is needed, and nothing is left over.

A unit's activation is taken for proportional to what it reads: act(z) = z * (act(z) / z), the ratio held; of a gated
product each factor is held in turn, at half weight (Achtibat et al. 2024, arXiv 2402.05602; Rezaei Jafari et al. 2025,
"RelP"; Arora et al. 2025, arXiv 2601.22594: circuits of neurons as sparse as those of features).
"""

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from acdc.artefacts.attribution.nodes import NodeKind
from acdc.execution.products import product
from acdc.model.feed_forward import FeedForward
from acdc.model.weights import Weights


class Rule(StrEnum):
    """How a neuron is made linear: by its ratio, or by its slope (the plain gradient, whose constant is the rest)."""

    RATIO = "ratio"
    SLOPE = "slope"


@dataclass(frozen=True)
class NeuronLayer:
    """See `acdc.attribution.dictionary.UnitLayer`."""

    mlp: FeedForward
    layer: int
    rule: Rule = Rule.RATIO
    skip: None = None

    @property
    def size(self) -> int:
        return len(self.mlp.out.weight)

    @property
    def constant(self) -> Tensor | None:
        return self.mlp.out.bias

    @property
    def targets(self) -> range:
        return range(self.layer, self.layer + 1)

    def activations(self, x: Tensor) -> Tensor:
        into = product(x, self.mlp.into.weight, self.mlp.into.bias)
        if self.mlp.gate is None:
            return self.mlp.activation(into)
        return self.mlp.activation(product(x, self.mlp.gate.weight, self.mlp.gate.bias)) * into

    def reads(self, x: Tensor, units: Tensor) -> tuple[Tensor, Tensor]:
        into, bias = _columns(self.mlp.into.weight, self.mlp.into.bias, units)
        z = torch.linalg.vecdot(into, x) + bias
        if self.mlp.gate is None:
            factor, constant = self._held(z)
            return into * factor[:, None], bias * factor + constant
        gate, gate_bias = _columns(self.mlp.gate.weight, self.mlp.gate.bias, units)
        pre = torch.linalg.vecdot(gate, x) + gate_bias
        factor, constant = self._held(pre)
        activated = pre * factor + constant
        share = 0.5 if self.rule is Rule.RATIO else 1.0  # each factor with the other held: of the slope, both count
        on_gate, on_into = share * z * factor, share * activated
        vectors = gate * on_gate[:, None] + into * on_into[:, None]
        return vectors, activated * z - torch.linalg.vecdot(vectors, x)

    def writes(self, units: Tensor | slice, to: int) -> Tensor:
        return self.mlp.out.weight[units]

    def _held(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """(factor, constant) of the activation at z [k]: activation = z * factor + constant."""
        if self.rule is Rule.RATIO:
            value = self.mlp.activation(z)
            return torch.where(z == 0, 0.0, value / z), torch.where(z == 0, value, 0.0)
        with torch.enable_grad():
            leaf = z.detach().requires_grad_()
            value = self.mlp.activation(leaf)
            (slope,) = torch.autograd.grad(value.sum(), leaf)
        return slope, value.detach() - slope * z


def _columns(weight: Tensor, bias: Tensor | None, units: Tensor) -> tuple[Tensor, Tensor]:
    """(columns [k, d] of a weight [d, F], biases [k]) of some units."""
    return weight[:, units].T, weight.new_zeros(len(units)) if bias is None else bias[units]


class Neurons:
    """See `acdc.attribution.dictionary.Dictionary`."""

    kind = NodeKind.NEURON
    normed, inside, skips_first, complete = True, True, False, True

    def __init__(self, weights: Weights, rule: Rule = Rule.RATIO):
        self.rule = rule
        self.layers = [
            NeuronLayer(layer.mlp, number, rule) if isinstance(layer.mlp, FeedForward) else None
            for number, layer in enumerate(weights.layers)
        ]

    def describe(self) -> dict[str, str]:
        return {"units": "hidden neurons", "rule": self.rule.value}
