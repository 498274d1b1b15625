"""Gradients of a metric at every slot's input, contracted with what ablation changes of every component's output.

A run records the gradients of queries, keys and values and of the inputs of MLPs and logits. Layer by layer, the
former are carried back through projection and norm, slot by slot, and multiplied with the changes of all components
before: so no tensor with an axis for slots is ever held for more than one layer.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce

import torch
from torch import Tensor

from acdc.artefacts.scores import Scores
from acdc.behaviour.behaviour import Batch, Behaviour
from acdc.behaviour.workers import share_out
from acdc.errors import InputError, NothingToFind, is_out_of_memory
from acdc.execution.components import Components
from acdc.execution.executor import Executor, SlotInputs, Trace
from acdc.execution.products import product
from acdc.graph import ATTENTION_SLOTS, ComponentGraph, ReaderGroup, ReaderKind
from acdc.graph.masks import CoordinateMask, EdgeMask, Mask
from acdc.graph.units import kind_of
from acdc.options import Level
from acdc.progress import Progress
from acdc.search.memory import WIDENED, has_room
from acdc.task.metrics import Metric

# Functions that other processes can import; scores are summed over the rows of a batch.
BatchScores = Callable[[Behaviour, Batch], Tensor]
Attribution = Callable[[Behaviour, Batch, Tensor, "Contraction"], Tensor]  # given what ablation changes
Contraction = Callable[..., Tensor]  # `contract` or `contract_coordinates`


@dataclass(frozen=True)
class _Tap:
    """Where a group of slots reads: the input that all of them share, and the tensor whose gradient is recorded."""

    group: ReaderGroup
    read: Tensor
    watched: Tensor


@dataclass(frozen=True)
class _Gradient:
    """The gradient [readers, N, P, e or d] that was recorded for a group of slots, which all read `read`."""

    group: ReaderGroup
    read: Tensor
    gradient: Tensor


def gradient_of(x: Tensor) -> Tensor:
    """The gradient that going back has left at a tensor that the metric depends on."""
    assert x.grad is not None
    return x.grad


class Taps(SlotInputs):
    """Records, in a run with gradients, what their contraction needs: `gradients`, once settled.

    An MLP's and the logits' input is watched itself, as one slot alone reads it; of attention slots what they project.
    """

    def __init__(self) -> None:
        self.gradients: list[_Gradient] = []
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

    def inner(self, group: ReaderGroup, projected: Tensor) -> Tensor:
        if projected.requires_grad:
            projected.retain_grad()
            assert self._residual is not None  # slots read before they project
            self._taps.append(_Tap(group, self._residual, projected))
        return projected

    def settle(self) -> None:
        """After the run has gone back: let go of all but gradients and what they are of."""
        taken = [(tap, tap.watched.grad) for tap in self._taps]
        self.gradients = [_Gradient(tap.group, tap.read.detach(), found) for tap, found in taken if found is not None]
        self._taps, self._residual = [], None


@torch.no_grad()
def contract(
    runs: Sequence[Taps], components: Components, graph: ComponentGraph, change: Tensor, first: int = 0
) -> Tensor:
    """Scores of the edges out of the writers from `first` on, whose outputs ablation would change by `change`
    [writers, N, P, d], summed over runs, N and P: float64 [edges] on the CPU; 0 for all other edges.

    The gradients of all runs are summed up before they are multiplied with the changes, which are the same for all.
    """
    scores, by_senders = torch.zeros(graph.n_edges, dtype=torch.float64), _by_senders(runs)
    most = max(_readers(together) for together in by_senders)
    wide = torch.promote_types(change.dtype, torch.float32)
    room = change.new_empty((most, *change.shape[1:]), dtype=wide)  # once, as memory is slow when it is new
    for together in by_senders:
        groups = [found[0].group for found in together]
        last = min(max(group.senders for group in groups), first + len(change))
        if last <= first:
            continue
        gradients = room[: _readers(together)]
        _carry_back(components, together, gradients)
        block = _dot_products(change[: last - first], gradients)
        for group, part in zip(groups, block.split([len(group.readers) for group in groups], dim=1), strict=True):
            own = min(last, group.senders)
            scores[group.start : group.stop].view(-1, group.senders)[:, first:own] = part[: own - first].T
    return scores


@torch.no_grad()
def contract_coordinates(
    runs: Sequence[Taps], components: Components, graph: ComponentGraph, change: Tensor, first: int = 0
) -> Tensor:
    """The same for coordinates, each for all that read it: float64 [writers, d] on the CPU.

    The gradient at what a component writes is the sum of those at all slots after it.
    """
    by_group: dict[tuple[int, ReaderKind], list[_Gradient]] = defaultdict(list)
    for found in (gradient for run in runs for gradient in run.gradients):
        by_group[found.group.layer, found.group.kind].append(found)
    wide = torch.promote_types(change.dtype, torch.float32)
    scores = torch.zeros((len(graph.writers), change.shape[-1]), dtype=torch.float64)
    gradient, last = torch.zeros_like(change[0], dtype=wide), first + len(change)

    def take_down(writers: range) -> None:
        for writer in writers:
            scores[writer] = (change[writer - first].to(wide) * gradient).sum((0, 1)).double().cpu()

    for together in sorted(by_group.values(), key=lambda found: -found[0].group.senders):
        group = together[0].group
        take_down(range(max(group.senders, first), last))
        last = min(last, max(group.senders, first))
        slots = gradient.new_empty((len(group.readers), *gradient.shape))
        _carry_back(components, [together], slots)
        gradient += slots.sum(0)
    take_down(range(first, last))
    return scores


_CONTRACTIONS: dict[type[Mask], Contraction] = {EdgeMask: contract, CoordinateMask: contract_coordinates}


def _by_senders(runs: Sequence[Taps]) -> list[list[list[_Gradient]]]:
    """The gradients of each group in all runs. A layer's queries, keys and values are together with the MLP before
    them, which has but one sender less: so the changes are read once for all of these."""
    together: dict[int, dict[ReaderKind, list[_Gradient]]] = defaultdict(lambda: defaultdict(list))
    for found in (gradient for run in runs for gradient in run.gradients):
        group = found.group
        together[group.layer + (group.kind is ReaderKind.MLP)][group.kind].append(found)
    return [list(kinds.values()) for kinds in together.values()]


def _readers(together: Sequence[Sequence[_Gradient]]) -> int:
    return sum(len(found[0].group.readers) for found in together)


def _carry_back(components: Components, together: Sequence[Sequence[_Gradient]], out: Tensor) -> None:
    """Write the gradients at the inputs of several groups' slots, each summed over runs, into `out` [readers, N, P,
    d]."""
    for found, part in zip(together, out.split([len(found[0].group.readers) for found in together]), strict=True):
        group, gradients = found[0].group, [one.gradient for one in found]
        if group.kind in ATTENTION_SLOTS:
            components.project_back(group.layer, group.kind, [one.read for one in found], gradients, part)
        else:
            torch.sum(torch.stack(gradients), 0, dtype=out.dtype, out=part)


def _dot_products(change: Tensor, gradients: Tensor) -> Tensor:
    """[senders, N, P, d] and wide [readers, N, P, d] -> float64 [senders, readers] on the CPU."""
    wide, readers = gradients.dtype, gradients.flatten(1).T
    together = len(change) if change.dtype == wide else WIDENED
    parts = [product(some.to(wide).flatten(1), readers) for some in change.split(together)]
    return torch.cat(parts).double().cpu()


def backward(behaviour: Behaviour, batch: Batch, trace: Trace, taps: Taps | None = None) -> None:
    """Let the gradients of the batch's summed metric flow back through a run of it, whose `taps` are settled then."""
    wide = trace.logits.to(torch.promote_types(trace.logits.dtype, torch.float32))
    values = behaviour.metric.per_row(wide, batch.answers)
    if not values.requires_grad:
        raise InputError(_no_gradient(behaviour.metric))
    values.sum().backward()
    if taps is not None:
        taps.settle()


