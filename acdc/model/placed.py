"""Components whose weights are on several devices: see `acdc.model.placement`.

What a component is given goes to the device of its weights, and what it makes of it comes back home, gradients the same
way: so nothing that runs or searches has to know where a layer is.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from acdc.execution.components import Change, Components, Positions
from acdc.graph import ReaderKind
from acdc.model.functional import FunctionalComponents
from acdc.model.placement import Placement

X = TypeVar("X", Tensor, Tensor | None, object)


class PlacedComponents:
    """See `acdc.execution.components.Components`; `inner` computes, from weights or by the model's own modules."""

    def __init__(self, inner: Components, placement: Placement):
        self.inner, self.placement = inner, placement
        self.kind, self.anatomy = inner.kind, inner.anatomy
        self.work, self.whole_prompts = inner.work, inner.whole_prompts

    def embed(self, tokens: Tensor) -> Tensor:
        return self.inner.embed(tokens)

    def project(self, layer: int, kind: ReaderKind, x: Tensor, readers: Sequence[int] | None = None) -> Tensor:
        return self._in(layer, self.inner.project, kind, x, readers)

    def project_back(
        self, layer: int, kind: ReaderKind, reads: Sequence[Tensor], gradients: Sequence[Tensor], out: Tensor
    ) -> None:
        device = self.placement.layers[layer]
        there = out if out.device == device else torch.empty_like(out, device=device)
        reads, gradients = ([_carried(x, device) for x in given] for given in (reads, gradients))
        self.inner.project_back(layer, kind, reads, gradients, there)
        if there is not out:
            out.copy_(there)

    def attend(
        self, layer: int, q: Tensor, k: Tensor, v: Tensor, at: Positions, heads: Sequence[int] | None = None
    ) -> Tensor:
        return self._in(layer, self.inner.attend, q, k, v, at, heads)

    def patterns(self, layer: int, q: Tensor, k: Tensor, at: Positions, heads: Sequence[int] | None = None) -> Tensor:
        """As those of `FunctionalComponents`, which alone have them; so with `mix`."""
        return self._in(layer, self._from_weights.patterns, q, k, at, heads)

    def scores(self, layer: int, q: Tensor, k: Tensor, at: Positions) -> Tensor:
        return self._in(layer, self._from_weights.scores, q, k, at)

    def mix(self, layer: int, patterns: Tensor, v: Tensor, heads: Sequence[int] | None = None) -> Tensor:
        return self._in(layer, self._from_weights.mix, patterns, v, heads)

    @property
    def _from_weights(self) -> FunctionalComponents:
        assert isinstance(self.inner, FunctionalComponents)
        return self.inner

    def attention_bias(self, layer: int) -> Tensor | None:
        return self._in(layer, self.inner.attention_bias)

    def attention_scale(self, layer: int, total: Tensor) -> Tensor:
        return self._in(layer, self.inner.attention_scale, total)

    def mlp(self, layer: int, x: Tensor, change: Change | None = None) -> Tensor:
        return self._in(layer, self.inner.mlp, x, change)

    def unembed(self, x: Tensor, columns: Tensor | None = None) -> Tensor:
        end = self.placement.end
        return _carried(self.inner.unembed(_carried(x, end), _carried(columns, end)), self.placement.home)

    def _in(self, layer: int, compute: Callable[..., X], *given: object) -> X:
        """What a layer computes of what it is given, at home."""
        there = [_carried(value, self.placement.layers[layer]) for value in given]
        return _carried(compute(layer, *there), self.placement.home)


WithPatterns = FunctionalComponents | PlacedComponents


def patterned(components: Components) -> WithPatterns:
    """Components that can be asked for attention patterns alone, which those computed by the model's own modules cannot
    be: whoever calls this has refused them."""
    assert isinstance(components, WithPatterns)
    return components


def placed(components: Components, placement: Placement | None) -> Components:
    """The same where all weights are at home; for None they are."""
    return components if placement is None else PlacedComponents(components, placement)


def _carried(value: X, device: torch.device) -> X:
    """On a device, where it is a tensor or holds one."""
    return value.to(device) if isinstance(value, Tensor | Positions) else value
