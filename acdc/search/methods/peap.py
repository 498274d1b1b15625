"""PEAP (Haklay et al. 2025, "Position-aware automatic circuit discovery"): EAP at positions, attention patched exactly.

- An edge into an MLP or the logits scores as in EAP, (ablated - clean output of the sender) . gradient, at its span.
- An edge into a query, key or value is patched inside the head alone, and what the head then mixes is multiplied with
  the gradient of the metric at that: score = mean over rows of sum over queries of the span of d metric / d mixed .
  (mixed with the patched query, keys or values - mixed). For a key or value at a source, only that source's keys or
  values are patched, and only the queries of one span see it: a new softmax with the old values, or the old one with
  new values.

So a saturated softmax does not hide an edge, as it does from a gradient. Patched are the contributions of single
senders; in the paper it is what all senders of a key or value together give. A new softmax is not computed over all
keys for each source: keys are summed up by spans, before and after, and a query's spans are then weighed anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from acdc.artefacts.scores import Scores
from acdc.behaviour.behaviour import Batch, Behaviour
from acdc.errors import InputError
from acdc.execution.components import Positions
from acdc.execution.executor import Executor
from acdc.graph import ATTENTION_SLOTS, ReaderGroup, ReaderKind
from acdc.graph.positional_graph import PositionalGroup
from acdc.graph.units import PositionUnits
from acdc.model.placed import patterned
from acdc.model.replay import ReplayComponents
from acdc.options import Level
from acdc.progress import Progress
from acdc.search.memory import senders_together
from acdc.search.methods.attention_taps import AttentionTaps, inside_attention
from acdc.search.methods.contraction import Contraction, Taps
from acdc.search.methods.gradients import attribute, check_gradient_at_clean, from_embedded
from acdc.search.options import SearchOptions


def peap(behaviour: Behaviour, options: SearchOptions, progress: Progress) -> Scores:
    """Per batch, besides the clean run, one forward, one pass forward and back, and for every sender and layer its
    queries, keys, values and attention scores.

    Raises InputError where the gradient carries no information, for another level than positions, and for a model whose
    attention is not computed from weights.
    """
    check_gradient_at_clean(behaviour.metric)
    if options.level is not Level.positions:
        raise InputError(f"peap works only with --level positions, not with {options.level}")
    if behaviour.model.components.kind == ReplayComponents.kind:
        raise InputError(
            "peap needs attention computed from weights, and this model's components are computed by its own modules: "
            "use eap or eap-ig-inputs"
        )
    return attribute(behaviour, "peap", options, progress, _batch_scores)


def _batch_scores(behaviour: Behaviour, batch: Batch, change: Tensor, contract: Contraction) -> Tensor:
    taps = AttentionTaps(behaviour.executor, contract.apart)
    from_embedded(behaviour, batch, batch.clean.blocks[0], taps)
    return patched_scores(behaviour, batch, taps, change, contract)


def patched_scores(
    behaviour: Behaviour,
    batch: Batch,
    taps: AttentionTaps,
    change: Tensor,
    contract: Contraction,
    patched: Sequence[ReaderKind] = ATTENTION_SLOTS,
) -> Tensor:
    """Scores summed over a batch's rows, float64 [edges], by the gradients that a run's taps have recorded, which may
    lack those of some layers. `patched`: the kinds of slots that are patched exactly; of the others, the gradient at
    what they read is taken."""
    executor, units = behaviour.executor, behaviour.units(Level.positions)
    assert isinstance(units, PositionUnits)
    outside = Taps()
    outside.gradients = [found for found in taps.gradients if found.group.kind not in patched]
    scores = contract([outside], executor.components, behaviour.graph, change)
    where = torch.from_numpy(behaviour.where(batch)).to(change.device)
    for layer in range(behaviour.graph.anatomy.n_layers):
        if layer not in taps.written:
            continue
        patching = _Patching.of(executor, layer, taps, where, len(units.positional.spans))
        for kind in patched:
            group = units.positional.group_at[layer, kind]
            scores[group.start : group.stop] = _patched(patching, group, change).flatten()
    return scores


def _patched(patching: "_Patching", group: PositionalGroup, change: Tensor) -> Tensor:
    """Scores of the edges into a layer's queries, keys or values, float64 [readers, pairs, senders] on the CPU."""
    shape, rows, positions = patching.executor.graph.anatomy, *change.shape[1:3]
    sources, spans = np.array(group.pairs).T
    found = []
    for some in change[: group.group.senders].split(senders_together(shape, rows, positions)):
        effects = patching.effects(group.group, some)[..., sources, spans]
        found.append(effects.double().cpu().transpose(1, 2))
    return torch.cat(found, dim=2)


