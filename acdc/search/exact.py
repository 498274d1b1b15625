"""Exact edge patching: the effect of every edge by ablating it alone. The judge of every estimator.

score(u->v) = metric(run in which v alone reads u's ablated value) - metric(full model), mean over rows.
"""

from collections.abc import Callable

import numpy as np

from acdc.options import Level
from acdc.progress import Progress
from acdc.search.options import SearchOptions
from acdc.search.result import Scores
from acdc.task.behaviour import Behaviour

CHUNK = 256


def exact(behaviour: Behaviour, options: SearchOptions, progress: Progress) -> Scores:
    """One run per candidate edge; over nodes one per component, ablated for all that read it."""
    graph = behaviour.graph
    writers, _ = graph.ends
    if options.level is Level.nodes:
        nodes = _effects(behaviour, len(graph.writers), lambda these: writers == these[:, None], "nodes", progress)
        return Scores(nodes[writers], "effect", nodes=nodes)
    every = np.arange(graph.n_edges)
    return Scores(
        _effects(behaviour, graph.n_edges, lambda these: every == these[:, None], "edges", progress), "effect"
    )


def _effects(
    behaviour: Behaviour, count: int, removed: Callable[[np.ndarray], np.ndarray], unit: str, progress: Progress
) -> np.ndarray:
    """Effects [count]; `removed` says which edges go with each of some parts, boolean [parts, edges]."""
    full, values = behaviour.full().mean(), np.empty(count)
    with progress("exact patching", count, unit) as advance:
        for start in range(0, count, CHUNK):
            these = np.arange(start, min(start + CHUNK, count))
            values[these] = behaviour.measure(removed(these), advance=advance)[0].mean(axis=1) - full
    return values
