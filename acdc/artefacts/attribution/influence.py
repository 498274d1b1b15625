"""Influence, pruning and scores of attribution graphs (Ameisen et al. 2025, "Circuit Tracing"; circuit-tracer).

Matrices are [n, n], rows are targets and columns sources, over all nodes of a graph. A row's shares are its absolute
weights, divided by their sum. Influence of a node on the logits: the sum over all paths of the products of shares, each
path times the weight of the logit that it ends at.
"""

from dataclasses import dataclass

import numpy as np

NODE_SHARE, EDGE_SHARE = 0.8, 0.98
_TINY = 1e-10  # below which a row counts as empty


@dataclass(frozen=True, repr=False)
class Pruning:
    """What of a graph is kept: `nodes` [n] and `edges` [n, n] boolean. `rank` [n]: the cumulative share of influence
    down to a node, small for the most influential, as front ends have it; `through` [n, n]: the influence that passes
    along each edge between kept nodes."""

    nodes: np.ndarray
    edges: np.ndarray
    rank: np.ndarray
    through: np.ndarray

    def __repr__(self) -> str:
        return f"<Pruning: {int(self.nodes.sum()):,} of {len(self.nodes):,} nodes, {int(self.edges.sum()):,} edges>"


@dataclass(frozen=True)
class GraphScores:
    """`replacement`: of what reaches the logits from leaves, the share that does not come from remainders.
    `completeness`: the share of nodes' inputs that are no remainders, weighted with the nodes' influence."""

    replacement: float
    completeness: float


def shares(matrix: np.ndarray) -> np.ndarray:
    """Absolute weights of each row as shares of their sum; rows of nothing stay so."""
    size = np.abs(matrix)
    return size / np.maximum(size.sum(axis=1, keepdims=True), _TINY)


def total_influence(share: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Influence [n] on the logits, whose `weights` [n] are 0 for all other nodes; it does not count these
    themselves."""
    step, found = weights @ share, np.zeros_like(weights)
    for _ in range(len(weights)):  # a graph has no cycles, and no path is longer than it has nodes
        if not step.any():
            break
        found += step
        step = step @ share
    return found


def share_limit(scores: np.ndarray, share: float) -> float:
    """The score down to which the largest scores make up a share of the sum of all."""
    ordered = np.sort(scores, axis=None)[::-1]
    total = ordered.sum()
    if total <= 0:
        return 0.0
    place = int(np.searchsorted(np.cumsum(ordered) / total, share))
    return float(ordered[min(place, len(ordered) - 1)])


def prune(
    matrix: np.ndarray,
    weights: np.ndarray,
    always: np.ndarray,
    units: np.ndarray,
    node_share: float = NODE_SHARE,
    edge_share: float = EDGE_SHARE,
) -> Pruning:
    """Keep the nodes, then the edges, that make up these shares of all influence; then drop what leads nowhere.

    `always` [n]: nodes that stay whatever their influence; `units` [n]: nodes that need an edge that leads in; all but
    those of `always` need one that leads out.
    """
    influence = total_influence(shares(matrix), weights)
    nodes = (influence >= share_limit(influence, node_share)) | always
    kept = matrix * nodes[:, None] * nodes
    kept_shares = shares(kept)
    through = total_influence(kept_shares, weights) + weights
    scores = kept_shares * through[:, None]
    edges = (scores >= share_limit(scores, edge_share)) & (scores > 0)
    return Pruning(*_without_dead_ends(nodes, edges, always, units), _ranks(influence), scores)


def _without_dead_ends(
    nodes: np.ndarray, edges: np.ndarray, always: np.ndarray, units: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    while True:
        left = nodes & (always | edges.any(axis=0)) & (~units | edges.any(axis=1))
        edges = edges & left[:, None] & left
        if (left == nodes).all():
            return nodes, edges
        nodes = left


def _ranks(influence: np.ndarray) -> np.ndarray:
    order = np.argsort(-influence, kind="stable")
    total = influence.sum()
    found = np.zeros_like(influence)
    found[order] = np.cumsum(influence[order]) / (total if total > 0 else 1.0)
    return found


def graph_scores(matrix: np.ndarray, weights: np.ndarray, remainders: np.ndarray, leaves: np.ndarray) -> GraphScores:
    """Scores of a graph that was not pruned; `remainders` and `leaves` [n] are told apart: leaves are the others."""
    share = shares(matrix)
    influence = total_influence(share, weights)
    explained, unexplained = influence[leaves].sum(), influence[remainders].sum()
    through = influence + weights
    accounted = (1 - share[:, remainders].sum(axis=1)) * through
    total = explained + unexplained
    return GraphScores(
        replacement=float(explained / total) if total > 0 else 1.0,
        completeness=float(accounted.sum() / through.sum()) if through.sum() > 0 else 1.0,
    )
