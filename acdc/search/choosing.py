"""Choose a circuit from scores: by threshold, by number of edges, by faithfulness. Dangling parts are pruned away."""

import heapq
from collections.abc import Callable
from functools import cached_property

import numpy as np

from acdc.errors import InputError
from acdc.graph import ComponentGraph
from acdc.graph.masks import Mask
from acdc.graph.units import Choice, Units
from acdc.options import Choosing

FINE = 128


class Ranking:
    """Units by falling |score|, ties by their place in the graph; `top(k)` is the pruned circuit of the first k.

    What always stays is not ranked, and what has a score of 0 is never chosen. Greedily, which goes with edges alone,
    only edges into what has been reached so far are candidates: first those into the logits, then also those into the
    component that the best of them comes from, and so on.
    """

    def __init__(self, units: Units, scores: np.ndarray, choosing: Choosing = Choosing.top):
        """`scores` [units.shape]."""
        self.units, self.scores, self._choosing = units, scores.reshape(-1)[units.always :], choosing

    @cached_property
    def _order(self) -> np.ndarray:
        if self._choosing is Choosing.greedy:
            return _from_logits(self.units.graph, np.abs(self.scores))
        return np.argsort(-np.abs(self.scores), kind="stable")

    @cached_property
    def candidates(self) -> int:
        """How many may be chosen: those with a score other than 0, which come first."""
        return int(np.count_nonzero(self.scores[self._order]))

    def is_spent(self, choice: Choice) -> bool:
        """Whether nothing is left that may be chosen besides a choice."""
        return int(choice.kept.sum()) - self.units.always >= self.candidates

    def top(self, k: int) -> Choice:
        return self.units.choose(self.units.first(self._order[:k]))

    def by_threshold(self, threshold: float) -> Choice:
        """What has |score| >= threshold (> 0); greedily, what comes before the first that has less."""
        enough = np.abs(self.scores)[self._order] >= threshold
        return self.top(len(enough) if enough.all() else int(enough.argmin()))

    def by_edges(self, n: int) -> Choice:
        """The longest beginning of the ranking that leaves at most n edges after pruning."""
        most = self.units.graph.n_edges
        if not 1 <= n <= most:
            raise InputError(f"--edges {n} must be between 1 and the graph's {most} edges")
        if (always := int(self.top(0).edges.sum())) > n:
            raise InputError(f"--edges {n} is less than the {always} edges that every circuit of components has")
        low, high = 0, self.candidates  # a longer beginning never leaves fewer edges
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.top(middle).edges.sum() <= n else (low, middle - 1)
        return self.top(low)

    def by_faithfulness(self, target: float, faithfulness: Callable[[Mask], float]) -> Choice:
        """A small beginning of the ranking whose pruned circuit reaches `target`, found by doubling and bisection.

        `faithfulness` measures what is left when something is removed. As it need not grow with every edge, a
        smaller one may exist; of large circuits the bisection ends when their size is known to within 1 / `FINE`. All
        that may be chosen, where even that does not reach it.
        """
        low, high = 0, min(1, self.candidates)
        while high < self.candidates and faithfulness(self.top(high).ablated) < target:
            low, high = high, min(2 * high, self.candidates)
        while high - low > max(1, high // FINE):
            middle = (low + high) // 2
            low, high = (low, middle) if faithfulness(self.top(middle).ablated) >= target else (middle, high)
        return self.top(high)


def _from_logits(graph: ComponentGraph, sizes: np.ndarray) -> np.ndarray:
    """The order in which edges are popped, the largest first, when each component's become candidates with it. Edges of
    size 0 are none."""
    writers, readers = graph.ends
    into: list[list[int]] = [[] for _ in graph.writers]
    candidates = []
    for edge in np.flatnonzero(sizes[: len(readers)]).tolist():
        reader = readers[edge]
        owners = graph.owners(graph.readers[reader])
        for owner in owners:
            into[graph.writer_index[owner]].append(edge)
        if not owners:
            candidates.append((-sizes[edge], edge))
    heapq.heapify(candidates)
    order, taken = [], {edge for _, edge in candidates}
    while candidates:
        _, edge = heapq.heappop(candidates)
        order.append(edge)
        for new in into[writers[edge]]:
            if new not in taken:
                taken.add(new)
                heapq.heappush(candidates, (-sizes[new], new))
    return np.array(order, dtype=int)
