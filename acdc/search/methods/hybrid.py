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
from acdc.errors import InputError
from acdc.graph.units import Units
from acdc.options import Choosing
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


def proposal_size(units: Units, options: SearchOptions) -> int:
    """How many edges are decided about, at most."""
    return options.edges or max(1, round(PROPOSED_SHARE * units.most_edges))


def hybrid(behaviour: Behaviour, options: HybridOptions, progress: Progress) -> Decisions:
    """EAP-IG, then ACDC on at most `edges` of the options or 20 % of all edges. Raises InputError as both do, and
    for a way to propose edges that is not there at positions."""
    units = behaviour.units(options.level)
    if not units.are_edges and options.propose not in (Choosing.top, Choosing.signed):
        raise InputError(f"--propose {options.propose} is not available over {options.level}: use top or signed")
    threshold = default_threshold(behaviour) if options.threshold is None else options.threshold
    proposed = eap_ig_inputs(behaviour, options, progress)
    inside = _proposed(behaviour, options, proposed)
    measured = MeasuredObjective(behaviour, wanted_objective(behaviour, options))
    objective = measured.of_subgraphs(units.ablated(inside))[0]
    left_out = float(np.abs(proposed.values[~inside]).max(initial=0.0))
    found = decide(behaviour, [threshold], options, progress, inside)[0]
    return replace(found, proposal=Proposal(int(inside.sum()), float(objective), left_out, proposed.batch_splits))


def _proposed(behaviour: Behaviour, options: HybridOptions, scores: Scores) -> np.ndarray:
    """Boolean [edges]: the proposal, from scores of all edges."""
    units, helps = behaviour.units(options.level), helpfulness(scores.values, scores.kind, behaviour.metric.sign)
    size = proposal_size(units, options)
    if size >= units.most_edges:
        return np.ones(units.shape, dtype=bool)  # those without a score, which no ranking chooses, too
    return units.pruned(Ranking(units, scores.values, options.propose, helps).by_edges(size).kept)


def likely_proposal(behaviour: Behaviour, options: HybridOptions) -> np.ndarray:
    """Boolean [edges]: about what is proposed, from the cheaper scores of EAP."""
    return _proposed(behaviour, options, eap(behaviour, options, silent))


def hybrid_cost(dry: BatchDryRun, run: Run, options: HybridOptions) -> BatchCost:
    """That of attribution, then of ACDC on the proposal."""
    tests = proposal_size(dry.behaviour.units(options.level), options)
    return cost_of_tests(dry, run, options, tests, lambda: eap_ig_inputs(dry.behaviour, options, silent))
