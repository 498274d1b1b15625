"""ACDC, repeated to find backup components as well.

If one part of a model can do the job of another, as at an OR, ACDC keeps just enough of them. It is right that the
others are not needed, but its circuit is incomplete. So this method takes each circuit that ACDC finds, removes the
largest set of edges that the full model can do without, and runs ACDC again. The removed edges go, untested, when ACDC
reaches the slots that they lead into. The result is the union of all circuits: every edge of it was needed in some
round, in which its alternatives were absent.
"""

from dataclasses import replace

import numpy as np

from acdc.artefacts.scores import Decision, Decisions
from acdc.behaviour.behaviour import Behaviour
from acdc.errors import InputError
from acdc.progress import Progress
from acdc.search.acdc.acdc_tests import ROUNDS
from acdc.search.acdc.cost import cost_of_tests
from acdc.search.acdc.measured import MeasuredObjective
from acdc.search.acdc.search import decide, default_threshold, screen_share, wanted_objective
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
    gone = np.zeros(behaviour.graph.n_edges, dtype=bool)
    share = screen_share(behaviour, options, len(gone))  # in all rounds, of which later ones have fewer candidates
    options = options.model_copy(update={"journal": None, "screen": share})  # a journal holds the passes of one ACDC
    kept, values = gone.copy(), np.zeros(len(gone))
    tests: list[Decision] = []
    drift, tried, screening = 0.0, 0, None
    measured = MeasuredObjective(behaviour, wanted_objective(behaviour, options))
    while True:
        found = decide(behaviour, [threshold], options, progress, ~gone)[0]
        values = np.where(kept, values, found.values)
        kept |= found.kept
        tests += found.tests
        drift, tried = max(drift, found.drift), tried + found.tried
        if found.screening is not None:
            screening = found.screening if screening is None else screening + found.screening
        spare = _spare(measured, gone, found.kept, threshold)
        if not spare.any():
            break
        gone |= spare
    objective = float(measured.of_subgraphs(~kept[None])[0])
    return replace(
        found,
        tests=tuple(tests),
        kept=kept,
        values=values,
        objective=objective,
        drift=drift,
        tried=tried,
        screening=screening,
    )


def _spare(measured: MeasuredObjective, gone: np.ndarray, circuit: np.ndarray, threshold: float) -> np.ndarray:
    """Edges of a circuit that the model can do without, besides those that are gone: each alone, and all together.

    They are taken in the order of ACDC's own tests, from the logits backwards, while the objective stays within the
    threshold of the whole model's.
    """
    full = measured.of_subgraphs(np.zeros((1, len(gone)), dtype=bool))[0]
    places = np.flatnonzero(circuit)[::-1]
    alone = np.repeat(gone[None], len(places), axis=0)
    alone[np.arange(len(places)), places] = True
    spare = np.zeros_like(gone)
    for place, objective in zip(places, measured.of_subgraphs(alone), strict=True):
        if objective - full < threshold:
            spare[place] = True
            if measured.of_subgraphs((gone | spare)[None])[0] - full >= threshold:
                spare[place] = False
    return spare


def acdc_complete_cost(dry: BatchDryRun, run: Run, options: OrderOptions) -> BatchCost:
    """That of ACDC, as often as it may be repeated."""
    return cost_of_tests(dry, run, options, ROUNDS[-1] * dry.behaviour.graph.n_edges)
