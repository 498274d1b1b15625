"""By how much an MLP's output changes where features of a dictionary are at other activations."""

from collections.abc import Sequence

import torch
from torch import Tensor

from acdc.attribution.dictionary import Dictionary
from acdc.interventions.bound import Bound


def dictionary_of(bound: Sequence[Bound]) -> Dictionary | None:
    """That of the features among some interventions, None where there are none."""
    return next((one.dictionary for one in bound if one.dictionary is not None), None)


def feature_change(features: Sequence[Bound], read: Tensor, offset: int = 0) -> Tensor:
    """What features of one layer write besides [B, n, d], where they read `read` [B, n, d], at n positions from
    `offset` on: their activations as they become less as they are, times what they write."""
    dictionary, layer = features[0].dictionary, features[0].unit.layer
    assert dictionary is not None
    units = dictionary.layers[layer]
    assert units is not None  # else the binder refuses them
    chosen = list(dict.fromkeys(one.unit.index for one in features))
    before = units.activations(read)[..., chosen]
    after = before.clone()
    for one in features:
        place = chosen.index(one.unit.index)
        after[..., place] = one(after[..., place], offset)
    return (after - before) @ units.writes(torch.tensor(chosen, device=read.device), layer)
