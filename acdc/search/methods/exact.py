"""Exact edge patching: the effect of every edge by ablating it alone. The judge of every estimator.

score(u->v) = metric(run in which v alone reads u's ablated value) - metric(full model), mean over rows.
"""

import numpy as np

from acdc.artefacts.scores import Scores
from acdc.behaviour.behaviour import TOGETHER, Behaviour
from acdc.graph.units import Units
from acdc.progress import Progress
from acdc.search.cost import BatchCost, BatchDryRun, Effort, Run
from acdc.search.options import SearchOptions

CHUNK = 256
SAMPLES = 6  # dry runs to count its cost; there may be thousands of runs alike


def exact(behaviour: Behaviour, options: SearchOptions, progress: Progress) -> Scores:
    """One run per candidate edge; over nodes or coordinates one for each, ablated for all that read it."""
    units = behaviour.units(options.level)
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


def exact_cost(dry: BatchDryRun, run: Run, options: SearchOptions) -> BatchCost:
    """Runs at even distances among all that exact patching makes, each for the runs around it."""
    behaviour = dry.behaviour
    (batch,), tried = behaviour.batches, behaviour.units(options.level)
    count = tried.count
    parts = [
        range(start + part.start, start + part.stop)
        for start in range(0, count, TOGETHER)
        for part in behaviour.parts(min(TOGETHER, count - start), batch)
    ]
    effort = dry.of(lambda: (behaviour.full(), behaviour.prompts))
    samples = min(SAMPLES, len(parts))
    sampled = [parts[(2 * place + 1) * len(parts) // (2 * samples)] for place in range(samples)]

    def alone(part: range) -> Effort:
        return dry.of(lambda: behaviour.measure(tried.alone(np.array(part))))

    for part in sampled:
        effort += alone(part) * (count / sum(map(len, sampled)))
    alone(parts[0])  # takes the most memory, as it begins at the first layer
    return dry.cost(effort, effort)
