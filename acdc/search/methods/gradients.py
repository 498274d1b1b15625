"""Gradients of a metric on batches of rows, and scores that follow from them (`acdc.search.methods.contraction`)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce
from typing import TypeVar

import torch
from torch import Tensor

from acdc.artefacts.scores import Scores
from acdc.behaviour.behaviour import Batch, Behaviour
from acdc.behaviour.workers import share_out
from acdc.errors import InputError, NothingToFind, RowTooLarge, is_out_of_memory
from acdc.execution.executor import Executor, Trace
from acdc.graph.masks import CoordinateMask, EdgeMask, Mask
from acdc.graph.units import NeuronUnits, PositionUnits, Units
from acdc.options import Level
from acdc.progress import Progress
from acdc.search.memory import has_room
from acdc.search.methods.contraction import Contraction, HiddenChange, Taps, contract, contract_coordinates
from acdc.search.methods.contraction_at_spans import contraction_at_spans
from acdc.search.methods.contraction_of_neurons import contraction_of_neurons
from acdc.search.options import SearchOptions
from acdc.task.metrics import Metric

# Functions that other processes can import; scores are summed over the rows of a batch.
BatchScores = Callable[[Behaviour, Batch], Tensor]
T = TypeVar("T", bound=Taps)
Attribution = Callable[[Behaviour, Batch, Tensor, "Contraction"], Tensor]  # given what ablation changes

_CONTRACTIONS: dict[type[Mask], Contraction] = {
    EdgeMask: Contraction(contract),
    CoordinateMask: Contraction(contract_coordinates),
}


def contraction_of(behaviour: Behaviour, batch: Batch, units: Units, absolute: bool = False) -> Contraction:
    """The contraction of a batch's runs for the form in which units are ablated; `absolute`, of edges or of those at
    spans, sums up rows' absolute scores."""
    if isinstance(units, PositionUnits):
        return contraction_at_spans(units.positional, behaviour.where(batch), behaviour.model.device, absolute)
    if absolute:
        return Contraction(partial(contract, absolute=True))
    if isinstance(units, NeuronUnits):
        clean, ablated = behaviour.hidden(batch), behaviour.ablated_neurons(batch)
        changes = [there.to(here) - here for here, there in zip(clean, ablated, strict=True)]
        return contraction_of_neurons(units, HiddenChange(clean, changes))
    return _CONTRACTIONS[units.form]


def gradient_of(x: Tensor) -> Tensor:
    """The gradient that going back has left at a tensor that the metric depends on."""
    assert x.grad is not None
    return x.grad


def backward(behaviour: Behaviour, batch: Batch, trace: Trace, taps: Taps | None = None) -> None:
    """Let the gradients of the batch's summed metric flow back through a run of it, whose `taps` are settled then."""
    wide = trace.logits.to(torch.promote_types(trace.logits.dtype, torch.float32))
    values = behaviour.metric.per_row(wide, batch.answers)
    if not values.requires_grad:
        raise InputError(_no_gradient(behaviour.metric))
    values.sum().backward()
    if taps is not None:
        taps.settle()


def from_embedded(behaviour: Behaviour, batch: Batch, embedded: Tensor, taps: T, executor: Executor | None = None) -> T:
    """`taps` after a run forward and back from what the embedding writers give, [1 or 2, N, P, d].

    `executor`: one that passes gradients back in another way; by default the behaviour's own.
    """
    with torch.enable_grad():
        start = embedded.detach().clone().requires_grad_()
        backward(behaviour, batch, (executor or behaviour.executor).run_embedded(start, batch.positions, taps), taps)
    return taps


def attribute(
    behaviour: Behaviour,
    name: str,
    options: SearchOptions,
    progress: Progress,
    batch_scores: Attribution,
    runs: int = 1,
) -> Scores:
    """Mean over rows of the scores that each batch and its change give, contracted for the form in which a level's
    units are ablated and summed up over its rows; they estimate exact patching. `runs`: through a batch, which are
    contracted together. Absolute scores of rows, where the options ask for them, are importances.

    Raises InputError for scores that are all zero or not finite.
    """
    level, absolute = options.level, options.absolute_rows
    form, work = behaviour.units(level).form, partial(_attribution, batch_scores, level, absolute)
    total, batch_splits = summed(behaviour, name, progress, work, runs, level)
    check_scores(behaviour, total)
    scores = (total / len(behaviour.rows)).numpy()
    return Scores(scores, "importance" if absolute else "effect", batch_splits, form.level)


def _attribution(batch_scores: Attribution, level: Level, absolute: bool, behaviour: Behaviour, batch: Batch) -> Tensor:
    contraction = contraction_of(behaviour, batch, behaviour.units(level), absolute)
    return batch_scores(behaviour, batch, behaviour.change(batch), contraction)


def summed(
    behaviour: Behaviour,
    name: str,
    progress: Progress,
    batch_scores: BatchScores,
    runs: int = 1,
    level: Level = Level.edges,
) -> tuple[Tensor, int]:
    """(scores summed over all batches, how often one had to be halved at most).

    Batches are shared out among the behaviour's workers and summed up in their order. One that would not fit into the
    free memory is split in two in advance, and one that ran out of memory is split and tried again, so no run is lost.
    `runs`: through a batch, what is recorded of which is held together; for scores at a `level`.
    """
    total, batch_splits = torch.zeros((), dtype=torch.float64), 0
    work, places = partial(_score, batch_scores, name, runs, level), range(len(behaviour.batches))
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


def _score(batch_scores: BatchScores, name: str, runs: int, level: Level, behaviour: Behaviour, place: int) -> _Scored:
    fits = partial(has_room, behaviour, name, runs, level)
    return _in_memory(batch_scores, fits, behaviour, behaviour.batches[place])


def _in_memory(batch_scores: BatchScores, fits: Callable[[Batch], bool], behaviour: Behaviour, batch: Batch) -> _Scored:
    alone = len(batch.index) == 1
    if alone or fits(batch):
        try:
            return _Scored(batch_scores(behaviour, batch), 0)
        except (MemoryError, RuntimeError) as error:
            if is_out_of_memory(error) and alone:
                raise RowTooLarge(str(error)) from error
            if not is_out_of_memory(error):
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
