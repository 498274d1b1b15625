"""Gradients of a metric at every slot's input, contracted with what ablation changes of every component's output.

A run takes down the gradients of queries, keys and values and of the inputs of MLPs and logits. Layer by layer, the
former are carried back through projection and norm, slot by slot, and multiplied with the changes of all components
before: so no tensor with an axis for slots is ever held for more than one layer.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from acdc.errors import InputError, is_out_of_memory
from acdc.graph import ATTENTION_SLOTS, ComponentGraph, ReaderGroup, ReaderKind
from acdc.model.components import Components
from acdc.model.executor import Executor, SlotInputs, Trace
from acdc.model.products import product
from acdc.progress import Advance, Progress
from acdc.search.memory import has_room
from acdc.search.result import Scores
from acdc.task.behaviour import Batch, Behaviour
from acdc.task.metrics import Metric

WIDENED = 16  # senders whose changes are held in a wider dtype at a time
BatchScores = Callable[[Batch], Tensor]  # summed over the rows of a batch


@dataclass(frozen=True)
class _Tap:
    """Where a group of slots reads: the input that all of them share, and the tensor whose gradient is taken down."""

    group: ReaderGroup
    read: Tensor
    watched: Tensor

    def carried_back(self, components: Components) -> Tensor:
        """The gradient at each slot's input, [readers, N, P, d]."""
        if self.group.kind not in ATTENTION_SLOTS:
            return self.watched.grad
        return components.project_back(self.group.layer, self.group.kind, self.read.detach(), self.watched.grad)


class Taps(SlotInputs):
    """Takes down, in a run with gradients, what their contraction needs.

    An MLP's and the logits' input is watched itself, as one slot alone reads it; of attention slots what they project.
    """

    def __init__(self):
        self._taps: list[_Tap] = []
        self._residual: Tensor | None = None

    def read(self, group: ReaderGroup, residual: Tensor, blocks: Sequence[Tensor]) -> Tensor:
        own = residual[None]
        if group.kind in ATTENTION_SLOTS:
            self._residual = own
        elif own.requires_grad:
            own.retain_grad()
            self._taps.append(_Tap(group, own, own))
        return own

    def wire(self, group: ReaderGroup, projected: Tensor) -> Tensor:
        if projected.requires_grad:
            projected.retain_grad()
            self._taps.append(_Tap(group, self._residual, projected))
        return projected

    def attention(self, layer: int) -> tuple[Tensor, dict[ReaderKind, Tensor]]:
        """(what a layer's attention slots read [1, N, P, d], what they made of it by kind), without gradients."""
        taps = [tap for tap in self._taps if tap.group.layer == layer and tap.group.kind in ATTENTION_SLOTS]
        return taps[0].read.detach(), {tap.group.kind: tap.watched.detach() for tap in taps}

    @torch.no_grad()
    def contract(self, components: Components, graph: ComponentGraph, change: Tensor, first: int = 0) -> Tensor:
        """Scores of the edges out of the writers from `first` on, whose outputs ablation would change by `change`
        [writers, N, P, d]: sums over N and P, float64 [edges] on the CPU; 0 for all other edges."""
        scores = torch.zeros(graph.n_edges, dtype=torch.float64)
        for taps in self._with_the_same_senders():
            last = min(taps[0].group.senders, first + len(change))
            if last <= first:
                continue
            gradients = torch.cat([tap.carried_back(components) for tap in taps])
            block = _dot_products(change[: last - first], gradients)
            for tap, part in zip(taps, block.split([len(tap.group.readers) for tap in taps], dim=1), strict=True):
                group = tap.group
                scores[group.start : group.stop].view(-1, group.senders)[:, first:last] = part.T
        return scores

    def _with_the_same_senders(self) -> list[list[_Tap]]:
        """Taps that a gradient has reached; those of one layer's queries, keys and values together."""
        together: dict[tuple[int, bool], list[_Tap]] = defaultdict(list)
        for tap in self._taps:
            if tap.watched.grad is not None:
                together[tap.group.layer, tap.group.kind in ATTENTION_SLOTS].append(tap)
        return list(together.values())


def _dot_products(change: Tensor, gradients: Tensor) -> Tensor:
    """[senders, N, P, d] and [readers, N, P, d] -> float64 [senders, readers] on the CPU, accumulated in at least
    float32."""
    wide = torch.promote_types(gradients.dtype, torch.float32)
    readers = gradients.to(wide).flatten(1).T
    together = len(change) if change.dtype == wide else WIDENED
    parts = [product(some.to(wide).flatten(1), readers) for some in change.split(together)]
    return torch.cat(parts).double().cpu()


