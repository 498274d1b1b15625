"""Components that compute the same and pass back relevance instead of gradients (layer-wise relevance propagation).

Norms pass on what they get as if their scale were constant, an activation multiplies by act(x) / x instead of its
slope, and each factor of a gated MLP gets half (Achtibat et al. 2024, arXiv 2402.05602; Rezaei Jafari et al. 2025,
"RelP"). Attention keeps its gradients, so that queries and keys get scores, unless it is to be held: then nothing goes
back through patterns.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from acdc.errors import InputError
from acdc.execution.components import Components, Positions
from acdc.model.feed_forward import FeedForward, Mlp
from acdc.model.functional import FunctionalComponents
from acdc.model.layers import Layer
from acdc.model.norms import Norm
from acdc.model.placed import PlacedComponents


class HeldAttention(FunctionalComponents):
    """Components whose attention patterns are constants when gradients go back."""

    def patterns(self, layer: int, q: Tensor, k: Tensor, at: Positions, heads: Sequence[int] | None = None) -> Tensor:
        return super().patterns(layer, q, k, at, heads).detach()


def relevance(components: Components, hold_attention: bool = False) -> Components:
    """Raises InputError for a model that is not computed from its weights alone."""
    if components.kind != "functional":
        raise InputError(
            "relp needs every component computed from weights, and this model's are computed by its own modules: use "
            "eap or eap-ig-inputs"
        )
    if isinstance(components, PlacedComponents):
        return PlacedComponents(relevance(components.inner, hold_attention), components.placement)
    assert isinstance(components, FunctionalComponents)
    weights = components.weights
    layers = tuple(_relevant(layer) for layer in weights.layers)
    kind = HeldAttention if hold_attention else FunctionalComponents
    found = kind(replace(weights, layers=layers, final_norm=_frozen(weights.final_norm)), components.anatomy)
    found.work = components.work
    return found


def _relevant(layer: Layer) -> Layer:
    attention = layer.attention
    return Layer(
        attention_norm=_frozen(layer.attention_norm),
        attention=replace(attention, q_norm=_frozen(attention.q_norm), k_norm=_frozen(attention.k_norm)),
        attention_post=_frozen(layer.attention_post),
        mlp_norm=_frozen(layer.mlp_norm),
        mlp=_relevant_mlp(layer.mlp),
        mlp_flops=layer.mlp_flops,
        mlp_post=_frozen(layer.mlp_post),
    )


def _frozen(norm: Norm | None) -> Norm | None:
    return None if norm is None else replace(norm, frozen=True)


def _relevant_mlp(mlp: Mlp | None) -> FeedForward | None:
    if mlp is None:
        return None
    assert isinstance(mlp, FeedForward)  # else the components were not all computed from weights
    return replace(mlp, activation=_proportional(mlp.activation), multiply=_split)


def _proportional(activation: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def proportional(x: Tensor) -> Tensor:
        with torch.no_grad():
            factor = torch.where(x == 0, 0.0, activation(x) / x)
        return x * factor

    return proportional


def _split(a: Tensor, b: Tensor) -> Tensor:
    return (a * b.detach() + a.detach() * b) / 2
