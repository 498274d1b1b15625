"""A short version of ACDC, which tests only the edges whose effect is hardest to estimate.

At each receiver of the present circuit, in ACDC's order, one gradient estimates the effect of every edge. The edges
whose estimate is closest to the threshold are tested, as many as a budget allows: all of them near the logits, where
tests are cheap, and few where tests are expensive. The others are decided by their estimates. So the circuit that is
left, on which the cost of every later test depends, is close to the one that ACDC would leave.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from acdc.behaviour.behaviour import Behaviour
from acdc.execution.required_positions import Required
from acdc.graph import ReaderGroup
from acdc.planning.speed import Load
from acdc.progress import Advance
from acdc.search.acdc.first_order import first_order
from acdc.search.acdc.increments import Increments
from acdc.search.acdc.passes import Expected, Pass
from acdc.search.acdc.pruning import Pruning
from acdc.search.acdc.receiver_steps import ReceiverStep
from acdc.search.acdc.screening import Screen
from acdc.search.acdc.slot_cost import SlotCost, slot_cost

BACKWARD = 2  # FLOPs of going back, in those of going forward
TEST_SHARE = 0.5  # of the budget, for tests; estimates have the rest
RECEIVER_SHARE = 0.05  # of what is left for tests, for those of one receiver


@dataclass(frozen=True)
class Receiver:
    """What ACDC does at a receiver that is live: which of its candidates are `kept`, in the order of their tests; how
    many of them were `tested`; the cost of passes there; the size of its input, in `numbers`; how many runs of one
    candidate it takes besides the passes, for `settling` what the decisions changed; and what a screen `expected`."""

    kept: np.ndarray
    tested: int
    cost: SlotCost
    numbers: int
    settling: int
    expected: Expected

    @property
    def found(self) -> Expected:
        """What a search comes to expect: those that it keeps are tested, as groups with them miss their estimates."""
        return replace(self.expected, screened=self.expected.screened & ~self.kept)


class Preview(Pruning):
    """`receivers`: the live ones so far. `loads` and `seconds`: of every pass. The preview ends early when its budget
    is spent; it has then `reached` so many candidates, the last of them in `layer`, and left so many `unreached`."""

    def __init__(
        self,
        behaviour: Behaviour,
        threshold: float,
        plan: Sequence[ReceiverStep],
        proposed: np.ndarray,
        budget: float,
        screen: Screen | None = None,
    ):
        """`budget`: in FLOPs. `screen`: of the search that is previewed; the preview itself removes no groups."""
        self._increments = Increments(behaviour)
        super().__init__(behaviour, self._increments, [threshold], plan, proposed)
        self.receivers: list[Receiver] = []
        self.loads: list[Load] = []
        self.seconds: list[float] = []
        self.reached, self.unreached, self.layer = 0, 0, behaviour.graph.anatomy.n_layers
        self._budget, self._for_tests, self._backwards = budget, TEST_SHARE * budget, 0.0
        self._now: Receiver | None = None
        self._foreseen = screen
        self._group: ReaderGroup | None = None  # of the last live receiver
        self._edges, self._first = np.array([], dtype=int), True

    def finish(self, advance: Advance) -> list[Pruning]:
        forks = super().finish(advance)
        self._close()
        return forks

    def _check_drift(self) -> None:
        """Decisions that are estimated need no check of rounding."""

    @property
    def spent(self) -> float:
        """FLOPs so far."""
        return self.behaviour.work.flops + self._backwards

    def _open(self, step: ReceiverStep, advance: Advance) -> np.ndarray:
        self._close()
        wanted = step.candidates[self._proposed[step.candidates]]
        if self.unreached or self.spent >= self._budget:
            self.unreached += len(wanted)
            advance(len(step.candidates))
            return wanted[:0]
        self.reached, self.layer = self.reached + len(wanted), step.layer
        if not len(wanted) or not self._is_live(step):
            return super()._open(step, advance)
        self._increments.settle()
        slot, states = self._slot(int(wanted[0])), self._increments.states
        numbers = sum(s.rows * (s.suffix.length if s.need(slot) == Required.EVERYWHERE else 1) for s in states)
        cost = slot_cost(self.behaviour, states, slot, [self.behaviour.metric])
        settling = 1 + (len(wanted) < len(step.candidates)) + self._slopes(states[0].group(slot))
        numbers *= self.behaviour.graph.anatomy.d_model
        self._now = Receiver(wanted, len(wanted), cost, numbers, settling, Expected.nothing(len(wanted)))
        self._edges, self._first = wanted, True
        if wanted[0] >= len(self.behaviour.graph.edges):
            return super()._open(step, advance)
        return self._decide_some(step, slot, advance)

    def _slopes(self, group: ReaderGroup) -> int:
        """How many runs the gradients at a group of slots take, at the first of them that is live."""
        first, self._group = group != self._group, group
        return 1 + BACKWARD if self._foreseen is not None and first else 0

    def _slot(self, edge: int) -> int:
        """The slot that an edge leads into, or that a within-head edge starts at."""
        graph = self.behaviour.graph
        inside = len(graph.edges)
        return (
            int(graph.ends[1][edge]) if edge < inside else graph.reader_index[graph.within_heads[edge - inside].reader]
        )

    def _decide_some(self, step: ReceiverStep, slot: int, advance: Advance) -> np.ndarray:
        """Decide the edges into a slot whose estimates are far from the threshold; returns the others, to be tested."""
        assert self._now is not None
        edges, threshold, (writers, _) = self._edges, self.thresholds[0], self.behaviour.graph.ends
        found = first_order(self.behaviour, self._increments.states, slot, writers[edges].tolist())
        effects = self._increments.measured.change(found.now, found.effects)
        self._backwards += BACKWARD * found.flops
        tested = nearest(effects, threshold, int(RECEIVER_SHARE * self._for_tests // found.flops))
        self._now = replace(self._now, tested=int(tested.sum()), cost=replace(self._now.cost, each=found.flops))
        if self._foreseen is not None:
            self._foreseen.open(edges, found, self._increments.measured)
            self._now = replace(self._now, expected=self._foreseen.expected(edges))
        sure = ~tested & (effects >= threshold)
        left = np.concatenate([edges[sure], edges[tested]])
        self.tester.open(left, step.candidates[~np.isin(step.candidates, left)])
        self.current = self.tester.objective() if tested.any() else self.current
        for edge, effect in zip(edges[sure].tolist(), effects[sure].tolist(), strict=True):
            self._keep(edge, self.current + effect)
        advance(len(step.candidates) - int(tested.sum()), self._note())
        return edges[tested]

    def _objectives(self, wanted: Pass) -> np.ndarray:
        assert self._now is not None
        before, started = self.behaviour.work.flops, time.perf_counter()
        found = super()._objectives(wanted)
        self.seconds.append(time.perf_counter() - started)
        flops = self.behaviour.work.flops - before
        summed = self._now.tested if self._first else 0  # the first pass at a slot sums up all of its senders
        self.loads.append(Load(flops, self._now.cost.fixed, self._now.numbers * (len(wanted.columns) + summed)))
        self._for_tests -= flops
        self._first = False
        if self._edges[0] >= len(self.behaviour.graph.edges):
            self._now = replace(self._now, cost=replace(self._now.cost, each=flops))
        return found

    def _close(self) -> None:
        """Record how the candidates of a receiver were decided."""
        if self._now is not None:
            self.receivers.append(replace(self._now, kept=~self.tester.removed[self._edges]))
            self._now = None


def nearest(effects: np.ndarray, threshold: float, count: int) -> np.ndarray:
    """Boolean [edges]: the `count` edges whose effect is closest to a threshold by ratio; those without are last."""
    far = np.full(len(effects), np.inf)
    np.log(effects / threshold, out=far, where=effects > 0)
    found = np.zeros(len(effects), dtype=bool)
    found[np.argsort(np.abs(far), kind="stable")[:count]] = True
    return found
