"""Components whose weights are on several devices: see `acdc.model.placement`.

What a component is given goes to the device of its weights, and what it makes of it comes back home, gradients the same
way: so nothing that runs or searches has to know where a layer is.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from acdc.graph import ReaderKind
from acdc.model.components import Components, Positions
from acdc.model.placement import Placement


class PlacedComponents:
    """See `acdc.model.components.Components`; `inner` computes, from weights or by the model's own modules."""

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
        reads, gradients = _all_carried(reads, device), _all_carried(gradients, device)
        self.inner.project_back(layer, kind, reads, gradients, there)
        if there is not out:
            out.copy_(there)

    def attend(
        self, layer: int, q: Tensor, k: Tensor, v: Tensor, at: Positions, heads: Sequence[int] | None = None
    ) -> Tensor:
        return self._in(layer, self.inner.attend, q, k, v, at, heads)

    def patterns(self, layer: int, q: Tensor, k: Tensor, at: Positions) -> Tensor:
        """As those of `FunctionalComponents`, which alone have them; so with `mix`."""
        return self._in(layer, self.inner.patterns, q, k, at)

    def mix(self, layer: int, patterns: Tensor, v: Tensor, heads: Sequence[int] | None = None) -> Tensor:
        return self._in(layer, self.inner.mix, patterns, v, heads)

    def attention_bias(self, layer: int) -> Tensor | None:
        return self._in(layer, self.inner.attention_bias)

    def attention_scale(self, layer: int, total: Tensor) -> Tensor | None:
        return self._in(layer, self.inner.attention_scale, total)

    def mlp(self, layer: int, x: Tensor) -> Tensor:
        return self._in(layer, self.inner.mlp, x)

    def unembed(self, x: Tensor, columns: Tensor | None = None) -> Tensor:
        return _carried(self.inner.unembed(*_all_carried((x, columns), self.placement.end)), self.placement.home)

    def _in(self, layer: int, compute: Callable, *given: object) -> Tensor | None:
        """What a layer computes of what it is given, at home."""
        there = _all_carried(given, self.placement.layers[layer])
        return _carried(compute(layer, *there), self.placement.home)


def placed(components: Components, placement: Placement | None) -> Components:
    """The same where all weights are at home; for None they are."""
    return components if placement is None else PlacedComponents(components, placement)


def _all_carried(given: Sequence[object], device: torch.device) -> list[object]:
    return [_carried(value, device) for value in given]


def _carried(value: object, device: torch.device) -> object:
    """On a device, where it is a tensor or holds one."""
    return value.to(device) if isinstance(value, Tensor | Positions) else value
