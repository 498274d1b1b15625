"""Measure circuits at spans that differ from one circuit in a few edges, each from the first layer that differs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from acdc.behaviour.behaviour import Batch, Behaviour, apply
from acdc.behaviour.variants import VARIANTS, Variants
from acdc.behaviour.workers import share_out
from acdc.execution.executor import Trace
from acdc.execution.removed_at_spans import RemovedAtSpans
from acdc.graph.masks import PositionalMask
from acdc.graph.positional_graph import PositionalGraph
from acdc.task.metrics import Metric, RowBatch

TOGETHER = 64  # variants whose masks are held together


@dataclass(frozen=True)
class _Part:
    """Some variants of a circuit, the first that differs first, and the layer at which each does."""

    graph: PositionalGraph
    variants: Variants
    layers: Sequence[int]


def measure_variants_at_spans(
    behaviour: Behaviour, graph: PositionalGraph, variants: Variants, metrics: Sequence[Metric]
) -> np.ndarray:
    """Metrics of variants of a circuit, boolean [edges] of the graph: float64 [metrics, variants, rows]."""
    layers = np.array([_first_layer(graph, changed) for changed in variants.changed], dtype=int)
    order, values = np.argsort(layers, kind="stable"), np.empty((len(metrics), len(layers), len(behaviour.rows)))
    chunks = [order[at : at + TOGETHER] for at in range(0, len(order), TOGETHER)]
    parts = [
        _Part(graph, Variants(variants.kept, [variants.changed[place] for place in some]), layers[some].tolist())
        for some in chunks
    ]
    work = partial(_measure, tuple(metrics))
    for some, found in zip(chunks, share_out(behaviour.workers, behaviour, work, parts), strict=True):
        values[:, some] = found
    return values


def _first_layer(graph: PositionalGraph, changed: np.ndarray) -> int:
    """That of the first slot that changed edges lead into; of the logits, the number of layers."""
    first = changed.min()
    return next(found.group.layer for found in graph.groups if first < found.stop)


@torch.no_grad()
def _measure(metrics: Sequence[Metric], behaviour: Behaviour, part: _Part) -> np.ndarray:
    kept, values = part.variants.kept, np.empty((len(metrics), len(part.layers), len(behaviour.rows)))
    for place, batch in enumerate(behaviour.batches):
        answers = batch.answers.for_metrics(metrics)
        circuit = _run(behaviour, place, batch, PositionalMask(~kept[None], part.graph), batch.clean, 0, None)
        for together in behaviour.parts(len(part.layers), batch):
            measure = partial(_run_some, behaviour, place, batch, circuit, part, metrics, answers, together.start)
            for some, found in behaviour.retreat.passes(VARIANTS, together.stop - together.start, measure):
                at = range(together.start + some.start, together.start + some.stop)
                values[np.ix_(range(len(metrics)), at, list(batch.index))] = found
    return values


def _run_some(
    behaviour: Behaviour,
    place: int,
    batch: Batch,
    circuit: Trace,
    part: _Part,
    metrics: Sequence[Metric],
    answers: RowBatch,
    start: int,
    some: slice,
) -> np.ndarray:
    """Metrics of some variants, counted from a `start`, on a batch, in one pass: float64 [metrics, variants, rows]."""
    at = range(start + some.start, start + some.stop)
    removed = PositionalMask(~part.variants.masks(at), part.graph)
    found = _run(behaviour, place, batch, removed, circuit, part.layers[at.start], answers.columns)
    return apply(metrics, found.logits.unflatten(0, (len(removed), -1)), answers)


def _run(
    behaviour: Behaviour,
    place: int,
    batch: Batch,
    removed: PositionalMask,
    trace: Trace,
    layer: int,
    columns: torch.Tensor | None,
) -> Trace:
    """Circuits that are as in a trace before a layer."""
    prompts = behaviour.prompts[place]
    slots = RemovedAtSpans(removed, behaviour.where(batch), prompts.ablated, prompts.stream)
    return behaviour.executor.resume(trace, layer, len(removed), batch.positions, slots, columns)
