"""ACDC, repeated to find backup components as well.

If one part of a model can do the job of another, as at an OR, ACDC keeps just enough of them. It is right that the
others are not needed, but its circuit is incomplete. So this method takes each circuit that ACDC finds, removes the
largest set of edges that the full model can do without, and runs ACDC again. The removed edges go, untested, when ACDC
reaches the slots that they lead into. The result is the union of all circuits: every edge of it was needed in some
round, in which its alternatives were absent.
"""

import numpy as np

from acdc.artefacts.scores import Decision, Decisions
from acdc.behaviour.behaviour import Behaviour
from acdc.errors import InputError
from acdc.progress import Progress
from acdc.search.acdc.acdc_tests import ROUNDS
from acdc.search.acdc.cost import cost_of_tests
from acdc.search.acdc.search import decide, default_threshold
from acdc.search.cost import BatchCost, BatchDryRun, Run
from acdc.search.options import OrderOptions


def acdc_complete(behaviour: Behaviour, options: OrderOptions, progress: Progress) -> Decisions:
    """The union of the circuits of all rounds, each edge with the change of its first test that kept it. Raises
    InputError for a polish."""
    if options.polish:
        raise InputError(
            "--polish would remove the backup components that acdc-complete adds, as nothing changes without one of "
            "them alone: use acdc or hybrid with it"
        )
    threshold = default_threshold(behaviour) if options.threshold is None else options.threshold
    options = options.model_copy(update={"journal": None})  # it holds the passes of one ACDC
    gone = np.zeros(behaviour.graph.n_edges, dtype=bool)
    kept, values = gone.copy(), np.zeros(len(gone))
    tests: list[Decision] = []
    drift, tried = 0.0, 0
    while True:
        found = decide(behaviour, [threshold], options, progress, ~gone)[0]
        values = np.where(kept, values, found.values)
        kept |= found.kept
        tests += found.tests
        drift, tried = max(drift, found.drift), tried + found.tried
        spare = _spare(behaviour, gone, found.kept, threshold)
        if not spare.any():
            break
        gone |= spare
    objective = _objectives(behaviour, ~kept[None])[0]
    return Decisions(tuple(tests), kept, values, threshold, float(objective), drift, tried)


def _spare(behaviour: Behaviour, gone: np.ndarray, circuit: np.ndarray, threshold: float) -> np.ndarray:
    """Edges of a circuit that the model can do without, besides those that are gone: each alone, and all together.

    They are taken in the order of ACDC's own tests, from the logits backwards, while the objective stays within the
    threshold of the whole model's.
    """
    graph = behaviour.graph
    full = _objectives(behaviour, np.zeros((1, graph.n_edges), dtype=bool))[0]
    places = np.flatnonzero(circuit)[::-1]
    alone = np.repeat(gone[None], len(places), axis=0)
    alone[np.arange(len(places)), places] = True
    spare = np.zeros_like(gone)
    for place, objective in zip(places, _objectives(behaviour, alone), strict=True):
        if objective - full < threshold:
            spare[place] = True
            if _objectives(behaviour, (gone | spare)[None])[0] - full >= threshold:
                spare[place] = False
    return spare


def _objectives(behaviour: Behaviour, removed: np.ndarray) -> np.ndarray:
    """What ACDC minimises [candidates], for `removed` boolean [candidates, edges]."""
    return behaviour.metric.sign * behaviour.measure(removed)[0].mean(axis=1)


def acdc_complete_cost(dry: BatchDryRun, run: Run, options: OrderOptions) -> BatchCost:
    """That of ACDC, as often as it may be repeated."""
    return cost_of_tests(dry, run, options, ROUNDS[-1] * dry.behaviour.graph.n_edges)
