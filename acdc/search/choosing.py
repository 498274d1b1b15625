"""Choose a circuit from scores: by threshold, by number of edges, by faithfulness. Dangling parts are pruned away."""

import heapq
from collections.abc import Callable
from functools import cached_property

import numpy as np

from acdc.errors import InputError
from acdc.graph import ComponentGraph
from acdc.graph.masks import Mask
from acdc.graph.units import Choice, Units
from acdc.options import Choosing, ScoreKind
from acdc.search.paths import by_paths

FINE = 128


class Ranking:
    """Units in the order in which circuits take them; `top(k)` is the pruned circuit of the first k. What always stays
    is not ranked, what has a score of 0 is never chosen, and ties are broken by the place in the graph.

    - top: by falling |score|.
    - greedy, of edges: the same, but only edges into what has been reached so far are candidates: first those into the
      logits, then also those into the component that the best of them comes from, and so on.
    - signed: by how much they help, so that those that hurt come last; or, with a quota for those that hurt, this share
      of every beginning is of them, those that hurt most first.
    - paths, of edges: whole paths from the input to the logits, see `acdc.search.paths`.

    The last two take units that help with a certain sign before all others, where it is known which these are.
    """

    def __init__(
        self,
        units: Units,
        scores: np.ndarray,
        choosing: Choosing = Choosing.top,
        helps: np.ndarray | None = None,
        certain: np.ndarray | None = None,
        hurting: float = 0.0,
    ):
        """`scores` [units.shape]; `helps` [units.shape]: how much each helps, negative where it hurts, by default
        |scores|; `certain`: boolean [units.shape], whose sign is certain, None for all; `hurting`: the quota."""
        self.units, self.scores, self._choosing = units, scores.reshape(-1)[units.always :], choosing
        self._helps = np.abs(self.scores) if helps is None else helps.reshape(-1)[units.always :]
        self._certain = None if certain is None else certain.reshape(-1)[units.always :]
        self._hurting = hurting

    @cached_property
    def _ranked(self) -> tuple[np.ndarray, np.ndarray]:
        """(places of units in their order, what each is worth, in that order)."""
        sizes, helps, scored = np.abs(self.scores), self._helps, self.scores != 0
        first = np.zeros(len(helps), dtype=bool) if self._certain is None else self._certain & (helps > 0)
        if self._choosing is Choosing.paths:
            return by_paths(self.units.graph, helps, [first, scored])
        if self._choosing is Choosing.signed:
            order = np.lexsort((-helps, ~first, ~scored))
            order = _with_quota(order, helps, self._hurting) if self._hurting else order
            return order, np.abs(helps[order]) if self._hurting else helps[order]
        greedy = self._choosing is Choosing.greedy
        order = _from_logits(self.units.graph, sizes) if greedy else np.argsort(-sizes, kind="stable")
        return order, sizes[order]

    @property
    def _order(self) -> np.ndarray:
        return self._ranked[0]

    @cached_property
    def candidates(self) -> int:
        """How many may be chosen: those with a score other than 0, which come first."""
        return int(np.count_nonzero(self.scores[self._order]))

    def is_spent(self, choice: Choice) -> bool:
        """Whether nothing is left that may be chosen besides a choice."""
        return int(choice.kept.sum()) - self.units.always >= self.candidates

    def next_size(self, choice: Choice) -> int:
        """How many edges the circuit would have with the next of the ranking, which may complete paths of others."""
        return self.top(int(choice.kept.sum()) - self.units.always + 1).size

    def top(self, k: int) -> Choice:
        return self.units.choose(self.units.first(self._order[:k]))

    def by_threshold(self, threshold: float) -> Choice:
        """What comes before the first that is worth less than a threshold (> 0). Worth is |score|; signed, how much a
        unit helps; of a path, how much each of its new edges helps on average."""
        enough = self._ranked[1] >= threshold
        return self.top(len(enough) if enough.all() else int(enough.argmin()))

    def by_edges(self, n: int) -> Choice:
        """The longest beginning of the ranking that leaves at most n edges after pruning."""
        most = self.units.most_edges
        if not 1 <= n <= most:
            raise InputError(f"--edges {n} must be between 1 and the graph's {most} edges")
        if (always := self.top(0).size) > n:
            raise InputError(f"--edges {n} is less than the {always} edges that every circuit of components has")
        low, high = 0, self.candidates  # a longer beginning never leaves fewer edges
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.top(middle).size <= n else (low, middle - 1)
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


def helpfulness(scores: np.ndarray, kind: ScoreKind, sign: float) -> np.ndarray:
    """How much edges help by their scores [edges] of a kind, in the sign of a metric (`Metric.sign`)."""
    return np.abs(scores) if kind == "importance" else sign * scores


def _with_quota(order: np.ndarray, helps: np.ndarray, hurting: float) -> np.ndarray:
    """The order with a share of every beginning from what hurts, most first, as long as there is of both; what has no
    effect stays at the end."""
    good, bad, none = order[helps[order] > 0], order[helps[order] < 0][::-1], order[helps[order] == 0]
    place = np.concatenate([(np.arange(len(good)) + 1) / (1 - hurting), (np.arange(len(bad)) + 1) / hurting])
    return np.concatenate([np.concatenate([good, bad])[np.argsort(place, kind="stable")], none])


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
