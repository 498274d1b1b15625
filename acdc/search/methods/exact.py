"""Exact edge patching: the effect of every edge by ablating it alone. The judge of every estimator.

score(u->v) = metric(run in which v alone reads u's ablated value) - metric(full model), mean over rows.
"""

import numpy as np

from acdc.artefacts.scores import Scores
from acdc.behaviour.behaviour import TOGETHER, Behaviour
from acdc.graph.units import Units
from acdc.progress import Progress, silent
from acdc.search.cost import BatchCost, BatchDryRun, Effort, Run
from acdc.search.methods.tested_neurons import number_of_tests, ranking, tested_candidates
from acdc.search.options import SearchOptions

CHUNK = 256
SAMPLES = 6  # dry runs to count its cost; there may be thousands of runs alike


def exact(behaviour: Behaviour, options: SearchOptions, progress: Progress) -> Scores:
    """One run per candidate edge; over nodes or coordinates one for each, ablated for all that read it. Neurons that
    are not tested (`acdc.search.methods.tested_neurons`) score 0."""
    units = behaviour.units(options.level)
    tested = np.flatnonzero(tested_candidates(behaviour, units, options, progress))
    return Scores(units.placed(_effects(behaviour, units, tested, progress)), "effect", level=options.level)


def _effects(behaviour: Behaviour, units: Units, tested: np.ndarray, progress: Progress) -> np.ndarray:
    """Effects [candidates] of those that are tested, given by their places."""
    full, values = behaviour.full().mean(), np.zeros(units.count)
    what, prompts = f"exact patching of {len(tested):,} {units.plural}", len(tested) * len(behaviour.rows)
    with progress(what, prompts, "prompts") as advance:
        for start in range(0, len(tested), CHUNK):
            these = tested[start : start + CHUNK]
            values[these] = behaviour.measure(units.alone(these), advance=advance)[0].mean(axis=1) - full
    return values


def exact_cost(dry: BatchDryRun, run: Run, options: SearchOptions) -> BatchCost:
    """Runs at even distances among all that exact patching makes, each for the runs around it."""
    behaviour = dry.behaviour
    (batch,), tried = behaviour.batches, behaviour.units(options.level)
    count = number_of_tests(tried, options)
    tested = np.arange(count) * tried.count // count
    parts = [
        range(start + part.start, start + part.stop)
        for start in range(0, count, TOGETHER)
        for part in behaviour.parts(min(TOGETHER, count - start), batch)
    ]
    effort = dry.of(lambda: (behaviour.full(), behaviour.prompts_without(0, tried.alone(tested[:1]))))
    if count < tried.count:
        effort += dry.of(lambda: ranking(behaviour, options, silent))
    samples = min(SAMPLES, len(parts))
    sampled = [parts[(2 * place + 1) * len(parts) // (2 * samples)] for place in range(samples)]

    def alone(part: range) -> Effort:
        return dry.of(lambda: behaviour.measure(tried.alone(tested[part.start : part.stop])))

    for part in sampled:
        effort += alone(part) * (count / sum(map(len, sampled)))
    alone(parts[0])  # takes the most memory, as it begins at the first layer
    return dry.cost(effort, effort)