def backward(behaviour: Behaviour, batch: Batch, trace: Trace) -> None:
    """Let the gradients of the batch's summed metric flow back through a run of it."""
    wide = trace.logits.to(torch.promote_types(trace.logits.dtype, torch.float32))
    values = behaviour.metric.per_row(wide, batch.answers)
    if not values.requires_grad:
        raise InputError(_no_gradient(behaviour.metric))
    values.sum().backward()


def at_embedded(
    behaviour: Behaviour,
    batch: Batch,
    change: Tensor,
    embedded: Tensor,
    taps: Taps | None = None,
    executor: Executor | None = None,
) -> Tensor:
    """Edge scores [edges] with gradients taken in a run from what the embedding writers give, [1 or 2, N, P, d].

    `executor`: one that passes gradients back in another way; by default the behaviour's own.
    """
    taps, executor = taps or Taps(), executor or behaviour.executor
    with torch.enable_grad():
        start = embedded.detach().clone().requires_grad_()
        backward(behaviour, batch, executor.run_embedded(start, batch.positions, taps))
    return taps.contract(executor.components, behaviour.graph, change)


def attribute(
    behaviour: Behaviour, name: str, progress: Progress, batch_scores: Callable[[Batch, Tensor], Tensor]
) -> Scores:
    """Mean over rows of the scores that each batch and its change give, summed up over its rows; they estimate exact
    patching.

    Raises InputError for scores that are all zero or not finite.
    """
    total, halvings = summed(behaviour, name, progress, lambda batch: batch_scores(batch, behaviour.change(batch)))
    check_scores(behaviour, total)
    return Scores((total / len(behaviour.rows)).numpy(), "effect", halvings=halvings)


def summed(behaviour: Behaviour, name: str, progress: Progress, batch_scores: BatchScores) -> tuple[Tensor, int]:
    """(scores summed over all batches, how often one had to be halved at most).

    A batch that would not fit into the memory that is free is halved beforehand, and one that did not is halved and
    tried again, so that no run is lost.
    """
    total, halvings = torch.zeros((), dtype=torch.float64), 0
    with progress(name, len(behaviour.rows), "rows") as advance:
        for batch in behaviour.batches:
            scores, halved = _in_memory(batch, batch_scores, partial(has_room, behaviour, name), advance)
            total, halvings = total + scores, max(halvings, halved)
    return total, halvings


def _in_memory(
    batch: Batch, batch_scores: BatchScores, fits: Callable[[Batch], bool], advance: Advance
) -> tuple[Tensor, int]:
    """(a batch's scores, how many times it had to be halved)."""
    alone = len(batch.index) == 1
    if alone or fits(batch):
        try:
            scores = batch_scores(batch)
            advance(len(batch.index))
            return scores, 0
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or alone:
                raise
    halves = [_in_memory(half, batch_scores, fits, advance) for half in batch.halves()]
    return sum(scores for scores, _ in halves), 1 + max(halvings for _, halvings in halves)


def check_scores(behaviour: Behaviour, scores: Tensor) -> None:
    """Raises InputError for scores that are not finite or all zero."""
    name = behaviour.metric.name
    if not scores.isfinite().all():
        raise InputError(f"metric {name!r} has a gradient that is not finite on this task")
    if not scores.any():
        raise InputError(
            f"every score is zero: metric {name!r} has no gradient on these rows, or ablation changes nothing there"
        )


def check_gradient(metric: Metric) -> None:
    """Raises InputError for a metric without a gradient."""
    if metric.steps:
        raise InputError(_no_gradient(metric))


def _no_gradient(metric: Metric) -> str:
    return f"metric {metric.name!r} is a step function without a gradient: use exact or acdc with it"


def check_gradient_at_clean(metric: Metric) -> None:
    """Raises InputError for a metric whose gradient on the full model is zero whatever the model does."""
    check_gradient(metric)
    if metric.flat_at_clean:
        raise InputError(
            f"metric {metric.name!r} is smallest on the full model, so its gradient there is zero and the scores "
            "would be noise: use logit_diff, prob_diff or nll, or a method whose gradients are taken elsewhere "
            "(eap-ig-inputs, eap-ig-activations, clean-corrupted) or that needs none (exact, acdc)"
        )