def from_embedded(
    behaviour: Behaviour, batch: Batch, embedded: Tensor, taps: Taps, executor: Executor | None = None
) -> Taps:
    """`taps` after a run forward and back from what the embedding writers give, [1 or 2, N, P, d].

    `executor`: one that passes gradients back in another way; by default the behaviour's own.
    """
    with torch.enable_grad():
        start = embedded.detach().clone().requires_grad_()
        backward(behaviour, batch, (executor or behaviour.executor).run_embedded(start, batch.positions, taps), taps)
    return taps


def attribute(
    behaviour: Behaviour, name: str, level: Level, progress: Progress, batch_scores: Attribution, runs: int = 1
) -> Scores:
    """Mean over rows of the scores that each batch and its change give, contracted for the form in which a level's
    units are ablated and summed up over its rows; they estimate exact patching. `runs`: through a batch, which are
    contracted together.

    Raises InputError for scores that are all zero or not finite.
    """
    form = kind_of(level).form
    total, batch_splits = summed(behaviour, name, progress, partial(_attribution, batch_scores, form), runs)
    check_scores(behaviour, total)
    scores = (total / len(behaviour.rows)).numpy()
    return Scores(scores, "effect", batch_splits, form.level)


def _attribution(batch_scores: Attribution, form: type[Mask], behaviour: Behaviour, batch: Batch) -> Tensor:
    return batch_scores(behaviour, batch, behaviour.change(batch), _CONTRACTIONS[form])


