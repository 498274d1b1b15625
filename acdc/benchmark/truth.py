"""Which edges are the circuit of a model whose workings are known: defined here, before any method is run.

The truth depends on what an ablated edge carries. An edge belongs to it where ablating that edge alone changes any
output on any row by more than `CHANGE`. Where ablating all others together still changes an output, the model is
redundant: parts are backups of each other, and no test of single edges can tell. Then every edge belongs to the truth
too that is in a pair along which the program computes, whose joint ablation changes an output while that of neither
does; and where ablating all else together still changes one, in such a set of three.

Over positions the same holds of edges between components at positions: which position reads which.

A circuit has no dangling edges, so neither has the truth: an edge into a component counts only while an edge of the
truth leads out of it. The others, `dangling`, matter alone and not together: what a component writes may be the same in
both runs, and another only where a part of what it reads is swapped.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from torch import Tensor

from acdc.behaviour.behaviour import Behaviour
from acdc.graph.masks import Mask, concatenate
from acdc.graph.units import Units
from acdc.model.load import Model
from acdc.options import Level
from acdc.task.metrics import Metric, RowBatch
from acdc.task.rows import Task

CHANGE = 1e-6  # of a log probability
SIZES = (2, 3)  # of sets of parts that are backups of each other
CHUNK = 256
MOST_SETS = 50_000  # of one size that are tried


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


def changes(behaviour: Behaviour, removed: Mask | np.ndarray) -> np.ndarray:
    """Largest change [candidates] of any output on any row, for `removed` as `Behaviour.measure` takes it."""
    return behaviour.measure(removed, [CHANGED])[0].max(axis=1, initial=0.0)


def find_truth(
    model: Model,
    task: Task,
    ablation: str,
    along: Callable[[Units], Collection[str]],
    split_embeddings: bool,
    level: Level = Level.edges,
) -> Truth:
    """The truth of a model that computes `along` some edges of its graph, on all rows of a task; over edges, or edges
    at positions."""
    rows = range(len(task.rows))
    behaviour = Behaviour(model, task, rows, CHANGED, ablation, split_embeddings=split_embeddings)
    units = behaviour.units(level)
    needed = single_changes(behaviour, level) > CHANGE
    redundant = _changes_without(behaviour, units, needed)
    candidates = np.flatnonzero(units.mask(along(units)) & ~needed).tolist() if redundant else []
    small: list[set[int]] = []
    for size in SIZES if redundant else ():
        if comb(len(candidates), size) > MOST_SETS:
            break
        sets = map(set, combinations(candidates, size))
        small += _changing(behaviour, units, [edges for edges in sets if not any(part <= edges for part in small)])
        needed[sorted(set().union(*small))] = True
        if not _changes_without(behaviour, units, needed):
            break
    led_on, names = units.pruned(needed), list(units.names())
    edges, dangling = (frozenset(names[place] for place in np.flatnonzero(mask)) for mask in (led_on, needed & ~led_on))
    return Truth(edges, dangling, redundant, complete=not _changes_without(behaviour, units, led_on))


def single_changes(behaviour: Behaviour, level: Level = Level.edges) -> np.ndarray:
    """What ablating each edge alone, or each edge at positions, changes [edges]."""
    units = behaviour.units(level)
    every = np.arange(units.count)
    chunks = (every[start : start + CHUNK] for start in range(0, len(every), CHUNK))
    return np.concatenate([changes(behaviour, units.alone(these)) for these in chunks])


def _changes_without(behaviour: Behaviour, units: Units, kept: np.ndarray) -> bool:
    """Whether ablating all but some edges changes any output."""
    return bool(changes(behaviour, units.ablated(kept))[0] > CHANGE)


def _changing(behaviour: Behaviour, units: Units, sets: list[set[int]]) -> list[set[int]]:
    """Those sets of edges whose joint ablation changes an output."""
    every, changing = np.arange(units.count), []
    for start in range(0, len(sets), CHUNK):
        some = sets[start : start + CHUNK]
        removed = concatenate([units.own(np.isin(every, sorted(edges))) for edges in some])
        changing += [edges for edges, change in zip(some, changes(behaviour, removed), strict=True) if change > CHANGE]
    return changing
