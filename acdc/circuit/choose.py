"""Choose a circuit from scores: by threshold, by number of edges, by faithfulness. Dangling parts are pruned away."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from acdc.errors import InputError
from acdc.graph import ComponentGraph


@dataclass(frozen=True)
class Choice:
    """A chosen set of edges: boolean vectors [edges] before (`selected`) and after pruning to a fixpoint (`edges`)."""

    selected: np.ndarray
    edges: np.ndarray

    @property
    def counts(self) -> dict[str, int]:
        return {"selected": int(self.selected.sum()), "after_pruning": int(self.edges.sum())}


class Ranking:
    """Edges by falling |score|, ties by their place in the graph; `top(k)` is the pruned circuit of the first k."""

    def __init__(self, graph: ComponentGraph, scores: np.ndarray):
        self.graph, self.scores = graph, scores
        self._order = np.argsort(-np.abs(scores), kind="stable")

    def top(self, k: int) -> Choice:
        selected = np.zeros(self.graph.n_edges, dtype=bool)
        selected[self._order[:k]] = True
        return Choice(selected, self.graph.prune(selected))

    def by_threshold(self, threshold: float) -> Choice:
        """Edges with |score| >= threshold (> 0)."""
        return self.top(int((np.abs(self.scores) >= threshold).sum()))

    def by_edges(self, n: int) -> Choice:
        """The longest beginning of the ranking that leaves at most n edges after pruning."""
        if not 1 <= n <= self.graph.n_edges:
            raise InputError(f"--edges {n} must be between 1 and the graph's {self.graph.n_edges} edges")
        low, high = 0, self.graph.n_edges  # a longer beginning never leaves fewer edges
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.top(middle).edges.sum() <= n else (low, middle - 1)
        return self.top(low)

    def by_faithfulness(self, target: float, faithfulness: Callable[[np.ndarray], float]) -> Choice:
        """A small beginning of the ranking whose pruned circuit reaches `target`, found by doubling and bisection.

        `faithfulness` measures a boolean vector [edges]. As it need not grow with every edge, a smaller one may exist.
        """
        low, high = 0, 1
        while high < self.graph.n_edges and faithfulness(self.top(high).edges) < target:
            low, high = high, min(2 * high, self.graph.n_edges)
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if faithfulness(self.top(middle).edges) >= target else (middle, high)
        return self.top(high)
