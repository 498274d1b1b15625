"""What a search returns: scores for every edge, or decisions edge by edge."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Decision:
    """One test of ACDC: the objective (minimised, see `Metric.objective`) before and with the edge or node removed."""

    candidate: str
    before: float
    after: float
    kept: bool


@dataclass(frozen=True)
class Scores:
    """A score for every candidate edge, float64 [edges].

    `kind` is `effect` when a score is the (estimated) change of the metric, in the metric's own sign, when that edge
    alone is ablated in the full model; `importance` when it only ranks.
    """

    values: np.ndarray
    kind: str


@dataclass(frozen=True)
class Decisions:
    """The tests of an ACDC run in order, the edges it kept as a boolean vector [edges], and the threshold it used.

    `values` holds the change of the metric, in its own sign, at the test of each kept edge (0 elsewhere); over nodes,
    at that of its sender. `nodes` are the kept nodes with their changes, None over edges. `objective` is that of the
    final circuit, measured from scratch, and `drift` how far the search's own account was ever off. `tried` counts
    computed candidates: more than tests, as those after a kept one in the same pass do not count.
    """

    tests: tuple[Decision, ...]
    kept: np.ndarray
    values: np.ndarray
    threshold: float
    objective: float
    drift: float
    tried: int
    nodes: dict[str, float] | None = None
    kind: str = "effect"
