"""Effects of interventions on a prompt with something held at what it was without them, as for attribution graphs.

- Direct effects (`Freeze.everything`): attention patterns, norm denominators and what MLPs write keep their values. A
  change reaches the logits through the residual stream and through what heads copy, and changes nothing else; of a
  feature, also through the skips of its dictionary.
- `Freeze.attention`: patterns keep theirs, all else follows.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from acdc.attribution.dictionary import Dictionary
from acdc.attribution.frozen import FrozenRun, HeldNorm, mixed
from acdc.attribution.interventions import Freeze
from acdc.attribution.neurons import NeuronLayer
from acdc.interventions.bound import Bound
from acdc.interventions.features import dictionary_of, feature_change
from acdc.interventions.intervention import UnitKind
from acdc.model.feed_forward import FeedForward


@torch.no_grad()
def held_logits(run: FrozenRun, bound: Sequence[Bound], freeze: Freeze = Freeze.everything) -> Tensor:
    """Logits [V] of the last position, soft-capped where the model does that; `freeze`: everything or attention."""
    assert freeze is not Freeze.nothing, "what is not held at all is run by the model itself"
    all_held, residual = freeze is Freeze.everything, run.embedded.sum(0, keepdim=True)
    dictionary = dictionary_of(bound)
    for layer in range(run.anatomy.n_layers):
        mine = [one for one in bound if one.unit.layer == layer]
        residual = _changed(mine, UnitKind.resid_pre, residual)
        middle = residual + _attention(run, layer, mine, residual, all_held)
        entering = residual if run.anatomy.parallel else middle
        residual = _changed(mine, UnitKind.resid_post, middle + _mlp(run, layer, mine, entering, all_held, dictionary))
    norm = run.final_norm if all_held else HeldNorm.of(run.weights.final_norm, residual)
    logits = run.unembed(norm(residual)[0, -1])
    cap = run.weights.softcap
    return logits if cap is None else cap * torch.tanh(logits / cap)


def _changed(bound: Sequence[Bound], kind: UnitKind, x: Tensor) -> Tensor:
    for one in bound:
        x = one(x) if one.unit.kind is kind else x
    return x


def _attention(run: FrozenRun, layer: int, bound: Sequence[Bound], residual: Tensor, all_held: bool) -> Tensor:
    """What attention adds to the residual stream [1, P, d], with the interventions on its heads."""
    held, weights = run.layers[layer], run.weights.layers[layer]
    normed = (held.attention_norm if all_held else HeldNorm.of(weights.attention_norm, residual))(residual)
    written, scale = mixed(weights, normed, held.patterns), held.attention_scale
    if not all_held and weights.attention_post is not None:
        scale = weights.attention_post.scale(written)
    total = written if scale is None else written * scale
    heads = [one for one in bound if one.unit.kind is UnitKind.head]
    if heads:
        each = run.components.mix(layer, held.patterns[:, None], weights.attention.v(normed[None]))
        each = each if scale is None else each * scale
        for head in {one.unit.index for one in heads}:
            mine = [one for one in heads if one.unit.index == head]
            total = total + _changed(mine, UnitKind.head, each[head]) - each[head]
    return total


def _mlp(
    run: FrozenRun,
    layer: int,
    bound: Sequence[Bound],
    entering: Tensor,
    all_held: bool,
    dictionary: Dictionary | None,
) -> Tensor:
    """What the MLP adds to the residual stream [1, P, d], with its own interventions."""
    held = run.layers[layer]
    mlp, scale, written = held.weights.mlp, held.mlp_scale, held.mlp_written[None]
    if mlp is None:
        return written
    assert isinstance(mlp, FeedForward)  # as where a run can be held
    read = run.unit_input(layer, True)[None]
    if not all_held:
        read = HeldNorm.of(held.weights.mlp_norm, entering)(entering)
        written = mlp(read)
    neurons = [one for one in bound if one.unit.kind is UnitKind.neuron]
    if neurons:
        units = NeuronLayer(mlp, layer)
        hidden = before = units.activations(read)
        for one in neurons:
            hidden = hidden.clone()
            hidden[..., one.unit.index] = one(hidden[..., one.unit.index])
        written = written + (hidden - before) @ units.writes(slice(None), layer)
    change = torch.zeros_like(written)
    if dictionary is not None:
        change = _by_features(run, layer, bound, entering, all_held, dictionary)
        written = written + change if dictionary.inside else written
    if not all_held and held.weights.mlp_post is not None:
        scale = held.weights.mlp_post.scale(written)
    total = written if scale is None else written * scale
    return _changed(bound, UnitKind.mlp, total if dictionary is None or dictionary.inside else total + change)


def _by_features(
    run: FrozenRun, layer: int, bound: Sequence[Bound], entering: Tensor, all_held: bool, dictionary: Dictionary
) -> Tensor:
    """What the features of an MLP write besides, [1, P, d]; where it is held, also what its dictionary's skip does."""
    normed, before = dictionary.normed, run.unit_input(layer, dictionary.normed)[None]
    held, units = run.layers[layer], dictionary.layers[layer]
    norm = held.mlp_norm if all_held else HeldNorm.of(held.weights.mlp_norm, entering)
    read = norm(entering) if normed else entering
    features = [one for one in bound if one.unit.kind is UnitKind.feature]
    total = feature_change(features, before if all_held else read) if features else torch.zeros_like(read)
    if all_held and units is not None and units.skip is not None:
        total = total + (read - before) @ units.skip.T
    return total
