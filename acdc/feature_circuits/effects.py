"""By how much the metric changes when one node is ablated, the mean over rows: metric(ablated) - metric(not ablated).

`exact`: by a run for each. `attrib`: to first order, from one gradient on the clean prompts. `ig`: from gradients on
the way from the clean to the ablated values of one target after another, all of its features and its error together,
at the middles of equal steps (Marks et al. 2024 take their beginnings). Gradients pass through reconstruction and error
alike, as both follow from the same x; see `acdc.feature_circuits.runs`.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum

import torch
from torch import Tensor

from acdc.behaviour.batches import Batch
from acdc.dictionaries.dictionary import Features
from acdc.dictionaries.hooks import Hook
from acdc.dictionaries.run import Edit, SiteRun
from acdc.errors import InputError
from acdc.execution.products import product
from acdc.feature_circuits.nodes import FeatureNode
from acdc.feature_circuits.runs import FeatureRuns, Values
from acdc.progress import Progress, silent

STEPS = 10
AT_ONCE = 1024  # features whose decoder rows are asked for together


class EffectMethod(StrEnum):
    attrib = "attrib"
    ig = "ig"
    exact = "exact"


Effects = dict[FeatureNode, float]


def node_effects(runs: FeatureRuns, method: EffectMethod, steps: int = STEPS, progress: Progress = silent) -> Effects:
    """Of every feature that is active in a clean prompt or where it is ablated, and of every error. Raises InputError
    for a metric without a gradient, unless effects are exact."""
    if method is EffectMethod.exact:
        return _exact(runs, progress)
    if runs.metric.steps:
        raise InputError(f"metric {runs.metric.name!r} has no gradient: use --method exact, or another metric")
    if runs.metric.flat_at_clean and method is EffectMethod.attrib:
        raise InputError(f"the gradient of {runs.metric.name!r} vanishes on the full model: use --method ig or exact")
    sums = _Sums(runs)
    targets = runs.dictionary.targets
    rounds = len(runs.batches) * (len(targets) * steps if method is EffectMethod.ig else 1)
    with progress("attributing", rounds, "runs") as advance:
        for place, batch in enumerate(runs.batches):
            clean, ablated = runs.clean(batch), runs.ablated(place)
            if method is EffectMethod.attrib:
                sums.add(batch, clean, ablated, gradients(runs, batch, targets, {}))
                advance(1)
                continue
            for target in targets:
                change = _change(runs, batch, clean, ablated, target)
                for step in range(steps):
                    moved = _moved(change, (step + 0.5) / steps)
                    found = gradients(runs, batch, [target], {target: moved})
                    sums.add(batch, clean, ablated, {hook: x / steps for hook, x in found.items()})
                    advance(1)
    return sums.effects()


def _moved(change: Tensor, share: float) -> Edit:
    return lambda x: x + share * change


def _change(runs: FeatureRuns, batch: Batch, clean: Values, ablated: Values, target: Hook) -> Tensor:
    """From what a target is to all of its nodes ablated [B, P, d]."""
    there = runs.there(batch)[..., None]
    total = ablated.errors[target] - clean.errors[target]
    for one in runs.dictionary.sets:
        if target in one.writes:
            by = ablated.features[one.reads] - clean.features[one.reads]
            total = total + one.contributed(by, one.writes.index(target))
    return torch.where(there, total, 0.0)


def gradients(
    runs: FeatureRuns, batch: Batch, targets: Iterable[Hook], before: Mapping[Hook, Edit]
) -> dict[Hook, Tensor]:
    """Of the sum of the metric over a batch's rows by what is at some targets [B, P, d], in a run with edits."""
    leaves: dict[Hook, Tensor] = {}

    def leaf(hook: Hook) -> Edit:
        def edit(x: Tensor) -> Tensor:
            x = before[hook](x) if hook in before else x
            leaves[hook] = torch.zeros_like(x, requires_grad=True)
            return x + leaves[hook]

        return edit

    with torch.enable_grad():
        run = SiteRun(runs.model, {**before, **{hook: leaf(hook) for hook in targets}})
        values = metric_of(runs, batch, run.logits(batch.tokens, batch.positions))
        found = torch.autograd.grad(values.sum(), list(leaves.values()))
    return dict(zip(leaves, found, strict=True))


