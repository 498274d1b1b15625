"""Edges between kept nodes, to first order: what of a node's effect goes directly through another.

The metric's gradient at a feature d, times that of d's activation at what a node u writes, times u's change under
ablation. Paths lead through the residual stream and attention; those through other targets of the dictionary are
stopped, as these are nodes themselves. `logits` is what goes directly into the metric. So what leaves a node, to kept
and to other nodes, to errors and to the logits, sums to its effect by the method `attrib`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from acdc.behaviour.batches import Batch
from acdc.dictionaries.dictionary import Features
from acdc.dictionaries.hooks import Hook
from acdc.dictionaries.run import Edit, SiteRun
from acdc.feature_circuits.effects import gradients, metric_of
from acdc.feature_circuits.nodes import FeatureNode
from acdc.feature_circuits.runs import FeatureRuns
from acdc.progress import Progress, silent

LOGITS = "logits"
Edges = dict[tuple[str, str], float]  # (source's id, target's id) -> mean effect over rows


def node_edges(runs: FeatureRuns, nodes: Sequence[FeatureNode], progress: Progress = silent) -> Edges:
    """Of all pairs of nodes, and of nodes with the logits."""
    found: Edges = {}
    readers = [node for node in nodes if not node.is_error]
    with progress("edges", len(runs.batches) * (len(readers) + 1), "nodes") as advance:
        for place, batch in enumerate(runs.batches):
            sweep = _Sweep(runs, place, batch, nodes)
            sweep.add(found, LOGITS, sweep.value)
            advance(1)
            for node in readers:
                sweep.add(found, node.id, sweep.through(node))
                advance(1)
    rows = len(runs.behaviour.rows)
    return {pair: value / rows for pair, value in found.items() if value}


class _Sweep:
    """One clean run of a batch, in which every target is cut off from what it comes from."""

    def __init__(self, runs: FeatureRuns, place: int, batch: Batch, nodes: Sequence[FeatureNode]):
        self.runs, self.batch, self.nodes = runs, batch, nodes
        self.clean, self.ablated = runs.clean(batch), runs.ablated(place)
        self.total = gradients(runs, batch, runs.dictionary.targets, {})
        self.leaves: dict[Hook, Tensor] = {}
        self.reads: dict[Hook, Tensor] = {}
        edits: dict[Hook, Edit] = {one.reads: self._seen(one) for one in runs.dictionary.sets}
        for target in runs.dictionary.targets:
            edits[target] = self._cut(target, edits.get(target))
        with torch.enable_grad():
            run = SiteRun(runs.model, edits)
            self.value = metric_of(runs, batch, run.logits(batch.tokens, batch.positions)).sum()

    def _seen(self, one: Features) -> Edit:
        def edit(x: Tensor) -> Tensor:
            self.reads[one.reads] = x
            return x

        return edit

    def _cut(self, target: Hook, read: Edit | None) -> Edit:
        def edit(x: Tensor) -> Tensor:
            if read is not None:
                read(x)
            self.leaves[target] = x.detach().requires_grad_()
            return self.leaves[target]

        return edit

    def through(self, node: FeatureNode) -> Tensor:
        """A feature's activation, times the metric's gradient at it, over the tokens of its place."""
        one = self.runs.dictionary.at(node.hook)
        row = torch.tensor([node.index])
        weight = torch.zeros_like(self.clean.features[node.hook][..., 0])
        for to, target in enumerate(one.writes):
            weight = weight + self.total[target] @ one.decoders[to].rows(row)[0]
        with torch.enable_grad():
            activation = one.encode(self.reads[node.hook])[..., node.index]
            return (activation * weight * self.runs.at(node, self.batch)).sum()

    def add(self, found: Edges, target: str, value: Tensor) -> None:
        """What all nodes give to a value."""
        if not value.requires_grad:
            return
        leaves = list(self.leaves.items())
        parts = torch.autograd.grad(value, [leaf for _, leaf in leaves], retain_graph=True, allow_unused=True)
        slopes = {hook: part for (hook, _), part in zip(leaves, parts, strict=True) if part is not None}
        for node in self.nodes:
            effect = self._effect(node, slopes)
            if effect:
                found[node.id, target] = found.get((node.id, target), 0.0) + effect

    @torch.no_grad()
    def _effect(self, node: FeatureNode, slopes: dict[Hook, Tensor]) -> float:
        there = self.runs.at(node, self.batch)
        if node.is_error:
            if node.hook not in slopes:
                return 0.0
            change = self.ablated.errors[node.hook] - self.clean.errors[node.hook]
            return float((change * slopes[node.hook])[there].double().sum())
        one, row = self.runs.dictionary.at(node.hook), torch.tensor([node.index])
        clean, ablated = self.clean.features[node.hook], self.ablated.features[node.hook]
        change = (ablated.expand_as(clean) - clean)[..., node.index]
        along = torch.zeros_like(change)
        for to, target in enumerate(one.writes):
            if target in slopes:
                along = along + slopes[target] @ one.decoders[to].rows(row)[0]
        return float((change * along)[there].double().sum())
