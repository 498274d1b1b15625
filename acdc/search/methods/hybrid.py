"""Attribution proposes, ACDC decides: exact tests, but only of edges that EAP-IG finds worth one.

The proposal is chosen from EAP-IG's scores (gradients along the inputs), by size unless told otherwise.
ACDC visits its receivers as ever; of each, all edges outside the proposal go at once and untested, then those inside
are tested one by one. So the result is a proposal's: an edge that EAP-IG misjudges cannot be found. How much that may
be is recorded: the objective of the whole proposal, and the largest |score| outside it.
"""

from dataclasses import replace

import numpy as np

from acdc.artefacts.scores import Decisions, Proposal, Scores
from acdc.behaviour.behaviour import Behaviour
from acdc.graph import ComponentGraph
from acdc.graph.units import EdgeUnits
from acdc.progress import Progress, silent
from acdc.search.acdc.cost import cost_of_tests
from acdc.search.acdc.measured import MeasuredObjective
from acdc.search.acdc.search import decide, default_threshold, wanted_objective
from acdc.search.choosing import Ranking, helpfulness
from acdc.search.cost import BatchCost, BatchDryRun, Run
from acdc.search.methods.eap import eap
from acdc.search.methods.eap_ig import eap_ig_inputs
from acdc.search.options import HybridOptions, SearchOptions

PROPOSED_SHARE = 0.2  # of all edges, where no number is given


def proposal_size(graph: ComponentGraph, options: SearchOptions) -> int:
    """How many edges are decided about, at most."""
    return options.edges or max(1, round(PROPOSED_SHARE * graph.n_edges))


def hybrid(behaviour: Behaviour, options: HybridOptions, progress: Progress) -> Decisions:
    """EAP-IG, then ACDC on at most `edges` of the options or 20 % of all edges. Raises InputError as both do."""
    threshold = default_threshold(behaviour) if options.threshold is None else options.threshold
    proposed = eap_ig_inputs(behaviour, options, progress)
    inside = _proposed(behaviour, options, proposed)
    objective = MeasuredObjective(behaviour, wanted_objective(behaviour, options)).of_subgraphs(~inside[None])[0]
    left_out = float(np.abs(proposed.values[~inside]).max(initial=0.0))
    found = decide(behaviour, [threshold], options, progress, inside)[0]
    return replace(found, proposal=Proposal(int(inside.sum()), float(objective), left_out, proposed.batch_splits))


def _proposed(behaviour: Behaviour, options: HybridOptions, scores: Scores) -> np.ndarray:
    """Boolean [edges]: the proposal, from scores of all edges."""
    graph, helps = behaviour.graph, helpfulness(scores.values, scores.kind, behaviour.metric.sign)
    size = proposal_size(graph, options)
    if size >= graph.n_edges:
        return np.ones(graph.n_edges, dtype=bool)  # those without a score, which no ranking chooses, too
    return Ranking(EdgeUnits(graph), scores.values, options.propose, helps).by_edges(size).edges


def likely_proposal(behaviour: Behaviour, options: HybridOptions) -> np.ndarray:
    """Boolean [edges]: about what is proposed, from the cheaper scores of EAP."""
    return _proposed(behaviour, options, eap(behaviour, options, silent))


def hybrid_cost(dry: BatchDryRun, run: Run, options: HybridOptions) -> BatchCost:
    """That of attribution, then of ACDC on the proposal."""
    tests = proposal_size(dry.behaviour.graph, options)
    return cost_of_tests(dry, run, options, tests, lambda: eap_ig_inputs(dry.behaviour, options, silent))