def summed(
    behaviour: Behaviour, name: str, progress: Progress, batch_scores: BatchScores, runs: int = 1
) -> tuple[Tensor, int]:
    """(scores summed over all batches, how often one had to be halved at most).

    Batches are shared out among the behaviour's workers and summed up in their order. One that would not fit into the
    free memory is split in two in advance, and one that ran out of memory is split and tried again, so no run is lost.
    `runs`: through a batch, what is recorded of which is held together.
    """
    total, batch_splits = torch.zeros((), dtype=torch.float64), 0
    work, places = partial(_score, batch_scores, name, runs), range(len(behaviour.batches))
    with progress(name, len(behaviour.rows), "rows") as advance:
        for place, found in zip(places, share_out(behaviour.workers, behaviour, work, places), strict=True):
            total, batch_splits = total + found.scores, max(batch_splits, found.batch_splits)
            advance(len(behaviour.batches[place].index))
    return total, batch_splits


@dataclass(frozen=True)
class _Scored:
    """A batch's scores, and how many times it had to be halved."""

    scores: Tensor
    batch_splits: int


def _score(batch_scores: BatchScores, name: str, runs: int, behaviour: Behaviour, place: int) -> _Scored:
    fits = partial(has_room, behaviour, name, runs)
    return _in_memory(batch_scores, fits, behaviour, behaviour.batches[place])


def _in_memory(batch_scores: BatchScores, fits: Callable[[Batch], bool], behaviour: Behaviour, batch: Batch) -> _Scored:
    alone = len(batch.index) == 1
    if alone or fits(batch):
        try:
            return _Scored(batch_scores(behaviour, batch), 0)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error) or alone:
                raise
    halves = [_in_memory(batch_scores, fits, behaviour, half) for half in batch.halves()]
    return _Scored(reduce(torch.add, [half.scores for half in halves]), 1 + max(half.batch_splits for half in halves))


def check_scores(behaviour: Behaviour, scores: Tensor) -> None:
    """Raises InputError for scores that are not finite, NothingToFind for scores that are all zero."""
    name = behaviour.metric.name
    if not scores.isfinite().all():
        raise InputError(f"metric {name!r} has a gradient that is not finite on this task")
    if not scores.any():
        raise NothingToFind(
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
        others = "value" if metric.of_numbers else "logit_diff, prob_diff or nll"
        raise InputError(
            f"metric {metric.name!r} is smallest on the full model, so its gradient there is zero and the scores "
            f"would be noise: use {others}, or a method whose gradients are taken elsewhere "
            "(eap-ig-inputs, eap-ig-activations, clean-corrupted) or that needs none (exact, acdc)"
        )
