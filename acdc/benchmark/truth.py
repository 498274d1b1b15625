"""Which edges are the circuit of a model whose workings are known: defined here, before any method is run.

The truth depends on what an ablated edge carries. An edge belongs to it where ablating that edge alone changes any
output on any row by more than `CHANGE`. Where ablating all others together still changes an output, the model is
redundant: parts are backups of each other, and no test of single edges can tell. Then every edge belongs to the truth
too that is in a pair along which the program computes, whose joint ablation changes an output while that of neither
does; and where ablating all else together still changes one, in such a set of three.

A circuit has no dangling edges, so neither has the truth: an edge into a component counts only while an edge of the
truth leads out of it. The others, `dangling`, matter alone and not together: what a component writes may be the same in
both runs, and another only where a part of what it reads is swapped.
"""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from torch import Tensor

from acdc.behaviour.behaviour import Behaviour
from acdc.model.load import Model
from acdc.task.metrics import Metric, RowBatch
from acdc.task.rows import Task

CHANGE = 1e-6  # of a log probability
SIZES = (2, 3)  # of sets of parts that are backups of each other
CHUNK = 256


@dataclass(frozen=True)
class Truth:
    """The circuit's edges under one ablation; `complete`: ablating all others together changes nothing."""

    edges: frozenset[str]
    dangling: frozenset[str]
    redundant: bool
    complete: bool


def largest_change(logits: Tensor, batch: RowBatch) -> Tensor:
    """Largest change [rows] of any log probability against the full model."""
    return (logits.log_softmax(-1) - batch.full_log_probs).abs().amax(-1)


CHANGED = Metric("change", largest_change, larger_is_better=False)


def changes(behaviour: Behaviour, removed: np.ndarray) -> np.ndarray:
    """Largest change [candidates] of any output on any row, for `removed` boolean [candidates, edges]."""
    return behaviour.measure(removed, [CHANGED])[0].max(axis=1, initial=0.0)


def find_truth(model: Model, task: Task, ablation: str, along: Collection[str], split_embeddings: bool) -> Truth:
    """The truth of a model that computes along some edges, on all rows of a task."""
    rows = range(len(task.rows))
    behaviour = Behaviour(model, task, rows, CHANGED, ablation, split_embeddings=split_embeddings)
    needed = single_changes(behaviour) > CHANGE
    redundant = _changes_without(behaviour, needed)
    candidates = np.flatnonzero(behaviour.graph.mask(along) & ~needed).tolist()
    small: list[set[int]] = []
    for size in SIZES if redundant else ():
        sets = map(set, combinations(candidates, size))
        small += _changing(behaviour, [edges for edges in sets if not any(part <= edges for part in small)])
        needed[sorted(set().union(*small))] = True
        if not _changes_without(behaviour, needed):
            break
    graph, led_on = behaviour.graph, behaviour.graph.prune(needed)
    edges, dangling = (frozenset(graph.ids(mask)) for mask in (led_on, needed & ~led_on))
    return Truth(edges, dangling, redundant, complete=not _changes_without(behaviour, led_on))


def single_changes(behaviour: Behaviour) -> np.ndarray:
    """What ablating each edge alone changes [edges]."""
    every = np.arange(behaviour.graph.n_edges)
    chunks = (every[start : start + CHUNK] for start in range(0, len(every), CHUNK))
    return np.concatenate([changes(behaviour, every == these[:, None]) for these in chunks])


def _changes_without(behaviour: Behaviour, kept: np.ndarray) -> bool:
    """Whether ablating all but some edges changes any output."""
    return bool(changes(behaviour, ~kept[None])[0] > CHANGE)


def _changing(behaviour: Behaviour, sets: list[set[int]]) -> list[set[int]]:
    """Those sets of edges whose joint ablation changes an output."""
    every, changing = np.arange(behaviour.graph.n_edges), []
    for start in range(0, len(sets), CHUNK):
        some = sets[start : start + CHUNK]
        removed = np.stack([np.isin(every, sorted(edges)) for edges in some])
        changing += [edges for edges, change in zip(some, changes(behaviour, removed), strict=True) if change > CHANGE]
    return changing
