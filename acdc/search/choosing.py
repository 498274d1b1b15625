"""Choose a circuit from scores: by threshold, by number of edges, by faithfulness. Dangling parts are pruned away."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from acdc.errors import InputError
from acdc.graph import ComponentGraph
from acdc.options import Choosing

FINE = 128


@dataclass(frozen=True)
class Choice:
    """A chosen set of edges: boolean vectors [edges] before (`selected`) and after pruning to a fixpoint (`edges`).

    `nodes`: boolean [writers], where components were chosen and not edges. `neurons`: boolean [writers, d], where
    single coordinates of what they write were.
    """

    selected: np.ndarray
    edges: np.ndarray
    nodes: np.ndarray | None = None
    neurons: np.ndarray | None = None

    @property
    def removed(self) -> np.ndarray:
        """All else, as `Behaviour.measure` takes it."""
        return ~self.edges if self.neurons is None else ~self.neurons

    @property
    def counts(self) -> dict[str, int]:
        return {"selected": int(self.selected.sum()), "after_pruning": int(self.edges.sum())}


class Ranking:
    """Edges by falling |score|, ties by their place in the graph; `top(k)` is the pruned circuit of the first k.

    Greedily, only edges into what has been reached so far are candidates: first those into the logits, then also those
    into the component that the best of them comes from, and so on.
    """

    def __init__(self, graph: ComponentGraph, scores: np.ndarray, choosing: Choosing = Choosing.top):
        self.graph, self.scores, self._choosing = graph, scores, choosing

    @cached_property
    def _order(self) -> np.ndarray:
        if self._choosing is Choosing.greedy:
            return _from_logits(self.graph, np.abs(self.scores))
        return np.argsort(-np.abs(self.scores), kind="stable")

    def top(self, k: int) -> Choice:
        selected = np.zeros(self.graph.n_edges, dtype=bool)
        selected[self._order[:k]] = True
        return Choice(selected, self.graph.prune(selected))

    def by_threshold(self, threshold: float) -> Choice:
        """What has |score| >= threshold (> 0); greedily, what comes before the first that has less."""
        enough = np.abs(self.scores)[self._order] >= threshold
        return self.top(len(enough) if enough.all() else int(enough.argmin()))

    def by_edges(self, n: int) -> Choice:
        """The longest beginning of the ranking that leaves at most n edges after pruning."""
        if not 1 <= n <= self.graph.n_edges:
            raise InputError(f"--edges {n} must be between 1 and the graph's {self.graph.n_edges} edges")
        if (always := int(self.top(0).edges.sum())) > n:
            raise InputError(f"--edges {n} is less than the {always} edges that every circuit of components has")
        low, high = 0, len(self._order)  # a longer beginning never leaves fewer edges
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.top(middle).edges.sum() <= n else (low, middle - 1)
        return self.top(low)

    def by_faithfulness(self, target: float, faithfulness: Callable[[np.ndarray], float]) -> Choice:
        """A small beginning of the ranking whose pruned circuit reaches `target`, found by doubling and bisection.

        `faithfulness` measures what is left when something is removed. As it need not grow with every edge, a
        smaller one may exist; of large circuits the bisection ends when their size is known to within 1 / `FINE`.
        """
        low, high = 0, 1
        while high < len(self._order) and faithfulness(self.top(high).removed) < target:
            low, high = high, min(2 * high, len(self._order))
        while high - low > max(1, high // FINE):
            middle = (low + high) // 2
            low, high = (low, middle) if faithfulness(self.top(middle).removed) >= target else (middle, high)
        return self.top(high)


class NodeRanking(Ranking):
    """The same over components other than the embeddings, which stay: a circuit is the edges among those chosen."""

    def __init__(self, graph: ComponentGraph, scores: np.ndarray):
        """`scores` [writers]."""
        super().__init__(graph, scores[len(graph.embeddings) :])

    def top(self, k: int) -> Choice:
        embeddings = len(self.graph.embeddings)
        nodes = np.arange(len(self.graph.writers)) < embeddings
        nodes[embeddings + self._order[:k]] = True
        selected = self.graph.between(nodes)
        return Choice(selected, self.graph.prune(selected), nodes)


class NeuronRanking(Ranking):
    """The same over neurons: a circuit is the edges among the components of which any is chosen."""

    def __init__(self, graph: ComponentGraph, scores: np.ndarray):
        """`scores` [writers, d]."""
        super().__init__(graph, scores[len(graph.embeddings) :].ravel())
        self._shape = scores.shape

    def top(self, k: int) -> Choice:
        embeddings = len(self.graph.embeddings)
        neurons = np.zeros(self._shape, dtype=bool)
        neurons[:embeddings] = True
        neurons[embeddings:].reshape(-1)[self._order[:k]] = True
        nodes: np.ndarray = np.any(neurons, axis=1)
        selected = self.graph.between(nodes)
        return Choice(selected, self.graph.prune(selected), nodes, neurons)


def _from_logits(graph: ComponentGraph, sizes: np.ndarray) -> np.ndarray:
    """The order in which edges are popped, the largest first, when each component's become candidates with it."""
    writers, readers = graph.ends
    into: list[list[int]] = [[] for _ in graph.writers]
    candidates = []
    for edge, reader in enumerate(readers.tolist()):
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
    return np.array(order)