@dataclass(frozen=True)
class _Patching:
    """One layer's attention on a batch: what its slots `read` [1, N, P, d] and what they make of it by kind
    [readers, N, P, e]; the attention scores [H, N, Q, P], the `gradient` of the metric at the patterns [H, N, Q, P],
    and that at the values by the span of the queries [spans, readers, N, P, e]; the span of every position as ones
    `in_span` [N, P, spans], and as numbers, `where` [N, P]."""

    executor: Executor
    layer: int
    read: Tensor
    projected: dict[ReaderKind, Tensor]
    scores: Tensor
    gradient: Tensor
    at_values: Tensor
    in_span: Tensor
    where: Tensor

    @classmethod
    def of(cls, executor: Executor, layer: int, taps: AttentionTaps, where: Tensor, spans: int) -> "_Patching":
        read, projected = taps.reads[layer][None], taps.projected[layer]
        inside = inside_attention(executor, layer, projected, [taps.written[layer]])
        q, k, v = (projected[kind] for kind in ATTENTION_SLOTS)
        with torch.no_grad():
            scores = patterned(executor.components).scores(layer, q, k, Positions(q.shape[2]))
        wide = inside.gradients.dtype
        at_values = torch.zeros((spans, *v.shape), dtype=wide, device=v.device)
        for found in taps.gradients:
            if found.group.layer == layer and found.group.kind is ReaderKind.V and found.view:
                at_values[found.view.spans[0]] = found.gradient.to(wide)
        in_span = torch.nn.functional.one_hot(where, spans).to(wide)
        return cls(executor, layer, read, projected, scores.to(wide), inside.gradients[0], at_values, in_span, where)

    @torch.no_grad()
    def effects(self, group: ReaderGroup, change: Tensor) -> Tensor:
        """Of senders whose outputs change by `change` [senders, N, P, d], by source and by span of the queries:
        [readers, senders, spans, spans]. Of a query, source and span are one."""
        count, rows = change.shape[:2]
        read = (self.read + change).flatten(0, 1)
        new = self.executor.components.project(self.layer, group.kind, read[None])
        if group.kind is ReaderKind.V:
            moved = (new.unflatten(1, (count, rows)) - self.projected[group.kind][:, None]).to(self.at_values)
            return torch.einsum("rsnpe,qrnpe,npc->rscq", moved, self.at_values, self.in_span)
        old = self.projected[ReaderKind.K if group.kind is ReaderKind.Q else ReaderKind.Q].repeat(1, count, 1, 1)
        q, k = (new, old) if group.kind is ReaderKind.Q else (old, new)
        components = patterned(self.executor.components)
        scores = components.scores(self.layer, q, k, Positions(read.shape[1])).to(self.scores)
        scores = scores.unflatten(1, (count, rows))
        by_head = self._queries(scores) if group.kind is ReaderKind.Q else self._keys(scores)
        return by_head.unflatten(0, (len(new), -1)).sum(1)

    def _queries(self, scores: Tensor) -> Tensor:
        """With new scores [H, senders, N, Q, P] of all keys: [H, senders, spans, spans]."""
        moved = scores.softmax(-1) - self.scores.softmax(-1)[:, None]
        effects = torch.einsum("hsnqp,hnqp,nqc->hsc", moved, self.gradient, self.in_span)
        return torch.diag_embed(effects)

    def _keys(self, scores: Tensor) -> Tensor:
        """With new scores of the keys of one source at a time, [H, senders, sources, spans of queries]."""
        others, without, before = self._rest
        weight, mean = self._by_span(scores)
        share = torch.sigmoid(weight - others[:, None])
        patched = share * mean + (1 - share) * without[:, None]
        return torch.einsum("hsnqc,nqx->hscx", patched - before[:, None], self.in_span)

    def _by_span(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Of scores [H, ..., N, Q, P], by the span of the keys: the logarithm of the sum of their exponentials, and the
        mean of the gradient under these, [H, ..., N, Q, spans] each."""
        gradient = self.gradient if scores.dim() == 4 else self.gradient[:, None]
        keys = self.where[:, None].expand_as(scores)
        spans = self.in_span.shape[-1]
        most = scores.new_full((*scores.shape[:-1], spans), -torch.inf).scatter_reduce(-1, keys, scores, "amax")
        most = most.masked_fill(most.isinf(), 0.0)
        weights = (scores - most.gather(-1, keys)).exp()
        total = weights @ self.in_span
        mean = (weights * gradient) @ self.in_span / total.clamp(min=torch.finfo(total.dtype).tiny)
        return total.log() + most, mean

    @property
    def _rest(self) -> tuple[Tensor, Tensor, Tensor]:
        """For each source, of all keys but its own: the logarithm of the sum, the mean of the gradient; and for no
        source, the mean over all keys [H, N, Q, 1]."""
        weight, mean = self._by_span(self.scores)
        own = torch.eye(weight.shape[-1], dtype=torch.bool, device=weight.device)
        apart = weight[..., None, :].masked_fill(own, -torch.inf)
        others = apart.logsumexp(-1)
        # where a query sees one span alone, the others have no mean, and no weight either
        shares = (apart - others.masked_fill(others.isinf(), 0.0)[..., None]).exp()
        return others, (shares * mean[..., None, :]).sum(-1), (weight.softmax(-1) * mean).sum(-1, keepdim=True)