def metric_of(runs: FeatureRuns, batch: Batch, logits: Tensor) -> Tensor:
    """The metric's values [B] of logits [B, V]."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return runs.metric.per_row(wide, batch.answers)


class _Sums:
    """Effects by place so far, and which features were active there."""

    def __init__(self, runs: FeatureRuns):
        self.runs = runs
        device, places = runs.model.device, len(runs.places)
        self.features = {
            one.reads: torch.zeros(places, one.size, dtype=torch.float64, device=device) for one in runs.dictionary.sets
        }
        self.active = {hook: torch.zeros_like(x, dtype=torch.bool) for hook, x in self.features.items()}
        self.errors = {target: [0.0] * places for target in runs.dictionary.targets}

    @torch.no_grad()
    def add(self, batch: Batch, clean: Values, ablated: Values, found: Mapping[Hook, Tensor]) -> None:
        there, where = self.runs.there(batch), self.runs.where(batch)
        for place in range(len(self.runs.places)):
            own = there & (where == place)
            if own.any():
                self._add(place, own, clean, ablated, found)

    def _add(self, place: int, own: Tensor, clean: Values, ablated: Values, found: Mapping[Hook, Tensor]) -> None:
        """What a place's tokens `own`, boolean [B, P], give."""
        for one in self.runs.dictionary.sets:
            by = ablated.features[one.reads] - clean.features[one.reads]
            by = by.expand_as(clean.features[one.reads])[own]
            self.active[one.reads][place] |= (by != 0).any(0) | (clean.features[one.reads][own] != 0).any(0)
            for to, target in enumerate(one.writes):
                if target in found:
                    self._add_features(place, one, to, by, found[target][own])
        for target, gradient in found.items():
            error = (ablated.errors[target] - clean.errors[target]).expand_as(gradient)
            self.errors[target][place] += float((error * gradient)[own].double().sum())

    def _add_features(self, place: int, one: Features, to: int, by: Tensor, gradient: Tensor) -> None:
        """Changes [n, F] at tokens times what they write there, some features at a time: a decoder may be on disk."""
        for some in torch.nonzero((by != 0).any(0))[:, 0].split(AT_ONCE):
            along = product(gradient, one.decoders[to].rows(some).T)
            self.features[one.reads][place, some] += (by[:, some] * along).double().sum(0)

    def effects(self) -> Effects:
        rows = len(self.runs.behaviour.rows)
        found: Effects = {}
        for hook, active in self.active.items():
            for place, index in torch.nonzero(active).tolist():
                found[FeatureNode(hook, index, self.runs.places[place])] = (
                    float(self.features[hook][place, index]) / rows
                )
        for hook, values in self.errors.items():
            for name, value in zip(self.runs.places, values, strict=True):
                found[FeatureNode(hook, -1, name)] = value / rows
        return found


def active_nodes(runs: FeatureRuns) -> list[FeatureNode]:
    """Features that are active in a clean prompt or where they are ablated, and all errors."""
    sums = _Sums(runs)
    for place, batch in enumerate(runs.batches):
        sums.add(batch, runs.clean(batch), runs.ablated(place), {})
    return list(sums.effects())


def _exact(runs: FeatureRuns, progress: Progress) -> Effects:
    nodes, full = active_nodes(runs), runs.full()
    with progress("ablating", len(nodes), "nodes") as advance:
        values = runs.measure([runs.without([node]) for node in nodes], advance)[0].mean(1)
    return {node: float(value) - full for node, value in zip(nodes, values, strict=True)}


def ranked(effects: Effects) -> list[FeatureNode]:
    """From the largest effect, whatever its sign, to the smallest; in the order of nodes where they are alike."""
    return sorted(effects, key=lambda node: (-abs(effects[node]), node))
