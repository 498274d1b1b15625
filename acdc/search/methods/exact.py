"""Exact edge patching: the effect of every edge by ablating it alone. The judge of every estimator.

score(u->v) = metric(run in which v alone reads u's ablated value) - metric(full model), mean over rows.
"""

import numpy as np

from acdc.artefacts.scores import Scores
from acdc.behaviour.behaviour import Behaviour
from acdc.graph.units import Units, units_of
from acdc.progress import Progress
from acdc.search.options import SearchOptions

CHUNK = 256


def exact(behaviour: Behaviour, options: SearchOptions, progress: Progress) -> Scores:
    """One run per candidate edge; over nodes or coordinates one for each, ablated for all that read it."""
    units = units_of(behaviour.graph, options.level)
    return Scores(units.placed(_effects(behaviour, units, progress)), "effect", level=options.level)


def _effects(behaviour: Behaviour, units: Units, progress: Progress) -> np.ndarray:
    """Effects [candidates]."""
    full, values = behaviour.full().mean(), np.empty(units.count)
    what, prompts = f"exact patching of {units.count:,} {units.plural}", units.count * len(behaviour.rows)
    with progress(what, prompts, "prompts") as advance:
        for start in range(0, units.count, CHUNK):
            these = np.arange(start, min(start + CHUNK, units.count))
            values[these] = behaviour.measure(units.alone(these), advance=advance)[0].mean(axis=1) - full
    return values
