"""What `acdc discover` does after the search: choosing a circuit and verifying it. How much that is, at most.

Both depend on a circuit that is not known yet. Verification has a budget (`acdc.verification.budget`), so it is bounded
whatever the circuit; what is measured even where it exceeds the budget is bounded by the circuit of all edges.
"""

import math

from acdc.artefacts.verification.over_sizes import SHARES
from acdc.behaviour.ablations import ABLATIONS
from acdc.behaviour.behaviour import DEFAULT_BATCH
from acdc.behaviour.optimal import UPDATES as OPTIMAL_UPDATES
from acdc.options import Extent
from acdc.search.settings import DiscoverySettings
from acdc.verification.budget import (
    FEWEST_MEASURED,
    FEWEST_RANDOM,
    FEWEST_ROWS,
    FULL_FLOPS,
    MEASURES_SHARE,
    RANDOM_CIRCUITS,
    RANDOM_SHARE,
    SEARCH_PASSES,
    STANDARD_FLOPS,
    STRONGEST,
    Costs,
)
from acdc.verification.completeness import knockouts
from acdc.verification.full_verification import (
    EXTRA_FLOPS,
    FEWEST_VERIFIED,
    OPTIMAL_SHARE,
    RANDOM,
)
from acdc.verification.minimality import DRAWN


def choosing_runs(settings: DiscoverySettings, edges: int) -> int:
    """Subgraphs that are run on all rows of discovery to choose one by faithfulness, at most: by doubling and then by
    bisection, and the empty one. 0 where a circuit is chosen otherwise."""
    if settings.method.decides or settings.edges is not None or settings.threshold is not None:
        return 0
    return 2 * math.ceil(math.log2(max(2, edges))) + 1


def verification_flops(
    costs: Costs, parts: int, discovery: int, unseen: int, extent: Extent, most_rows: int | None
) -> float:
    """FLOPs of verifying any circuit of at most so many `parts` after a discovery on so many rows, at most.
    `most_rows`: of the `unseen` ones."""
    rows = min(unseen, most_rows or unseen)
    if extent is Extent.none or not rows:
        return 0.0
    subgraph, full = costs.subgraph, extent is Extent.full
    budget = FULL_FLOPS if full else max(STANDARD_FLOPS, SEARCH_PASSES * discovery * costs.plain)
    each = 4 * costs.plain + 2 * subgraph
    measured = max(min(rows, FEWEST_MEASURED), min(rows, int(MEASURES_SHARE * budget // each)))
    metrics = measured * each
    if extent is Extent.quick:
        return metrics
    few = min(measured, FEWEST_ROWS) * subgraph
    fewest = max(RANDOM_SHARE * budget, FEWEST_RANDOM * few) + STRONGEST * few
    every = measured * subgraph * (RANDOM_CIRCUITS + parts)
    removing = measured * subgraph + min(every, max(budget - metrics, fewest))
    return metrics + removing + (_extra_flops(costs, parts, measured) if full else 0.0)


def _extra_flops(costs: Costs, parts: int, rows: int) -> float:
    random = 3 * RANDOM
    others = 5 * len(ABLATIONS.built_in) + 2 * (knockouts(parts) + DRAWN + len(SHARES))
    fewest = FEWEST_VERIFIED * (others + random)
    within = min(EXTRA_FLOPS + fewest * costs.subgraph, rows * (others + random) * costs.subgraph)
    learning = min(OPTIMAL_SHARE * EXTRA_FLOPS, OPTIMAL_UPDATES * DEFAULT_BATCH * 3 * costs.plain)
    return rows * 2 * (costs.plain + costs.subgraph) + within + learning
