"""Exact edge patching: the effect of every edge by ablating it alone. The judge of every estimator.

score(u->v) = metric(run in which v alone reads u's ablated value) - metric(full model), mean over rows.
"""

import numpy as np

from acdc.progress import Progress
from acdc.search.options import SearchOptions
from acdc.search.result import Scores
from acdc.task.behaviour import Behaviour

CHUNK = 256


def exact(behaviour: Behaviour, options: SearchOptions, progress: Progress) -> Scores:
    """One run per candidate edge."""
    n_edges = behaviour.graph.n_edges
    full = behaviour.full().mean()
    values = np.empty(n_edges)
    with progress("exact patching", n_edges, "edges") as advance:
        for start in range(0, n_edges, CHUNK):
            edges = np.arange(start, min(start + CHUNK, n_edges))
            removed = np.zeros((len(edges), n_edges), dtype=bool)
            removed[np.arange(len(edges)), edges] = True
            values[edges] = behaviour.measure(removed, advance=advance)[0].mean(axis=1) - full
    return Scores(values, "effect")
