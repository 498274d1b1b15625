"""Measure circuits that differ from one circuit in a few edges, by what the difference reaches, not by whole runs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from acdc.behaviour.behaviour import Behaviour, apply
from acdc.behaviour.workers import share_out
from acdc.execution.removals import CircuitRun, Reach, together
from acdc.execution.required_positions import Required
from acdc.graph import ComponentGraph
from acdc.progress import Advance, Ticks, nobody
from acdc.task.metrics import Metric, RowBatch

AT_ONCE = 1024  # variants whose values on all rows are held together
WIDEST = 32  # variants in one run
RUN_BYTES = 128 * 2**20  # what the variants of one run may take
VARIANTS = "variants"  # a kind of passes, see `acdc.execution.retreat`


@dataclass(frozen=True)
class Variants:
    """A circuit, boolean [edges], and for each variant of it the places of the edges that it removes, or adds where the
    circuit lacks them."""

    kept: np.ndarray
    changed: Sequence[np.ndarray]

    def masks(self, some: Sequence[int]) -> np.ndarray:
        """Some of the variants, boolean [some, edges]."""
        found = np.repeat(self.kept[None], len(some), axis=0)
        for mask, variant in zip(found, some, strict=True):
            mask[self.changed[variant]] ^= True
        return found


def measure_variants(
    behaviour: Behaviour, variants: Variants, metrics: Sequence[Metric] | None = None, advance: Advance = nobody
) -> Iterator[np.ndarray]:
    """Metrics of variants of a circuit, at most `AT_ONCE` of them at a time: float64 [metrics, those variants, rows].

    Without `metrics`, the behaviour's own alone. `advance` is told of finished work, in prompts. A model in which what
    ablation leaves of the residual stream is not constant has every variant run whole.
    """
    metrics, changed = tuple(metrics or [behaviour.metric]), variants.changed
    parts = [Variants(variants.kept, changed[at : at + AT_ONCE]) for at in range(0, len(changed), AT_ONCE)]
    due, ticks = 0, Ticks(advance)
    work = partial(_measure, metrics)
    here = partial(_measure, metrics, advance=ticks)
    for part, found in zip(parts, share_out(behaviour.workers, behaviour, work, parts, here), strict=True):
        due += len(part.changed) * len(behaviour.rows)
        ticks.catch_up(due)
        yield found


def _measure(
    metrics: Sequence[Metric], behaviour: Behaviour, variants: Variants, advance: Advance = nobody
) -> np.ndarray:
    if behaviour.executor.scaled_bias:
        return _by_whole_runs(behaviour, variants, metrics, advance)
    values = np.empty((len(metrics), len(variants.changed), len(behaviour.rows)))
    every = variants.kept.copy()
    every[_places(variants.changed)] = True
    required, groups = Reach(behaviour.graph, every).required, _groups(behaviour.graph, variants)
    components = behaviour.model.components
    with torch.no_grad():
        for number, batch in enumerate(behaviour.batches):
            run = CircuitRun(components, required, behaviour.prompts[number], variants.kept)
            answers = batch.answers.for_metrics(metrics)
            for group in groups:
                for together in group.runs(run, behaviour.model.dtype.itemsize):
                    measure = partial(_run_some, behaviour, run, answers, metrics, variants, group.reached, together)
                    for part, found in behaviour.retreat.passes(VARIANTS, len(together), measure):
                        values[np.ix_(range(len(metrics)), together[part], list(batch.index))] = found
                        advance(found.shape[1] * len(batch.index))
    return values


def _run_some(
    behaviour: Behaviour,
    run: CircuitRun,
    answers: RowBatch,
    metrics: Sequence[Metric],
    variants: Variants,
    reached: np.ndarray,
    together: Sequence[int],
    part: slice,
) -> np.ndarray:
    """Metrics of a part of some variants on a batch, in one run: float64 [metrics, variants, rows]."""
    some = together[part]
    final = run.variants(variants.masks(some), reached)
    columns = None if answers.columns is None else answers.columns.repeat(len(some), 1)
    return apply(metrics, behaviour.model.components.unembed(final, columns).unflatten(0, (len(some), -1)), answers)


def _places(changed: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(changed) if len(changed) else np.array([], dtype=int)


@dataclass(frozen=True)
class _Group:
    """Variants, by number, whose first changed edges lead into slots of one group: boolean [writers] of what their
    changes reach together."""

    variants: Sequence[int]
    reached: np.ndarray

    def runs(self, run: CircuitRun, itemsize: int) -> Iterator[Sequence[int]]:
        """Variants that share one run, as many as fit."""
        shape = run.graph.anatomy
        slots = 3 * (shape.n_heads + 2 * shape.n_kv_heads)  # of a layer: inputs, these normed, and what sums them up
        reached = run.required.needs * self.reached
        everywhere, answer = int((reached == Required.EVERYWHERE).sum()), int((reached == Required.ANSWER).sum())
        length, answers = run.suffix.length, run.suffix.at[Required.ANSWER].count
        positions = everywhere * (length + answers) + answer * answers
        positions += (min(1, everywhere) * run.suffix.end + answers) * slots
        each = positions * run.rows * shape.d_model * itemsize
        step = max(1, min(WIDEST, RUN_BYTES // each))
        yield from (self.variants[at : at + step] for at in range(0, len(self.variants), step))


def _groups(graph: ComponentGraph, variants: Variants) -> list[_Group]:
    firsts = np.array([changed.min() for changed in variants.changed], dtype=int)
    found = []
    for edges in together(graph, np.unique(firsts)):
        some = np.flatnonzero(np.isin(firsts, edges)).tolist()
        some.sort(key=lambda variant: firsts[variant])
        changed = np.unique(_places([variants.changed[variant] for variant in some]))
        every = variants.kept.copy()
        every[changed] = True
        found.append(_Group(some, np.any(Reach(graph, every).of(changed), axis=0)))
    return found


def _by_whole_runs(behaviour: Behaviour, variants: Variants, metrics: Sequence[Metric], advance: Advance) -> np.ndarray:
    found = [
        behaviour.measure(~variants.masks([variant]), metrics, advance) for variant in range(len(variants.changed))
    ]
    return np.concatenate(found, axis=1)
