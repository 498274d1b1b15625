"""The MLPs of the families that are computed from weights; others are called as the modules they are."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from acdc.execution.components import Change
from acdc.execution.products import product

Mlp = Callable[[Tensor], Tensor]
# (input, gate or None, output) by the names that the layouts give them
_LAYOUTS: tuple[tuple[str, str | None, str], ...] = (
    ("c_fc", None, "c_proj"),
    ("dense_h_to_4h", None, "dense_4h_to_h"),
    ("up_proj", "gate_proj", "down_proj"),
    ("fc_in", None, "fc_out"),
    ("fc1", None, "fc2"),
    ("in", "gate", "out"),
)
_FUSED = ("gate_up_proj", "down_proj")  # gate and input are one product
_ACTIVATIONS = ("act", "act_fn", "activation_fn", "gelu_impl")


@dataclass(frozen=True)
class Linear:
    """x @ weight + bias; weight [in, out]."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, x: Tensor) -> Tensor:
        return product(x, self.weight, self.bias)


@dataclass(frozen=True)
class FeedForward:
    """Input, activation, output; with a gate, the activation is the gate's and multiplies the input."""

    into: Linear
    gate: Linear | None
    out: Linear
    activation: Callable[[Tensor], Tensor]
    multiply: Callable[[Tensor, Tensor], Tensor] = torch.mul

    @property
    def width(self) -> int:
        """How many hidden neurons it has."""
        return len(self.out.weight)

    def hidden(self, x: Tensor) -> Tensor:
        """What the output projection reads, [..., d] -> [..., F]."""
        into = self.into(x)
        if self.gate is None:
            return self.activation(into)
        gate = self.gate(x)
        if self.activation is functional.silu and self.multiply is torch.mul and not gate.requires_grad:
            return functional.silu(gate, inplace=True).mul_(into)  # with nothing new to allocate
        return self.multiply(self.activation(gate), into)

    def __call__(self, x: Tensor, change: Change | None = None) -> Tensor:
        """[..., d] -> [..., d]; `change`: what becomes of hidden neurons [..., F] before they are read."""
        flat = x.reshape(-1, x.shape[-1])
        hidden = self.hidden(flat)
        if change is not None:
            hidden = change(hidden.view(*x.shape[:-1], -1)).reshape(hidden.shape)
        return self.out(hidden).reshape(x.shape)


def read_mlp(module: nn.Module) -> Mlp:
    """What an MLP module computes: from its weights where its layout is known, else the module itself."""
    activation = next((getattr(module, name) for name in _ACTIVATIONS if hasattr(module, name)), None)
    weighted = {name for name, child in module.named_children() if any(True for _ in child.parameters())}
    for into, gate, out in _LAYOUTS:
        if activation is not None and weighted == {name for name in (into, gate, out) if name}:
            return FeedForward(
                _read_linear(getattr(module, into)),
                _read_linear(getattr(module, gate)) if gate else None,
                _read_linear(getattr(module, out)),
                _fused(activation),
            )
    if activation is not None and weighted == set(_FUSED):
        halves = _halves(_read_linear(getattr(module, _FUSED[0])))
        return FeedForward(halves[1], halves[0], _read_linear(getattr(module, _FUSED[1])), _fused(activation))
    return _Called(module)


def scaled(mlp: Mlp, factor: float) -> Mlp:
    """The same, its output times a factor. What is large stays shared: the factor is the activation's."""
    if factor == 1.0:
        return mlp
    if not isinstance(mlp, FeedForward):
        return lambda x: mlp(x) * factor
    activation, bias = mlp.activation, mlp.out.bias
    out = Linear(mlp.out.weight, None if bias is None else bias * factor)
    return replace(mlp, activation=lambda x: activation(x) * factor, out=out)


@dataclass(frozen=True)
class _Called:
    """A module of the model's own library, called as it is; some give what they write, and the experts chosen too."""

    module: nn.Module

    def __call__(self, x: Tensor) -> Tensor:
        written = self.module(x)
        return written[0] if isinstance(written, tuple) else written


def _halves(both: Linear) -> tuple[Linear, Linear]:
    """(gate, input)"""
    weights = both.weight.chunk(2, dim=1)
    biases = (None, None) if both.bias is None else both.bias.chunk(2)
    return Linear(weights[0], biases[0]), Linear(weights[1], biases[1])


def unwrapped(module: nn.Module | None) -> Any:
    """The module of the model's own library, which a bridge may have wrapped: of whatever class that gives it."""
    return getattr(module, "original_component", module)


def _read_linear(module: nn.Module) -> Linear:
    """Hugging Face's Conv1D keeps its weight [in, out], a linear layer [out, in]."""
    linear = unwrapped(module)
    return Linear(linear.weight.T if isinstance(linear, nn.Linear) else linear.weight, linear.bias)


def _fused(activation: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """GPT-2's GELU in one pass over memory instead of eight, and SiLU as the function that it is."""
    name = type(activation).__name__
    if name in ("NewGELUActivation", "PytorchGELUTanh", "GELUTanh"):
        return partial(functional.gelu, approximate="tanh")
    if name in ("SiLU", "SiLUActivation"):
        return functional.silu
    return activation
