"""A short ACDC on few rows: most edges are decided by foretelling, and by real tests those that it is least sure of.

At each receiver of the present circuit, as in ACDC, one gradient foretells what every test would find. Of the edges
that are foretold nearest to the threshold, as many are tested as a budget allows: all of them where tests are cheap,
near the logits, and few where they are dear. So the circuit, and with it the cost of every later test, comes out much
as ACDC would leave it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from acdc.progress import Advance
from acdc.search.foretell import foretell
from acdc.search.increments import Increments
from acdc.search.pruning import Pruning
from acdc.search.slot_cost import SlotCost, slot_cost
from acdc.search.visits import Visit
from acdc.task.behaviour import Behaviour

BACKWARD = 2  # FLOPs of going back, in those of going forward
TESTING = 0.5  # of the budget, for real tests
A_RECEIVER = 0.05  # of what is left of that, for the tests of one receiver


@dataclass(frozen=True)
class Receiver:
    """What ACDC does at a receiver: its candidates in the order of their tests, `kept` or not, how many of them were
    really `tested`, what trials cost there, and how many runs of one candidate come on top of trials."""

    kept: tuple[bool, ...]
    tested: int
    cost: SlotCost
    settling: int


class Preview(Pruning):
    """`receivers` that were live, until all were visited or the budget was spent, when as many candidates are
    `unvisited`; `seconds` that real trials took, and their `units`: FLOPs, with what it takes to start a trial."""

    def __init__(
        self, behaviour: Behaviour, threshold: float, plan: Sequence[Visit], proposed: np.ndarray, budget: float
    ):
        """`budget`: FLOPs."""
        self.increments = Increments(behaviour)
        super().__init__(behaviour, self.increments, [threshold], plan, proposed)
        self.receivers: list[Receiver] = []
        self.seconds, self.units, self.unvisited = 0.0, 0.0, 0
        self._budget, self._for_tests = budget, TESTING * budget
        self._cost, self._backwards = SlotCost(0, 0, 0), 0.0
        self._at: tuple[Visit, np.ndarray] | None = None

    def finish(self, advance: Advance) -> list[Pruning]:
        forks = super().finish(advance)
        self._close()
        return forks

    def _check_drift(self) -> None:
        """A preview is no account of rounding."""

    def _open(self, visit: Visit, advance: Advance) -> np.ndarray:
        self._close()
        if self._spent >= self._budget:
            rest = self._plan[self._next :]
            self.unvisited = sum(int(self._proposed[later.candidates].sum()) for later in rest)
            self._plan = self._plan[: self._next]
            return visit.candidates[:0]
        edges = visit.candidates[self._proposed[visit.candidates]] if self._is_live(visit) else visit.candidates[:0]
        if not len(edges):
            return super()._open(visit, advance)
        slot = self._reader(int(edges[0]))
        self.increments.settle()
        self._at = visit, edges
        self._cost = slot_cost(self.behaviour, self.increments.states, slot)
        if edges[0] >= len(self.behaviour.graph.edges):
            return super()._open(visit, advance)
        return self._decide_some(visit, edges, slot)

    def _reader(self, edge: int) -> int:
        """The slot that an edge leads into, or that a wire starts at."""
        graph = self.behaviour.graph
        inside = len(graph.edges)
        return int(graph.ends[1][edge]) if edge < inside else graph.reader_index[graph.wires[edge - inside].reader]

    def _decide_some(self, visit: Visit, edges: np.ndarray, slot: int) -> np.ndarray:
        """Decide the edges into a slot of which the foretelling is sure enough; the others, which are to be tested."""
        writers, _ = self.behaviour.graph.ends
        found = foretell(self.behaviour, self.increments.states, slot, writers[edges].tolist())
        self._cost = replace(self._cost, each=found.flops)
        self._backwards += BACKWARD * found.flops
        tested = self._nearest(found.effects, int(A_RECEIVER * self._for_tests // found.flops))
        sure = ~tested & (found.effects >= self.thresholds[0])
        left = np.concatenate([edges[sure], edges[tested]])
        self.trials.open(left, visit.candidates[~np.isin(visit.candidates, left)])
        self.current = self.trials.objective() if tested.any() else self.current
        for edge, effect in zip(edges[sure].tolist(), found.effects[sure].tolist(), strict=True):
            self._keep(edge, self.current + effect)
        self._tested = int(tested.sum())
        return edges[tested]

    def _nearest(self, effects: np.ndarray, count: int) -> np.ndarray:
        """Boolean [edges]: so many whose foretold effect is nearest to the threshold, as a ratio."""
        far = np.full(len(effects), np.inf)
        np.log(effects / self.thresholds[0], out=far, where=effects > 0)
        nearest = np.zeros(len(effects), dtype=bool)
        nearest[np.argsort(np.abs(far), kind="stable")[:count]] = True
        return nearest

    def _objectives(self, tried: np.ndarray) -> np.ndarray:
        before, started = self.behaviour.work.flops, time.perf_counter()
        found = super()._objectives(tried)
        self.seconds += time.perf_counter() - started
        flops = self.behaviour.work.flops - before
        self.units += self._cost.fixed + flops
        self._for_tests -= flops
        return found

    @property
    def _spent(self) -> float:
        return self.behaviour.work.flops + self._backwards

    def _close(self) -> None:
        """Write down how the candidates of a receiver were decided."""
        if self._at is not None:
            visit, edges = self._at
            kept = tuple((~self.trials.removed[edges]).tolist())
            settling = 1 + (len(edges) < len(visit.candidates))
            self.receivers.append(Receiver(kept, self._tested, self._cost, settling))
            self._at = None
