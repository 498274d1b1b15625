"""AtP* (Kramar et al. 2024, arXiv 2403.00745), for edges: EAP mended where it is blind.

- QK fix: an edge into a query or key slot changes the attention pattern through a softmax, which may be saturated. So
  the pattern is computed anew with the changed query or key, and the score is sum((new pattern - pattern) . d metric /
  d pattern).
- GradDrop: gradients along different paths may cancel. So the estimate is repeated with the gradient through each
  layer l dropped, and the score's size is the mean over the layers other than the reader's own of |I_l|, the mean over
  rows taken first; its sign is that of the estimate with all gradients.
"""

import numpy as np
import torch
from torch import Tensor

from acdc.artefacts.scores import Scores
from acdc.behaviour.behaviour import Batch, Behaviour
from acdc.errors import InputError
from acdc.execution.components import Positions
from acdc.execution.executor import Executor
from acdc.graph import ReaderKind
from acdc.model.placed import patterned
from acdc.model.replay import ReplayComponents
from acdc.progress import Progress
from acdc.search.memory import senders_together
from acdc.search.methods.attention_taps import AttentionTaps, InsideAttention, inside_attention
from acdc.search.methods.contraction import contract
from acdc.search.methods.gradients import backward, check_gradient_at_clean, check_scores, summed
from acdc.search.options import SearchOptions


def atp_star(behaviour: Behaviour, options: SearchOptions, progress: Progress) -> Scores:
    """Per batch, besides the clean run, one forward, one pass forward and back more than there are layers, and for
    every sender and layer its queries, keys and patterns.

    Raises InputError where the gradient carries no information, and for a model whose attention is not computed from
    weights.
    """
    check_gradient_at_clean(behaviour.metric)
    if behaviour.model.components.kind == ReplayComponents.kind:
        raise InputError(
            "atp-star needs attention computed from weights, and this model's components are computed by its own "
            "modules: use eap or eap-ig-inputs"
        )
    estimates, batch_splits = summed(behaviour, "atp-star", progress, _estimates)
    estimates /= len(behaviour.rows)
    kinds = np.array([behaviour.graph.readers[reader].kind for reader in behaviour.graph.ends[1]])
    linear = torch.from_numpy((kinds != ReaderKind.Q) & (kinds != ReaderKind.K))
    check_scores(behaviour, estimates[-1] * linear)  # rounding makes the others' patterns move where nothing does
    return Scores(_combined(behaviour, estimates).numpy(), "effect", batch_splits=batch_splits)


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


class _Dropping(AttentionTaps):
    """Taps of a run that lets no gradient through one layer's components, or through all of them for None."""

    def __init__(self, executor: Executor, dropped: int | None):
        super().__init__(executor)
        self._dropped = dropped

    def write(self, index: int, block: Tensor) -> Tensor:
        dropped = index and (index - 1) // self._per_layer == self._dropped
        return block.detach() if dropped else super().write(index, block)


def _estimates(behaviour: Behaviour, batch: Batch) -> Tensor:
    """Estimates summed over a batch's rows, float64 [layers + 1, edges]: with each layer dropped, then with none."""
    executor, graph, change = behaviour.executor, behaviour.graph, behaviour.change(batch)
    found, written = [], []
    for dropped in (*range(graph.anatomy.n_layers), None):
        taps = _Dropping(executor, dropped)
        with torch.enable_grad():
            start = batch.clean.blocks[0].detach().clone().requires_grad_()
            backward(behaviour, batch, executor.run_embedded(start, batch.positions, taps), taps)
        found.append(contract([taps], executor.components, graph, change))
        written.append(taps.written)
    estimates = torch.stack(found)
    for layer in range(graph.anatomy.n_layers):
        inside = inside_attention(executor, layer, taps.projected[layer], [found.get(layer) for found in written])
        for kind in (ReaderKind.Q, ReaderKind.K):
            group = graph.group_at[layer, kind]
            block = estimates[:, group.start : group.stop].view(-1, len(group.readers), group.senders)
            block[:] = _fixed(executor, layer, taps, inside, kind, change[: group.senders])
    return estimates


@torch.no_grad()
def _fixed(
    executor: Executor, layer: int, taps: AttentionTaps, inside: InsideAttention, kind: ReaderKind, change: Tensor
) -> Tensor:
    """Scores [drops, readers, senders] of the edges into a layer's query or key slots, patterns computed anew."""
    components, projected = patterned(executor.components), taps.projected[layer]
    rows, positions, _ = change.shape[1:]
    together, scores = senders_together(executor.graph.anatomy, rows, positions), []
    for some in change.split(together):
        read = (taps.reads[layer][None] + some).flatten(0, 1)
        new = components.project(layer, kind, read[None])
        old = projected[ReaderKind.K if kind is ReaderKind.Q else ReaderKind.Q].repeat(1, len(some), 1, 1)
        q, k = (new, old) if kind is ReaderKind.Q else (old, new)
        moved = components.patterns(layer, q, k, Positions(positions)).unflatten(1, (len(some), rows))
        moved = moved - inside.patterns.unsqueeze(1)
        scores.append(torch.einsum("hsnij,zhnij->zhs", moved, inside.gradients).double().cpu())
    readers = len(projected[kind])
    return torch.cat(scores, dim=2).unflatten(1, (readers, -1)).sum(2)
