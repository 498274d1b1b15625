"""Faithfulness over all sizes of a circuit, and its two integrals (Mueller et al. 2025, MIB, arXiv 2504.13151).

f(k) = (metric(circuit) - metric(empty)) / (metric(full) - metric(empty)) for the circuit of the share k of all edges
that rank first. CPR is the integral of f over k, of edges ranked by how much they help; CMD that of |1 - f|, of edges
ranked by how much they matter. Both by trapezoids from the smallest share to the largest; CMD cannot be gamed, so it
leads.
"""

import numpy as np

from acdc.artefacts.verification.over_sizes import OWN_SCORES, SHARES, Integrated
from acdc.behaviour.behaviour import Behaviour
from acdc.graph.masks import concatenate
from acdc.options import Level
from acdc.progress import Advance, nobody
from acdc.search.choosing import Ranking
from acdc.task.metrics import recovered_fraction


def integrate(
    behaviour: Behaviour,
    scores: np.ndarray,
    helps: np.ndarray,
    basis: str = OWN_SCORES,
    advance: Advance = nobody,
    level: Level = Level.edges,
) -> Integrated | None:
    """Integrated faithfulness of edges ranked by |scores| and by how much they help, [edges] each, or of those at
    positions; None where the metric does not tell the full model from the empty circuit."""
    ranks = np.empty(len(scores))
    ranks[np.argsort(helps, kind="stable")] = np.arange(1, len(scores) + 1)
    units = behaviour.units(level)
    matters, helpful = (_faithfulness(behaviour, Ranking(units, by), advance) for by in (scores, ranks))
    if matters is None or helpful is None:
        return None
    cmd, cpr = (float(np.trapezoid(values, SHARES)) for values in (np.abs(1 - np.array(matters)), helpful))
    return Integrated(tuple(matters), cmd, cpr, basis)


def _faithfulness(behaviour: Behaviour, ranking: Ranking, advance: Advance) -> list[float] | None:
    removed = concatenate([ranking.top(round(share * len(ranking.scores))).ablated for share in SHARES])
    full, empty = float(behaviour.full().mean()), float(behaviour.empty().mean())
    values = behaviour.measure(removed, advance=advance)[0].mean(axis=1).tolist()
    found = [recovered_fraction(value, full, empty) for value in values]
    known = [fraction for fraction in found if fraction is not None]
    return known if len(known) == len(found) else None
