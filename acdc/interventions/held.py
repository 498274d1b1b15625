"""Direct effects of interventions on a prompt: attention patterns, norm denominators and what MLPs write keep their
values of the run without interventions, as for the rows of an attribution graph (`acdc.attribution`).

A change reaches the logits through the residual stream and through what heads copy, and changes nothing else.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from acdc.attribution.frozen import FrozenRun, HeldLayer
from acdc.attribution.neurons import NeuronLayer
from acdc.interventions.bound import Bound
from acdc.interventions.intervention import UnitKind
from acdc.model.feed_forward import FeedForward


@torch.no_grad()
def direct_logits(run: FrozenRun, bound: Sequence[Bound]) -> Tensor:
    """Logits [V] of the last position, soft-capped where the model does that, all else held."""
    residual = run.embedded.sum(0, keepdim=True)
    for layer, held in enumerate(run.layers):
        mine = [one for one in bound if one.unit.layer == layer]
        residual = _changed(mine, UnitKind.resid_pre, residual)
        middle = residual + held.attend(residual) + _heads_change(run, layer, mine, residual)
        residual = _changed(mine, UnitKind.resid_post, middle + _mlp(run, layer, mine))
    logits = run.unembed(run.final_norm(residual)[0, -1])
    cap = run.weights.softcap
    return logits if cap is None else cap * torch.tanh(logits / cap)


def _changed(bound: Sequence[Bound], kind: UnitKind, x: Tensor) -> Tensor:
    for one in bound:
        x = one(x) if one.unit.kind is kind else x
    return x


def _heads_change(run: FrozenRun, layer: int, bound: Sequence[Bound], residual: Tensor) -> Tensor:
    """By how much what heads add to the residual stream [1, P, d] changes."""
    heads = [one for one in bound if one.unit.kind is UnitKind.head]
    total = torch.zeros_like(residual)
    if heads:
        held: HeldLayer = run.layers[layer]
        values = held.weights.attention.v(held.attention_norm(residual)[None])
        written = run.components.mix(layer, held.patterns[:, None], values)
        written = written if held.attention_scale is None else written * held.attention_scale
        for head in {one.unit.index for one in heads}:
            mine = [one for one in heads if one.unit.index == head]
            total = total + _changed(mine, UnitKind.head, written[head]) - written[head]
    return total


def _mlp(run: FrozenRun, layer: int, bound: Sequence[Bound]) -> Tensor:
    """What the MLP, which is held, adds to the residual stream [1, P, d] with its own interventions."""
    held = run.layers[layer]
    written = held.mlp_written[None]
    neurons = [one for one in bound if one.unit.kind is UnitKind.neuron]
    if neurons:
        assert isinstance(held.weights.mlp, FeedForward)  # as where there are neurons
        units = NeuronLayer(held.weights.mlp, layer)
        hidden = before = units.activations(run.unit_input(layer, True))[None]
        for one in neurons:
            hidden = hidden.clone()
            hidden[..., one.unit.index] = one(hidden[..., one.unit.index])
        written = written + (hidden - before) @ units.writes(slice(None), layer)
    written = written if held.mlp_scale is None else written * held.mlp_scale
    return _changed(bound, UnitKind.mlp, written)
