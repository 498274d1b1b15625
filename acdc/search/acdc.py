"""ACDC edge pruning (Conmy et al. 2023, arXiv 2304.14997), exact, at the cost of the circuit instead of the model.

Receivers are visited from the logits backwards; at each, its senders from the latest. An edge is removed for good when
the objective rises by less than the threshold (strictly), in the subgraph as it stands. A receiver whose component has
no kept outgoing edge loses its incoming edges without a test.

Several senders of one receiver are tried in one pass, each together with all before it removed: the results count up
to the first edge that is kept, and the rest is tried again. So the decisions are those of one test at a time. What a
test costs is told in `acdc.model.circuit_state`.
"""

import numpy as np

from acdc.progress import Advance, Progress
from acdc.search.options import SearchOptions
from acdc.search.result import Decision, Decisions
from acdc.search.trials import Increments, Trials, WholeRuns
from acdc.search.visits import Visit, visits
from acdc.task.behaviour import Behaviour

DEFAULT_THRESHOLD_SHARE = 0.005


def acdc(behaviour: Behaviour, options: SearchOptions, progress: Progress) -> Decisions:
    """Decide every edge. Without a threshold, 0.5 % of |metric(full) - metric(empty circuit)| is taken."""
    threshold = default_threshold(behaviour) if options.threshold is None else options.threshold
    trials = WholeRuns(behaviour) if behaviour.executor.scaled_bias else Increments(behaviour)
    with progress("acdc", behaviour.graph.n_edges, "edges") as advance:
        pruning = Pruning(behaviour, trials, threshold)
        for visit in visits(behaviour.graph, options.sender_order):
            pruning.visit(visit, advance)
    return pruning.result()


def default_threshold(behaviour: Behaviour) -> float:
    """A share of the range that the metric spans. Raises InputError where that is nothing."""
    full, empty = behaviour.ends()
    return DEFAULT_THRESHOLD_SHARE * abs(full - empty)


class Pruning:
    """One run of ACDC: its trials, the objective of the present circuit, and the decisions so far."""

    def __init__(self, behaviour: Behaviour, trials: Trials, threshold: float):
        self.behaviour, self.trials, self.threshold = behaviour, trials, threshold
        self.graph, self.sign = behaviour.graph, behaviour.metric.sign
        self.changes = np.zeros(self.graph.n_edges)
        self.tests: list[Decision] = []
        self.current = trials.objective()
        self.drift = 0.0
        self._width, self._layer, self._kept = 4, self.graph.anatomy.n_layers, 0

    def visit(self, visit: Visit, advance: Advance) -> None:
        """Decide a receiver's edges."""
        if visit.layer < self._layer - 1:
            self._check_drift(self._layer - 1)
        self._layer = min(self._layer, visit.layer + 1)
        if visit.users and not any(self._is_live(*user) for user in visit.users):
            self._drop(visit.edges)
            advance(len(visit.edges), self._note())
        else:
            self._decide(visit.edges, advance)

    def _is_live(self, writer: int, wire: int | None) -> bool:
        return self.trials.is_read(writer) and (wire is None or not self.trials.removed[wire])

    def _check_drift(self, layer: int) -> None:
        """Have the trials start afresh, and see how far rounding has taken them."""
        measured = self.trials.finish_layer(layer)
        if measured is not None:
            self.drift = max(self.drift, abs(measured - self.current))
            self.current = measured

    def _drop(self, edges: np.ndarray) -> None:
        """Remove the edges into a component that nothing reads.

        That changes no metric, except where a post-norm scales a layer's heads by their common size (gemma).
        """
        self.trials.remove(edges)
        if self.graph.anatomy.post_norms:
            self.current = self.trials.objective()

    def _decide(self, edges: np.ndarray, advance: Advance) -> None:
        """Test a receiver's edges in the given order."""
        widest = self.trials.widest(edges)
        while len(edges):
            tried = edges[: min(self._width, widest)]
            decided = self._accept(tried, self.trials.measure(tried))
            self._width = min(widest, 2 * self._width) if decided == len(tried) else max(1, self._width // 2)
            edges = edges[decided:]
            advance(decided, self._note())

    def _accept(self, tried: np.ndarray, objectives: np.ndarray) -> int:
        """Take the results up to and including the first edge that is kept; how many were taken."""
        removed = 0
        for edge, after in zip(tried.tolist(), objectives.tolist(), strict=True):
            kept = not after - self.current < self.threshold
            self.tests.append(Decision(self.graph.names[edge], self.current, after, kept))
            if kept:
                self.changes[edge] = self.sign * (after - self.current)
                break
            self.current, removed = after, removed + 1
        if removed:
            self.trials.remove(tried[:removed])
        if removed < len(tried):
            self.trials.keep(int(tried[removed]))
            self._kept += 1
            return removed + 1
        return removed

    def _note(self) -> str:
        return f"{self._kept} kept, {self.behaviour.metric.objective} {self.current:.4g}"

    def result(self) -> Decisions:
        """The decisions, with the objective of the final circuit measured by a run from scratch."""
        kept = ~self.trials.removed
        measured = self.behaviour.metric.sign * self.behaviour.measure(~kept[None])[0, 0].mean()
        drift = max(self.drift, abs(float(measured) - self.current))
        return Decisions(tuple(self.tests), kept, self.changes, self.threshold, float(measured), drift)
