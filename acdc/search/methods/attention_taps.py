"""What methods that look into attention record in a run: what each layer read and made of it, and gradients at its
patterns."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from acdc.execution.components import Positions
from acdc.execution.executor import Executor
from acdc.execution.slots import View, Views
from acdc.graph import ATTENTION_SLOTS, ReaderGroup, ReaderKind
from acdc.model.placed import patterned
from acdc.search.methods.contraction import Taps


class AttentionTaps(Taps):
    """Taps of a run that also record, by layer, what attention slots read [N, P, d] and what they made of it, and, once
    settled, the gradient [N, P, d] at what the heads have `written` into the residual stream: the same for all."""

    def __init__(self, executor: Executor, apart: Views | None = None):
        super().__init__(apart)
        self.reads: dict[int, Tensor] = {}
        self.projected: dict[int, dict[ReaderKind, Tensor]] = defaultdict(dict)
        self.written: dict[int, Tensor] = {}
        self._heads: dict[int, Tensor] = {}
        self._per_layer = 1 if executor.graph.anatomy.attn_only else 2

    def read(self, group: ReaderGroup, residual: Tensor, blocks: Sequence[Tensor]) -> Tensor:
        if group.kind in ATTENTION_SLOTS:
            self.reads[group.layer] = residual.detach()
        return super().read(group, residual, blocks)

    def write(self, index: int, block: Tensor) -> Tensor:
        if index == 0:
            return block
        layer, place = divmod(index - 1, self._per_layer)
        return self.watch(layer, block) if place == 0 else block.view_as(block)

    def watch(self, layer: int, heads: Tensor) -> Tensor:
        """Record the gradient at what a layer's heads write."""
        own = heads.view_as(heads)
        own.retain_grad()
        self._heads[layer] = own
        return own

    def inner(self, group: ReaderGroup, projected: Tensor) -> Tensor:
        self.projected[group.layer][group.kind] = projected.detach()
        return super().inner(group, projected)

    def inner_apart(self, view: View, group: ReaderGroup, projected: Tensor) -> Tensor:
        self.projected[group.layer][group.kind] = projected.detach()
        return super().inner_apart(view, group, projected)

    def settle(self) -> None:
        super().settle()
        found = {layer: heads.grad for layer, heads in self._heads.items()}
        self.written = {layer: gradient[0].clone() for layer, gradient in found.items() if gradient is not None}
        self._heads = {}


@dataclass(frozen=True)
class InsideAttention:
    """The patterns [H, N, Q, P] of a layer, and the gradients [runs, H, N, Q, P] of the metric at them."""

    patterns: Tensor
    gradients: Tensor


def inside_attention(
    executor: Executor, layer: int, projected: dict[ReaderKind, Tensor], written: Sequence[Tensor | None]
) -> InsideAttention:
    """A layer's patterns with the gradients at them, from those at what the layer writes in each of some runs; none
    for None."""
    components = patterned(executor.components)
    q, k, v = (projected[kind] for kind in ATTENTION_SLOTS)
    with torch.no_grad():
        patterns = components.patterns(layer, q, k, Positions(q.shape[2]))
    with torch.enable_grad():
        leaf = patterns.clone().requires_grad_()
        heads, bias = executor.scaled(layer, components.mix(layer, leaf, v))
        total = heads.sum(0) if bias is None else heads.sum(0) + bias
        gradients = [
            torch.zeros_like(leaf) if g is None else torch.autograd.grad(total, leaf, g, retain_graph=True)[0]
            for g in written
        ]
    return InsideAttention(patterns, torch.stack(gradients))
