"""AtP* (Kramar et al. 2024, arXiv 2403.00745), for edges: EAP mended where it is blind.

- QK fix: an edge into a query or key slot changes the attention pattern through a softmax, which may be saturated. So
  the pattern is computed anew with the changed query or key, and the score is sum((new pattern - pattern) . d metric /
  d pattern).
- GradDrop: gradients along different paths may cancel. So the estimate is repeated with the gradient through each
  layer l dropped, and the score's size is the mean over the layers other than the reader's own of |I_l|, the mean over
  rows taken first; its sign is that of the estimate with all gradients.

At positions patterns are computed anew as by `acdc.search.methods.peap`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from acdc.artefacts.scores import Scores
from acdc.behaviour.behaviour import Batch, Behaviour
from acdc.errors import InputError
from acdc.execution.components import Positions
from acdc.execution.executor import Executor
from acdc.execution.slots import Views
from acdc.graph import ReaderKind
from acdc.graph.units import PositionUnits
from acdc.model.placed import patterned
from acdc.model.replay import ReplayComponents
from acdc.options import Level
from acdc.progress import Progress
from acdc.search.memory import senders_together
from acdc.search.methods.attention_taps import AttentionTaps, InsideAttention, inside_attention
from acdc.search.methods.contraction import contract
from acdc.search.methods.gradients import (
    check_gradient_at_clean,
    check_scores,
    contraction_of,
    from_embedded,
    summed,
)
from acdc.search.methods.peap import patched_scores
from acdc.search.options import SearchOptions

PATCHED = (ReaderKind.Q, ReaderKind.K)  # kinds of slots whose edges move the patterns


def atp_star(behaviour: Behaviour, options: SearchOptions, progress: Progress) -> Scores:
    """Per batch, besides the clean run, one forward, one pass forward and back more than there are layers, and for
    every sender and layer its queries, keys and patterns.

    At positions, queries, keys and patterns as often as there are passes.

    Raises InputError where the gradient carries no information, and for a model whose attention is not computed from
    weights.
    """
    check_gradient_at_clean(behaviour.metric)
    if behaviour.model.components.kind == ReplayComponents.kind:
        raise InputError(
            "atp-star needs attention computed from weights, and this model's components are computed by its own "
            "modules: use eap or eap-ig-inputs"
        )
    units, of_batch = behaviour.units(options.level), _estimates
    blocks = [_Block(group.layer, group.kind, slice(group.start, group.stop)) for group in behaviour.graph.groups]
    if isinstance(units, PositionUnits):
        of_batch = _estimates_at_positions
        at = units.positional.groups
        blocks = [_Block(one.group.layer, one.group.kind, slice(one.start, one.stop)) for one in at]
    estimates, batch_splits = summed(behaviour, "atp-star", progress, of_batch, level=options.level)
    estimates /= len(behaviour.rows)
    linear = estimates[-1].clone()
    for block in blocks:
        if block.kind in PATCHED:  # rounding makes patterns move where nothing does
            linear[block.edges] = 0
    check_scores(behaviour, linear)
    return Scores(_combined(blocks, estimates).numpy(), "effect", batch_splits, units.form.level)


@dataclass(frozen=True)
class _Block:
    """Where the edges into slots of one layer and kind are."""

    layer: int
    kind: ReaderKind
    edges: slice


def _combined(blocks: Sequence[_Block], estimates: Tensor) -> Tensor:
    """Sign of the whole estimate, mean size of those with a layer dropped: [layers + 1, edges] -> [edges]."""
    *dropped, whole = estimates
    size, count = torch.zeros_like(whole), torch.zeros_like(whole)
    for layer, estimate in enumerate(dropped):
        for block in blocks:
            if block.layer != layer:
                size[block.edges] += estimate[block.edges].abs()
                count[block.edges] += 1
    return torch.where(count > 0, whole.sign() * size / count.clamp(min=1), whole)


class _Dropping(AttentionTaps):
    """Taps of a run that lets no gradient through one layer's components, or through all of them for None."""

    def __init__(self, executor: Executor, dropped: int | None, apart: Views | None = None):
        super().__init__(executor, apart)
        self._dropped = dropped

    def write(self, index: int, block: Tensor) -> Tensor:
        dropped = index and (index - 1) // self._per_layer == self._dropped
        return block.detach() if dropped else super().write(index, block)


def _estimates(behaviour: Behaviour, batch: Batch) -> Tensor:
    """Estimates summed over a batch's rows, float64 [layers + 1, edges]: with each layer dropped, then with none."""
    executor, graph, change = behaviour.executor, behaviour.graph, behaviour.change(batch)
    found, written = [], []
    for taps in _passes(behaviour, batch):
        found.append(contract([taps], executor.components, graph, change))
        written.append(taps.written)
    estimates = torch.stack(found)
    for layer in range(graph.anatomy.n_layers):
        inside = inside_attention(executor, layer, taps.projected[layer], [found.get(layer) for found in written])
        for kind in PATCHED:
            group = graph.group_at[layer, kind]
            block = estimates[:, group.start : group.stop].view(-1, len(group.readers), group.senders)
            block[:] = _fixed(executor, layer, taps, inside, kind, change[: group.senders])
    return estimates


def _passes(behaviour: Behaviour, batch: Batch, apart: Views | None = None) -> Iterator[AttentionTaps]:
    """Forward and back with each layer dropped, then with none."""
    for dropped in (*range(behaviour.graph.anatomy.n_layers), None):
        yield from_embedded(behaviour, batch, batch.clean.blocks[0], _Dropping(behaviour.executor, dropped, apart))


def _estimates_at_positions(behaviour: Behaviour, batch: Batch) -> Tensor:
    """The same of edges at positions."""
    contraction, change = contraction_of(behaviour, batch, behaviour.units(Level.positions)), behaviour.change(batch)
    passes = _passes(behaviour, batch, contraction.apart)
    return torch.stack([patched_scores(behaviour, batch, taps, change, contraction, PATCHED) for taps in passes])


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
