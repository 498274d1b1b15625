"""ACDC edge pruning (Conmy et al. 2023, arXiv 2304.14997), every test by a run of the whole subgraph.

Receivers are visited from the logits backwards; at each, its senders from the latest. An edge is removed for good when
the objective rises by less than the threshold (strictly), in the subgraph as it stands. A receiver whose component has
no kept outgoing edge loses its incoming edges without a test.

Several senders of one receiver are tried in one pass, each together with all before it removed: the results count up
to the first edge that is kept, and the rest is tried again. So the decisions are those of one test at a time.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from acdc.graph import ComponentGraph, ReaderGroup, ReaderKind, Writer
from acdc.progress import Progress
from acdc.search.options import SearchOptions
from acdc.search.result import Decision, Decisions
from acdc.task.behaviour import Behaviour

DEFAULT_THRESHOLD_SHARE = 0.005
WIDEST = 32
_ORDER = (ReaderKind.MLP, ReaderKind.V, ReaderKind.K, ReaderKind.Q)


def acdc(behaviour: Behaviour, options: SearchOptions, progress: Progress) -> Decisions:
    """Decide every edge. Without a threshold, 0.5 % of |metric(full) - metric(empty circuit)| is taken."""
    graph = behaviour.graph
    threshold = options.threshold
    if threshold is None:
        full, empty = behaviour.ends()
        threshold = DEFAULT_THRESHOLD_SHARE * abs(full - empty)
    run = _Run(behaviour, threshold)
    with progress("acdc", graph.n_edges, "edges") as advance:
        for group, row in receiver_order(graph):
            edges = sender_order(group, row)
            owners = graph.owners(group.readers[row])
            if owners and not any(owner in run.read for owner in owners):
                run.drop(edges)
                advance(len(edges))
            else:
                run.decide(edges, advance)
    return Decisions(tuple(run.tests), ~run.removed, run.changes, threshold)


def receiver_order(graph: ComponentGraph) -> Iterator[tuple[ReaderGroup, int]]:
    """(group, row of the reader): logits, then per layer from the last its MLP, v, k, q slots, last head first."""
    by_layer = {(group.layer, group.kind): group for group in graph.groups}
    yield graph.groups[-1], 0
    for layer in reversed(range(graph.anatomy.n_layers)):
        for kind in _ORDER:
            if group := by_layer.get((layer, kind)):
                yield from ((group, row) for row in reversed(range(len(group.readers))))


def sender_order(group: ReaderGroup, row: int) -> np.ndarray:
    """Edges into one reader, latest sender first: a layer's MLP, its heads from the last, and at the end the input."""
    first = group.start + row * group.senders
    return np.arange(first, first + group.senders)[::-1]


@dataclass
class _Run:
    """The state of one run: what is removed, what is read, and the objective of the present subgraph."""

    behaviour: Behaviour
    threshold: float
    removed: np.ndarray = field(init=False)
    changes: np.ndarray = field(init=False)
    current: float = field(init=False)
    width: int = 4
    tests: list[Decision] = field(default_factory=list)
    read: set[Writer] = field(default_factory=set)

    def __post_init__(self):
        self.removed = np.zeros(self.behaviour.graph.n_edges, dtype=bool)
        self.changes = np.zeros(self.behaviour.graph.n_edges)
        self.current = self._objective(self.removed[None])[0]

    def _objective(self, removed: np.ndarray) -> np.ndarray:
        """Mean objective of each candidate [candidates, edges] -> [candidates]."""
        return self.behaviour.metric.sign * self.behaviour.measure(removed)[0].mean(axis=1)

    def drop(self, edges: np.ndarray) -> None:
        """Remove the edges into a component that nothing reads.

        That changes no metric, except where a post-norm scales a layer's heads by their common size (gemma).
        """
        if self.behaviour.model.anatomy.post_norms and not self.removed[edges].all():
            self.removed[edges] = True
            self.current = self._objective(self.removed[None])[0]
        self.removed[edges] = True

    def decide(self, edges: np.ndarray, advance) -> None:
        """Test a receiver's edges in the given order."""
        while len(edges):
            tried = edges[: self.width]
            candidates = np.repeat(self.removed[None], len(tried), axis=0)
            for i, edge in enumerate(tried):
                candidates[i:, edge] = True
            decided = self._accept(tried, self._objective(candidates))
            self.width = min(WIDEST, 2 * self.width) if decided == len(tried) else max(1, self.width // 2)
            edges = edges[decided:]
            advance(decided)

    def _accept(self, tried: np.ndarray, objectives: np.ndarray) -> int:
        """Take the results up to and including the first edge that is kept; how many were taken."""
        graph, sign = self.behaviour.graph, self.behaviour.metric.sign
        for count, (edge, after) in enumerate(zip(tried.tolist(), objectives.tolist(), strict=True), start=1):
            kept = not after - self.current < self.threshold
            self.tests.append(Decision(graph.edges[edge].id, float(self.current), after, kept))
            if kept:
                self.changes[edge] = sign * (after - self.current)
                self.read.add(graph.edges[edge].writer)
                return count
            self.removed[edge] = True
            self.current = after
        return len(tried)
