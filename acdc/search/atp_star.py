"""AtP* (Kramar et al. 2024, arXiv 2403.00745), for edges: EAP mended where it is blind.

- QK fix: an edge into a query or key slot changes the attention pattern through a softmax, which may be saturated. So
  the pattern is computed anew with the changed query or key, and the score is sum((new pattern - pattern) . d metric /
  d pattern).
- GradDrop: gradients along different paths may cancel. So the estimate is repeated with the gradient through each
  layer l dropped, and the score's size is the mean over the layers other than the reader's own of |I_l|, the mean over
  rows taken first; its sign is that of the estimate with all gradients.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from acdc.errors import InputError
from acdc.graph import ReaderKind
from acdc.model.components import Positions
from acdc.model.executor import Executor
from acdc.model.functional import FunctionalComponents
from acdc.progress import Progress
from acdc.search.gradients import Taps, backward, check_gradient_at_clean, check_scores, summed
from acdc.search.options import SearchOptions
from acdc.search.result import Scores
from acdc.task.behaviour import Batch, Behaviour

PATTERN_NUMBERS = 2**24  # numbers of attention patterns that are computed anew in one go


def atp_star(behaviour: Behaviour, options: SearchOptions, progress: Progress) -> Scores:
    """Per batch, besides the clean run, one forward, one pass forward and back more than there are layers, and for
    every sender and layer its queries, keys and patterns.

    Raises InputError where the gradient carries no information, and for a model whose attention is not computed from
    weights.
    """
    check_gradient_at_clean(behaviour.metric)
    if not isinstance(behaviour.model.components, FunctionalComponents):
        raise InputError(
            "atp-star needs attention computed from weights, and this model's components are computed by its own "
            "modules: use eap or eap-ig-inputs"
        )
    estimates, halvings = summed(
        behaviour, "atp-star", progress, lambda batch, change: _estimates(behaviour, batch, change)
    )
    estimates /= len(behaviour.rows)
    kinds = np.array([behaviour.graph.readers[reader].kind for reader in behaviour.graph.ends[1]])
    linear = torch.from_numpy((kinds != ReaderKind.Q) & (kinds != ReaderKind.K))
    check_scores(behaviour, estimates[-1] * linear)  # rounding makes the others' patterns move where nothing does
    return Scores(_combined(behaviour, estimates).numpy(), "effect", halvings=halvings)


def _combined(behaviour: Behaviour, estimates: Tensor) -> Tensor:
    """Sign of the whole estimate, mean size of those with a layer dropped: [layers + 1, edges] -> [edges]."""
    *dropped, whole = estimates
    size, count = torch.zeros_like(whole), torch.zeros_like(whole)
    for layer, estimate in enumerate(dropped):
        for group in behaviour.graph.groups:
            if group.layer != layer:
                size[group.start : group.stop] += estimate[group.start : group.stop].abs()
                count[group.start : group.stop] += 1
    return torch.where(count > 0, whole.sign() * size / count.clamp(min=1), whole)


class _Dropping(Taps):
    """Taps of a run that lets no gradient through one layer's components, or through all of them for None; it also
    takes down the gradients of what the heads of each layer write."""

    def __init__(self, executor: Executor, dropped: int | None):
        super().__init__()
        self.heads: dict[int, Tensor] = {}
        self._per_layer, self._dropped = (1 if executor.graph.anatomy.attn_only else 2), dropped

    def write(self, index: int, block: Tensor) -> Tensor:
        if index == 0:
            return block
        layer, place = divmod(index - 1, self._per_layer)
        own = block.detach() if layer == self._dropped else block.view_as(block)
        if place == 0 and layer != self._dropped:
            own.retain_grad()
            self.heads[layer] = own
        return own


@dataclass(frozen=True)
class _Layer:
    """What the patterns of one layer depend on, and the gradients [drops, H, N, P, P] of the metric at them."""

    index: int
    read: Tensor
    projected: dict[ReaderKind, Tensor]
    patterns: Tensor
    gradients: Tensor


def _estimates(behaviour: Behaviour, batch: Batch, change: Tensor) -> Tensor:
    """Estimates summed over a batch's rows, float64 [layers + 1, edges]: with each layer dropped, then with none."""
    executor, graph, layers = behaviour.executor, behaviour.graph, range(behaviour.graph.anatomy.n_layers)
    found, gradients = [], [[] for _ in layers]
    for dropped in (*layers, None):
        taps = _Dropping(executor, dropped)
        with torch.enable_grad():
            start = batch.clean.blocks[0].detach().clone().requires_grad_()
            backward(behaviour, batch, executor.run_embedded(start, batch.positions, taps))
        found.append(taps.contract(executor.components, graph, change))
        patterns = [_patterns(executor, taps, layer) for layer in layers]
        for layer in layers:
            gradients[layer].append(_at_patterns(executor, taps, layer, patterns[layer]))
    estimates = torch.stack(found)
    for layer in layers:
        inside = _Layer(layer, *taps.attention(layer), patterns[layer], torch.stack(gradients[layer]))
        for kind in (ReaderKind.Q, ReaderKind.K):
            group = graph.group_at[layer, kind]
            block = estimates[:, group.start : group.stop].view(-1, len(group.readers), group.senders)
            block[:] = _fixed(executor, inside, kind, change[: group.senders])
    return estimates


@torch.no_grad()
def _patterns(executor: Executor, taps: Taps, layer: int) -> Tensor:
    _, projected = taps.attention(layer)
    q, k = projected[ReaderKind.Q], projected[ReaderKind.K]
    return executor.components.patterns(layer, q, k, Positions(q.shape[2]))


def _at_patterns(executor: Executor, taps: _Dropping, layer: int, patterns: Tensor) -> Tensor:
    """The gradient at a layer's patterns, [H, N, P, P]: nothing where the layer is dropped."""
    if layer not in taps.heads:
        return torch.zeros_like(patterns)
    _, projected = taps.attention(layer)
    with torch.enable_grad():
        leaf = patterns.clone().requires_grad_()
        written, _ = executor.scaled(layer, executor.components.mix(layer, leaf, projected[ReaderKind.V]))
        return torch.autograd.grad(written, leaf, taps.heads[layer].grad)[0]


@torch.no_grad()
def _fixed(executor: Executor, inside: _Layer, kind: ReaderKind, change: Tensor) -> Tensor:
    """Scores [drops, readers, senders] of the edges into a layer's query or key slots, patterns computed anew."""
    components, layer = executor.components, inside.index
    rows, positions = change.shape[1:3]
    together = max(1, PATTERN_NUMBERS // inside.patterns.numel())
    scores = []
    for some in change.split(together):
        read = (inside.read + some).flatten(0, 1)
        new = components.project(layer, kind, read[None])
        old = inside.projected[ReaderKind.K if kind is ReaderKind.Q else ReaderKind.Q].repeat(1, len(some), 1, 1)
        q, k = (new, old) if kind is ReaderKind.Q else (old, new)
        moved = components.patterns(layer, q, k, Positions(positions)).unflatten(1, (len(some), rows))
        moved = moved - inside.patterns.unsqueeze(1)
        scores.append(torch.einsum("hsnij,zhnij->zhs", moved, inside.gradients).double().cpu())
    readers = len(inside.projected[kind])
    return torch.cat(scores, dim=2).unflatten(1, (readers, -1)).sum(2)
