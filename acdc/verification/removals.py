"""What each edge of a circuit does: the circuit without it, by what the removal reaches, not by runs of the whole."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from acdc.behaviour.behaviour import Behaviour, apply
from acdc.behaviour.workers import share_out
from acdc.execution.removals import CircuitRun, Reach, together
from acdc.execution.required_positions import Required
from acdc.progress import Advance, Ticks, nobody

AT_ONCE = 1024  # edges whose values on all rows are held together
WIDEST = 32  # removals in one run
RUN_BYTES = 128 * 2**20  # what the removals of one run may take


@dataclass(frozen=True)
class _Removed:
    """A circuit, boolean [edges], and places of edges to remove from it one by one."""

    kept: np.ndarray
    edges: np.ndarray


def without_each(
    behaviour: Behaviour, kept: np.ndarray, edges: np.ndarray, advance: Advance = nobody
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The behaviour's metric of a circuit, boolean [edges], without each of some of its edges, given by their places:
    pairs of (at most `AT_ONCE` edges, float64 [those edges, rows]).

    `advance` is told of finished work, in prompts. A model in which what ablation leaves of the residual stream is not
    constant has every circuit run whole.
    """
    parts = [_Removed(kept, edges[at : at + AT_ONCE]) for at in range(0, len(edges), AT_ONCE)]
    due, ticks = 0, Ticks(advance)
    here = partial(_measure, advance=ticks)
    for part, found in zip(parts, share_out(behaviour.workers, behaviour, _measure, parts, here), strict=True):
        due += len(part.edges) * len(behaviour.rows)
        ticks.catch_up(due)
        yield part.edges, found


def _measure(behaviour: Behaviour, removed: _Removed, advance: Advance = nobody) -> np.ndarray:
    if behaviour.executor.scaled_bias:
        return _by_whole_runs(behaviour, removed, advance)
    reach, values = Reach(behaviour.graph, removed.kept), np.empty((len(removed.edges), len(behaviour.rows)))
    place = {int(edge): i for i, edge in enumerate(removed.edges)}
    components, metric = behaviour.model.components, behaviour.metric
    with torch.no_grad():
        for number, batch in enumerate(behaviour.batches):
            run = CircuitRun(components, reach, behaviour.prompts[number])
            answers = batch.answers.for_metrics([metric])
            for edges in _runs(behaviour, reach, removed.edges, run):
                final = run.without(edges)
                columns = None if answers.columns is None else answers.columns.repeat(len(edges), 1)
                logits = components.unembed(final, columns).unflatten(0, (len(edges), -1))
                rows = [place[int(edge)] for edge in edges]
                values[np.ix_(rows, list(batch.index))] = apply([metric], logits, answers)[0]
                advance(len(edges) * len(batch.index))
    return values


def _runs(behaviour: Behaviour, reach: Reach, edges: np.ndarray, run: CircuitRun) -> Iterator[np.ndarray]:
    """Edges that are removed in one run each: those of one group of slots, as many as fit."""
    shape, size = behaviour.model.anatomy, behaviour.model.dtype.itemsize
    slots = 3 * (shape.n_heads + 2 * shape.n_kv_heads)  # of a layer: their inputs, these normed, and what sums them up
    for group in together(behaviour.graph, edges):
        reached = reach.required.needs[None] * reach.of(group).any(axis=0, keepdims=True)
        everywhere, answer = int((reached == Required.EVERYWHERE).sum()), int((reached == Required.ANSWER).sum())
        positions = everywhere * (run.length + 1) + answer + (min(1, everywhere) * run.length + 1) * slots
        each = positions * run.rows * shape.d_model * size
        step = max(1, min(WIDEST, RUN_BYTES // each))
        yield from (group[at : at + step] for at in range(0, len(group), step))


def _by_whole_runs(behaviour: Behaviour, removed: _Removed, advance: Advance) -> np.ndarray:
    found = []
    for edge in removed.edges:
        without = ~removed.kept
        without[edge] = True
        found.append(behaviour.measure(without[None], advance=advance)[0])
    return np.concatenate(found)
